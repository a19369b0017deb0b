//! The table of hooks: for each hop the candidates in order of preference, and what each expects
//! of the kernel.

use std::fmt;

use crate::kernel::{KernelView, TypeError};

/// A station on a descriptor's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Raw tracepoints.
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

/// One program and the place it attaches to.
#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the eBPF program.
    pub program: &'static str,
    /// Mechanism it uses.
    pub mechanism: Mechanism,
    /// Kind of attachment, in the kernel's words.
    pub kind: &'static str,
    /// Tracepoint or function it attaches to.
    pub target: &'static str,
    /// C types of the arguments that the program reads. The kernel may pass more.
    params: &'static [&'static str],
}

impl Hook {
    /// Why this hook cannot work on the kernel that `view` shows; `None` if it can.
    pub(super) fn unfit(&self, view: &KernelView) -> Result<Option<String>, TypeError> {
        let Some(prototype) = view.types.tracepoint(self.target)? else {
            return Ok(Some(format!(
                "kernel {} has no tracepoint {}",
                view.release, self.target
            )));
        };
        for (index, expected) in self.params.iter().enumerate() {
            let found = prototype.params.get(index).map(|param| param.ty.as_str());
            if found != Some(expected) {
                return Ok(Some(format!(
                    "tracepoint {} passes {} where `{expected}` is expected",
                    self.target,
                    found.map_or("nothing".to_owned(), |found| format!("`{found}`")),
                )));
            }
        }
        Ok(None)
    }
}

/// Hooks that together show a hop.
pub(super) struct Candidate {
    pub(super) mechanism: Mechanism,
    pub(super) hooks: &'static [Hook],
}

macro_rules! tracepoints {
    ($($program:literal on $target:literal ($($param:literal),*);)*) => {{
        const CANDIDATE: &[Candidate] = &[Candidate {
            mechanism: Mechanism::Tracepoint,
            hooks: &[$(Hook {
                program: $program,
                mechanism: Mechanism::Tracepoint,
                kind: "raw_tp",
                target: $target,
                params: &[$($param),*],
            }),*],
        }];
        CANDIDATE
    }};
}

/// What can show `hop`, best first.
pub(super) fn candidates(hop: Hop) -> &'static [Candidate] {
    match hop {
        Hop::Queue => tracepoints! {
            "queue_sk_data_ready" on "sk_data_ready" ("struct sock *");
        },
        Hop::Dequeue => tracepoints! {
            "dequeue_skb_copy_datagram_iovec" on "skb_copy_datagram_iovec" ("struct sk_buff *");
        },
        Hop::Install => tracepoints! {
            "install_sock_recv_length" on "sock_recv_length" ("struct sock *", "int", "int");
        },
        Hop::End => tracepoints! {
            "end_kfree_skb" on "kfree_skb" ("struct sk_buff *", "void *");
            "end_consume_skb" on "consume_skb" ("struct sk_buff *");
        },
        Hop::Copy | Hop::Attach | Hop::Detach | Hop::Receive => &[],
    }
}

/// Why a hop without candidates has none.
pub(super) fn why_no_candidate(hop: Hop) -> &'static str {
    match hop {
        Hop::Copy => {
            "no tracepoint is on it but every allocation's; \
             the sender's numbers and table are read at queue"
        }
        Hop::Attach => "no tracepoint is on it; the list is next seen at queue",
        Hop::Detach => "no tracepoint is on it; the list is last seen at dequeue",
        Hop::Receive => "no tracepoint is on it; its outcome is seen at install",
        Hop::Queue | Hop::Dequeue | Hop::Install | Hop::End => "it has no candidate",
    }
}
