//! Ends: what becomes of a message that leaves its phase for good, and of its transfers.

use super::{
    CallOf, Called, Entry, Id, Message, Phase, Tracker,
    conclude::{Ending, conclude},
};
use crate::model::{Context, FileDescription, FileIdentity, Transfer};

impl Tracker {
    /// Lets go of what came first where there is too much. What it was part of can only be known
    /// less well for it.
    pub(super) fn forget_excess(&mut self) {
        let before = self.forgotten;
        while let Some(entry) = self.messages.excess() {
            self.forgotten += 1;
            self.end_unseen(entry);
        }
        while self.duplicates.excess().is_some()
            || self.called.excess().is_some()
            || self.names.excess().is_some()
        {
            self.forgotten += 1;
        }
        if self.forgotten > before {
            self.forgotten_at = self.latest;
        }
    }

    /// Ends a message of which nothing more is to be seen, though that is not its end.
    pub(super) fn end_unseen(&mut self, entry: Entry) {
        match entry.phase {
            Phase::Listed(_) | Phase::Returning { .. } | Phase::PutOff { .. } => {
                self.close_unseen(&entry.message);
            }
            Phase::PeekOf { .. } => self.end_peek(&entry.message),
            // Nothing was seen of it that is not of the other reader's.
            Phase::Overtaken { .. } => {}
            Phase::AwaitingReturn { .. } => self.close_unreturned(entry.message),
            Phase::AwaitingSender { last, .. } => self.end_receive(&entry.message, &last),
        }
    }

    /// Lets a message go on to another phase.
    pub(super) fn enter(&mut self, id: Id, phase: Phase) {
        let displaced = self.messages.enter(id, phase);
        self.end_displaced(displaced);
    }

    /// Takes in a message that begins.
    pub(super) fn begin(&mut self, message: Message, phase: Phase) {
        let displaced = self.messages.add(message, phase);
        self.end_displaced(displaced);
    }

    /// Ends what another message has taken the place of.
    pub(super) fn end_displaced(&mut self, displaced: Option<Entry>) {
        let Some(entry) = displaced else {
            return;
        };
        match entry.phase {
            Phase::PutOff { last, .. } => self.give_up(entry.message, &last),
            // Another part of the same send, or of the same peek, was seen.
            Phase::AwaitingReturn { .. } | Phase::PeekOf { .. } => {}
            _ => self.end_unseen(entry),
        }
    }

    pub(super) fn close_open_where(&mut self, is_meant: impl Fn(&Message) -> bool) {
        let goes_on =
            |phase: &Phase| matches!(phase, Phase::PeekOf { .. } | Phase::Overtaken { .. });
        let meant = |entry: &Entry| !goes_on(&entry.phase) && is_meant(&entry.message);
        for entry in self.messages.take_all(meant) {
            match entry.phase {
                Phase::Listed(_) | Phase::Returning { .. } => {
                    let is_queued = self.is_queued(&entry.message);
                    self.close(&entry.message, Ending::Unseen { is_queued });
                }
                Phase::AwaitingSender { last, .. } => self.end_settled(entry.message, &last),
                Phase::PutOff { last, .. } => self.give_up(entry.message, &last),
                _ => self.end_unseen(entry),
            }
        }
    }

    /// Ends a message whose end went unseen.
    pub(super) fn close_unseen(&mut self, message: &Message) {
        self.close(message, Ending::Unseen { is_queued: false });
    }

    /// Ends a message: each of its files comes to a transfer.
    pub(super) fn close(&mut self, message: &Message, ending: Ending<'_>) {
        let mut transfers = message.transfers(|index| Some(conclude(message, index, ending)));
        self.want_possibly_wanted(message, &mut transfers);
        self.number_and_push(transfers);
    }

    /// The functions in which the list of this record ends.
    pub(super) fn called_at(&mut self, call: CallOf, freed_by: Option<u64>) -> Called {
        let addresses = self.called.remove(call).unwrap_or_default();
        match freed_by {
            Some(address) if addresses.is_empty() => Called::by((self.symbolize)(address)),
            _ => self.named(addresses),
        }
    }

    pub(super) fn named(&self, addresses: Vec<u64>) -> Called {
        let addresses = addresses.into_iter();
        Called::new(addresses.filter_map(|address| (self.symbolize)(address)))
    }

    /// What was sent by nobody knows whom may be a wanted sender's.
    pub(super) fn want_possibly_wanted(&self, message: &Message, transfers: &mut [Transfer]) {
        for transfer in transfers {
            transfer.wanted |= transfer.sender.is_none()
                && transfer.found_ns.is_none()
                && self.wanted_senders.may_have_sent(message);
        }
    }

    pub(super) fn number_and_push(&mut self, transfers: Vec<Transfer>) {
        for mut transfer in transfers {
            self.transfers += 1;
            transfer.id = self.transfers;
            complete(
                &mut transfer.context,
                &transfer.file,
                self.sees_descriptions,
            );
            self.closed.push(transfer);
        }
    }
}

/// Says what a file is where the hops themselves show it, and nothing of what is missing where nobody
/// asked for it.
pub(super) fn complete(context: &mut Context, file: &FileIdentity, sees_descriptions: bool) {
    if !sees_descriptions {
        context.missing = None;
    } else if context.file.is_none()
        && let Some(shown) = FileDescription::of_identity(file)
    {
        (context.file, context.missing) = (Some(shown.into()), None);
    }
}
