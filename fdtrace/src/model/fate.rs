//! Fate and cause: how a transfer ended, and why.

use std::{fmt, sync::LazyLock};

use nix::errno::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
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

    /// Whether there is a reason to ask for: neither where it arrived, nor where it has not ended.
    #[must_use]
    pub fn has_cause(self) -> bool {
        matches!(
            self,
            Self::Truncated | Self::Refused | Self::Discarded | Self::Collected | Self::Failed
        )
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
#[non_exhaustive]
pub enum Cause {
    /// The control buffer was too small, or there was none.
    NoControlRoom,
    /// The receiver has as many descriptors as it may.
    RlimitNofile,
    /// A security module, or another check at the receiver, said no.
    Lsm,
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

/// The largest errno that a system call returns (MAX_ERRNO).
const ERRNO_MAX: usize = 4095;

/// An errno's name in lower case, or its number where it has none.
fn errno_name(errno: i32) -> &'static str {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let name = |errno: usize| match Errno::from_raw(errno as i32) {
            Errno::UnknownErrno => format!("errno-{errno}"),
            known => format!("{known:?}").to_lowercase(),
        };
        (0..=ERRNO_MAX).map(name).collect()
    });
    let name = usize::try_from(errno).ok().and_then(|at| NAMES.get(at));
    name.map_or("no-errno", String::as_str)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a fate that has a cause is told without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CauseMissing {
    /// Nothing that this kernel lets fdtrace watch shows it.
    NotWatched,
    /// What would have shown it did not.
    NotSeen,
    /// A signal interrupted the send, or io_uring put it off, and it was not seen again: what the
    /// program was told, and whether it was told anything, is not known.
    Interrupted,
    /// Records were lost or programs skipped that may have told otherwise.
    Lost,
}
