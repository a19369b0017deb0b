//! Ends: what becomes of a message that leaves its phase for good, and of its transfers.

use super::{
    Entry, Id, Message, Phase, Tracker,
    conclude::{Ending, conclude},
};
use crate::model::{Fate, FileDescription, Transfer};

impl Tracker {
    /// Lets go of what came first where there is too much. What it was part of can only be known
    /// less well for it.
    pub(super) fn forget_excess(&mut self) {
        while let Some(entry) = self.messages.excess() {
            self.note_forgotten();
            self.end_unseen(entry);
        }
    }

    /// Notes that something was let go of before its end.
    pub(super) fn note_forgotten(&mut self) {
        self.forgotten += 1;
        self.forgotten_at = self.latest;
    }

    /// Ends a message of which nothing more is to be seen, though that is not its end.
    pub(super) fn end_unseen(&mut self, entry: Entry) {
        let Entry { message, phase } = entry;
        match phase {
            Phase::Listed(_) | Phase::Returning { .. } | Phase::PutOff { .. } => {
                self.close(&message, Ending::Unseen { is_queued: false });
            }
            Phase::PeekOf { .. } => {
                let peeked = |index| message.is_installed(index).then_some((Fate::Peeked, None));
                self.number_and_push(message.transfers(peeked));
            }
            // Nothing was seen of it that is not of the other reader's.
            Phase::Overtaken { .. } => {}
            Phase::AwaitingReturn { .. } => self.close_unreturned(message),
            Phase::AwaitingSender { ending, .. } => self.close(&message, ending),
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
    fn end_displaced(&mut self, displaced: Option<Entry>) {
        match displaced {
            Some(Entry {
                message,
                phase: Phase::PutOff { last, .. },
            }) => self.give_up(message, &last),
            // Another part of the same send, or of the same peek, was seen.
            None
            | Some(Entry {
                phase: Phase::AwaitingReturn { .. } | Phase::PeekOf { .. },
                ..
            }) => {}
            Some(entry) => self.end_unseen(entry),
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
                Phase::AwaitingSender { ending, .. } => self.end_settled(entry.message, ending),
                Phase::PutOff { last, .. } => self.give_up(entry.message, &last),
                _ => self.end_unseen(entry),
            }
        }
    }

    /// Ends a message: each of its files comes to a transfer.
    pub(super) fn close(&mut self, message: &Message, ending: Ending) {
        let transfers = message.transfers(|index| Some(conclude(message, index, ending)));
        self.finish(message, transfers);
    }

    /// Ends a peek that was seen to return. What it lost is in the message still.
    pub(super) fn close_peek(&mut self, peek: &Message, ending: Ending) {
        let mut transfers = peek.transfers(|index| match conclude(peek, index, ending) {
            (Fate::Delivered, _) => Some((Fate::Peeked, None)),
            (Fate::Discarded, _) => None,
            lost => Some(lost),
        });
        transfers
            .iter_mut()
            .for_each(|transfer| transfer.peek = true);
        self.finish(peek, transfers);
    }

    /// What was sent by nobody knows whom may be a wanted sender's.
    fn finish(&mut self, message: &Message, mut transfers: Vec<Transfer>) {
        for transfer in &mut transfers {
            transfer.wanted |= transfer.sender.is_none()
                && transfer.found_ns.is_none()
                && self.wanted_senders.may_have_sent(message);
        }
        self.number_and_push(transfers);
    }

    fn number_and_push(&mut self, transfers: Vec<Transfer>) {
        for mut transfer in transfers {
            self.transfers += 1;
            transfer.id = self.transfers;
            complete(&mut transfer, self.coverage.descriptions);
            self.closed.push(transfer);
        }
    }
}

/// Says what a file is where the hops themselves show it, and nothing of what is missing where nobody
/// asked for it.
pub(super) fn complete(transfer: &mut Transfer, sees_descriptions: bool) {
    let context = &mut transfer.context;
    if !sees_descriptions {
        context.missing = None;
    } else if context.file.is_none()
        && let Some(shown) = FileDescription::of_identity(&transfer.file)
    {
        (context.file, context.missing) = (Some(shown.into()), None);
    }
}
