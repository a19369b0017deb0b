//! Who sends on which socket, as far as that matters where a list is only *looked for* in the
//! queue after it was queued.
//!
//! Such a look may find another thread's list, or none because a receiver was faster. What it finds
//! is believed only where nobody else can have sent it.

use std::collections::VecDeque;

use fdtrace_common::records::{FileSeen, Head};

use super::recent::Recent;
use crate::event::Sighting;

/// Sockets, and likewise threads, that are remembered. Those that race each other do so within
/// microseconds.
const REMEMBERED: usize = 4096;

/// Looks that found nothing and have not been given to a message.
const UNCLAIMED_MAX: usize = 64;

/// Between queueing and looking a task does nothing but be preempted: no longer than this.
const LOOK_LATE_MAX_NS: u64 = 1_000_000_000;

/// References to a file that only one number stands for: that number's and the list's.
pub(super) const REFS_OF_ONE_NUMBER: i64 = 2;

/// Senders that have been seen so far.
pub(super) struct Senders {
    sockets: Recent<u64, UsedBy>,
    threads: Recent<u32, Looks>,
    unclaimed: VecDeque<LateSender>,
}

impl Default for Senders {
    fn default() -> Self {
        Self {
            sockets: Recent::new(REMEMBERED),
            threads: Recent::new(REMEMBERED),
            unclaimed: VecDeque::new(),
        }
    }
}

/// Which thread sends on a socket.
#[derive(Clone, Copy)]
struct UsedBy {
    tid: u32,
    shared: bool,
}

/// A thread's latest look and the one before.
#[derive(Clone, Copy)]
struct Looks {
    latest: u64,
    before: u64,
}

impl Senders {
    /// Notes that a thread looked for its list.
    pub(super) fn note(&mut self, head: &Head) {
        let used = self.sockets.get_or_insert(socket_of(head), || UsedBy {
            tid: head.tid,
            shared: false,
        });
        used.shared |= used.tid != head.tid;
        let looks = self.threads.get_or_insert(head.tid, || Looks {
            latest: head.t_ns,
            before: 0,
        });
        if looks.latest != head.t_ns {
            looks.before = looks.latest;
            looks.latest = head.t_ns;
        }
        self.sockets.excess();
        self.threads.excess();
    }

    /// Whether several threads have been seen sending on this socket.
    pub(super) fn share(&self, head: &Head) -> bool {
        self.sockets
            .get(socket_of(head))
            .is_some_and(|used| used.shared)
    }

    /// When this thread looked for a list before, or 0: its call began after that.
    pub(super) fn previous_look(&self, head: &Head) -> u64 {
        self.threads.get(head.tid).map_or(0, |looks| looks.before)
    }

    /// Whether records were lost while this thread may have been between queueing and looking. The
    /// read of its own list may be among them: what it finds, or what was read since, may then be
    /// another thread's, at the same address.
    pub(super) fn may_have_missed_the_read(&self, head: &Head) -> bool {
        let queued_after = head.t_ns.saturating_sub(LOOK_LATE_MAX_NS);
        head.epoch != 0 && head.epoch >= self.previous_look(head).max(queued_after)
    }

    /// Whether a call that has sent the same files on the same socket under other numbers is still
    /// without its message.
    pub(super) fn confuse(&self, late: &LateSender) -> bool {
        self.unclaimed.iter().any(|other| {
            socket_of(&other.head) == socket_of(&late.head)
                && other.files.len() == late.files.len()
                && other
                    .files
                    .iter()
                    .zip(&late.files)
                    .all(|(one, two)| one.slot == two.slot)
                && other
                    .files
                    .iter()
                    .zip(&late.files)
                    .any(|(one, two)| one.fd != two.fd)
        })
    }

    /// Keeps a look that no message has been found for.
    pub(super) fn keep(&mut self, late: LateSender) {
        self.unclaimed.push_back(late);
        if self.unclaimed.len() > UNCLAIMED_MAX {
            self.unclaimed.pop_front();
        }
    }
}

/// The socket's inode number, which no other has; its address if it has none any more.
fn socket_of(head: &Head) -> u64 {
    if head.sender_ino == 0 {
        head.sender_sock
    } else {
        head.sender_ino
    }
}

/// A sender whose list was gone when its hook looked. Its numbers and the files behind them are
/// known; that they belong to this message is shown by socket, files and time.
#[derive(Clone)]
pub(super) struct LateSender {
    pub(super) head: Head,
    pub(super) files: Vec<FileSeen>,
}

impl LateSender {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            files: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, seen: &Sighting) {
        self.files.extend(&seen.files);
    }

    /// Whether `head` is another record of the same look.
    pub(super) fn is_of(&self, head: &Head) -> bool {
        (self.head.t_ns, self.head.tid) == (head.t_ns, head.tid)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.files.len() >= usize::from(self.head.total)
    }
}

/// Whether two sightings are of one file: an address comes back, but not with the same inode.
pub(super) fn is_one_file(one: &FileSeen, two: &FileSeen) -> bool {
    (one.file, one.ino, one.dev) == (two.file, two.ino, two.dev)
}
