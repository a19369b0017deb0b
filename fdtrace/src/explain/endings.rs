//! What each end of a transfer means, and in which function it goes that way.

use crate::tracker::{Cause, Fate};

/// What became of a file, in a sentence without a full stop.
pub(super) fn ending(fate: Fate, cause: Option<Cause>) -> &'static str {
    if let Some((_, _, ending)) = cause.and_then(turn) {
        return ending;
    }
    match fate {
        Fate::Delivered => {
            "it has a number in the receiver's table too: two numbers, one file object"
        }
        Fate::Peeked => {
            "MSG_PEEK gave the receiver a number for it, and left the message in the queue"
        }
        Fate::Queued => "it is still in the queue: alive, and in nobody's table",
        Fate::Truncated => "the receiver took the message and got no number for it",
        Fate::Refused => "the receiver's kernel refused to give it a number",
        Fate::Discarded => "the message went away, and nobody got a number for it",
        Fate::Collected => "the garbage collector took the message it was in",
        Fate::Failed => "it never got into a queue",
        Fate::Unknown => "its end was not seen",
    }
}

/// Where the way turned: the function, what happened in it this time, and what came of it.
type Turn = (&'static str, &'static str, &'static str);

/// Where a cause shows on the path.
pub(super) fn turn(cause: Cause) -> Option<Turn> {
    Some(match cause.name() {
        "no-control-room" => (
            "scm_detach_fds",
            "here the room came to an end",
            "the receiver's control buffer had no room for it: recvmsg set MSG_CTRUNC, and the \
             kernel gave its reference back",
        ),
        "rlimit-nofile" => (
            "get_unused_fd_flags",
            "here it did not: EMFILE",
            "the receiver had as many descriptors as RLIMIT_NOFILE allows: recvmsg set MSG_CTRUNC, \
             and the kernel gave its reference back",
        ),
        "lsm" => (
            "security_file_receive",
            "here one said no",
            "a security module at the receiver refused it, and the kernel gave its reference back",
        ),
        "plain-read" => (
            "scm_destroy",
            "here every descriptor of the message was lost",
            "the bytes were taken by a call that cannot take descriptors (read, recv): it was lost, \
             and nobody was told",
        ),
        "receiver-closed" => (
            "unix_release_sock",
            "here the message was still in the queue",
            "the receiving socket was closed with the message in its queue",
        ),
        "garbage-collector" => (
            "unix_gc",
            "here it found these",
            "the message was in the queue of a socket that only messages in flight still led to: \
             the garbage collector took it",
        ),
        "reconnect" => (
            "unix_dgram_disconnected",
            "here the queue was emptied",
            "the receiving datagram socket was connected to somebody else, which empties its queue",
        ),
        "ebadf" => (
            "fget_raw",
            "here one number had nothing behind it: EBADF",
            "one of the numbers was not open at the sender: sendmsg said EBADF and sent nothing",
        ),
        "too-many-fds" => (
            "scm_fp_copy",
            "here there were more than 253: EINVAL",
            "a message carries 253 descriptors at most (SCM_MAX_FD): sendmsg said EINVAL",
        ),
        "etoomanyrefs" => (
            "unix_attach_fds",
            "here the sender's user had too many in flight: ETOOMANYREFS",
            "the sender's user had more descriptors in flight than RLIMIT_NOFILE allows",
        ),
        "passrights" => (
            "__skb_queue_tail",
            "here the receiving socket wanted no descriptors: EPERM",
            "the receiving socket has SO_PASSRIGHTS off: sendmsg said EPERM",
        ),
        "epipe" => (
            "__skb_queue_tail",
            "here there was nobody at the other end: EPIPE",
            "the peer was gone: sendmsg said EPIPE and the list was given back",
        ),
        "eagain" => (
            "__skb_queue_tail",
            "here the queue was full: EAGAIN",
            "the receiver's queue was full, and the sender did not want to wait: EAGAIN",
        ),
        "zero-length" => (
            "scm_destroy",
            "here, because without a byte there is no skb to hang the list on",
            "a stream carries descriptors with bytes, and there was none: sendmsg succeeded, and the \
             list was given back",
        ),
        "splice" => (
            "scm_destroy",
            "here, because a pipe carries bytes alone",
            "the bytes were spliced into a pipe, which carries no descriptors",
        ),
        "oob" => (
            "skb_copy_datagram_iter",
            "here the out-of-band byte was read, and the list stayed behind",
            "it hung on an out-of-band byte, which was read or passed over without it",
        ),
        "sockmap" => (
            "scm_destroy",
            "here, because a sockmap moves bytes alone",
            "a sockmap program took the message, and only its bytes went on",
        ),
        "not-sent" => (
            "scm_destroy",
            "here, before anything was queued",
            "sendmsg ended without queueing it",
        ),
        _ => return None,
    })
}
