//! Senders that say their own numbers, each in as many records as its files take.

use super::LateSender;
use crate::{track::recent::Recent, wire::Sighting};

/// Threads of whose records some are still to come, at most: they come at once, unless they are lost.
const THREADS_MAX: usize = 4096;

/// What has come so far, by thread: the records of several CPUs come mixed.
pub(in crate::track) struct Gathering {
    threads: Recent<u32, LateSender>,
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            threads: Recent::new(THREADS_MAX),
        }
    }
}

impl Gathering {
    /// Adds a record; gives the sender if that was the last one.
    pub(in crate::track) fn add(&mut self, seen: &Sighting, began_ns: u64) -> Option<LateSender> {
        let tid = seen.stamp.by.tid;
        let begun = self.threads.remove(tid);
        let mut sender = begun
            .filter(|sender| sender.stamp.is_of(&seen.stamp))
            .unwrap_or_else(|| LateSender::new(seen, began_ns));
        sender.add(seen);
        if sender.is_whole() {
            return Some(sender);
        }
        self.threads.insert(tid, sender);
        self.threads.excess();
        None
    }

    pub(in crate::track) fn clear(&mut self) {
        self.threads.clear();
    }
}
