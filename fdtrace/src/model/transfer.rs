//! Transfer: one file's way in one message.

use std::{net::SocketAddr, sync::Arc};

use smol_str::SmolStr;

use super::{
    Cause, CauseMissing, DescriptionMissing, Doubt, End, FailedSend, Fate, FileDescription,
    FileIdentity, Hop, Receiver, Sender, Socket, SocketDescription, Task, named,
};

/// One file's way in one message.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Counts transfers from 1, in the order in which they ended.
    pub id: u64,
    /// Counts messages from 1, in the order in which they were first seen.
    pub message: u64,
    /// Place in the message's list, from 0.
    pub index: u16,
    /// Files in the message.
    pub count: u16,
    /// The file.
    pub file: FileIdentity,
    /// Who sent it; `None` if the list was not seen in the queue.
    pub sender: Option<Sender>,
    /// The sockets between them.
    pub socket: Socket,
    /// How it ended.
    pub end: End,
    /// Whether it was followed without a gap.
    pub chain: Chain,
    /// What was left open of it, and why, as far as that does not depend on losses.
    pub doubt: Option<Doubt>,
    /// Whether a task that the filter wants took part.
    pub wanted: bool,
    /// It is what a peek lost: the message stays in its queue, with this file.
    pub peek: bool,
    /// It is told of because it has been queued for long, not because it has ended.
    pub overdue: bool,
    /// It was sent before the trace began, and seen in its queue then: CLOCK_MONOTONIC,
    /// nanoseconds.
    pub found_ns: Option<u64>,
    /// What is known of its file and ends.
    pub context: Context,
    /// What its send had to do with, if that failed and it was seen.
    pub failed_send: Option<Box<FailedSend>>,
    /// Nanoseconds from queue to dequeue, or to detach where dequeue is not watched.
    pub queued_ns: Option<u64>,
    /// Nanoseconds from copy to install, where both were seen. Where one record tells of a whole receive,
    /// its files are taken for installed as the list is given back, right after the last one.
    pub total_ns: Option<u64>,
    /// It was sent since then, where nothing of it was seen before its sender's look at the queue,
    /// which comes after the fact: CLOCK_MONOTONIC, nanoseconds.
    pub since_ns: Option<u64>,
    /// The hops where it was seen, in order of time.
    pub hops: Vec<HopSeen>,
}

impl Transfer {
    /// How it ended, in a word.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.end.fate()
    }

    /// Why it was lost, where that is known.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.end.cause()
    }

    /// Why that is not known, if it was lost.
    #[must_use]
    pub fn cause_missing(&self) -> Option<CauseMissing> {
        self.end.cause_missing()
    }

    /// Who received it, or took its message without it; `None` if nobody did.
    #[must_use]
    pub fn receiver(&self) -> Option<&Receiver> {
        self.end.receiver()
    }

    /// Since when it may have been on its way: CLOCK_MONOTONIC, nanoseconds. `None` if that is not
    /// known.
    #[must_use]
    pub fn begin_ns(&self) -> Option<u64> {
        let hops = self.hops.iter().map(|seen| seen.t_ns);
        let sent = self.sender.iter().map(|sender| sender.t_ns);
        hops.chain(sent).chain(self.since_ns).min()
    }

    /// The path of its file, where it is in a tree and was described.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let path = self.context.file.as_ref()?.path()?;
        Some(path.text.as_str())
    }

    /// Whether its file is a socket that waits for connections at this address, and was seen to be.
    #[must_use]
    pub fn is_listening_on(&self, address: SocketAddr) -> bool {
        matches!(
            self.context.file.as_deref(),
            Some(FileDescription::Socket(SocketDescription::Inet { local, listens: true, .. }))
                if *local == address
        )
    }

    /// Whether the process at either end is one of these.
    #[must_use]
    pub fn is_of(&self, is_one: impl Fn(u32) -> bool) -> bool {
        let sender = self.sender.as_ref().map(|sender| sender.pid);
        let receiver = self.receiver().map(|receiver| receiver.pid);
        [sender, receiver].into_iter().flatten().any(is_one)
    }

    /// When it was last seen: CLOCK_MONOTONIC, nanoseconds.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        let hops = self.hops.iter().map(|seen| seen.t_ns).max();
        let sent = || self.sender.as_ref().map(|sender| sender.t_ns);
        hops.or_else(sent).or(self.found_ns).unwrap_or(0)
    }
}

named! { "snake_case";
/// By which way of the kernel's a file came to its receiver.
#[non_exhaustive]
pub enum Way {
    /// In a control message of a Unix socket (SCM_RIGHTS).
    ScmRights,
    /// `pidfd_getfd(2)`.
    PidfdGetfd,
    /// `SECCOMP_IOCTL_NOTIF_ADDFD`.
    SeccompAddfd,
    /// A pidfd of the sender that the kernel put into a control message (SCM_PIDFD).
    ScmPidfd,
}
}

/// Whether a transfer was followed, without a gap, from the sender's number to the receiver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chain {
    /// One pointer at every hop, from the sender's table to the receiver's.
    Whole,
    /// Another pointer at `hop` than before it.
    Differs {
        /// The first hop that differs.
        hop: Hop,
    },
    /// Nothing was seen at `hop`.
    Gap {
        /// The first hop that is missing.
        hop: Hop,
    },
    /// Records were lost while the message was on its way; these may belong to two messages.
    LossBetween,
    /// The list was followed, but not which of the sender's numbers the file came from.
    SenderUnknown,
}

/// One file at one hop.
#[derive(Clone, Debug)]
pub struct HopSeen {
    /// The hop.
    pub hop: Hop,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// CPU it was seen on.
    pub cpu: u32,
    /// Process that was running.
    pub pid: u32,
    /// Thread that was running.
    pub tid: u32,
    /// Its name.
    pub comm: SmolStr,
    /// Address of the file as read there.
    pub file: u64,
    /// Address of the skb.
    pub skb: u64,
    /// Address of the list.
    pub list: u64,
    /// Address of the sending `sock`, or 0 where it was not read.
    pub sender_sock: u64,
    /// Address of the receiving `sock`, or 0 where it was not read.
    pub receiver_sock: u64,
    /// The file's reference count as read there.
    pub refs: Option<i64>,
}

/// What is known of a transfer's file and ends; nothing where it was not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// What the file is.
    pub file: Option<Arc<FileDescription>>,
    /// Why that is not known; `None` if it is, or if nobody asked.
    pub missing: Option<DescriptionMissing>,
    /// What separates the sender from others.
    pub sender: Option<Task>,
    /// What separates the receiver from others.
    pub receiver: Option<Task>,
}
