//! Unseen: when something was lost or skipped, by what the counters have said from time to time.
//!
//! A record that is lost leaves its mark in every later one (`Head::epoch`). A run that the kernel
//! skips leaves none: only a counter has moved, between one reading and the next. So the counters are
//! read after the records, whenever transfers have ended, and what was on its way at that reading or
//! before is not proved. This is the one place that says so, for `trace`, `replay`, `verify` and
//! whoever else judges.

use crate::model::{Losses, Transfer};

/// Whether everything was seen that happened while a transfer was on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Every event has arrived.
    AllSeen,
    /// Records were lost. The later ones say so themselves: what they prove together is proved.
    RecordsLost,
    /// Runs of programs were skipped, and nothing tells the records before from those after.
    RunsSkipped,
}

/// Whether no record was lost, and nothing skipped.
impl From<bool> for Meanwhile {
    fn from(lossless: bool) -> Self {
        if lossless {
            Self::AllSeen
        } else {
            Self::RecordsLost
        }
    }
}

/// What the latest reading was, and when there was more by then than before.
#[derive(Clone, Debug, Default)]
pub struct Unseen {
    losses: Losses,
    /// CLOCK_MONOTONIC by which the last loss of any kind had happened.
    lost_by: Option<u64>,
    /// The same of skipped runs.
    skipped_by: Option<u64>,
}

impl Unseen {
    /// Takes in a reading that was over at `t_ns`, or when it says itself. Returns whether anything
    /// was counted since the one before.
    pub fn read(&mut self, losses: &Losses, t_ns: u64) -> bool {
        let by = t_ns.max(losses.read_ns);
        if !self.losses.same_gaps(losses) {
            self.lost_by = Some(by);
        }
        if self.losses.recursion_misses != losses.recursion_misses {
            self.skipped_by = Some(by);
        }
        let changed = !self.losses.counts_as(losses);
        self.losses = losses.clone();
        changed
    }

    /// The latest reading.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// What is known of the time that a transfer was on its way, by readings of which one came after
    /// its last record.
    #[must_use]
    pub fn meanwhile(&self, transfer: &Transfer) -> Meanwhile {
        let is_on_its_way = |by: Option<u64>| {
            by.is_some_and(|by| transfer.begin_ns().is_none_or(|begin| begin <= by))
        };
        if is_on_its_way(self.skipped_by) {
            Meanwhile::RunsSkipped
        } else {
            Meanwhile::from(!is_on_its_way(self.lost_by))
        }
    }
}
