//! Events: what the kernel half's records say, in terms that need no knowledge of their layout.
//!
//! A number that stands for "nothing" in a record is a `None` here, a return value that is an errno is
//! a [`Refusal`], and a system call is a [`Call`].

use std::{num::NonZeroU64, sync::Arc};

use fdtrace_common::records::SOCKET_ITSELF;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{Backtrace, Control, Described};
use crate::model::{
    DescriptionMissing, FailedSend, FileDescription, FileIdentity, Occasion, SocketType, Task,
    lossless,
};

/// Number of a descriptor.
pub type Fd = i32;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// What is at this address; `None` for 0.
            #[must_use]
            pub fn at(address: u64) -> Option<Self> {
                NonZeroU64::new(address).map(Self)
            }

            /// Its address.
            #[must_use]
            pub fn address(self) -> u64 {
                self.0.get()
            }
        }
    };
}

address! {
    /// A `scm_fp_list`, by its address. The address is another list's as soon as it is freed.
    List
}
address! {
    /// An `sk_buff`, by its address.
    Skb
}
address! {
    /// A `sock`, by its address.
    Sock
}

/// When and where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub ns: u64,
    /// When a record was last lost before that, CLOCK_MONOTONIC; 0 if none was. Between two events with
    /// the same value no record was lost.
    pub epoch: u64,
    /// The CPU.
    pub cpu: u32,
}

/// The task that was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Its name, NUL-padded.
    pub comm: [u8; 16],
    /// The filter wants it, or of a message that was found in a queue, one that holds its socket.
    pub wanted: bool,
}

impl Actor {
    /// Its name; whatever is not UTF-8 is as [`lossless`] has it.
    #[must_use]
    pub fn name(&self) -> SmolStr {
        let len = self.comm.iter().position(|byte| *byte == 0);
        lossless::short(&self.comm[..len.unwrap_or(self.comm.len())])
    }
}

/// The sockets that a message goes through, as far as they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The one that it was sent on.
    pub sender: Option<Sock>,
    /// The one that it was sent to.
    pub receiver: Option<Sock>,
    /// Inode number of the sending one; `None` once that is closed.
    pub sender_ino: Option<u64>,
    /// Inode number of the receiving one; `None` before it is accepted.
    pub receiver_ino: Option<u64>,
    /// What kind they are.
    pub kind: Option<SocketType>,
}

/// What every event says: when, who, and of which list.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// When.
    pub at: At,
    /// Who.
    pub by: Actor,
    /// The list; `None` of a send that has none, or whose list had left its queue.
    pub list: Option<List>,
    /// The skb that carries the list.
    pub skb: Option<Skb>,
    /// The sockets.
    pub ends: Ends,
    /// The sender's number for the socket that it sent on.
    pub socket_fd: Option<Fd>,
    /// Files in the whole list.
    pub count: u16,
    /// The files were described ahead of this event. What is missing was lost.
    pub described: bool,
}

impl Stamp {
    /// Whether both are of one run of a program: a list with many files takes several events.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        (self.at.ns, self.by.tid) == (other.at.ns, other.by.tid)
    }
}

/// One file of a list, as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The file.
    pub file: FileIdentity,
    /// Its reference count; `None` where nobody looked.
    pub refs: Option<i64>,
    /// Its number in the task's table.
    pub fd: Option<Fd>,
    /// Address of the file that the task's table holds under that number; 0 where none is known.
    pub slot: u64,
    /// The number is close-on-exec.
    pub cloexec: bool,
    /// Of a receive that returned: what its control message has at this place of the list. It says
    /// nothing of *this* file.
    pub told: Option<Result<Fd, Errno>>,
    /// It was refused, and the receiver was given the errno in its place.
    pub in_place: bool,
}

impl Sight {
    /// Whether both are of one file: an address comes back, but not with the same inode.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        let key = |file: &FileIdentity| (file.ptr, file.ino, file.dev);
        key(&self.file) == key(&other.file)
    }

    /// Whether its number stood for the file when it was looked at.
    #[must_use]
    pub fn has_its_number(&self) -> bool {
        self.fd.is_some() && self.slot == self.file.ptr
    }
}

/// An errno, positive.
pub type Errno = i32;

/// Why a file was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The errno.
    pub errno: Errno,
    /// The receiver was given it instead of a number (SO_RIGHTS_NOTRUNC), and the files after this one
    /// had their turn. Otherwise this one was the last.
    pub in_place: bool,
}

/// Files, in the order of a list. Most messages have one, which takes no memory of its own.
pub type Sights = SmallVec<[Sight; 1]>;

/// What was seen at a hop: when, who, and the files.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When, who and which list.
    pub stamp: Stamp,
    /// Place in the list of the first of these files.
    pub first: u16,
    /// Files that the hop saw. There are fewer here only if records were lost, and then the last are
    /// missing.
    pub total: u16,
    /// The files, in the order of the list.
    pub files: Sights,
    /// What other records say of it.
    pub aside: Aside,
}

impl Sighting {
    /// What the socket is that was sent on, where that is no Unix socket and was described.
    #[must_use]
    pub fn other_socket(&self) -> Option<&Arc<FileDescription>> {
        let mut described = self.aside.described.iter();
        let itself = described.find(|it| it.index == SOCKET_ITSELF)?;
        Some(&itself.description)
    }

    /// What the file at this place of its list is, or why that is not known; `None` if the hop says
    /// nothing of its files. A description is of one file of one message, and taken for no other's.
    #[must_use]
    pub fn description(&self, index: usize, file: &Sight) -> Option<Description> {
        let described = &self.aside.described;
        let is_inode = |it: &Described| (it.ino, it.dev) == (file.file.ino, file.file.dev);
        let mut here = described
            .iter()
            .filter(|it| it.file != 0 && usize::from(it.index) == index)
            .peekable();
        let is_it = |it: &&Described| it.file == file.file.ptr && is_inode(it);
        if let Some(it) = here.clone().find(is_it) {
            return Some(Ok(Arc::clone(&it.description)));
        }
        // Earlier versions did not say of which file a description is: of the only one with its inode.
        let unplaced = described.iter().find(|it| it.file == 0 && is_inode(it));
        let same =
            |other: &&Sight| (other.file.ino, other.file.dev) == (file.file.ino, file.file.dev);
        if let Some(it) = unplaced
            && self.files.iter().filter(same).count() == 1
        {
            return Some(Ok(Arc::clone(&it.description)));
        }
        let why = if file.file.ptr == 0 {
            DescriptionMissing::NoFile
        } else if here.peek().is_some() {
            DescriptionMissing::Changed
        } else {
            DescriptionMissing::Lost
        };
        self.stamp.described.then_some(Err(why))
    }
}

/// What a file is, or why that is not known.
pub type Description = Result<Arc<FileDescription>, DescriptionMissing>;

/// What the records ahead of a hop's own say of it.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// The name that the receiving socket, or its peer, is bound to, as users write it: a path, or `@`
    /// and an abstract name.
    pub socket_name: Option<String>,
    /// What separates the hop's task from others, by the latest record of that.
    pub task: Option<Task>,
    /// What the files are, of those that were described.
    pub described: SmallVec<[Described; 1]>,
    /// The functions that were under way, where that was written down.
    pub backtrace: Backtrace,
    /// What a failed send had to do with.
    pub failed_send: Option<Box<FailedSend>>,
}

/// How a sender's list was seen in its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When the looking thread began, CLOCK_MONOTONIC; 0 where a function showed the list.
    pub began_ns: u64,
    /// The list left the queue before or while it was looked at. What is said of the list is void;
    /// what is said of the sender's numbers and table holds. There are no files where the call was a
    /// `sendmmsg`: which of its messages it was is not known.
    pub raced: bool,
    /// The thread has an io_uring. What it sends through that tells nothing if the list has left.
    pub has_uring: bool,
    /// With a filter: the first look of a wanted task on this socket. What others had sent on it before
    /// was not reported.
    pub is_first: bool,
    /// With a filter: another thread has found this list too, and taken it for its own.
    pub disputed: bool,
}

/// What a task was called for, as far as it matters to descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// recvmsg: the control message is where programs find it in their memory.
    Recvmsg,
    /// One that has no place for descriptors: read, readv, recvfrom.
    PlainRead,
    /// Another one.
    Other,
}

/// A call that gives a list back, by what matters to the files that it did not install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The errno, if it failed.
    pub errno: Option<Errno>,
    /// The system call that the task is in.
    pub call: Option<Call>,
    /// The task has an io_uring: it may receive through that within any call.
    pub has_uring: bool,
    /// It installed files, and nothing saw that begin.
    pub installed_unseen: bool,
}

impl Given {
    /// Nothing is known of the call.
    pub(crate) const UNREAD: Self = Self {
        errno: None,
        call: None,
        has_uring: false,
        installed_unseen: false,
    };
}

/// How a receive returned that read a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// What the call gave.
    pub given: Given,
    /// When it read the list: the time of that [`Event::ListDequeued`].
    pub read_ns: u64,
    /// It asked with MSG_PEEK, so the list stays queued.
    pub peeks: bool,
    /// It asked for an out-of-band byte, which leaves the list on its skb.
    pub is_oob: bool,
    /// As it returned, the list was still on its skb: the data was not copied.
    pub left: bool,
    /// The receiver's table.
    pub table: Table,
    /// What was left of its control buffer, where that was found.
    pub control: Option<Control>,
    /// How far the control message went is known.
    pub room_known: bool,
}

/// A receiver's table as its receive returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// It grew past what was looked at; some new numbers may be unseen.
    pub is_short: bool,
    /// Other tasks use it, and may have closed numbers meanwhile.
    pub is_shared: bool,
    /// It has no number left below its limit (RLIMIT_NOFILE).
    pub is_full: bool,
    /// A number below the highest new one is free. The kernel gives the lowest, so another task has
    /// closed it since, or that new one is its doing.
    pub has_hole: bool,
}

/// How a send returned whose list did not get into a queue, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendReturn {
    /// When its list was made; `None` of one that says itself which numbers were passed.
    pub copied_ns: Option<u64>,
    /// What it returned: bytes, or a negative errno.
    pub result: i32,
    /// The socket takes messages from this sender, but no descriptors.
    pub takes_no_fds: bool,
}

/// A list that its sender gives back, which was in no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// When it was made.
    pub copied_ns: u64,
    /// It was on an skb already, and ended with that.
    pub attached: bool,
    /// It was to be sent without data, which a stream makes nothing of.
    pub empty: bool,
    /// What the call returns will be told by a [`SendReturn`].
    pub return_told: bool,
    /// The thread has an io_uring, which tries again by itself.
    pub has_uring: bool,
}

/// A list that a receiver gives back, having installed its files. Of each file that had its turn,
/// [`Sight::slot`] is what the kernel installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it was detached.
    pub detached_ns: u64,
    /// The control buffer had room for so many of its files.
    pub room: u16,
    /// So many had their turn.
    pub tried: usize,
}

/// One thing that happened to a list, or to one file of it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When, to which list, and what its files were.
    pub seen: Sighting,
}

/// What happened, in the past tense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A task that the filter wants sends on a socket, perhaps descriptors.
    SenderWanted,
    /// The sender's numbers have become a list.
    ListCopied,
    /// The list, or a duplicate of the one given, is on its skb.
    ListAttached(Option<List>),
    /// A sender's list is in a receive queue, or was.
    ListQueued(Look),
    /// A list is about to get into a queue, and its numbers had become a list then, if that was seen: a
    /// `ListCopied` and a `ListQueued` in one.
    Sent(Option<u64>),
    /// A sender gives back a list that was in no queue.
    Unsent(Unsent),
    /// A receiver gives back a list whose files it has installed: a `ListDetached`, the `FdInstalled` and a
    /// `ListReleased` in one.
    Received(Received),
    /// A list was in a receive queue as somebody looked through all of them.
    ListFound(Occasion),
    /// All queues have been looked through as the trace ended.
    QueuesRead {
        /// Every queue could be read.
        every: bool,
    },
    /// A receiver is reading a list's skb.
    ListDequeued,
    /// A list was made from the one given, with all its references.
    ListDuplicated(Option<List>),
    /// A list has left its skb and is about to be installed; the control buffer has room for so many of
    /// its files.
    ListDetached(u16),
    /// A file of a list is about to get a number.
    FileReceived,
    /// A file of a list has got a number, which may not be known, or was refused one.
    FdInstalled(Result<Option<Fd>, Refusal>),
    /// The receive that read a list returned; the files are what its table gained.
    ReceiveReturned(Return),
    /// A send returned whose list did not get into a queue, or failed.
    SendReturned(SendReturn),
    /// A send named descriptors on a socket that passes none, as it is no Unix socket.
    RightsIgnored,
    /// A send had SCM_RIGHTS parts, none of which names a descriptor.
    RightsEmpty,
    /// A call is done with its list.
    ListReleased(Given),
    /// An skb was freed with its list unread.
    ListDestroyed {
        /// Address of the code that freed it, where that is known.
        freed_by: Option<u64>,
        /// The skb is being destructed; a hook on its freeing may have seen it before.
        is_late: bool,
    },
}
