//! When each thread was last seen at a hop, and when before that.

use crate::wire::{Recent, Stamp};

/// Threads by the times of their latest two turns; those that came first are forgotten first.
pub(crate) struct Turns {
    threads: Recent<u32, Turn>,
}

/// CLOCK_MONOTONIC, nanoseconds; 0 where none is known.
#[derive(Clone, Copy)]
struct Turn {
    latest: u64,
    before: u64,
}

impl Turns {
    /// Remembers the latest `threads` threads.
    pub(crate) fn of(threads: usize) -> Self {
        Self {
            threads: Recent::new(threads),
        }
    }

    /// Notes a turn, of which this may be one record of several.
    pub(crate) fn note(&mut self, head: &Stamp) {
        let turn = self.threads.get_or_insert(head.by.tid, || Turn {
            latest: head.at.ns,
            before: 0,
        });
        if turn.latest < head.at.ns {
            turn.before = turn.latest;
            turn.latest = head.at.ns;
        }
    }

    /// The latest turn of this thread.
    pub(crate) fn latest(&self, tid: u32) -> u64 {
        self.threads.get(&tid).map_or(0, |turn| turn.latest)
    }

    /// The turn before that.
    pub(crate) fn before(&self, tid: u32) -> u64 {
        self.threads.get(&tid).map_or(0, |turn| turn.before)
    }
}
