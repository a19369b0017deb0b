//! Who sends on which socket, as far as that matters where a list is only *looked for* in the
//! queue after it was queued.
//!
//! Such a look may find another thread's list, or none because a receiver was faster. What it finds
//! is believed only where nobody else can have sent it.

use std::collections::{BTreeSet, VecDeque};

use smallvec::SmallVec;

use super::{Evidence, LateSender, evidence, turns::Turns};
use crate::{
    model::SocketType,
    track::message::Message,
    wire::{Fd, Look, Recent, Sight, Sighting, Sock, Stamp},
};

/// Sockets that are remembered, and threads. Those that race each other do so within
/// microseconds.
const REMEMBERED: usize = 4096;

/// Looks that wait for their message, at most.
const WAITING_MAX: usize = 64;

/// Looks that are one of several threads', at most.
const POOLED_MAX: usize = 256;

/// Between queueing and looking a task does nothing but be preempted, nor does one between taking
/// off a queue and reading: no longer than this.
pub(crate) const PREEMPTED_MAX_NS: u64 = 1_000_000_000;

/// A look may be given to a message that was read so long after it, and is received as late again
/// ([`Tracker::settle`](crate::track::Tracker::settle)): none waits for longer than twice that.
const WAITING_MAX_NS: u64 = 4 * PREEMPTED_MAX_NS;

/// Senders that have been seen so far.
pub(crate) struct Senders {
    sockets: Recent<u64, UsedBy>,
    looks: Turns,
    /// Looks that found their list gone, and whose message is not known yet.
    waiting: VecDeque<LateSender>,
    /// Looks that found their list gone on sockets where several threads of one process send: each may
    /// be for any of their messages.
    pooled: VecDeque<LateSender>,
    /// The numbers under which files were sent on sockets.
    told: Numbers,
    /// Sockets, by their addresses, with the thread that reads what was sent from there; 0 if there
    /// are several.
    readers: Recent<Option<Sock>, u32>,
    /// By then the lists of those that are not among these any more had left their queues.
    gone_ns: u64,
}

impl Default for Senders {
    fn default() -> Self {
        Self {
            sockets: Recent::new(REMEMBERED),
            looks: Turns::of(REMEMBERED),
            waiting: VecDeque::new(),
            pooled: VecDeque::new(),
            told: Numbers(Recent::new(REMEMBERED)),
            readers: Recent::new(REMEMBERED),
            gone_ns: 0,
        }
    }
}

/// Who has been seen sending on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sharing {
    /// One thread.
    #[default]
    Alone,
    /// Several threads of one process.
    Threads,
    /// Several processes.
    Processes,
}

/// A socket, and the address and inode number of the first file that was sent on it.
type Sent = (u64, u64, u64);

/// The numbers of those that sent it: the socket's, then the files'; `None` if they differ.
type Told = Option<Numbered>;

/// The socket's number, then those of the files.
type Numbered = SmallVec<[Option<Fd>; 4]>;

/// How a socket is sent on.
#[derive(Clone, Copy)]
struct UsedBy {
    /// The thread that was seen first.
    tid: u32,
    /// Its process.
    pid: u32,
    sharing: Sharing,
    /// It may send through io_uring too, whose look tells nothing if it finds nothing.
    silently: bool,
}

impl Senders {
    /// Notes that a thread looked for its list.
    pub(crate) fn note(&mut self, seen: &Sighting, look: Look) {
        let head = &seen.stamp;
        let used = self.use_socket(head);
        used.silently |= look.has_uring;
        if seen.first == 0 {
            self.told.note(seen);
        }
        self.looks.note(head);
        for late in &mut self.waiting {
            if late.stamp.by.tid == head.by.tid && !late.stamp.is_of(head) {
                late.left_by = late.left_by.min(head.at.ns);
            }
        }
        let is_old = |late: &LateSender| late.stamp.at.ns + WAITING_MAX_NS < head.at.ns;
        while self.waiting.front().is_some_and(is_old) {
            self.let_go();
        }
    }

    /// Notes that a thread sends on its socket in a way that cannot be read: what it sends so tells
    /// nothing.
    pub(crate) fn note_unread(&mut self, head: &Stamp) {
        self.use_socket(head).silently = true;
    }

    /// Who sends on the socket of this record, with the thread of this record among them.
    fn use_socket(&mut self, head: &Stamp) -> &mut UsedBy {
        let used = self.sockets.get_or_insert(socket_of(head), || UsedBy {
            tid: head.by.tid,
            pid: head.by.pid,
            sharing: Sharing::Alone,
            silently: false,
        });
        let sharing = if used.pid != head.by.pid {
            Sharing::Processes
        } else if used.tid != head.by.tid {
            Sharing::Threads
        } else {
            Sharing::Alone
        };
        used.sharing = used.sharing.max(sharing);
        used
    }

    /// Who has been seen sending on this socket.
    pub(crate) fn sharing(&self, head: &Stamp) -> Sharing {
        let used = self.sockets.get(&socket_of(head));
        used.map_or(Sharing::Alone, |used| used.sharing)
    }

    /// Notes who reads what was sent from a socket.
    pub(crate) fn note_read(&mut self, head: &Stamp) {
        let reader = self.readers.get_or_insert(head.ends.sender, || head.by.tid);
        if *reader != head.by.tid {
            *reader = 0;
        }
    }

    /// Whether what is sent on this socket is known to be read in the order in which it was sent.
    /// The reader of a datagram is seen when that has left its queue, and another may be faster.
    pub(crate) fn are_read_in_order(&self, queued: &Stamp) -> bool {
        queued.ends.kind == Some(SocketType::Stream)
            || self
                .readers
                .get(&queued.ends.sender)
                .is_some_and(|tid| *tid != 0)
    }

    /// When this thread looked for a list before, or 0: its call began after that.
    pub(crate) fn previous_look(&self, head: &Stamp) -> u64 {
        self.looks.before(head.by.tid)
    }

    /// When this thread looked for a list last: what it has sent until then is known.
    pub(crate) fn latest_look(&self, tid: u32) -> u64 {
        self.looks.latest(tid)
    }

    /// Whether records were lost while this thread may have been between queueing and looking. The
    /// read of its own list may be among them: what it finds, or what was read since, may then be
    /// another thread's, at the same address.
    pub(crate) fn may_have_missed_the_read(&self, head: &Stamp) -> bool {
        let queued_after = head.at.ns.saturating_sub(PREEMPTED_MAX_NS);
        head.at.epoch != 0 && head.at.epoch >= self.previous_look(head).max(queued_after)
    }

    /// Whether all that is sent on this socket shows in looks, and it is shared by no more than `most`.
    fn tell_all(&self, head: &Stamp, most: Sharing) -> bool {
        let used = self.sockets.get(&socket_of(head));
        used.is_some_and(|used| used.sharing <= most && !used.silently)
    }

    /// Keeps a look that found its list gone until its message is known. Where others go untold or
    /// are another thread's, it never will be.
    pub(crate) fn keep(&mut self, late: LateSender) {
        if !self.tell_all(&late.stamp, Sharing::Alone) {
            return;
        }
        self.waiting.push_back(late);
        if self.waiting.len() > WAITING_MAX {
            self.let_go();
        }
    }

    /// Keeps a look that found its list gone, on a socket that several threads of its process send
    /// on.
    pub(crate) fn pool(&mut self, late: LateSender) {
        self.pooled.push_back(late);
        if self.pooled.len() > POOLED_MAX {
            self.pooled.pop_front();
        }
    }

    /// What can be said of the sender of a message that nobody was seen sending, when every look has
    /// come that may have been for it: the process, if that one's threads alone send on that socket
    /// and one of them has looked for such a message, and the numbers, if all that they have sent so
    /// were the same.
    pub(crate) fn process_of(&self, message: &Message) -> Option<LateSender> {
        let looks = self.waiting.iter().chain(&self.pooled);
        let looks: Vec<&LateSender> = looks
            .filter(|late| evidence(late, message, 0) != Evidence::No)
            .collect();
        let mut named = (*looks.iter().find(|late| late.names_files())?).clone();
        if self.sharing(&named.stamp) != Sharing::Threads
            || !self.tell_all(&named.stamp, Sharing::Threads)
            || looks.iter().any(|late| late.is_doubtful)
        {
            return None;
        }
        if !looks.iter().all(|late| late.names_files()) || !self.agree_with(&named) {
            named.forget_numbers();
        }
        Some(named)
    }

    /// Whether everybody who sent these files on this socket did so under these numbers, as far as is
    /// known.
    pub(crate) fn agree_with(&self, late: &LateSender) -> bool {
        let Some(first) = late.files.first() else {
            return false;
        };
        if !self.tell_all(&late.stamp, Sharing::Threads) {
            return false;
        }
        let told = self
            .told
            .0
            .get(&(socket_of(&late.stamp), first.file.ptr, first.file.ino));
        told.is_none_or(|told| {
            told.as_ref()
                .is_some_and(|numbers| *numbers == numbers_of(&late.stamp, &late.files))
        })
    }

    /// Waits no longer with the look that waits longest.
    fn let_go(&mut self) {
        if let Some(late) = self.waiting.pop_front() {
            let left_by = late.left_by.min(late.stamp.at.ns + PREEMPTED_MAX_NS);
            self.gone_ns = self.gone_ns.max(left_by);
        }
    }

    /// Drops a look whose message is known.
    pub(crate) fn drop(&mut self, late: &LateSender) {
        self.waiting.retain(|other| !other.stamp.is_of(&late.stamp));
    }

    /// The looks of this thread that wait and can be believed, the latest first.
    pub(crate) fn waiting_of(&self, tid: u32) -> Vec<LateSender> {
        let waiting = self.waiting.iter().rev();
        waiting
            .filter(|late| {
                late.stamp.by.tid == tid
                    && !late.is_doubtful
                    && self.tell_all(&late.stamp, Sharing::Alone)
            })
            .cloned()
            .collect()
    }

    /// The threads whose looks these are.
    pub(crate) fn waiting_threads(&self) -> BTreeSet<u32> {
        self.waiting.iter().map(|late| late.stamp.by.tid).collect()
    }

    /// The thread that may have sent this message, by a look of its that waits.
    pub(crate) fn waiting_for(&self, message: &Message) -> Option<u32> {
        let mut waiting = self.waiting.iter();
        waiting
            .find(|late| evidence(late, message, 0) != Evidence::No)
            .map(|late| late.stamp.by.tid)
    }

    /// Whether another look than `late` may have been for this message.
    ///
    /// A datagram leaves its queue before its read is seen: its sender's look may come between the
    /// two and find nothing, and so may the thread's next look.
    pub(crate) fn dispute(&self, message: &Message, late: &LateSender) -> bool {
        message.may_have_left_before(self.gone_ns)
            || self.waiting.iter().any(|other| {
                !other.stamp.is_of(&late.stamp) && evidence(other, message, 0) != Evidence::No
            })
    }
}

/// Under which numbers files were sent.
struct Numbers(Recent<Sent, Told>);

impl Numbers {
    /// Notes the first record of a look. Of what takes more, the numbers are not compared.
    fn note(&mut self, seen: &Sighting) {
        let Some(first) = seen.files.first() else {
            return;
        };
        let numbers = numbers_of(&seen.stamp, &seen.files);
        let is_whole = seen.files.len() >= usize::from(seen.total);
        let sent = (socket_of(&seen.stamp), first.file.ptr, first.file.ino);
        let told = self.0.get_or_insert(sent, || Some(numbers.clone()));
        if !is_whole || told.as_ref().is_none_or(|told| *told != numbers) {
            *told = None;
        }
    }
}

fn numbers_of(head: &Stamp, files: &[Sight]) -> Numbered {
    [head.socket_fd]
        .into_iter()
        .chain(files.iter().map(|file| file.fd))
        .collect()
}

/// The socket's inode number, which no other has; its address if it has none any more.
fn socket_of(head: &Stamp) -> u64 {
    let ends = &head.ends;
    let address = || ends.sender.map_or(0, Sock::address);
    ends.sender_ino.unwrap_or_else(address)
}
