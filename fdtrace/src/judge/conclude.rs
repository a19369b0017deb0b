//! Conclude: how a file ended, and why, by what its message shows, how the call ended and in which
//! functions.

use fdtrace_common::records::LIST_MAX;

use crate::{
    model::{Cause, Hop, Loss},
    track::{Ending, Message},
    wire::{Backtrace, Call, Errno, Given, Refusal, Return, SendReturn},
};

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conclusion {
    Delivered,
    Peeked,
    /// How, and why, where that is known.
    Lost(Loss, Option<Cause>),
    Queued,
    Unknown,
}

use Conclusion::{Delivered, Lost, Queued, Unknown};

const fn discarded(cause: Cause) -> Conclusion {
    Lost(Loss::Discarded, Some(cause))
}

/// What became of the file at this place of a message that ended so, and why.
pub(super) fn conclude(message: &Message, index: usize, ending: Ending) -> Conclusion {
    let backtrace = &message.ended_in;
    match ending {
        // What was installed is delivered, whatever became of the rest.
        Ending::Unseen { .. } | Ending::Received(..) if message.is_installed(index) => Delivered,
        Ending::Unseen { is_queued: true } | Ending::Overdue => Queued,
        Ending::Destroyed => of_free(backtrace),
        // Where no function shows it, it may have been read and installed: the kernel skips programs on
        // a CPU where a task was preempted in them.
        Ending::GivenBack => of_return(backtrace).unwrap_or(Unknown),
        Ending::Received(given, returned) => {
            of_receive(message, index, &given, returned.as_ref(), backtrace)
        }
        Ending::SendReturned(returned, attached) => of_send(&returned, attached, message.count),
        Ending::Ignored => discarded(Cause::NotUnix),
        Ending::SendUnseen if message.given_up => Lost(Loss::Failed, None),
        Ending::PutOff { is_lossy: false } => Lost(Loss::Failed, None),
        Ending::SendUnseen | Ending::PutOff { is_lossy: true } => Unknown,
        Ending::Unseen { is_queued: false } => Unknown,
    }
}

/// What it means that an skb was freed in these functions with its list on it.
fn of_free(backtrace: &Backtrace) -> Conclusion {
    if backtrace.unnamed {
        // A send that failed, a receiver that went, the collector: each of them frees it.
        return Unknown;
    }
    if backtrace.by_collector() {
        return Lost(Loss::Collected, Some(Cause::GarbageCollector));
    }
    let purges = backtrace.any(&["skb_queue_purge", "skb_queue_purge_reason"]);
    let closes = backtrace.times("unix_release_sock");
    discarded(if backtrace.by_sockmap() {
        Cause::Sockmap
    } else if backtrace.any(&["unix_dgram_disconnected"])
        || (purges && backtrace.any(&["unix_dgram_connect"]))
    {
        Cause::Reconnect
    } else if closes > 1 {
        // A listener closes the connections that it has not accepted.
        Cause::ListenerClosed
    } else if closes == 1 && !backtrace.alone {
        Cause::ReceiverClosed
    } else if backtrace.any(&["unix_stream_read_generic", "unix_stream_recvmsg"]) {
        // A receive of stream data frees an skb whose list it has not taken only where the
        // data was out of band.
        Cause::Oob
    } else if backtrace.any(&["__unix_dgram_recvmsg", "unix_dgram_recvmsg"]) {
        // One of a datagram takes the list first, unless the data could not be copied.
        Cause::ReceiveFailed
    } else if backtrace.is_empty() || backtrace.alone {
        return Lost(Loss::Discarded, None);
    } else {
        Cause::Dropped
    })
}

/// What the functions show of a list that a call gave back and nobody was seen to install.
fn of_return(backtrace: &Backtrace) -> Option<Conclusion> {
    if backtrace.with_skb() || backtrace.by_sockmap() || backtrace.by_collector() {
        return Some(of_free(backtrace));
    }
    let splices = backtrace.any(&["unix_stream_splice_read"]);
    (splices || backtrace.by_plain_read()).then(|| {
        discarded(match splices {
            true => Cause::Splice,
            false => Cause::PlainRead,
        })
    })
}

/// What it means that a send returned whose list was not seen in a queue. It held `count` files and had
/// been `attached` to an skb or not. One that has sent something has queued it, unseen.
fn of_send(returned: &SendReturn, attached: bool, count: u16) -> Conclusion {
    let cause = match -returned.result {
        0 if !attached => return discarded(Cause::ZeroLength),
        ..=0 => return Unknown,
        // One that is connected to somebody else gives the same errno, as may a security module.
        libc::EPERM if attached && returned.takes_no_fds => Cause::Passrights,
        libc::EINVAL if usize::from(count) > LIST_MAX => Cause::TooManyFds,
        errno => Cause::Errno(errno),
    };
    Lost(Loss::Failed, Some(cause))
}

/// What it means that installing a file gave `errno`.
fn of_refusal(errno: Errno) -> Conclusion {
    let loss = match errno {
        // The latter two: its number could not be written, or the table could not grow.
        libc::EMFILE | libc::EFAULT | libc::ENOMEM => Loss::Truncated,
        _ => Loss::Refused,
    };
    Lost(loss, Some(cause_of_refusal(errno)))
}

fn cause_of_refusal(errno: Errno) -> Cause {
    match errno {
        libc::EMFILE => Cause::RlimitNofile,
        libc::EFAULT | libc::ENOMEM => Cause::Errno(errno),
        _ => Cause::Lsm,
    }
}

/// What became of a file that a receive took and did not install.
fn of_receive(
    message: &Message,
    index: usize,
    given: &Given,
    returned: Option<&Return>,
    backtrace: &Backtrace,
) -> Conclusion {
    // Where the task has an io_uring, the system call that it is in may be another: then only the
    // functions tell.
    let reads_plainly =
        backtrace.by_plain_read() || !given.has_uring && given.call == Some(Call::PlainRead);
    if returned.is_some_and(|returned| returned.table.is_short) {
        // New numbers may lie beyond what was looked at.
        Unknown
    } else if let Some(refused) = message.refusal(index) {
        of_refusal(refused.errno)
    } else if let Some(before) = message.gave_up_before(index) {
        Lost(Loss::Truncated, Some(cause_of_refusal(before.errno)))
    } else if message.was_tried(index) {
        // What came of it went unseen.
        Unknown
    } else if let Some(room) = message.room_seen() {
        // Within the room, it had its turn, and what came of that went unseen.
        match index >= room {
            true => Lost(Loss::Truncated, Some(Cause::NoControlRoom)),
            false => Unknown,
        }
    } else if given.installed_unseen {
        Unknown
    } else if given.errno.is_some() {
        discarded(Cause::ReceiveFailed)
    } else if let Some(ended) = of_return(backtrace) {
        ended
    } else if backtrace.unnamed && (returned.is_none() || given.has_uring || given.call.is_none()) {
        // It may have gone with its skb, or by a call that has no place for descriptors.
        Unknown
    } else if !message.is_being_received() {
        Unknown
    } else if reads_plainly {
        discarded(Cause::PlainRead)
    } else if let Some(returned) = returned {
        of_table(message, index, returned)
    } else if backtrace.by_recvmsg() && !message.may_be_detached {
        // The list was given back before anything looked for room, so there was no control buffer.
        Lost(Loss::Truncated, Some(Cause::NoControlRoom))
    } else {
        // Whether that call had a place for descriptors was not seen.
        Unknown
    }
}

/// What became of a file that the receiver's table did not gain, where the function that refused it is
/// not seen. The cause is given where the kernel's own tables leave no other.
fn of_table(message: &Message, index: usize, returned: &Return) -> Conclusion {
    if message.may_hide(returned) {
        return Unknown;
    }
    let control = returned.control;
    let room = control.map(|control| control.room(message.installed()));
    if room.as_ref().is_some_and(|room| index >= *room.end()) {
        return Lost(Loss::Truncated, Some(Cause::NoControlRoom));
    }
    let mut later = index + 1..message.files.len();
    let in_place = control.is_some_and(|control| !control.truncated);
    if in_place || later.any(|later| message.is_installed(later)) {
        // Only a refusal leaves the others their turn.
        return Lost(Loss::Refused, None);
    }
    let is_full = returned.table.is_full && room.is_some_and(|room| index < *room.start());
    Lost(Loss::Truncated, is_full.then_some(Cause::RlimitNofile))
}

impl Message {
    fn refusal(&self, index: usize) -> Option<Refusal> {
        self.files.get(index)?.refused
    }

    /// The refusal of an earlier file, after which the kernel gave up.
    fn gave_up_before(&self, index: usize) -> Option<Refusal> {
        let before = self.files.iter().take(index);
        let mut refused = before.filter_map(|file| file.refused);
        refused.find(|refused| !refused.in_place)
    }

    fn is_installed(&self, index: usize) -> bool {
        let file = self.files.get(index);
        file.is_some_and(|file| file.at(Hop::Install).is_some() || file.arrived)
    }

    /// How many of its files there was room for, where that was seen.
    fn room_seen(&self) -> Option<usize> {
        self.room.filter(|_| self.has(Hop::Detach))
    }

    /// Whether the file may have been installed under a number that does not show: one that was open
    /// before, which another task closed meanwhile.
    fn may_hide(&self, returned: &Return) -> bool {
        let absent = returned.control.is_some_and(|control| control.absent);
        returned.table.is_shared && !self.counted && !absent
    }
}
