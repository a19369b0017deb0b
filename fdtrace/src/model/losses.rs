//! Losses: what went unseen, and where; and what the programs cost.

use super::Hop;

/// What went unseen, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Records that found no room in the ring buffer, by hop.
    pub events: Vec<(Hop, u64)>,
    /// Runs that the kernel skipped, because the program was already running on that CPU, or because it
    /// followed too many calls to their returns already.
    pub recursion_misses: u64,
    /// Sends whose list had left the queue before it could be read.
    pub raced: u64,
    /// Sends that failed, and that may have passed descriptors: their numbers could not be read, for an
    /// io_uring of that task may have sent within the call.
    pub unread_sends: u64,
    /// Receives for which there was no room to remember them by.
    pub window_full: u64,
    /// What the filter wanted, or might have come to want, and had no room to note.
    pub filter_full: u64,
    /// Descriptions that found no room in the ring buffer: files and tasks that stay unnamed.
    pub descriptions: u64,
    /// CLOCK_MONOTONIC when all this had been read, nanoseconds; 0 where nobody noted it.
    pub read_ns: u64,
}

impl Losses {
    /// Whether anything was lost that could hide a transfer or break one up.
    #[must_use]
    pub fn any(&self) -> bool {
        self.recursion_misses > 0
            || self.window_full > 0
            || self.filter_full > 0
            || self.events.iter().any(|(_, count)| *count > 0)
    }

    /// Whether another reading says the same.
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        let read_ns = other.read_ns;
        Self {
            read_ns,
            ..self.clone()
        } == *other
    }

    /// Whether nothing was lost since `earlier` that could hide a transfer or break one up. A race
    /// that a receiver won is no loss: the rest of that message was seen, and says so.
    #[must_use]
    pub fn same_gaps(&self, earlier: &Self) -> bool {
        let lost = |losses: &Self, at: Hop| -> u64 {
            let events = losses.events.iter();
            events.filter(|(hop, _)| *hop == at).map(|(_, n)| n).sum()
        };
        Hop::ALL
            .into_iter()
            .all(|hop| lost(self, hop) == lost(earlier, hop))
            && self.recursion_misses == earlier.recursion_misses
            && self.window_full == earlier.window_full
            && self.filter_full == earlier.filter_full
    }
}

#[test]
fn that_nothing_has_been_lost_yet_is_no_loss() {
    let counted = Losses {
        events: Hop::ALL.map(|hop| (hop, 0)).to_vec(),
        ..Losses::default()
    };
    assert!(counted.same_gaps(&Losses::default()) && !counted.any());
    let lossy = Losses {
        events: vec![(Hop::Dequeue, 1)],
        ..Losses::default()
    };
    assert!(!lossy.same_gaps(&counted) && lossy.any());
}

/// What one program has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program.
    pub program: &'static str,
    /// How often it ran.
    pub runs: u64,
    /// How long that took in all, in nanoseconds.
    pub run_ns: u64,
    /// Runs that the kernel skipped because the program was already running on that CPU.
    pub recursion_misses: u64,
}

impl ProgramCost {
    /// What a run took on average, nanoseconds; `None` if there was none.
    #[must_use]
    pub fn ns_per_run(&self) -> Option<u64> {
        self.run_ns.checked_div(self.runs)
    }
}
