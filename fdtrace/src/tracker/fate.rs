//! Fate and cause: the words for how a transfer ended and why, in the trace as in what scenarios
//! expect of it.

use std::fmt;

use fdtrace_common::records::{FLAG_NO_RIGHTS, Head, LIST_MAX};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It has a new number at the receiver.
    Delivered,
    /// A duplicate was installed by MSG_PEEK; the message stayed.
    Peeked,
    /// The receiver took the message and not this file, for want of room, or because it could not
    /// be installed (MSG_CTRUNC).
    Truncated,
    /// The receiver's kernel refused to install it.
    Refused,
    /// The list went away without a receiver for it.
    Discarded,
    /// The garbage collector took the sockets that held it.
    Collected,
    /// It never got into a queue.
    Failed,
    /// It is still in the queue.
    Queued,
    /// Its end was not seen.
    Unknown,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::Peeked,
        Self::Truncated,
        Self::Refused,
        Self::Discarded,
        Self::Collected,
        Self::Failed,
        Self::Queued,
        Self::Unknown,
    ];

    /// The fate's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Peeked => "peeked",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::Discarded => "discarded",
            Self::Failed => "failed",
            Self::Collected => "collected",
            Self::Queued => "queued",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it came with a new number at a receiver.
    #[must_use]
    pub fn installs(self) -> bool {
        matches!(self, Self::Delivered | Self::Peeked)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a transfer ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The control buffer was too small, or there was none.
    NoControlRoom,
    /// The receiver has as many descriptors as it may.
    RlimitNofile,
    /// A security module, or another check at the receiver, said no.
    Lsm,
    /// The send ended without queueing it, and what it returned was not seen.
    NotSent,
    /// The send failed with this errno, or writing the number to the receiver did.
    Errno(i32),
    /// The receiver takes no descriptors (SO_PASSRIGHTS is off): EPERM at the sender.
    Passrights,
    /// More than 253 descriptors in one message: EINVAL at the sender.
    TooManyFds,
    /// A stream message without data carries nothing, and the send succeeds.
    ZeroLength,
    /// The data was taken by a call that cannot take descriptors.
    PlainRead,
    /// The data was spliced, and a pipe takes no descriptors.
    Splice,
    /// It came with an out-of-band byte, which does not bring its descriptors.
    Oob,
    /// A sockmap program took the data in the sender's task.
    Sockmap,
    /// The receive failed after it had taken the message.
    ReceiveFailed,
    /// The receiving socket was closed.
    ReceiverClosed,
    /// The connection was not accepted before its listener was closed.
    ListenerClosed,
    /// The datagram socket was connected to another peer.
    Reconnect,
    /// Only sockets in flight referred to each other.
    GarbageCollector,
    /// The kernel dropped the skb somewhere that fdtrace has no name for.
    Dropped,
}

impl Cause {
    /// The cause's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoControlRoom => "no-control-room",
            Self::RlimitNofile => "rlimit-nofile",
            Self::Lsm => "lsm",
            Self::NotSent => "not-sent",
            Self::Errno(errno) => errno_name(errno),
            Self::Passrights => "passrights",
            Self::TooManyFds => "too-many-fds",
            Self::ZeroLength => "zero-length",
            Self::PlainRead => "plain-read",
            Self::Splice => "splice",
            Self::Oob => "oob",
            Self::Sockmap => "sockmap",
            Self::ReceiveFailed => "receive-failed",
            Self::ReceiverClosed => "receiver-closed",
            Self::ListenerClosed => "listener-closed",
            Self::Reconnect => "reconnect",
            Self::GarbageCollector => "garbage-collector",
            Self::Dropped => "dropped",
        }
    }
}

/// The errnos with which sends on Unix sockets fail, as they are written in lower case.
fn errno_name(errno: i32) -> &'static str {
    match Errno::from_raw(errno) {
        Errno::EPERM => "eperm",
        Errno::ENOENT => "enoent",
        Errno::EINTR => "eintr",
        Errno::EBADF => "ebadf",
        Errno::EAGAIN => "eagain",
        Errno::ENOMEM => "enomem",
        Errno::EACCES => "eacces",
        Errno::EFAULT => "efault",
        Errno::EINVAL => "einval",
        Errno::EPIPE => "epipe",
        Errno::EDESTADDRREQ => "edestaddrreq",
        Errno::EMSGSIZE => "emsgsize",
        Errno::EPROTOTYPE => "eprototype",
        Errno::EOPNOTSUPP => "eopnotsupp",
        Errno::ENOBUFS => "enobufs",
        Errno::EISCONN => "eisconn",
        Errno::ENOTCONN => "enotconn",
        Errno::ETOOMANYREFS => "etoomanyrefs",
        Errno::ECONNREFUSED => "econnrefused",
        Errno::ECONNRESET => "econnreset",
        _ => "errno",
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The functions in which a list ended, innermost first, without what compilers append.
#[derive(Clone, Default)]
pub(super) struct Called(Vec<String>);

impl Called {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let plain = |name: String| name.split('.').next().unwrap_or_default().to_owned();
        Self(names.map(plain).collect())
    }

    /// Whether nothing was said of it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn times(&self, function: &str) -> usize {
        self.0.iter().filter(|name| *name == function).count()
    }

    fn any(&self, functions: &[&str]) -> bool {
        functions.iter().any(|function| self.times(function) > 0)
    }

    /// In a program that a sockmap attached, called as data becomes ready.
    fn by_sockmap(&self) -> bool {
        self.any(&["unix_read_skb", "unix_stream_read_skb"])
            || self.0.iter().any(|name| name.starts_with("sk_psock_"))
    }

    /// In a send that has to give up.
    pub(super) fn by_sender(&self) -> bool {
        !self.by_sockmap()
            && !self.by_collector()
            && self.any(&["unix_stream_sendmsg", "unix_dgram_sendmsg"])
    }

    /// It is a kworker since 6.1.141 and 6.10; before, whoever closed a socket or sent on one.
    fn by_collector(&self) -> bool {
        self.any(&["unix_gc", "__unix_gc"])
    }

    /// In a call that has no place for descriptors. io_uring may run a request of its own within
    /// another call, so the innermost counts.
    pub(super) fn by_plain_read(&self) -> bool {
        const PLAIN: [&str; 3] = ["sock_read_iter", "__sys_recvfrom", "io_recv"];
        const OTHERS: [&str; 5] = [
            "io_recvmsg",
            "____sys_recvmsg",
            "___sys_recvmsg",
            "__sys_recvmsg",
            "do_recvmmsg",
        ];
        let mut names = self.0.iter().map(String::as_str);
        names
            .find(|name| PLAIN.contains(name) || OTHERS.contains(name))
            .is_some_and(|name| PLAIN.contains(&name))
    }

    /// What it means that an skb was freed here with its list on it.
    pub(super) fn destroyed(&self) -> (Fate, Option<Cause>) {
        if self.by_collector() {
            return (Fate::Collected, Some(Cause::GarbageCollector));
        }
        let cause = if self.by_sockmap() {
            Cause::Sockmap
        } else if self.any(&[
            "unix_dgram_disconnected",
            "skb_queue_purge",
            "skb_queue_purge_reason",
        ]) {
            Cause::Reconnect
        } else if self.times("unix_release_sock") > 1 {
            // A listener closes the connections that it has not accepted.
            Cause::ListenerClosed
        } else if self.times("unix_release_sock") == 1 {
            Cause::ReceiverClosed
        } else if self.any(&["unix_stream_read_generic", "unix_stream_recvmsg"]) {
            // A receive of stream data frees an skb whose list it has not taken only where the
            // data was out of band.
            Cause::Oob
        } else if self.any(&["__unix_dgram_recvmsg", "unix_dgram_recvmsg"]) {
            Cause::ReceiveFailed
        } else {
            Cause::Dropped
        };
        (Fate::Discarded, Some(cause))
    }

    /// In a receive, which reads a message before it has anything to give back.
    fn by_receive(&self) -> bool {
        !self.by_sockmap()
            && !self.by_collector()
            && self.any(&[
                "unix_stream_read_generic",
                "unix_stream_recvmsg",
                "__unix_dgram_recvmsg",
                "unix_dgram_recvmsg",
            ])
    }

    /// What it means that a call gave the list of a message back that nobody was seen to read.
    pub(super) fn given_back(&self) -> (Fate, Option<Cause>) {
        let cause = if self.any(&["unix_stream_splice_read"]) {
            Cause::Splice
        } else if self.by_plain_read() {
            Cause::PlainRead
        } else if self.is_empty() || self.by_receive() {
            // The kernel skips programs on a CPU where a task was preempted in them: it may have been
            // read and installed.
            return (Fate::Unknown, None);
        } else {
            return self.destroyed();
        };
        (Fate::Discarded, Some(cause))
    }
}

/// What it means that a send returned whose list was not seen in a queue. It held `count` files and had
/// been `attached` to an skb or not. One that has sent something has queued it, unseen.
pub(super) fn of_send(returned: &Head, attached: bool, count: u16) -> (Fate, Option<Cause>) {
    let cause = match -returned.result {
        0 if !attached => return (Fate::Discarded, Some(Cause::ZeroLength)),
        ..=0 => return (Fate::Unknown, None),
        // One that is connected to somebody else gives the same errno, as may a security module.
        libc::EPERM if attached && returned.flags & FLAG_NO_RIGHTS != 0 => Cause::Passrights,
        libc::EINVAL if usize::from(count) > LIST_MAX => Cause::TooManyFds,
        errno => Cause::Errno(errno),
    };
    (Fate::Failed, Some(cause))
}

/// What it means that installing a file gave `errno`.
pub(super) fn of_refusal(errno: i32) -> (Fate, Option<Cause>) {
    match -errno {
        libc::EMFILE => (Fate::Truncated, Some(Cause::RlimitNofile)),
        // Its number could not be written, or the table could not grow.
        errno @ (libc::EFAULT | libc::ENOMEM) => (Fate::Truncated, Some(Cause::Errno(errno))),
        _ => (Fate::Refused, Some(Cause::Lsm)),
    }
}
