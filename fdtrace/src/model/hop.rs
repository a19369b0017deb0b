//! Hop and mechanism: the stations on a descriptor's path, and the ways to watch one.

use super::named;

named! { "kebab-case";
/// A station on a descriptor's path.
#[non_exhaustive]
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
}

named! { "kebab-case";
/// How a hop is watched.
#[non_exhaustive]
pub enum Mechanism {
    /// fentry and fexit.
    Trampoline,
    /// kprobes and kretprobes.
    Kprobe,
    /// Tracepoints, with the arguments they are called with.
    Tracepoint,
}
}
