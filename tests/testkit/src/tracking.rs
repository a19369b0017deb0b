//! Trackers for made-up records, and the code addresses that these name.

use std::ops::{Deref, DerefMut};

use fdtrace::{
    judge::Outcomes,
    model::{Coverage, Hop, Transfer},
    track,
    wire::{Assembler, Record},
};

/// A tracker behind an assembler, so that it takes records.
pub struct Tracker {
    assembler: Assembler,
    tracker: track::Tracker,
    outcomes: Outcomes,
    room: Option<usize>,
    coverage: Coverage,
}

impl Tracker {
    fn of(room: Option<usize>, coverage: Coverage) -> Self {
        let tracker = match room {
            Some(files) => track::Tracker::with_room(files, coverage.clone()),
            None => track::Tracker::new(coverage.clone()),
        };
        Self {
            assembler: Assembler::new(Box::new(symbolize)),
            tracker,
            outcomes: Outcomes::new(coverage.descriptions),
            room,
            coverage,
        }
    }

    fn covering(mut self, change: impl FnOnce(&mut Coverage)) -> Self {
        change(&mut self.coverage);
        Self::of(self.room, self.coverage)
    }

    /// Whether the end of every list shows.
    #[must_use]
    pub fn seeing_every_end(self, every_end: bool) -> Self {
        self.covering(|coverage| coverage.every_end = every_end)
    }

    /// Whether what a send returned shows.
    #[must_use]
    pub fn seeing_failed_sends(self, failed_sends: bool) -> Self {
        self.covering(|coverage| coverage.failed_sends = failed_sends)
    }

    /// Which hops are watched.
    #[must_use]
    pub fn watching(self, hops: impl IntoIterator<Item = Hop>) -> Self {
        self.covering(|coverage| coverage.hops = hops.into_iter().collect())
    }

    /// Whether files are described.
    #[must_use]
    pub fn seeing_descriptions(self, descriptions: bool) -> Self {
        self.covering(|coverage| coverage.descriptions = descriptions)
    }

    /// Takes in one record.
    pub fn apply(&mut self, record: impl Into<Record>) {
        let tracker = &mut self.tracker;
        self.assembler
            .take(record.into(), &mut |event| tracker.apply(event));
    }

    /// What has ended since the last call.
    pub fn take_closed(&mut self) -> Vec<Transfer> {
        let ended = self.tracker.take_ended();
        let outcomes = &mut self.outcomes;
        ended.iter().flat_map(|it| outcomes.of(it)).collect()
    }

    /// What has been in a queue since before `t_ns`, once.
    pub fn take_overdue(&mut self, t_ns: u64) -> Vec<Transfer> {
        let overdue = self.tracker.take_overdue(t_ns);
        let outcomes = &mut self.outcomes;
        overdue.iter().flat_map(|it| outcomes.of(it)).collect()
    }

    /// Every record up to `t_ns` has come.
    pub fn settle(&mut self, t_ns: u64) -> bool {
        let tracker = &mut self.tracker;
        self.assembler
            .settle(t_ns, &mut |event| tracker.apply(event));
        self.tracker.settle(t_ns)
    }

    /// Every record has come.
    pub fn close_open(&mut self) {
        let tracker = &mut self.tracker;
        self.assembler.end(&mut |event| tracker.apply(event));
        self.tracker.close_open();
    }
}

impl Deref for Tracker {
    type Target = track::Tracker;

    fn deref(&self) -> &track::Tracker {
        &self.tracker
    }
}

impl DerefMut for Tracker {
    fn deref_mut(&mut self) -> &mut track::Tracker {
        &mut self.tracker
    }
}

/// A tracker that knows the addresses of [`address_of`], and the constants here, for code.
pub fn tracker() -> Tracker {
    Tracker::of(None, seeing_ends())
}

/// Like [`tracker`], for events that show what `coverage` says.
pub fn tracker_covering(coverage: Coverage) -> Tracker {
    Tracker::of(None, coverage)
}

/// Like [`tracker`], with room for so many files.
pub fn tracker_with_room(files: usize) -> Tracker {
    Tracker::of(Some(files), seeing_ends())
}

fn seeing_ends() -> Coverage {
    let mut coverage = Coverage::of(Hop::ALL);
    coverage.every_end = true;
    coverage
}

/// What a tracker makes of these records on a kernel that names no function.
pub fn track_without_names(records: impl IntoIterator<Item = impl Into<Record>>) -> Vec<Transfer> {
    let mut tracker = tracker();
    tracker.assembler = Assembler::new(Box::new(|_| None));
    for record in records {
        tracker.apply(record);
    }
    tracker.close_open();
    tracker.take_closed()
}

/// What a tracker makes of these records, and of their end.
pub fn track(records: impl IntoIterator<Item = impl Into<Record>>) -> Vec<Transfer> {
    let mut tracker = tracker();
    for record in records {
        tracker.apply(record);
    }
    tracker.close_open();
    tracker.take_closed()
}

fn symbolize(address: u64) -> Option<String> {
    let name = match address {
        UNIX_RELEASE_SOCK => "unix_release_sock",
        UNIX_GC => "__unix_gc",
        SKB_QUEUE_PURGE => "skb_queue_purge_reason",
        _ => {
            let index = address.checked_sub(FUNCTIONS_AT)?;
            *FUNCTIONS.get(usize::try_from(index).ok()?)?
        }
    };
    Some(name.to_owned())
}

/// An address in `unix_release_sock`.
pub const UNIX_RELEASE_SOCK: u64 = 0xffff_ffff_8100_0000;
/// An address in `__unix_gc`.
pub const UNIX_GC: u64 = 0xffff_ffff_8100_1000;
/// An address in `skb_queue_purge_reason`.
pub const SKB_QUEUE_PURGE: u64 = 0xffff_ffff_8100_2000;

/// Functions that tests name by [`address_of`].
const FUNCTIONS: [&str; 20] = [
    "unix_gc",
    "__unix_gc",
    "unix_release_sock",
    "unix_dgram_disconnected",
    "unix_stream_read_generic",
    "__unix_dgram_recvmsg",
    "unix_stream_sendmsg",
    "unix_dgram_sendmsg",
    "sk_psock_verdict_recv",
    "unix_stream_splice_read",
    "sock_read_iter",
    "____sys_recvmsg",
    "io_recv",
    "io_recvmsg",
    "unix_release",
    "kfree_skb_reason.part.0",
    "unix_destruct_scm",
    "unix_dgram_connect",
    "skb_queue_purge",
    "io_sendmsg",
];
const FUNCTIONS_AT: u64 = 0xffff_ffff_8200_0000;

/// An address in this function.
pub fn address_of(function: &str) -> u64 {
    let known = FUNCTIONS.iter().position(|name| *name == function);
    FUNCTIONS_AT + known.expect("the test tracker knows the function") as u64
}
