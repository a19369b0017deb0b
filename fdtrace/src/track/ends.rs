//! Ends: what becomes of a message that leaves its phase for good, and of its transfers.

use super::{Entry, Id, Message, Phase, Tracker};
use crate::wire::{Given, Return, SendReturn};

/// How a message ended. Its [`Message::ended_in`] says in which functions.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    /// That went unseen; it may be in its queue still.
    Unseen { is_queued: bool },
    /// It has not: it is in its queue for long.
    Overdue,
    /// Its skb was freed with the list unread.
    Destroyed,
    /// A call gave its list back that was not seen to receive it.
    GivenBack,
    /// A receive took it. Where its table was looked at, that tells more.
    Received(Given, Option<Return>),
    /// Its send returned, and it is in no queue. It had been attached to an skb or not.
    SendReturned(SendReturn, bool),
    /// It was sent on a socket that is no Unix socket, and passed over.
    Ignored,
    /// It is in no queue, and what its send returned went unseen.
    SendUnseen,
    /// Its send was put off, and did not come back; its return may be among what was lost.
    PutOff { is_lossy: bool },
}

/// A message that has ended, with all that was seen of it.
pub struct Ended {
    pub(crate) message: Box<Message>,
    pub(crate) ending: Ending,
    /// It is what a peek made of a message, which goes on.
    pub(crate) is_peek: bool,
    /// If nobody was seen sending it, it may have been a task that the filter wants.
    pub(crate) may_be_wanted: bool,
}

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
                self.close(message, Ending::Unseen { is_queued: false });
            }
            Phase::PeekOf { .. } => self.close_peek(message, Ending::Unseen { is_queued: false }),
            // Nothing was seen of it that is not of the other reader's.
            Phase::Overtaken { .. } => {}
            Phase::AwaitingReturn { .. } => self.close_unreturned(message),
            Phase::AwaitingSender { ending, .. } => self.close(message, ending),
        }
    }

    /// Lets a message go on to another phase.
    pub(super) fn enter(&mut self, id: Id, phase: Phase) {
        let displaced = self.messages.enter(id, phase);
        self.end_displaced(displaced);
    }

    /// Takes in a message that begins.
    pub(super) fn begin(&mut self, message: Box<Message>, phase: Phase) {
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
                    self.close(entry.message, Ending::Unseen { is_queued });
                }
                Phase::AwaitingSender { ending, .. } => self.end_settled(entry.message, ending),
                Phase::PutOff { last, .. } => self.give_up(entry.message, &last),
                _ => self.end_unseen(entry),
            }
        }
    }

    /// Ends a message.
    pub(super) fn close(&mut self, message: Box<Message>, ending: Ending) {
        self.hand_over(message, ending, false);
    }

    /// Ends a peek.
    pub(super) fn close_peek(&mut self, peek: Box<Message>, ending: Ending) {
        self.hand_over(peek, ending, true);
    }

    fn hand_over(&mut self, message: Box<Message>, ending: Ending, is_peek: bool) {
        let may_be_wanted = self.wanted_senders.may_have_sent(&message);
        self.ended.push_back(Ended {
            message,
            ending,
            is_peek,
            may_be_wanted,
        });
    }
}
