//! Course: which way a message went, for the conditions that functions have.

use super::{Message, Writer};
use crate::{
    explain::{
        endings::{Turn, turn},
        functions::When,
    },
    model::{Cause, Chain, Fate, Hop, SocketType},
    verify::fact::Fact,
};

/// How a message went in one call.
pub(super) struct Course {
    holds: Vec<When>,
    pub(super) turn: Option<Turn>,
    /// Where another file was seen than before. What comes after is left out: it is not known whose
    /// it is.
    pub(super) wrong: Option<Hop>,
}

impl Course {
    pub(super) fn is(&self, when: When) -> bool {
        self.holds.contains(&when)
    }
}

impl Writer<'_> {
    pub(super) fn course(&self, message: &Message<'_>, kind: &str) -> Course {
        let mut holds = Vec::new();
        let kinds = match message.transfers[0].socket.kind {
            Some(SocketType::Stream) => &[When::Stream][..],
            Some(SocketType::Dgram) => &[When::Packets][..],
            Some(SocketType::Seqpacket) => &[When::Packets, When::Seqpacket][..],
            None => &[],
        };
        holds.extend(kinds);
        let pid = match kind {
            "send" => message.transfers[0]
                .sender
                .as_ref()
                .map(|sender| sender.pid),
            _ => message.transfers[0].receiver().map(|receiver| receiver.pid),
        };
        if self.recording.facts.iter().any(|fact| match (fact, kind) {
            (Fact::Sent { actor, .. } | Fact::SendFailed { actor, .. }, "send") => {
                Some(actor.pid) == pid
            }
            // Calls that are not recvmsg have no flags that show truncation.
            (
                Fact::Received {
                    actor, truncated, ..
                },
                "receive" | "peek",
            ) => Some(actor.pid) == pid && truncated.is_some(),
            _ => false,
        }) {
            holds.push(When::SystemCall);
        }
        holds.extend(match kind {
            "send" => sending(message),
            "drop" => ending(message),
            _ => receiving(message, kind == "peek"),
        });
        let turn = message
            .cause()
            .and_then(turn)
            .filter(|turn| turn.in_send == (kind == "send"));
        let wrong = message
            .transfers
            .iter()
            .find_map(|transfer| match transfer.chain {
                Chain::Differs { hop } => Some(hop),
                _ => None,
            });
        Course { holds, turn, wrong }
    }
}

fn sending(message: &Message<'_>) -> Vec<When> {
    let queued = message.was_queued();
    // The receiver is asked last.
    let attached = queued || message.has(Hop::Attach) || message.cause_is(Cause::Passrights);
    let mut holds = Vec::new();
    if attached || message.cause_is(Cause::Errno(libc::ETOOMANYREFS)) {
        holds.push(When::Tried);
    }
    holds.extend(match (queued, attached) {
        (true, _) => &[When::Queued, When::Attached],
        (false, true) => &[When::Unqueued, When::Attached],
        (false, false) => &[When::Unattached][..],
    });
    if message.was_duplicated() {
        holds.push(When::Duplicated);
    }
    holds
}

fn receiving(message: &Message<'_>, peek: bool) -> Vec<When> {
    if message.cause_is(Cause::ReceiveFailed) {
        return vec![When::Taken, When::ReceiveFailed];
    }
    let mut holds = if peek {
        vec![When::Peeked]
    } else {
        vec![When::Taken, When::Detached]
    };
    // A list is taken off its skb for every call, whether that can hand it over or not.
    let offered = [Fate::Delivered, Fate::Peeked, Fate::Refused]
        .into_iter()
        .any(|fate| message.any(fate))
        || message.has(Hop::Receive)
        || message.cause_is(Cause::RlimitNofile);
    holds.push(if offered {
        When::Control
    } else if message.cause_is(Cause::NoControlRoom) {
        When::NoRoom
    } else {
        When::NoControl
    });
    holds
}

fn ending(message: &Message<'_>) -> Vec<When> {
    match message.cause() {
        Some(Cause::ReceiverClosed) => vec![When::Closed],
        Some(Cause::ListenerClosed) => vec![When::ListenerClosed, When::Closed],
        Some(Cause::Reconnect) => vec![When::Reconnected],
        Some(Cause::GarbageCollector) => vec![When::Collected],
        _ => Vec::new(),
    }
}
