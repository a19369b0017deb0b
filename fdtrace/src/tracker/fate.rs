//! Fate and cause: the words for how a transfer ended and why, in the trace as in what scenarios
//! expect of it.

use std::{fmt, sync::LazyLock};

use fdtrace_common::records::{FLAG_NO_RIGHTS, Head, LIST_MAX};
use nix::errno::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It has a new number at the receiver.
    Delivered,
    /// A duplicate was installed by MSG_PEEK; the message stayed.
    Peeked,
    /// The receiver took the message and not this file, for want of room, or because it could not
    /// be installed (MSG_CTRUNC).
    Truncated,
    /// The receiver's kernel refused to install it.
    Refused,
    /// The list went away without a receiver for it.
    Discarded,
    /// The garbage collector took the sockets that held it.
    Collected,
    /// It never got into a queue.
    Failed,
    /// It is still in the queue.
    Queued,
    /// Its end was not seen.
    Unknown,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::Peeked,
        Self::Truncated,
        Self::Refused,
        Self::Discarded,
        Self::Collected,
        Self::Failed,
        Self::Queued,
        Self::Unknown,
    ];

    /// The fate's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Peeked => "peeked",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::Discarded => "discarded",
            Self::Failed => "failed",
            Self::Collected => "collected",
            Self::Queued => "queued",
            Self::Unknown => "unknown",
        }
    }

    /// Whether there is a reason to ask for: neither where it arrived, nor where it has not ended.
    #[must_use]
    pub fn has_cause(self) -> bool {
        matches!(
            self,
            Self::Truncated | Self::Refused | Self::Discarded | Self::Collected | Self::Failed
        )
    }

    /// Whether it came with a new number at a receiver.
    #[must_use]
    pub fn installs(self) -> bool {
        matches!(self, Self::Delivered | Self::Peeked)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a transfer ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The control buffer was too small, or there was none.
    NoControlRoom,
    /// The receiver has as many descriptors as it may.
    RlimitNofile,
    /// A security module, or another check at the receiver, said no.
    Lsm,
    /// The send failed with this errno, or writing the number to the receiver did.
    Errno(i32),
    /// The receiver takes no descriptors (SO_PASSRIGHTS is off): EPERM at the sender.
    Passrights,
    /// More than 253 descriptors in one message: EINVAL at the sender.
    TooManyFds,
    /// A stream message without data carries nothing, and the send succeeds.
    ZeroLength,
    /// The data was taken by a call that cannot take descriptors.
    PlainRead,
    /// The data was spliced, and a pipe takes no descriptors.
    Splice,
    /// It came with an out-of-band byte, which does not bring its descriptors.
    Oob,
    /// A sockmap program took the data in the sender's task.
    Sockmap,
    /// The receive failed after it had taken the message.
    ReceiveFailed,
    /// The receiving socket was closed.
    ReceiverClosed,
    /// The connection was not accepted before its listener was closed.
    ListenerClosed,
    /// The datagram socket was connected to another peer.
    Reconnect,
    /// Only sockets in flight referred to each other.
    GarbageCollector,
    /// The kernel dropped the skb somewhere that fdtrace has no name for.
    Dropped,
}

impl Cause {
    /// The cause's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoControlRoom => "no-control-room",
            Self::RlimitNofile => "rlimit-nofile",
            Self::Lsm => "lsm",
            Self::Errno(errno) => errno_name(errno),
            Self::Passrights => "passrights",
            Self::TooManyFds => "too-many-fds",
            Self::ZeroLength => "zero-length",
            Self::PlainRead => "plain-read",
            Self::Splice => "splice",
            Self::Oob => "oob",
            Self::Sockmap => "sockmap",
            Self::ReceiveFailed => "receive-failed",
            Self::ReceiverClosed => "receiver-closed",
            Self::ListenerClosed => "listener-closed",
            Self::Reconnect => "reconnect",
            Self::GarbageCollector => "garbage-collector",
            Self::Dropped => "dropped",
        }
    }
}

/// The largest errno that a system call returns (MAX_ERRNO).
const ERRNO_MAX: usize = 4095;

/// An errno's name in lower case, or its number where it has none.
fn errno_name(errno: i32) -> &'static str {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let name = |errno: usize| match Errno::from_raw(errno as i32) {
            Errno::UnknownErrno => format!("errno-{errno}"),
            known => format!("{known:?}").to_lowercase(),
        };
        (0..=ERRNO_MAX).map(name).collect()
    });
    let name = usize::try_from(errno).ok().and_then(|at| NAMES.get(at));
    name.map_or("no-errno", String::as_str)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a fate that has a cause is told without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CauseMissing {
    /// Nothing that this kernel lets fdtrace watch shows it.
    NotWatched,
    /// What would have shown it did not.
    NotSeen,
    /// A signal interrupted the send, or io_uring put it off, and it was not seen again: what the
    /// program was told, and whether it was told anything, is not known.
    Interrupted,
    /// Records were lost or programs skipped that may have told otherwise.
    Lost,
}

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
pub(super) fn of_send(returned: &Head, attached: bool, count: u16) -> (Fate, Option<Cause>) {
    let cause = match -returned.result {
        0 if !attached => return (Fate::Discarded, Some(Cause::ZeroLength)),
        ..=0 => return (Fate::Unknown, None),
        // One that is connected to somebody else gives the same errno, as may a security module.
        libc::EPERM if attached && returned.flags & FLAG_NO_RIGHTS != 0 => Cause::Passrights,
        libc::EINVAL if usize::from(count) > LIST_MAX => Cause::TooManyFds,
        errno => Cause::Errno(errno),
    };
    (Fate::Failed, Some(cause))
}

/// What it means that installing a file gave `errno`.
pub(super) fn of_refusal(errno: i32) -> (Fate, Option<Cause>) {
    match -errno {
        libc::EMFILE => (Fate::Truncated, Some(Cause::RlimitNofile)),
        // Its number could not be written, or the table could not grow.
        errno @ (libc::EFAULT | libc::ENOMEM) => (Fate::Truncated, Some(Cause::Errno(errno))),
        _ => (Fate::Refused, Some(Cause::Lsm)),
    }
}
