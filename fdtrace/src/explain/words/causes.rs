//! Causes that have names of their own.

use super::{Said, said};
use crate::model::Cause;

/// What a cause means, and what helps.
pub(in crate::explain) fn cause(cause: Cause) -> Said {
    match cause {
        Cause::NoControlRoom => said!(
            "the receiver's control buffer had no room for it: recvmsg set MSG_CTRUNC, and the \
             kernel gave its reference back",
            cure: "give recvmsg CMSG_SPACE(n × sizeof(int)) bytes of control buffer for the most \
                   descriptors that may come (253), and more for credentials (SO_PASSCRED), which \
                   come first; treat MSG_CTRUNC as an error",
            see: "room-for-two-of-three" "no-control-buffer" "header-only" "one-byte-short"
                 "unaligned-two" "no-room-for-creds"
        ),
        Cause::RlimitNofile => said!(
            "the receiver had as many descriptors as RLIMIT_NOFILE allows: recvmsg set MSG_CTRUNC, \
             and the kernel gave its reference back",
            cure: "raise the receiver's RLIMIT_NOFILE (ulimit -n, LimitNOFILE=), or close what it \
                   leaks: /proc/PID/limits has the limit, /proc/PID/fd what is open",
            see: "rlimit-nofile"
        ),
        Cause::Lsm => said!(
            "a security module at the receiver refused it, and the kernel gave its reference back",
            cure: "look for the denial in the audit log (ausearch -m avc, dmesg), and allow the \
                   receiver `fd { use }` and access to the file itself",
            see: "lsm-denied" "lsm-denied-notrunc"
        ),
        Cause::Errno(_) => said!("the call failed with this errno, and nothing was passed"),
        Cause::Passrights => said!(
            "the receiving socket has SO_PASSRIGHTS off: sendmsg said EPERM",
            cure: "set SO_PASSRIGHTS at the receiver (or at its listener, before the connection is \
                   made), or stop sending it descriptors",
            see: "passrights-off" "passrights-off-embryo"
        ),
        Cause::TooManyFds => said!(
            "a message carries 253 descriptors at most (SCM_MAX_FD): sendmsg said EINVAL",
            cure: "send them in several messages; the limit is for all SCM_RIGHTS of one message \
                   together",
            see: "too-many-fds" "too-many-fds-two-cmsgs"
        ),
        Cause::ZeroLength => said!(
            "a stream carries descriptors with bytes, and there was none: sendmsg succeeded, and the \
             list was given back",
            cure: "send at least one byte of data with the descriptors",
            see: "zero-length-send"
        ),
        Cause::NotUnix => said!(
            "it was sent on a socket that is no Unix socket (TCP, UDP): those pass no descriptors, the \
             kernel does not even look at the numbers, and no send fails for them",
            cure: "pass descriptors over a Unix socket; a protocol that does (Wayland, D-Bus) cannot do \
                   it through TCP or a forwarding that makes TCP of it",
            see: "inet-carries-none"
        ),
        Cause::PlainRead => said!(
            "the bytes were taken by a call that cannot take descriptors (read, recv): it was lost, \
             and nobody was told",
            cure: "receive with recvmsg and a control buffer; on a stream, where the descriptors \
                   come with the first byte of their message, no read may reach into it",
            see: "plain-read-discards" "partial-read-then-recvmsg"
        ),
        Cause::Splice => said!(
            "the bytes were spliced into a pipe, which carries no descriptors",
            cure: "receive what may carry descriptors with recvmsg, and splice the rest",
            see: "splice-discards"
        ),
        Cause::Oob => said!(
            "it hung on an out-of-band byte, which was read or passed over without it",
            cure: "send descriptors without MSG_OOB, or set SO_OOBINLINE at the receiver",
            see: "oob" "oob-inline"
        ),
        Cause::Sockmap => said!(
            "a sockmap program took the message, and only its bytes went on",
            cure: "keep sockets that pass descriptors out of the sockmap",
            see: "sockmap-discards"
        ),
        Cause::ReceiveFailed => said!(
            "the receiver's call took the message out of the queue and then failed: the message went, \
             and its descriptors with it",
            cure: "give recvmsg memory that can be written to (EFAULT)"
        ),
        Cause::ReceiverClosed => said!(
            "the receiving socket was closed with the message in its queue",
            cure: "have the receiver read its socket empty before it closes it, or have it \
                   acknowledge what it got, so that the sender knows",
            see: "receiver-closes" "receiver-killed"
        ),
        Cause::ListenerClosed => said!(
            "the connection it was sent on was never accepted, and went with its listener",
            cure: "accept before the listener is closed, or pass the listener on; have the receiver \
                   acknowledge what it got",
            see: "listener-closes"
        ),
        Cause::Reconnect => said!(
            "the receiving datagram socket was connected to somebody else, which empties its queue",
            cure: "read the socket empty before connect, or use a socket for each peer",
            see: "dgram-reconnect-discards"
        ),
        Cause::GarbageCollector => said!(
            "the message was in the queue of a socket that only messages in flight still led to: \
             the garbage collector took it",
            cure: "do not send a socket over itself or in a circle, and keep one end open until its \
                   queue has been read",
            see: "gc-self" "gc-triangle" "gc-cross-edge" "gc-backtrack"
        ),
        Cause::Dropped => said!(
            "the kernel freed the message unread, in a function that fdtrace has no name for",
            cure: "run `fdtrace trace --hops` and see in whose task it ended; please report it, with \
                   the kernel's version"
        ),
    }
}
