//! Conclude: how a file ended, and why, by what its message shows, how the call ended and in which
//! functions.

use fdtrace_common::records::LIST_MAX;

use super::Message;
use crate::{
    model::{Cause, Fate},
    wire::{Call, Errno, Given, Return, SendReturn},
};

/// The functions in which a list ended, innermost first, without what compilers append.
#[derive(Clone, Default)]
pub(super) struct Called {
    functions: Vec<String>,
    /// The innermost one is all that is known: nothing can be said of what called it.
    alone: bool,
}

impl Called {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let plain = |name: String| name.split('.').next().unwrap_or_default().to_owned();
        Self {
            functions: names.map(plain).collect(),
            alone: false,
        }
    }

    /// The function that freed an skb, where those around it were not told.
    pub(super) fn by(name: Option<String>) -> Self {
        Self {
            alone: true,
            ..Self::new(name.into_iter())
        }
    }

    /// Whether nothing was said of it.
    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    fn times(&self, function: &str) -> usize {
        let functions = self.functions.iter();
        functions.filter(|name| *name == function).count()
    }

    fn any(&self, functions: &[&str]) -> bool {
        functions.iter().any(|function| self.times(function) > 0)
    }

    /// In a program that a sockmap attached, called as data becomes ready.
    fn by_sockmap(&self) -> bool {
        self.any(&["unix_read_skb", "unix_stream_read_skb"]) || self.any_begins_with(&["sk_psock_"])
    }

    fn any_begins_with(&self, beginnings: &[&str]) -> bool {
        let begins = |name: &String| beginnings.iter().any(|begin| name.starts_with(begin));
        self.functions.iter().any(begins)
    }

    /// In a request of io_uring's, which may run inside whatever call the task is in.
    pub(super) fn in_uring(&self) -> bool {
        self.any_begins_with(&["io_send", "io_issue_sqe", "io_wq_"])
    }

    /// As an skb went away, so the list was still on it.
    fn with_skb(&self) -> bool {
        self.any_begins_with(&["kfree_skb", "__kfree_skb", "skb_release_"])
            || self.any(&[
                "unix_destruct_scm",
                "unix_wfree",
                "consume_skb",
                "sk_skb_reason_drop",
                "__sk_skb_reason_drop",
                "skb_free_datagram",
            ])
    }

    /// In a send that has to give up.
    pub(super) fn by_sender(&self) -> bool {
        !self.by_sockmap()
            && !self.by_collector()
            && self.any(&["unix_stream_sendmsg", "unix_dgram_sendmsg"])
    }

    /// It is a kworker since 6.1.141 and 6.10; before, whoever closed a socket or sent on one.
    fn by_collector(&self) -> bool {
        self.any(&["unix_gc", "__unix_gc"])
    }

    /// In a call that has no place for descriptors. io_uring may run a request of its own within
    /// another call, so the innermost counts.
    pub(super) fn by_plain_read(&self) -> bool {
        const PLAIN: [&str; 3] = ["sock_read_iter", "__sys_recvfrom", "io_recv"];
        const OTHERS: [&str; 5] = [
            "io_recvmsg",
            "____sys_recvmsg",
            "___sys_recvmsg",
            "__sys_recvmsg",
            "do_recvmmsg",
        ];
        let mut names = self.functions.iter().map(String::as_str);
        names
            .find(|name| PLAIN.contains(name) || OTHERS.contains(name))
            .is_some_and(|name| PLAIN.contains(&name))
    }

    /// In a call that has, if its program gave it one.
    pub(super) fn by_recvmsg(&self) -> bool {
        self.any(&["____sys_recvmsg", "io_recvmsg", "io_recvmsg_multishot"])
    }

    /// What it means that an skb was freed here with its list on it.
    pub(super) fn destroyed(&self) -> (Fate, Option<Cause>) {
        if self.by_collector() {
            return (Fate::Collected, Some(Cause::GarbageCollector));
        }
        let purges = self.any(&["skb_queue_purge", "skb_queue_purge_reason"]);
        let closes = self.times("unix_release_sock");
        let cause = if self.by_sockmap() {
            Cause::Sockmap
        } else if self.any(&["unix_dgram_disconnected"])
            || (purges && self.any(&["unix_dgram_connect"]))
        {
            Cause::Reconnect
        } else if closes > 1 {
            // A listener closes the connections that it has not accepted.
            Cause::ListenerClosed
        } else if closes == 1 && !self.alone {
            Cause::ReceiverClosed
        } else if self.any(&["unix_stream_read_generic", "unix_stream_recvmsg"]) {
            // A receive of stream data frees an skb whose list it has not taken only where the
            // data was out of band.
            Cause::Oob
        } else if self.any(&["__unix_dgram_recvmsg", "unix_dgram_recvmsg"]) {
            // One of a datagram takes the list first, unless the data could not be copied.
            Cause::ReceiveFailed
        } else if self.is_empty() || self.alone {
            return (Fate::Discarded, None);
        } else {
            Cause::Dropped
        };
        (Fate::Discarded, Some(cause))
    }

    /// What the functions show of a list that a call gave back and nobody was seen to install.
    pub(super) fn given_back(&self) -> Option<(Fate, Option<Cause>)> {
        if self.with_skb() || self.by_sockmap() || self.by_collector() {
            return Some(self.destroyed());
        }
        let cause = if self.any(&["unix_stream_splice_read"]) {
            Cause::Splice
        } else if self.by_plain_read() {
            Cause::PlainRead
        } else {
            return None;
        };
        Some((Fate::Discarded, Some(cause)))
    }
}

/// Whether what a send returned is no answer to its program: a signal came, and the kernel makes the
/// call anew or not, as the signal's handler wants it; or io_uring waits for room.
pub(super) fn is_put_off(result: i32, called: &Called) -> bool {
    const ERESTARTSYS: i32 = 512;
    const ERESTARTNOINTR: i32 = 513;
    const ERESTARTNOHAND: i32 = 514;
    const ERESTART_RESTARTBLOCK: i32 = 516;
    match -result {
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK => true,
        libc::EAGAIN => called.in_uring(),
        _ => false,
    }
}

/// What it means that a send returned whose list was not seen in a queue. It held `count` files and had
/// been `attached` to an skb or not. One that has sent something has queued it, unseen.
fn of_send(returned: &SendReturn, attached: bool, count: u16) -> (Fate, Option<Cause>) {
    let cause = match -returned.result {
        0 if !attached => return (Fate::Discarded, Some(Cause::ZeroLength)),
        ..=0 => return (Fate::Unknown, None),
        // One that is connected to somebody else gives the same errno, as may a security module.
        libc::EPERM if attached && returned.takes_no_fds => Cause::Passrights,
        libc::EINVAL if usize::from(count) > LIST_MAX => Cause::TooManyFds,
        errno => Cause::Errno(errno),
    };
    (Fate::Failed, Some(cause))
}

/// What it means that installing a file gave `errno`.
fn of_refusal(errno: Errno) -> (Fate, Option<Cause>) {
    match errno {
        libc::EMFILE => (Fate::Truncated, Some(Cause::RlimitNofile)),
        // Its number could not be written, or the table could not grow.
        errno @ (libc::EFAULT | libc::ENOMEM) => (Fate::Truncated, Some(Cause::Errno(errno))),
        _ => (Fate::Refused, Some(Cause::Lsm)),
    }
}

/// How a message ended.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a> {
    /// That went unseen; it may be in its queue still.
    Unseen { is_queued: bool },
    /// Its skb was freed with the list unread, in these functions.
    Destroyed(&'a Called),
    /// A call gave its list back that was not seen to receive it, in these functions.
    GivenBack(&'a Called),
    /// A receive took it, and ended so in these functions.
    Received(Ended<'a>, &'a Called),
    /// Its send returned, and it is in no queue. It had been attached to an skb or not.
    SendReturned(&'a SendReturn, bool),
    /// It is in no queue, and what its send returned went unseen.
    SendUnseen,
    /// Its send was put off, and did not come back; its return may be among what was lost.
    PutOff { is_lossy: bool },
}

/// What became of the file at this place of a message that ended so, and why.
pub(super) fn conclude(
    message: &Message,
    index: usize,
    ending: Ending<'_>,
) -> (Fate, Option<Cause>) {
    match ending {
        // What was installed is delivered, whatever became of the rest.
        Ending::Unseen { .. } | Ending::Received(..) if message.is_installed(index) => {
            (Fate::Delivered, None)
        }
        Ending::Unseen { is_queued: true } => (Fate::Queued, None),
        Ending::Unseen { is_queued: false } => (Fate::Unknown, None),
        Ending::Destroyed(called) => called.destroyed(),
        // Where no function shows it, it may have been read and installed: the kernel skips programs on
        // a CPU where a task was preempted in them.
        Ending::GivenBack(called) => called.given_back().unwrap_or((Fate::Unknown, None)),
        Ending::Received(ended, called) => undelivered(message, index, ended, called),
        Ending::SendReturned(returned, attached) => of_send(returned, attached, message.count),
        Ending::SendUnseen if message.given_up => (Fate::Failed, None),
        Ending::PutOff { is_lossy: false } => (Fate::Failed, None),
        Ending::SendUnseen | Ending::PutOff { is_lossy: true } => (Fate::Unknown, None),
    }
}

/// With what a receive ended.
#[derive(Clone, Copy)]
pub(super) enum Ended<'a> {
    /// It returned, and its table was looked at.
    Returned(&'a Return),
    /// It gave its list back.
    Gave(&'a Given),
}

impl<'a> Ended<'a> {
    fn given(self) -> &'a Given {
        match self {
            Self::Returned(returned) => &returned.given,
            Self::Gave(given) => given,
        }
    }
}

/// What became of a file that a receive took and did not install. `last` is the record with which
/// the receive ended, in the functions of `called`.
fn undelivered(
    message: &Message,
    index: usize,
    last: Ended<'_>,
    called: &Called,
) -> (Fate, Option<Cause>) {
    let given = last.given();
    let returned = match last {
        Ended::Returned(returned) => Some(returned),
        Ended::Gave(_) => None,
    };
    if returned.is_some_and(|returned| returned.table.is_short) {
        // New numbers may lie beyond what was looked at.
        return (Fate::Unknown, None);
    }
    if let Some(refused) = message.refusal(index) {
        return of_refusal(refused.errno);
    }
    if let Some(before) = message.gave_up_before(index) {
        let (_, cause) = of_refusal(before.errno);
        return (Fate::Truncated, cause);
    }
    if message.was_tried(index) {
        // What came of it went unseen.
        (Fate::Unknown, None)
    } else if let Some(room) = message.room() {
        if index >= room {
            (Fate::Truncated, Some(Cause::NoControlRoom))
        } else {
            // It had its turn, and what came of that went unseen.
            (Fate::Unknown, None)
        }
    } else if given.installed_unseen {
        (Fate::Unknown, None)
    } else if given.errno.is_some() {
        (Fate::Discarded, Some(Cause::ReceiveFailed))
    } else if let Some(ended) = called.given_back() {
        ended
    } else if !message.is_being_received() {
        (Fate::Unknown, None)
    } else if is_plain_read(given, called) {
        (Fate::Discarded, Some(Cause::PlainRead))
    } else if let Some(returned) = returned {
        match message.may_hide(returned) {
            true => (Fate::Unknown, None),
            false => message.missing_in_table(index, returned),
        }
    } else if !called.by_recvmsg() {
        // Whether that call had a place for descriptors was not seen.
        (Fate::Unknown, None)
    } else {
        // The list was given back before anything looked for room, so there was no control buffer.
        (Fate::Truncated, Some(Cause::NoControlRoom))
    }
}

/// Whether the receive was a call that has no place for descriptors. Where the task has an io_uring, the
/// system call that it is in may be another: then only the functions tell.
fn is_plain_read(given: &Given, called: &Called) -> bool {
    called.by_plain_read() || !given.has_uring && given.call == Some(Call::PlainRead)
}

impl Message {
    /// What became of a file that the receiver's table did not gain, where the function that refused
    /// it is not seen. The cause is given where the kernel's own tables leave no other.
    fn missing_in_table(&self, index: usize, returned: &Return) -> (Fate, Option<Cause>) {
        let control = returned.control;
        let room = control.map(|control| control.room(self.installed()));
        if room.as_ref().is_some_and(|room| index >= *room.end()) {
            return (Fate::Truncated, Some(Cause::NoControlRoom));
        }
        let later = index + 1..self.files.len();
        let in_place = control.is_some_and(|control| !control.truncated);
        if in_place || later.into_iter().any(|later| self.is_installed(later)) {
            // Only a refusal leaves the others their turn.
            return (Fate::Refused, None);
        }
        let full = returned.table.is_full;
        let cause =
            (full && room.is_some_and(|room| index < *room.start())).then_some(Cause::RlimitNofile);
        (Fate::Truncated, cause)
    }
}
