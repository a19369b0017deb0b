//! Sightings: how long what is in flight has been there, as far as that can be known.
//!
//! The kernel notes when a message was queued only for receivers that asked for time stamps. For
//! the others, whoever looks more than once knows at least since when it has been there.

use std::collections::HashMap;

use super::{Census, Holding, Row, census::Key};

/// How old a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Nanoseconds.
    pub ns: u64,
    /// It may be older.
    pub at_least: bool,
}

/// What was seen when.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    first: HashMap<Key, u64>,
    looks: u64,
    monotonic_ns: u64,
    wall_ns: u64,
}

impl Sightings {
    /// Notes what is in flight at a moment: CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds.
    pub fn note(&mut self, census: &Census, monotonic_ns: u64, wall_ns: u64) {
        let before = std::mem::take(&mut self.first);
        for (holding, row) in census.rows() {
            let key = Key::of(&holding.socket, &row.queued);
            let since = before.get(&key).copied().unwrap_or(monotonic_ns);
            self.first.insert(key, since);
        }
        self.looks += 1;
        self.monotonic_ns = monotonic_ns;
        self.wall_ns = wall_ns;
    }

    /// How old the row's message was when it was last noted; `None` if nothing is known.
    #[must_use]
    pub fn age(&self, holding: &Holding, row: &Row) -> Option<Age> {
        if let Some(stamped_ns) = row.queued.stamped_ns {
            return Some(Age {
                // Someone may have set the clock back.
                ns: self.wall_ns.saturating_sub(stamped_ns),
                at_least: false,
            });
        }
        let key = Key::of(&holding.socket, &row.queued);
        let since = *self.first.get(&key).filter(|_| self.looks > 1)?;
        Some(Age {
            ns: self.monotonic_ns - since,
            at_least: true,
        })
    }
}
