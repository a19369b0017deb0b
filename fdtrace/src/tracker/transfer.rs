//! What the tracker says of one file in one message.

use fdtrace_common::records::{FileSeen, Head, LABEL_LEN};

use super::{Cause, CauseMissing, Context, Doubt, Fate, kind::MINOR_BITS};
use crate::{event::comm, lossless, plan::Hop};

/// One file's way in one message.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Counts transfers from 1, in the order in which they ended.
    pub id: u64,
    /// Counts messages from 1, in the order in which they were first seen.
    pub message: u64,
    /// Place in the message's list, from 0.
    pub index: u16,
    /// Files in the message.
    pub count: u16,
    /// The file.
    pub file: FileIdentity,
    /// Who sent it; `None` if the list was not seen in the queue.
    pub sender: Option<Sender>,
    /// Who took it; `None` if nobody did.
    pub receiver: Option<Receiver>,
    /// The sockets between them.
    pub socket: Socket,
    /// How it ended.
    pub fate: Fate,
    /// Why it ended so.
    pub cause: Option<Cause>,
    /// Why that is not known, of a fate that has causes.
    pub cause_missing: Option<CauseMissing>,
    /// Whether it was followed without a gap.
    pub chain: Chain,
    /// What was left open of it, and why, as far as that does not depend on losses.
    pub doubt: Option<Doubt>,
    /// Whether a task that the filter wants took part.
    pub wanted: bool,
    /// It is what a peek lost: the message stays in its queue, with this file.
    pub peek: bool,
    /// It is told of because it has been queued for long, not because it has ended.
    pub overdue: bool,
    /// It was sent before the trace began, and seen in its queue then: CLOCK_MONOTONIC,
    /// nanoseconds.
    pub found_ns: Option<u64>,
    /// What is known of its file and ends.
    pub context: Context,
    /// Nanoseconds from queue to dequeue.
    pub queued_ns: Option<u64>,
    /// Nanoseconds from copy to install, where both were seen.
    pub total_ns: Option<u64>,
    /// It was sent since then, where nothing of it was seen before its sender's look at the queue,
    /// which comes after the fact: CLOCK_MONOTONIC, nanoseconds.
    pub since_ns: Option<u64>,
    /// The hops where it was seen, in order of time.
    pub hops: Vec<HopSeen>,
}

impl Transfer {
    /// Since when it may have been on its way: CLOCK_MONOTONIC, nanoseconds. `None` if that is not
    /// known.
    #[must_use]
    pub fn begin_ns(&self) -> Option<u64> {
        let hops = self.hops.iter().map(|seen| seen.t_ns);
        let sent = self.sender.iter().map(|sender| sender.t_ns);
        hops.chain(sent).chain(self.since_ns).min()
    }

    /// When it was last seen: CLOCK_MONOTONIC, nanoseconds.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        let hops = self.hops.iter().map(|seen| seen.t_ns).max();
        let sent = || self.sender.as_ref().map(|sender| sender.t_ns);
        hops.or_else(sent).or(self.found_ns).unwrap_or(0)
    }
}

/// What the kernel calls a file that is in no directory, where the hop looked.
pub(super) fn label(seen: &FileSeen) -> Option<[u8; LABEL_LEN]> {
    (seen.dentry != 0 && seen.dentry == seen.parent).then_some(seen.name)
}

/// What identifies a file, as the kernel showed it while the list held a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Address of the `struct file`; means something only while the transfer lasts.
    pub ptr: u64,
    /// Inode number.
    pub ino: u64,
    /// Device of its file system, kernel encoding (major << 20 | minor).
    pub dev: u32,
    /// Device that it stands for, likewise.
    pub rdev: u32,
    /// Type and permissions.
    pub mode: u16,
    /// Open flags.
    pub flags: u32,
    /// Magic number of its file system.
    pub magic: u64,
    /// What the kernel calls it if it is in no directory; up to the first NUL.
    pub label: Option<[u8; LABEL_LEN]>,
}

impl FileIdentity {
    pub(crate) fn of(seen: &FileSeen) -> Self {
        Self {
            ptr: seen.file,
            ino: seen.ino,
            dev: seen.dev,
            rdev: seen.rdev,
            mode: seen.mode,
            flags: seen.flags,
            magic: seen.magic,
            label: label(seen),
        }
    }

    /// Device as users know it, `major:minor`.
    #[must_use]
    pub fn device(&self) -> String {
        let minor = self.dev & ((1 << MINOR_BITS) - 1);
        format!("{}:{minor}", self.dev >> MINOR_BITS)
    }

    /// The words of [`FileIdentity::kind`].
    pub const KINDS: &'static [&'static str] = &super::kind::KINDS;

    /// What kind of file it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        super::kind::of(self)
    }

    /// Whether it has no inode of its own (`anon_inode:` in `/proc/PID/fd`).
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.magic == super::kind::ANON_INODE_FS_MAGIC
    }
}

/// The sending side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Process.
    pub pid: u32,
    /// Thread; `None` where only the process is certain.
    pub tid: Option<u32>,
    /// The thread's name, or that of one of the threads that send on this socket.
    pub comm: String,
    /// The number it passed; `None` where that could not be read, or is not certain.
    pub fd: Option<i32>,
    /// The socket it sent on; `None` likewise.
    pub socket_fd: Option<i32>,
    /// When it, or one of those threads, was seen sending: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
}

impl Sender {
    pub(super) fn of(queued: &Head, file: Option<&FileSeen>) -> Self {
        Self {
            pid: queued.pid,
            tid: Some(queued.tid),
            comm: comm(queued),
            fd: file.map(|file| file.fd).filter(|fd| *fd >= 0),
            socket_fd: Some(queued.socket_fd).filter(|fd| *fd >= 0),
            t_ns: queued.t_ns,
        }
    }

    /// The same where another thread of its process may be the one.
    pub(super) fn of_process(self) -> Self {
        Self { tid: None, ..self }
    }

    /// The same where it may have sent under other numbers.
    pub(super) fn without_numbers(self) -> Self {
        Self {
            fd: None,
            socket_fd: None,
            ..self
        }
    }
}

/// The receiving side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// The new number; `None` if there is none, or if `fd_inferred` and other threads use the table:
    /// they may have made a duplicate and closed the number.
    pub fd: Option<i32>,
    /// Whether the new descriptor is close-on-exec; `None` without a number.
    pub cloexec: Option<bool>,
    /// What came out was found by the file behind it, not told by a control message.
    pub fd_inferred: bool,
}

impl Receiver {
    pub(super) fn of(returned: &Head, install: Option<(&FileSeen, bool)>) -> Self {
        Self {
            pid: returned.pid,
            tid: returned.tid,
            comm: comm(returned),
            fd: install.map(|(file, _)| file.fd),
            cloexec: install.map(|(file, _)| file.cloexec != 0),
            fd_inferred: install.is_some_and(|(_, inferred)| inferred),
        }
    }
}

/// Type of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_DGRAM.
    Dgram,
    /// SOCK_SEQPACKET.
    Seqpacket,
}

impl SocketType {
    /// The type that the kernel has this number for.
    pub(crate) fn of(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Stream),
            2 => Some(Self::Dgram),
            5 => Some(Self::Seqpacket),
            _ => None,
        }
    }

    /// The kernel's number for it.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Stream => 1,
            Self::Dgram => 2,
            Self::Seqpacket => 5,
        }
    }

    /// The type's name in commands and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Dgram => "dgram",
            Self::Seqpacket => "seqpacket",
        }
    }
}

/// The pair of sockets that a message goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Type; `None` if the list was not seen in the queue.
    pub kind: Option<SocketType>,
    /// The name that the receiver, or else the sender, is bound to: a path, or `@` and an
    /// abstract name.
    pub path: Option<String>,
    /// Inode number of the sender's socket.
    pub sender_ino: Option<u64>,
    /// Inode number of the receiver's socket.
    pub receiver_ino: Option<u64>,
}

impl Socket {
    pub(super) fn of(queued: Option<&Head>, last: &Head, name: Option<&[u8]>) -> Self {
        let known = |ino: u64| Some(ino).filter(|ino| *ino != 0);
        Self {
            kind: queued.and_then(|queued| SocketType::of(queued.socket_type)),
            path: name.map(socket_name),
            sender_ino: queued.and_then(|queued| known(queued.sender_ino)),
            receiver_ino: queued
                .and_then(|queued| known(queued.receiver_ino))
                .or(known(last.receiver_ino)),
        }
    }
}

/// `sun_path` as users write it: up to the first NUL, or `@` and the name if it begins with one.
pub(crate) fn socket_name(name: &[u8]) -> String {
    match name.split_first() {
        Some((0, rest)) => format!("@{}", lossless::text(rest)),
        _ => {
            let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
            // A path that begins like an abstract name is told from one.
            let ahead = if path.starts_with(b"@") { "./" } else { "" };
            format!("{ahead}{}", lossless::text(path))
        }
    }
}

/// Whether a transfer was followed, without a gap, from the sender's number to the receiver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// One pointer at every hop, from the sender's table to the receiver's.
    Whole,
    /// Another pointer at `hop` than before it.
    Differs {
        /// The first hop that differs.
        hop: Hop,
    },
    /// Nothing was seen at `hop`.
    Gap {
        /// The first hop that is missing.
        hop: Hop,
    },
    /// Records were lost while the message was on its way; these may belong to two messages.
    LossBetween,
    /// The list was followed, but not which of the sender's numbers the file came from.
    SenderUnknown,
}

/// One file at one hop.
#[derive(Clone, Debug)]
pub struct HopSeen {
    /// The hop.
    pub hop: Hop,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// CPU it was seen on.
    pub cpu: u32,
    /// Process that was running.
    pub pid: u32,
    /// Thread that was running.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Address of the file as read there.
    pub file: u64,
    /// Address of the skb.
    pub skb: u64,
    /// Address of the list.
    pub list: u64,
    /// Address of the sending `sock`, or 0 where it was not read.
    pub sender_sock: u64,
    /// Address of the receiving `sock`, or 0 where it was not read.
    pub receiver_sock: u64,
    /// The file's reference count as read there.
    pub refs: Option<i64>,
}

impl HopSeen {
    pub(super) fn new(hop: Hop, head: &Head, file: &FileSeen) -> Self {
        Self {
            hop,
            t_ns: head.t_ns,
            cpu: head.cpu,
            pid: head.pid,
            tid: head.tid,
            comm: comm(head),
            file: file.file,
            skb: head.skb,
            list: head.list,
            sender_sock: head.sender_sock,
            receiver_sock: head.receiver_sock,
            refs: Some(file.refs),
        }
    }
}
