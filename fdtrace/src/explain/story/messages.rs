//! Messages: the transfers of each list, in order of time.

use crate::model::{Cause, Fate, Hop, HopSeen, Transfer};

/// Transfers of one list: a message, or what MSG_PEEK made of one.
pub(super) struct Message<'a> {
    /// Its place in time, from 1.
    pub(super) number: u64,
    pub(super) transfers: Vec<&'a Transfer>,
    /// Its sending is not in the story yet.
    pub(super) is_first: bool,
}

impl Message<'_> {
    pub(super) fn first_seen(&self) -> u64 {
        first_seen(self.transfers[0]).unwrap_or(u64::MAX)
    }

    pub(super) fn has(&self, hop: Hop) -> bool {
        self.at(hop).is_some()
    }

    pub(super) fn at(&self, hop: Hop) -> Option<&HopSeen> {
        self.transfers
            .iter()
            .flat_map(|transfer| &transfer.hops)
            .find(|seen| seen.hop == hop)
    }

    pub(super) fn any(&self, fate: Fate) -> bool {
        self.transfers
            .iter()
            .any(|transfer| transfer.fate() == fate)
    }

    /// The first of its causes.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.transfers.iter().find_map(|transfer| transfer.cause())
    }

    pub(super) fn cause_is(&self, cause: Cause) -> bool {
        self.cause() == Some(cause)
    }

    pub(super) fn was_queued(&self) -> bool {
        !self.any(Fate::Failed) && !self.cause_is(Cause::ZeroLength)
    }

    pub(super) fn was_duplicated(&self) -> bool {
        matches!(
            (self.at(Hop::Copy), self.at(Hop::Attach)),
            (Some(copied), Some(attached)) if copied.list != attached.list
        )
    }

    /// Whether somebody's receive had to do with it.
    pub(super) fn is_received(&self) -> bool {
        self.was_read() && self.was_queued()
    }

    fn was_read(&self) -> bool {
        self.has(Hop::Dequeue) || self.has(Hop::Detach) || self.transfers[0].receiver().is_some()
    }
}

/// When a file was first seen under way. Of a send that failed at once, no hop may be.
fn first_seen(transfer: &Transfer) -> Option<u64> {
    let seen = transfer.hops.first().map(|seen| seen.t_ns);
    seen.or(transfer.sender.as_ref().map(|sender| sender.t_ns))
}

/// The messages in order of time.
pub(super) fn messages(transfers: &[Transfer]) -> Vec<Message<'_>> {
    let mut messages: Vec<(u64, Message<'_>)> = Vec::new();
    for transfer in transfers
        .iter()
        .filter(|transfer| first_seen(transfer).is_some())
    {
        let is_peek = transfer.fate() == Fate::Peeked;
        let same = messages.iter_mut().find(|(id, message)| {
            *id == transfer.message
                && (message.transfers[0].fate() == Fate::Peeked) == is_peek
                && (!is_peek
                    || message.transfers[0].hops.last().map(|seen| seen.list)
                        == transfer.hops.last().map(|seen| seen.list))
        });
        match same {
            Some((_, message)) => message.transfers.push(transfer),
            None => {
                let is_first = messages.iter().all(|(id, _)| *id != transfer.message);
                messages.push((
                    transfer.message,
                    Message {
                        number: 0,
                        transfers: vec![transfer],
                        is_first,
                    },
                ));
            }
        }
    }
    for (_, message) in &mut messages {
        message.transfers.sort_by_key(|transfer| transfer.index);
    }
    messages.sort_by_key(|(_, message)| message.first_seen());
    let mut ids: Vec<u64> = Vec::new();
    messages
        .into_iter()
        .map(|(id, message)| {
            let place = ids
                .iter()
                .position(|known| *known == id)
                .unwrap_or_else(|| {
                    ids.push(id);
                    ids.len() - 1
                });
            Message {
                number: place as u64 + 1,
                ..message
            }
        })
        .collect()
}
