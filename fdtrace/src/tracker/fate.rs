//! Fate and cause: the words for how a transfer ended and why, in the trace as in what scenarios
//! expect of it.

use std::fmt;

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
    /// The receiver took the message but had no room for this file.
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
    /// The send failed with this errno.
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

/// What it means that `function` freed an skb with its list in the task named `comm`.
pub(super) fn of_destruction(function: Option<&str>, comm: &str) -> (Fate, Option<Cause>) {
    match function {
        // The collector is a kworker since 6.1.141 and 6.10; before, whoever closed a socket.
        Some("unix_gc" | "__unix_gc") => (Fate::Collected, Some(Cause::GarbageCollector)),
        Some("unix_release_sock") => (Fate::Discarded, Some(Cause::ReceiverClosed)),
        Some("skb_queue_purge" | "skb_queue_purge_reason" | "unix_dgram_disconnected")
            if !comm.starts_with("kworker/") =>
        {
            (Fate::Discarded, Some(Cause::Reconnect))
        }
        _ => (Fate::Discarded, Some(Cause::Dropped)),
    }
}
