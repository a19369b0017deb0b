//! Errnos that a send on a Unix socket fails with.

use super::{Said, said};
use crate::model::Cause;

/// Those that there is something to say of.
pub(super) const KNOWN: [i32; 20] = [
    libc::EACCES,
    libc::EAGAIN,
    libc::EBADF,
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::EDESTADDRREQ,
    libc::EFAULT,
    libc::EINTR,
    libc::EINVAL,
    libc::EISCONN,
    libc::EMSGSIZE,
    libc::ENOBUFS,
    libc::ENOENT,
    libc::ENOMEM,
    libc::ENOTCONN,
    libc::EOPNOTSUPP,
    libc::EPERM,
    libc::EPIPE,
    libc::EPROTOTYPE,
    libc::ETOOMANYREFS,
];

/// Why a send on a Unix socket fails so.
pub(in crate::explain) fn reason(errno: i32) -> &'static str {
    said(errno).means
}

/// What it means that a call failed so.
pub(in crate::explain) fn sentence(errno: i32) -> String {
    let name = Cause::Errno(errno).name().to_uppercase();
    match errno {
        // The one that is not a send's.
        libc::EFAULT => said(errno).means.to_owned(),
        errno => format!("sendmsg said {name}, and sent nothing: {}", reason(errno)),
    }
}

pub(super) fn said(errno: i32) -> Said {
    match errno {
        libc::EBADF => said!(
            "one of the numbers was not open at the sender",
            cure: "send numbers that are open: one bad number fails the whole message. Look for a \
                   close before the send, or a -1 in the array",
            see: "bad-fd" "bad-fd-in-middle"
        ),
        libc::EPIPE => said!(
            "the peer was gone",
            cure: "find out why the receiver closed its end or died before it was sent to",
            see: "peer-gone"
        ),
        libc::ECONNREFUSED => said!(
            "nobody has the socket that it was sent to",
            cure: "the socket's file is still there and its owner is not: start the receiver, or \
                   remove the file",
            see: "peer-gone"
        ),
        libc::ECONNRESET => said!("the peer was closed before this connection was accepted"),
        libc::EAGAIN => said!(
            "there was no room in the queue, and the sender did not want to wait",
            cure: "wait until the socket is writable (poll) and send again; if it stays full, the \
                   receiver does not read",
            see: "queue-full"
        ),
        libc::ETOOMANYREFS => said!(
            "the sender's user had more descriptors in flight than RLIMIT_NOFILE allows",
            cure: "find who does not read with `fdtrace inflight`, raise the sender's \
                   RLIMIT_NOFILE, or give it CAP_SYS_RESOURCE. All processes of a user count",
            see: "too-many-in-flight"
        ),
        libc::EINVAL => said!(
            "the kernel takes no such control message, or not this kind of file",
            cure: "build control messages with CMSG_LEN and CMSG_SPACE; io_uring descriptors \
                   cannot be passed",
            see: "short-cmsg" "kind-io-uring"
        ),
        libc::EMSGSIZE => said!(
            "it is longer than a datagram of this socket may be",
            cure: "send less, or raise SO_SNDBUF"
        ),
        libc::ENOTCONN => said!("the socket is not connected"),
        libc::EISCONN => said!("the socket is connected, and takes no address"),
        libc::EDESTADDRREQ => said!("it was sent to nobody"),
        libc::ENOENT => said!("there is no socket of that name"),
        libc::EACCES => said!(
            "the sender may not write to that socket",
            cure: "give the sender write permission on the socket's file and search permission on \
                   its folders"
        ),
        libc::EPROTOTYPE => said!("the socket it was sent to is of another type"),
        libc::EPERM => said!(
            "the kernel or a security module does not allow it",
            cure: "a datagram socket that is connected to somebody else refuses others; a receiver \
                   with SO_PASSRIGHTS off refuses descriptors; else look in the audit log",
            see: "peer-connected-elsewhere" "passrights-off"
        ),
        libc::EOPNOTSUPP => said!("the socket does not do what the call asks for"),
        libc::EINTR => said!(
            "a signal came before there was room for it",
            cure: "send again"
        ),
        libc::ENOBUFS | libc::ENOMEM => said!("the kernel had no memory for it"),
        libc::EFAULT => said!(
            "memory that the call named was not there: EFAULT, and nothing stayed referenced",
            cure: "check the pointers in struct msghdr",
            see: "bad-cmsg-pointer"
        ),
        _ => said!("the kernel did not say more"),
    }
}
