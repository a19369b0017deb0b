//! The kernel's functions on the path, in the order in which they call each other, and what each
//! does.
//!
//! Every sentence holds for every kernel from 5.10 to 7.3, as read in their source. Where kernels
//! differ, no version decides: a [`Function`] says what makes it a part of the path, and
//! [`super::path`] looks whether that is so on the running kernel.

use crate::model::Hop;

/// One function on a way through the kernel.
pub(super) struct Function {
    pub(super) name: Name,
    /// Where this does not hold, its callees are called by its caller instead.
    pub(super) wraps_if: Option<When>,
    /// The conditions for it, and its callees, to be on the way.
    pub(super) when: &'static [When],
    /// The hop that happens in it.
    pub(super) hop: Option<Hop>,
    /// What it does, in a sentence without a full stop.
    pub(super) does: &'static str,
    /// What it calls.
    pub(super) calls: &'static [Function],
}

/// What a function is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// This, on every kernel. Where there is no symbol, it is inlined.
    Always(&'static str),
    /// This, where the kernel has it; elsewhere the path does without.
    Where(&'static str),
    /// The first of these that the kernel has; the last one, inlined, where it has none.
    FirstOf(&'static [&'static str]),
    /// The first on stream sockets, the second on all others.
    BySocket(&'static str, &'static str),
    /// The function in which the plan finds the hop receive.
    OfReceive,
}

/// What may be so of a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The socket is a stream.
    Stream,
    /// The socket is of datagrams, seqpacket included.
    Packets,
    /// The socket is seqpacket.
    Seqpacket,
    /// The call is known to be `sendmsg` or `recvmsg`.
    SystemCall,
    /// The message came into a queue.
    Queued,
    /// The send came as far as hanging the list on an skb.
    Tried,
    /// It succeeded in that.
    Attached,
    /// The skb with the list on it came into no queue.
    Unqueued,
    /// The list was never on an skb.
    Unattached,
    /// The list was seen to be duplicated for the skb (up to 6.9).
    Duplicated,
    /// A receiver took the message out of the queue.
    Taken,
    /// It took the list off the skb too.
    Detached,
    /// It failed in between.
    ReceiveFailed,
    /// A receiver looked at it with MSG_PEEK.
    Peeked,
    /// The receiver's call could take descriptors.
    Control,
    /// Its call could not.
    NoControl,
    /// It could have, and had room for none.
    NoRoom,
    /// The receiving socket was closed.
    Closed,
    /// A listener was, with connections that nobody had accepted.
    ListenerClosed,
    /// The receiving datagram socket was connected to somebody else.
    Reconnected,
    /// The garbage collector took the message.
    Collected,
}

use Name::{Always, BySocket, FirstOf, OfReceive, Where};

/// Functions, each with what it calls in braces behind it.
macro_rules! functions {
    ($([$name:expr] $(if $wraps:ident)? $(when $($when:ident)&+)? $(@ $hop:ident)? : $does:literal $({ $($calls:tt)* })?;)*) => {
        &[$(Function {
            name: $name,
            wraps_if: functions!(@wraps $($wraps)?),
            when: &[$($(When::$when),+)?],
            hop: functions!(@hop $($hop)?),
            does: $does,
            calls: functions!($($($calls)*)?),
        }),*]
    };
    (@wraps) => { None };
    (@wraps $wraps:ident) => { Some(When::$wraps) };
    (@hop) => { None };
    (@hop $hop:ident) => { Some(Hop::$hop) };
}

/// From the sender's call to the receiver's queue.
#[rustfmt::skip]
pub(super) const SEND: &[Function] = functions! {
    [Always("__sys_sendmsg")] if SystemCall: "the system call: finds the socket behind the sender's number" {
    [Always("___sys_sendmsg")] if SystemCall: "copies the message's header from the sender's memory" {
    [Always("____sys_sendmsg")]: "copies the control message, in which the descriptors are still mere numbers" {
    [Always("unix_seqpacket_sendmsg")] if Seqpacket: "checks that the socket is connected" {
    [BySocket("unix_stream_sendmsg", "unix_dgram_sendmsg")]: "what sendmsg means for this type of socket" {
        [Always("scm_send")]: "sees that there is a control message" {
            [Always("__scm_send")]: "walks through it and finds SCM_RIGHTS" {
                [Always("scm_fp_copy")] @ Copy: "makes a list (scm_fp_list) of the files behind the numbers" {
                    [Always("fget_raw")]: "looks one number up in the sender's table and takes a reference to its file: from now on it lives on, whatever becomes of the number";
                };
            };
        };
        [Always("unix_scm_to_skb")] when Tried: "puts the sender's credentials on the skb, the buffer that holds the bytes" {
            [Always("unix_attach_fds")] @ Attach: "hangs the list on the skb: now the message owns the files" {
                [Always("scm_fp_dup")] when Duplicated: "makes the skb a list of its own, which takes a second reference to each file";
                [Where("unix_inflight")] when Attached: "counts the file as in flight, and registers it with the garbage collector if it is a Unix socket";
                [Where("unix_prepare_fpl")] when Attached: "sets aside what the garbage collector will want to know of Unix sockets in the list";
            };
        };
        [Always("scm_stat_add")] when Queued: "counts the descriptors at the receiving socket, where fdinfo shows them as scm_fds" {
            [Where("unix_add_edges")]: "tells the garbage collector that the receiving socket now leads to these files, and counts them as in flight";
        };
        [Always("__skb_queue_tail")] when Queued @ Queue: "puts the skb at the end of the receiving socket's queue";
        [Always("sock_def_readable")] when Queued: "wakes whoever waits to read from that socket";
        [Always("scm_destroy")] when Duplicated: "ends the sender's own list, now that the skb has its duplicate" {
            [Always("__scm_destroy")]: "gives back that list's reference to each file";
        };
        [FirstOf(&["sk_skb_reason_drop", "kfree_skb_reason", "kfree_skb"])] when Unqueued @ End: "frees the skb, which came into no queue, with the list on it" {
            [FirstOf(&["unix_wfree", "unix_destruct_scm"])]: "the skb's destructor" {
                [Always("unix_detach_fds")]: "takes the list off the skb";
                [Always("__scm_destroy")]: "gives back the list's reference to each file, and frees the list";
            };
        };
        [Always("scm_destroy")] when Unattached: "ends the list, because nothing came into a queue" {
            [Always("__scm_destroy")] @ End: "gives back the list's reference to each file";
        };
    };
    };
    };
    };
    };
};

/// From the receiver's queue to the receiver's table, or to nowhere.
#[rustfmt::skip]
pub(super) const RECEIVE: &[Function] = functions! {
    [Always("__sys_recvmsg")] if SystemCall: "the system call: finds the socket behind the receiver's number" {
    [Always("___sys_recvmsg")] if SystemCall: "copies the header from the receiver's memory, with the room for control messages" {
    [Always("____sys_recvmsg")] if SystemCall: "notes where that room is, and has the message received" {
    [Always("sock_recvmsg")]: "asks the security modules whether this process may receive here" {
    [Always("unix_seqpacket_recvmsg")] if Seqpacket: "checks that the socket is connected" {
    [BySocket("unix_stream_recvmsg", "unix_dgram_recvmsg")]: "what receiving means for this type of socket" {
    [Where("__unix_dgram_recvmsg")] if Packets: "receives one message" {
    [Always("unix_stream_read_generic")] if Stream: "goes from skb to skb, and stops after one that carries descriptors" {
        [Always("__skb_try_recv_datagram")] when Packets: "takes the first skb out of the queue, or leaves it there for MSG_PEEK";
        [Where("unix_del_edges")] when Packets & Taken: "tells the garbage collector that the socket no longer leads to the files";
        [Always("unix_stream_read_actor")] if Stream: "has the bytes of one skb copied" {
            [Always("skb_copy_datagram_iter")] @ Dequeue: "copies the bytes of the skb, the list still on it, to the receiver's memory";
        };
        [Where("unix_del_edges")] when Stream & Taken: "tells the garbage collector that the socket no longer leads to the files";
        [Always("skb_free_datagram")] when ReceiveFailed @ End: "frees the skb, which is in no queue any more, with the list on it" {
            [FirstOf(&["unix_wfree", "unix_destruct_scm"])]: "the skb's destructor" {
                [Always("unix_detach_fds")]: "takes the list off the skb";
                [Always("__scm_destroy")]: "gives back the list's reference to each file, and frees the list";
            };
        };
        [Always("unix_detach_fds")] when Detached @ Detach: "takes the list off the skb: now this call owns it" {
            [Where("unix_notinflight")]: "takes the file off the count of those in flight, and off the garbage collector's register";
            [Where("unix_destroy_fpl")]: "frees what was set aside for the garbage collector";
        };
        [Always("unix_peek_fds")] when Peeked @ Detach: "leaves the list on the skb and takes a duplicate" {
            [Always("scm_fp_dup")]: "takes another reference to each file, for the duplicate";
            [Where("unix_peek_fpl")]: "keeps the garbage collector from taking them for dead meanwhile";
        };
        [FirstOf(&["scm_recv_unix", "scm_recv"])] when Control: "turns what came beside the bytes into control messages" {
            [Always("scm_detach_fds")]: "goes through the list as far as there is room in the control buffer" {
                [OfReceive] @ Receive: "gives one file a number" {
                    [Always("security_file_receive")]: "asks the security modules whether the receiver may have it";
                    [Always("get_unused_fd_flags")]: "reserves the lowest free number, if RLIMIT_NOFILE allows another";
                    [Always("fd_install")] @ Install: "puts the file behind that number: the receiver has a descriptor";
                };
                [Always("__scm_destroy")] @ End: "gives back the list's reference to each file, and frees the list";
            };
        };
        [FirstOf(&["scm_recv_unix", "scm_recv"])] when NoControl: "finds no room for control messages" {
            [Always("scm_destroy")]: "throws the list away; recvmsg sets MSG_CTRUNC, read and recv have no way to tell" {
                [Always("__scm_destroy")] @ End: "gives back the list's reference to each file, and frees the list";
            };
        };
        [FirstOf(&["scm_recv_unix", "scm_recv"])] when NoRoom: "finds no control buffer, or none with room for a number, and has recvmsg set MSG_CTRUNC" {
            [Always("__scm_destroy")] @ End: "gives back the list's reference to each file, and frees the list";
        };
    };
    };
    };
    };
    };
    };
    };
    };
};

/// How a message ends that nobody receives.
#[rustfmt::skip]
pub(super) const DROP: &[Function] = functions! {
    [Always("unix_release_sock")] if ListenerClosed: "closes the listening socket, and every connection in its queue" {
    [Always("unix_release_sock")] if Closed: "closes the receiving socket, and empties its queue" {
    [Always("unix_dgram_disconnected")] if Reconnected: "empties the queue of a socket that has another peer now" {
    [FirstOf(&["__unix_gc", "unix_gc"])] if Collected: "finds sockets that only lead to each other, out of everybody's reach, and takes the skbs between them" {
    [FirstOf(&["sk_skb_reason_drop", "kfree_skb_reason", "kfree_skb"])] @ End: "frees the skb unread, with the list on it" {
        [FirstOf(&["unix_wfree", "unix_destruct_scm"])]: "the skb's destructor" {
            [Always("unix_detach_fds")]: "takes the list off the skb";
            [Always("scm_destroy")]: "ends the list" {
                [Always("__scm_destroy")]: "gives back the list's reference to each file, and frees the list";
            };
        };
    };
    };
    };
    };
    };
};
