//! Hop and mechanism: the stations on a descriptor's path, and the ways to watch one.

use std::fmt;

/// A station on a descriptor's path.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Hop {
    /// The sender's numbers become references in a list (`scm_fp_copy`).
    Copy,
    /// The list moves to the skb (`unix_attach_fds`).
    Attach,
    /// The skb enters the peer's receive queue.
    Queue,
    /// A receiver reads the skb.
    Dequeue,
    /// The list leaves the skb (`unix_detach_fds`, or a copy of it for MSG_PEEK).
    Detach,
    /// A number is reserved and the LSM asked (`receive_fd` and relatives).
    Receive,
    /// The file appears in the receiver's table (`fd_install`).
    Install,
    /// The list is destroyed.
    End,
}

impl Hop {
    /// Every hop, in the order of the path.
    pub const ALL: [Self; 8] = [
        Self::Copy,
        Self::Attach,
        Self::Queue,
        Self::Dequeue,
        Self::Detach,
        Self::Receive,
        Self::Install,
        Self::End,
    ];

    /// The hop's name in commands and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Attach => "attach",
            Self::Queue => "queue",
            Self::Dequeue => "dequeue",
            Self::Detach => "detach",
            Self::Receive => "receive",
            Self::Install => "install",
            Self::End => "end",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a hop is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// fentry and fexit.
    Trampoline,
    /// kprobes and kretprobes.
    Kprobe,
    /// Tracepoints, with the arguments they are called with.
    Tracepoint,
}

impl Mechanism {
    /// Every mechanism, best first.
    pub const ALL: [Self; 3] = [Self::Trampoline, Self::Kprobe, Self::Tracepoint];

    /// The mechanism's name in commands and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trampoline => "trampoline",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
