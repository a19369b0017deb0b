//! Fates, verdicts, doubts, marks, and why a cause is missing.

use super::{Said, said};
use crate::model::{CauseMissing, Doubt, Fate, Mark, Verdict};

/// What became of a file.
pub(in crate::explain) fn fate(fate: Fate) -> Said {
    match fate {
        Fate::Delivered => said!(
            "the receiver now has a descriptor of its own for the same open file",
            see: "stream-one-fd"
        ),
        Fate::Peeked => said!(
            "MSG_PEEK gave the receiver a number for it, and left the message in the queue",
            cure: "close what a peek installed: the message brings the file again",
            see: "peek"
        ),
        Fate::Truncated => said!(
            "the receiver took the message and got no number for it",
            cure: "see the cause: no-control-room or rlimit-nofile. The receiver can tell by \
                   MSG_CTRUNC",
            see: "room-for-two-of-three" "rlimit-nofile"
        ),
        Fate::Refused => said!(
            "the receiver's kernel refused to give it a number",
            cure: "see the cause, and the audit log",
            see: "lsm-denied"
        ),
        Fate::Discarded => said!(
            "the message went away, and nobody got a number for it",
            cure: "see the cause. Neither sender nor receiver is told, so have the receiver \
                   acknowledge what it got",
            see: "plain-read-discards" "receiver-closes"
        ),
        Fate::Collected => said!(
            "the garbage collector took the message it was in",
            cure: "see the cause, garbage-collector",
            see: "gc-triangle"
        ),
        Fate::Failed => said!(
            "it never got into a queue",
            cure: "the sender was told: the cause is the errno, or a name for it",
            see: "bad-fd" "queue-full"
        ),
        Fate::Queued => said!(
            "it is still in the queue: alive, and in nobody's table",
            cure: "`fdtrace inflight` shows who can still receive it",
            see: "still-queued"
        ),
        Fate::Unknown => said!(
            "its end was not seen",
            cure: "if records were lost, raise --buffer; else `fdtrace doctor` says what this kernel \
                   does not show"
        ),
    }
}

pub(super) fn cause_missing(why: CauseMissing) -> Said {
    match why {
        CauseMissing::NotWatched => said!(
            "nothing that can be watched on this kernel shows the cause",
            cure: "`fdtrace doctor` says what is missing; a kernel with kprobes or fentry shows it"
        ),
        CauseMissing::NotSeen => said!(
            "what would have shown the cause did not, such as the room in a control buffer of \
             recvmmsg, which tracepoints do not show"
        ),
        CauseMissing::Interrupted => said!(
            "a signal interrupted the send, or io_uring put it off, and it was not seen again: what \
             the program was told is not known"
        ),
        CauseMissing::Lost => said!(
            "records were lost, or programs skipped, that may have told the cause",
            cure: "raise --buffer, or trace less: --pid, --comm, --cgroup"
        ),
    }
}

pub(super) fn verdict(verdict: Verdict) -> Said {
    match verdict {
        Verdict::Same => said!(
            "one address was in the sender's table, in the list and in the receiver's table, and a \
             reference was held all the way: it is the same file object",
            see: "stream-one-fd"
        ),
        Verdict::Different => said!(
            "what came out is not what went in",
            cure: "this must not happen: please report it, with a recording (fdtrace record)"
        ),
        Verdict::Lost => said!(
            "records were lost while it was on its way, so nothing is said",
            cure: "raise --buffer, or trace less: --pid, --comm, --cgroup"
        ),
        Verdict::Unverified => said!(
            "this kernel did not show enough to tell",
            cure: "`fdtrace trace --hops` says what was in doubt, `fdtrace doctor` what is not watched"
        ),
    }
}

pub(super) fn doubt(doubt: Doubt) -> Said {
    match doubt {
        Doubt::TwoThreadsSend => said!(
            "two threads of one process send on this socket, and either may have sent it: the \
             process is certain, the thread and the time are not"
        ),
        Doubt::TwoProcessesSend => said!(
            "two processes send on this socket, and either may have sent it, so no sender is named"
        ),
        Doubt::ThreadMayHaveSentAnother => said!(
            "the only thread that was seen sending on this socket may have sent another message, \
             and one that was not seen this one"
        ),
        Doubt::NotSeenInQueue => said!(
            "a receiver on another CPU took it before its sender's tracepoint had looked at the queue"
        ),
        Doubt::SentBeforeTrace => said!(
            "it was in its queue before the trace began, so who sent it was not seen",
            cure: "start the trace first; --ready-file says when it is"
        ),
        Doubt::NumberNotReadable => said!(
            "the sender's number could not be read, such as that of an io_uring request with \
             tracepoints alone",
            see: "io-uring"
        ),
        Doubt::NumberChanged => said!(
            "the sender's number stood for another file when it was looked at: it was closed, and \
             opened anew, in the meantime",
            see: "reused-number"
        ),
        Doubt::TableShared => said!(
            "other threads use the receiver's table, so the new number may be a duplicate of theirs"
        ),
        Doubt::AddressReused => said!(
            "an address came back on the way: a part of another message's way was not seen",
            see: "reused-pointer"
        ),
        Doubt::RecordsLostMeanwhile => said!(
            "records were lost, or runs of programs skipped, while it was on its way",
            cure: "raise --buffer, or trace less: --pid, --comm, --cgroup"
        ),
    }
}

pub(super) fn mark(mark: Mark) -> Said {
    match mark {
        Mark::Inheritable => said!(
            "the new descriptor is not close-on-exec: what the receiver executes has it too",
            cure: "receive with MSG_CMSG_CLOEXEC",
            see: "cmsg-cloexec" "cloexec-not-inherited"
        ),
        Mark::OtherUserNs => said!("the receiver is in another user namespace than the sender"),
        Mark::OtherPidNs => said!(
            "the receiver is in another pid namespace than the sender, as across a container's border",
            see: "pid-namespace"
        ),
        Mark::OtherMountNs => said!(
            "the receiver is in another mount namespace than the sender: the file's path may not \
             exist there"
        ),
        Mark::OtherCgroup => said!("the receiver is in another cgroup than the sender"),
        Mark::OtherUser => said!(
            "the receiver is another user than the sender: it has what it might not have been \
             allowed to open"
        ),
        Mark::StillQueued => said!(
            "it has been in the queue for longer than --stuck-after, and still is",
            cure: "`fdtrace inflight` shows who holds the receiving socket, and does not read",
            see: "still-queued"
        ),
        Mark::QueuedBefore => said!("it was in the queue before the trace began"),
        Mark::Peek => said!(
            "it was lost by a peek (MSG_PEEK) alone: the message stays in its queue, with this file",
            see: "peek"
        ),
        Mark::Relay => said!(
            "its sender had received the same open file, by the transfer whose id is given, and hands it \
             on. Only what is certain is marked: sockets, which have one open file each",
            see: "relay"
        ),
        Mark::Again => said!(
            "its receiver had received the same open file before, by the transfer whose id is given. Only \
             what is certain is marked: sockets, and what was sent again while it was still queued",
            cure: "after a sendmsg that took a part of the data, send the rest without the control message"
        ),
    }
}
