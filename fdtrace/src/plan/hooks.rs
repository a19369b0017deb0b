//! The table of hooks: for each hop the candidates in order of preference, and what each expects
//! of the kernel.

use fdtrace_common::counters::Counter;

use crate::{
    kernel::{KernelView, Target, TypeError},
    model::{Hop, Mechanism},
};

/// Kind of attachment, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As a function is entered, through a trampoline.
    Fentry,
    /// As a function returns, with its arguments, through a trampoline.
    Fexit,
    /// As a function is entered, through a breakpoint or ftrace.
    Kprobe,
    /// As a function returns; its kprobe has kept the arguments.
    Kretprobe,
    /// At a tracepoint, with the arguments it is called with, whose types the verifier knows.
    BtfTracepoint,
    /// At a tracepoint whose arguments the verifier of some kernel does not take: `const void *`,
    /// up to 6.12.
    RawTracepoint,
}

impl Kind {
    /// The mechanism that it belongs to.
    #[must_use]
    pub fn mechanism(self) -> Mechanism {
        match self {
            Self::Fentry | Self::Fexit => Mechanism::Trampoline,
            Self::Kprobe | Self::Kretprobe => Mechanism::Kprobe,
            Self::BtfTracepoint | Self::RawTracepoint => Mechanism::Tracepoint,
        }
    }

    /// The kind's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::BtfTracepoint => "tp_btf",
            Self::RawTracepoint => "raw_tp",
        }
    }
}

/// The program that looks at everybody's sends.
pub(super) const SENT_BY_ANYBODY: &str = "end_sock_send_ignored";

/// One program and the place it attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the eBPF program.
    pub program: &'static str,
    /// Kind of attachment.
    pub kind: Kind,
    /// Tracepoint or function it attaches to.
    pub target: &'static str,
    /// Counts what the program saw; `None` for a kprobe that only keeps arguments.
    pub fired: Option<Counter>,
    /// C types of the arguments that the program reads. The kernel may pass more.
    params: &'static [&'static str],
    /// Whether its candidate can do without it. Of several with one program the first that fits is
    /// taken.
    pub(super) optional: bool,
}

impl Hook {
    /// What the kernel must be told the BTF id of to load the program, if anything.
    pub(crate) fn btf_target(&self) -> Option<Target<'static>> {
        match self.kind {
            Kind::Fentry | Kind::Fexit => Some(Target::Function(self.target)),
            Kind::BtfTracepoint => Some(Target::Tracepoint(self.target)),
            Kind::Kprobe | Kind::Kretprobe | Kind::RawTracepoint => None,
        }
    }

    /// Why this hook is left out of a plan that must not slow the machine down; `None` if it
    /// need not be.
    pub(super) fn costs(&self) -> Option<&'static str> {
        match self {
            Self {
                target: "kfree", ..
            } => Some(
                "kfree, which alone shows that a list was spliced away or taken by a sockmap, is \
                 everybody's, so it is watched only by those who ask for every end",
            ),
            Self {
                program: SENT_BY_ANYBODY,
                ..
            } => Some(
                "sock_send_length, which alone shows descriptors that a TCP socket passes over, is \
                 everybody's, so sends that succeed are looked at only by those who ask for every end",
            ),
            _ => None,
        }
    }

    /// Whether the arguments that it reads are known without the kernel's types. Those of 5.10 on arm64
    /// have no static function, and a kprobe does without.
    fn needs_no_prototype(&self) -> bool {
        let is_sendmsg = CALLED_AS_SENDMSG.contains(&self.target);
        self.kind.mechanism() == Mechanism::Kprobe && (self.params.is_empty() || is_sendmsg)
    }

    /// Why this hook cannot work on the kernel that `view` shows; `None` if it can.
    pub(super) fn unfit(&self, view: &KernelView) -> Result<Option<String>, TypeError> {
        let is_tracepoint = self.kind.mechanism() == Mechanism::Tracepoint;
        let (what, passes, prototype) = match self.kind {
            _ if is_tracepoint => ("tracepoint", "passes", view.types.tracepoint(self.target)?),
            _ => ("function", "takes", view.types.function(self.target)?),
        };
        let Some(prototype) = prototype else {
            if self.needs_no_prototype() && view.symbols.exact(self.target).is_some() {
                return Ok(None);
            }
            return Ok(Some(format!(
                "kernel {} has no {what} {}",
                view.release, self.target
            )));
        };
        // BTF also lists functions of which only a clone is left (`.isra.0`, `.constprop.0`):
        // the arguments of those are anybody's guess.
        if !is_tracepoint && view.symbols.exact(self.target).is_none() {
            let clones = view.symbols.clones(self.target);
            return Ok(Some(match clones.first() {
                Some(clone) => format!("only {clone} is left of function {}", self.target),
                None => format!("function {} is inlined", self.target),
            }));
        }
        for (index, expected) in self.params.iter().enumerate() {
            let found = prototype.params.get(index).map(|param| param.ty.as_str());
            if found != Some(expected) {
                return Ok(Some(format!(
                    "{what} {} {passes} {} where `{expected}` is expected",
                    self.target,
                    found.map_or("nothing".to_owned(), |found| format!("`{found}`")),
                )));
            }
        }
        Ok(None)
    }
}

/// Functions that the kernel calls through `proto_ops.sendmsg`: a compiler cannot have changed what they
/// take.
const CALLED_AS_SENDMSG: [&str; 3] = [
    "unix_stream_sendmsg",
    "unix_dgram_sendmsg",
    "unix_seqpacket_sendmsg",
];

/// Hooks that together show a hop.
pub(super) struct Candidate {
    /// What it takes; hooks of other mechanisms add to it where they are allowed.
    pub(super) mechanism: Mechanism,
    pub(super) hooks: &'static [Hook],
}

/// Declares candidates in order of preference; each has hooks of one or more kinds, some optional.
macro_rules! candidates {
    ($($mechanism:ident {
        $($kind:ident $program:literal on $target:literal ($($param:literal),*) $($fired:ident)? $(, $optional:ident)?;)*
    })*) => {{
        const CANDIDATES: &[Candidate] = &[$(Candidate {
            mechanism: Mechanism::$mechanism,
            hooks: &[$(Hook {
                program: $program,
                kind: Kind::$kind,
                target: $target,
                fired: candidates!(@fired $($fired)?),
                params: &[$($param),*],
                optional: candidates!(@optional $($optional)?),
            }),*],
        }),*];
        CANDIDATES
    }};
    (@fired) => { None };
    (@fired $fired:ident) => { Some(Counter::$fired) };
    (@optional) => { false };
    (@optional optional) => { true };
}

/// What can show `hop`, best first. Why these: see ARCHITECTURE.md, "Where each hop is seen".
#[rustfmt::skip]
pub(super) fn candidates(hop: Hop) -> &'static [Candidate] {
    match hop {
        Hop::Copy => candidates! {
            Trampoline {
                Fexit "copy_scm_send_f" on "__scm_send" ("struct socket *", "struct msghdr *", "struct scm_cookie *") CopyFired;
                Fentry "copy_cmsg_f" on "__sock_cmsg_send" ("struct sock *", "struct cmsghdr *"), optional;
                Fentry "copy_cmsg3_f" on "__sock_cmsg_send" ("struct sock *", "struct msghdr *", "struct cmsghdr *"), optional;
            }
            Kprobe {
                Kprobe "copy_scm_send_k" on "__scm_send" ("struct socket *", "struct msghdr *", "struct scm_cookie *");
                Kretprobe "copy_scm_send_r" on "__scm_send" () CopyFired;
                Kprobe "copy_cmsg_k" on "__sock_cmsg_send" ("struct sock *", "struct cmsghdr *"), optional;
                Kprobe "copy_cmsg3_k" on "__sock_cmsg_send" ("struct sock *", "struct msghdr *", "struct cmsghdr *"), optional;
            }
        },
        Hop::Attach => candidates! {
            Trampoline {
                Fexit "attach_fds_f" on "unix_attach_fds" ("struct scm_cookie *", "struct sk_buff *") AttachFired;
                Fexit "attach_dup_f" on "scm_fp_dup" ("struct scm_fp_list *") DuplicateFired, optional;
            }
            Trampoline {
                Fexit "attach_to_skb_f" on "unix_scm_to_skb" ("struct scm_cookie *", "struct sk_buff *", "bool") AttachFired, optional;
                Fexit "attach_dup_f" on "scm_fp_dup" ("struct scm_fp_list *") DuplicateFired, optional;
            }
            Kprobe {
                Kprobe "attach_fds_k" on "unix_attach_fds" ("struct scm_cookie *", "struct sk_buff *");
                Kretprobe "attach_fds_r" on "unix_attach_fds" () AttachFired;
                Kprobe "attach_dup_k" on "scm_fp_dup" ("struct scm_fp_list *"), optional;
                Kretprobe "attach_dup_r" on "scm_fp_dup" () DuplicateFired, optional;
            }
            Kprobe {
                Kprobe "attach_to_skb_k" on "unix_scm_to_skb" ("struct scm_cookie *", "struct sk_buff *"), optional;
                Kretprobe "attach_to_skb_r" on "unix_scm_to_skb" () AttachFired, optional;
                Kprobe "attach_dup_k" on "scm_fp_dup" ("struct scm_fp_list *"), optional;
                Kretprobe "attach_dup_r" on "scm_fp_dup" () DuplicateFired, optional;
            }
        },
        Hop::Queue => candidates! {
            Trampoline {
                Fentry "queue_edges_f" on "unix_add_edges" ("struct scm_fp_list *", "struct unix_sock *") QueueFired;
            }
            Kprobe {
                Kprobe "queue_edges_k" on "unix_add_edges" ("struct scm_fp_list *", "struct unix_sock *") QueueFired;
            }
            Tracepoint {
                BtfTracepoint "queue_sk_data_ready" on "sk_data_ready" ("struct sock *") QueueFired;
            }
            Trampoline {
                Fentry "queue_tail_f" on "skb_queue_tail" ("struct sk_buff_head *", "struct sk_buff *") QueueFired;
            }
            Kprobe {
                Kprobe "queue_tail_k" on "skb_queue_tail" ("struct sk_buff_head *", "struct sk_buff *") QueueFired;
            }
        },
        Hop::Dequeue => candidates! {
            Tracepoint {
                BtfTracepoint "dequeue_skb_copy_datagram_iovec" on "skb_copy_datagram_iovec" ("struct sk_buff *") DequeueFired;
            }
            Trampoline {
                Fentry "dequeue_iter_f" on "skb_copy_datagram_iter" ("struct sk_buff *") DequeueFired;
            }
            Kprobe {
                Kprobe "dequeue_iter_k" on "skb_copy_datagram_iter" ("struct sk_buff *") DequeueFired;
            }
        },
        Hop::Detach => candidates! {
            Trampoline {
                Fentry "detach_fds_f" on "scm_detach_fds" ("struct msghdr *", "struct scm_cookie *") DetachFired;
            }
            Kprobe {
                Kprobe "detach_fds_k" on "scm_detach_fds" ("struct msghdr *", "struct scm_cookie *") DetachFired;
            }
        },
        Hop::Receive => candidates! {
            Trampoline {
                Fentry "receive_fd_f" on "scm_recv_one_fd" ("struct file *", "int *", "unsigned int", "bool") ReceiveFired;
            }
            Trampoline {
                Fentry "receive_fd_f" on "receive_fd" ("struct file *", "int *", "unsigned int") ReceiveFired;
            }
            Trampoline {
                Fentry "receive_fd_f" on "__receive_fd" ("struct file *", "int *", "unsigned int") ReceiveFired;
            }
            Trampoline {
                Fentry "receive_fd_f" on "__receive_fd" ("int", "struct file *", "int *", "unsigned int") ReceiveFired;
            }
            Kprobe {
                Kprobe "receive_fd_k" on "scm_recv_one_fd" ("struct file *", "int *", "unsigned int", "bool") ReceiveFired;
            }
            Kprobe {
                Kprobe "receive_fd_k" on "receive_fd" ("struct file *", "int *", "unsigned int") ReceiveFired;
            }
            Kprobe {
                Kprobe "receive_fd_k" on "__receive_fd" ("struct file *", "int *", "unsigned int") ReceiveFired;
            }
            Kprobe {
                Kprobe "receive_fd_k" on "__receive_fd" ("int", "struct file *", "int *", "unsigned int") ReceiveFired;
            }
        },
        Hop::Install => candidates! {
            Trampoline {
                Fexit "install_one_f" on "scm_recv_one_fd" ("struct file *", "int *", "unsigned int", "bool") InstallFired;
            }
            Trampoline {
                Fexit "install_fd_f" on "receive_fd" ("struct file *", "int *", "unsigned int") InstallFired;
            }
            Trampoline {
                Fexit "install_fd_f" on "__receive_fd" ("struct file *", "int *", "unsigned int") InstallFired;
            }
            Trampoline {
                Fexit "install_num_f" on "__receive_fd" ("int", "struct file *", "int *", "unsigned int") InstallFired;
            }
            Kprobe {
                Kprobe "install_one_k" on "scm_recv_one_fd" ("struct file *", "int *", "unsigned int", "bool");
                Kretprobe "install_one_r" on "scm_recv_one_fd" () InstallFired;
            }
            Kprobe {
                Kprobe "install_fd_k" on "receive_fd" ("struct file *", "int *", "unsigned int");
                Kretprobe "install_fd_r" on "receive_fd" () InstallFired;
            }
            Kprobe {
                Kprobe "install_fd_k" on "__receive_fd" ("struct file *", "int *", "unsigned int");
                Kretprobe "install_fd_r" on "__receive_fd" () InstallFired;
            }
            Kprobe {
                Kprobe "install_num_k" on "__receive_fd" ("int", "struct file *", "int *", "unsigned int");
                Kretprobe "install_num_r" on "__receive_fd" () InstallFired;
            }
            Tracepoint {
                BtfTracepoint "install_sock_recv_length" on "sock_recv_length" ("struct sock *", "int", "int") InstallFired;
            }
        },
        Hop::End => candidates! {
            // The skb's destructor changes within stable series: 6.1.192, 6.12.117 and 7.0.14 wrap or
            // inline unix_destruct_scm in unix_wfree.
            Trampoline {
                Fentry "end_release_f" on "__scm_destroy" ("struct scm_cookie *") ReleaseFired;
                Fentry "end_destruct_f" on "unix_destruct_scm" ("struct sk_buff *") DestructFired, optional;
                Fentry "end_destruct_f" on "unix_wfree" ("struct sk_buff *") DestructFired, optional;
                Fexit "end_stream_f" on "unix_stream_sendmsg" ("struct socket *", "struct msghdr *") SentStreamFired, optional;
                Fexit "end_dgram_f" on "unix_dgram_sendmsg" ("struct socket *", "struct msghdr *") SentDgramFired, optional;
                Fentry "end_seqsend_f" on "unix_seqpacket_sendmsg" ("struct socket *", "struct msghdr *"), optional;
                Fexit "end_seqsent_f" on "unix_seqpacket_sendmsg" ("struct socket *", "struct msghdr *"), optional;
                BtfTracepoint "end_kfree_skb" on "kfree_skb" ("struct sk_buff *", "void *") EndKfreeFired;
                BtfTracepoint "end_consume_skb" on "consume_skb" ("struct sk_buff *") EndConsumeFired;
            }
            Kprobe {
                Kprobe "end_release_k" on "__scm_destroy" ("struct scm_cookie *") ReleaseFired;
                Kprobe "end_destruct_k" on "unix_destruct_scm" ("struct sk_buff *") DestructFired, optional;
                Kprobe "end_destruct_k" on "unix_wfree" ("struct sk_buff *") DestructFired, optional;
                Kretprobe "end_stream_r" on "unix_stream_sendmsg" () SentStreamFired, optional;
                Kretprobe "end_dgram_r" on "unix_dgram_sendmsg" () SentDgramFired, optional;
                Kprobe "end_seqsend_k" on "unix_seqpacket_sendmsg" ("struct socket *", "struct msghdr *"), optional;
                Kretprobe "end_seqsent_r" on "unix_seqpacket_sendmsg" (), optional;
                BtfTracepoint "end_kfree_skb" on "kfree_skb" ("struct sk_buff *", "void *") EndKfreeFired;
                BtfTracepoint "end_consume_skb" on "consume_skb" ("struct sk_buff *") EndConsumeFired;
            }
            Tracepoint {
                BtfTracepoint "end_kfree_skb" on "kfree_skb" ("struct sk_buff *", "void *") EndKfreeFired;
                BtfTracepoint "end_consume_skb" on "consume_skb" ("struct sk_buff *") EndConsumeFired;
                BtfTracepoint "end_sock_send_length" on "sock_send_length" ("struct sock *", "int", "int") SentFired;
                BtfTracepoint "end_sock_send_ignored" on "sock_send_length" ("struct sock *", "int", "int");
                RawTracepoint "end_kfree" on "kfree" ("long unsigned int", "void *") FreeFired;
            }
        },
    }
}

/// What shows `hop` where two records tell of a message; nothing where they do not.
#[rustfmt::skip]
pub(super) fn by_message(hop: Hop) -> &'static [Candidate] {
    match hop {
        Hop::Copy => candidates! {
            Trampoline {
                Fexit "copy_slot_f" on "__scm_send" ("struct socket *", "struct msghdr *", "struct scm_cookie *") CopyFired;
                Fentry "copy_cmsg_f" on "__sock_cmsg_send" ("struct sock *", "struct cmsghdr *"), optional;
                Fentry "copy_cmsg3_f" on "__sock_cmsg_send" ("struct sock *", "struct msghdr *", "struct cmsghdr *"), optional;
            }
        },
        Hop::Queue => candidates! {
            Trampoline {
                Fentry "queue_slot_f" on "unix_add_edges" ("struct scm_fp_list *", "struct unix_sock *") QueueFired;
            }
            Trampoline {
                Fentry "queue_slot_tail_f" on "skb_queue_tail" ("struct sk_buff_head *", "struct sk_buff *") QueueFired;
            }
        },
        // A list is duplicated where a peek has it instead, and up to 6.9 for the skb of every message.
        Hop::Detach => candidates! {
            Trampoline {
                Fentry "detach_slot_f" on "scm_detach_fds" ("struct msghdr *", "struct scm_cookie *") DetachFired;
                Fexit "attach_dup_f" on "scm_fp_dup" ("struct scm_fp_list *") DuplicateFired;
            }
        },
        Hop::Install => candidates! {
            Trampoline {
                Fexit "install_slot1_f" on "scm_recv_one_fd" ("struct file *", "int *", "unsigned int", "bool") InstallFired;
            }
            Trampoline {
                Fexit "install_slot_f" on "receive_fd" ("struct file *", "int *", "unsigned int") InstallFired;
            }
            Trampoline {
                Fexit "install_slot_f" on "__receive_fd" ("struct file *", "int *", "unsigned int") InstallFired;
            }
            Trampoline {
                Fexit "install_slotn_f" on "__receive_fd" ("int", "struct file *", "int *", "unsigned int") InstallFired;
            }
        },
        Hop::End => candidates! {
            Trampoline {
                Fentry "end_slot_f" on "__scm_destroy" ("struct scm_cookie *") ReleaseFired;
                Fentry "end_seqsend_f" on "unix_seqpacket_sendmsg" ("struct socket *", "struct msghdr *");
                Fexit "end_seqsent_f" on "unix_seqpacket_sendmsg" ("struct socket *", "struct msghdr *");
            }
        },
        Hop::Attach | Hop::Dequeue | Hop::Receive => &[],
    }
}

/// What shows what sends return, beside the hooks of [`by_message`]. Everybody's sends pay for it.
#[rustfmt::skip]
pub(super) fn returns() -> &'static [Candidate] {
    candidates! {
        Trampoline {
            Fexit "end_stream_f" on "unix_stream_sendmsg" ("struct socket *", "struct msghdr *") SentStreamFired;
            Fexit "end_dgram_f" on "unix_dgram_sendmsg" ("struct socket *", "struct msghdr *") SentDgramFired;
        }
    }
}

/// What takes a hop's place where only tracepoints are left.
pub(super) fn instead(hop: Hop) -> Option<&'static str> {
    match hop {
        Hop::Copy => Some(
            "no tracepoint is on it but every allocation's; \
             the sender's numbers and table are read at queue",
        ),
        Hop::Attach => Some("no tracepoint is on it; the list is next seen at queue"),
        Hop::Detach => Some("no tracepoint is on it; the list is last seen at dequeue"),
        Hop::Receive => Some("no tracepoint is on it; its outcome is seen at install"),
        Hop::Queue | Hop::Dequeue | Hop::Install | Hop::End => None,
    }
}
