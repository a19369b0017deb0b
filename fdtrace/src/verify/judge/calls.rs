//! Calls: what the system calls did with each file of a message, going by the actors, and whether a
//! transfer is the same.

use super::{Ended, Finding};
use crate::{
    model::{Cause, Fate, Hop, HopSeen, Transfer},
    plan::Plan,
    verify::{
        fact::{Fact, MessageName},
        record::Record,
    },
};

/// What the sender says of a message.
pub(super) struct Sent<'a> {
    pub(super) message: &'a MessageName,
    pub(super) pid: u32,
    pub(super) fds: &'a [i32],
    pub(super) span: (u64, u64),
    /// What the call failed with, if it did.
    pub(super) errno: Option<i32>,
}

/// What a receiver says of one receive.
pub(super) struct Received<'a> {
    pub(super) pid: u32,
    /// By place in the message: a new number, or a negative errno.
    pub(super) slots: &'a [i32],
    pub(super) span: (u64, u64),
    pub(super) cloexec: &'a [bool],
    pub(super) truncated: Option<bool>,
    pub(super) truncates: bool,
    pub(super) peek: bool,
}

impl<'a> Sent<'a> {
    pub(super) fn of(fact: &'a Fact) -> Option<Self> {
        let (actor, message, fds, span, errno) = match fact {
            Fact::Sent {
                actor,
                message,
                fds,
                span,
            } => (actor, message, fds, span, None),
            Fact::SendFailed {
                actor,
                message,
                fds,
                span,
                errno,
            } => (actor, message, fds, span, Some(*errno)),
            _ => return None,
        };
        Some(Self {
            message,
            pid: actor.pid,
            fds,
            span: *span,
            errno,
        })
    }
}

impl<'a> Received<'a> {
    pub(super) fn of(fact: &'a Fact, name: &MessageName) -> Option<Self> {
        match fact {
            Fact::Received {
                actor,
                message,
                fds,
                span,
                cloexec,
                truncated,
                truncates,
                peek,
            } if message == name => Some(Self {
                pid: actor.pid,
                slots: fds,
                span: *span,
                cloexec,
                truncated: *truncated,
                truncates: *truncates,
                peek: *peek,
            }),
            _ => None,
        }
    }

    /// The new number of file `index`, if it got one here.
    pub(super) fn number(&self, index: usize) -> Option<i32> {
        self.slots.get(index).copied().filter(|slot| *slot >= 0)
    }
}

impl Ended {
    /// How a transfer ended.
    pub(super) fn of(transfer: &Transfer) -> Self {
        Self {
            fate: transfer.fate(),
            cause: transfer.cause(),
        }
    }

    /// What must become of file `index`.
    pub(super) fn all_of(record: &Record, sent: &Sent<'_>, index: usize) -> Vec<Self> {
        let stated: Vec<Self> = record
            .facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Fate {
                    message,
                    files: (first, end),
                    fate,
                    cause,
                } if message == sent.message && (*first..*end).contains(&index) => Some(Self {
                    fate: *fate,
                    cause: *cause,
                }),
                _ => None,
            })
            .collect();
        if !stated.is_empty() {
            return stated;
        }
        vec![match sent.errno {
            None => Self {
                fate: Fate::Delivered,
                cause: None,
            },
            Some(errno) => Self {
                fate: Fate::Failed,
                cause: Some(Cause::Errno(errno)),
            },
        }]
    }

    pub(super) fn is_of(self, transfer: &Transfer) -> bool {
        self == Self::of(transfer)
    }
}

/// Whether the file's fate sets MSG_CTRUNC: it got lost on arrival, and no errno is in its place.
pub(super) fn truncates_message(
    expected: &[Ended],
    receives: &[Received<'_>],
    index: usize,
) -> bool {
    let in_place = |receive: &Received<'_>| receive.slots.get(index).is_some_and(|slot| *slot < 0);
    !receives.iter().any(in_place)
        && expected
            .iter()
            .any(|expected| matches!(expected.fate, Fate::Truncated | Fate::Refused))
}

/// Which receive brought a file, for each of its fates.
pub(super) struct Came<'a> {
    /// By fate; `None` where nothing had to come.
    pub(super) receives: Vec<Option<&'a Received<'a>>>,
    /// Receives that brought it without a fate that says so.
    pub(super) unexpected: usize,
    /// Fates that say it came, without a receive.
    pub(super) unreceived: usize,
}

impl<'a> Came<'a> {
    pub(super) fn of(expected: &[Ended], receives: &'a [Received<'a>], index: usize) -> Self {
        let mut brought: Vec<&Received<'_>> = receives
            .iter()
            .filter(|receive| receive.number(index).is_some())
            .collect();
        let mut unreceived = 0;
        let receives = expected
            .iter()
            .map(|expected| {
                if !expected.fate.installs() {
                    return None;
                }
                let peek = expected.fate == Fate::Peeked;
                let at = brought.iter().position(|receive| receive.peek == peek);
                unreceived += usize::from(at.is_none());
                at.map(|at| brought.remove(at))
            })
            .collect();
        Self {
            receives,
            unexpected: brought.len(),
            unreceived,
        }
    }

    pub(super) fn contradiction(&self, sent: &Sent<'_>, index: usize) -> Option<Finding> {
        let (message, fd) = (sent.message.clone(), sent.fds[index]);
        match (self.unexpected, self.unreceived) {
            (0, 0) => None,
            (0, _) => Some(Finding::NotReceived { message, fd }),
            _ => Some(Finding::Unexpected { message, fd }),
        }
    }
}

/// Whether the transfer left as file `index` of the message: by number, process and time. The number
/// may be unknown where only the kernel's own copy would show it, and that is not watched.
pub(super) fn left(transfer: &Transfer, index: usize, sent: &Sent<'_>, plan: &Plan) -> bool {
    let within = |t_ns: u64| (sent.span.0..=sent.span.1).contains(&t_ns);
    let Some(sender) = &transfer.sender else {
        return false;
    };
    // What is no number is none to the trace either.
    let number = Some(sent.fds[index]).filter(|fd| *fd >= 0);
    let mut sent_hops = transfer.hops.iter().filter(|seen| seen.hop <= Hop::Queue);
    usize::from(transfer.index) == index
        && usize::from(transfer.count) == sent.fds.len()
        && sender.pid == sent.pid
        && (sender.fd == number || sender.fd.is_none() && !plan.watches(Hop::Copy))
        // Of one of several threads the time is another's.
        && (sender.tid.is_none() || within(sender.t_ns))
        && sent_hops.all(|seen| within(seen.t_ns))
}

/// Whether the transfer arrived as file `index` in this receive: by number, process and time.
pub(super) fn arrived(transfer: &Transfer, index: usize, receive: &Received<'_>) -> bool {
    let within = |seen: &HopSeen| (receive.span.0..=receive.span.1).contains(&seen.t_ns);
    let mut installs = transfer.hops.iter().filter(|seen| seen.hop == Hop::Install);
    transfer.receiver().is_some_and(|receiver| {
        receiver.pid == receive.pid
            && (receiver.fd == receive.number(index) || is_numberless(transfer))
    }) && installs.next().is_some_and(within)
}

/// Whether the file was found in the receiver's table, where its number could be another thread's
/// duplicate: no control message named it.
pub(super) fn is_numberless(transfer: &Transfer) -> bool {
    let receiver = transfer.receiver();
    receiver.is_some_and(|receiver| receiver.fd.is_none() && receiver.fd_inferred)
}
