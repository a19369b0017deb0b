//! Who sent it, where that has to be guessed: the sender's look at the queue comes after the fact. Which
//! message was it for, and what is known of one of which no look tells?

mod claims;
mod evidence;
mod late;
mod senders;
mod turns;

pub(super) use claims::Claim;
use evidence::{Evidence, evidence};
pub(super) use late::LateSender;
pub(super) use senders::Senders;
pub(crate) use senders::{PREEMPTED_MAX_NS, Sharing};
pub(super) use turns::Turns;

use super::{Ending, Id, Key, Message, Tracker};
use crate::{
    model::{Doubt, Hop},
    wire::{List, Look, Sighting},
};

/// Messages whose sender is not certain that are kept, at most: a hook that lost its race tells
/// within microseconds.
const AWAITING_MAX: usize = 64;

impl Tracker {
    pub(super) fn queued(&mut self, seen: &Sighting, look: Look) {
        self.senders.note(seen, look);
        self.wanted_senders.note(&seen.stamp);
        self.take_up(seen);
        if look.raced {
            self.sent_late(seen, look);
            return;
        }
        let Some(list) = seen.stamp.list else {
            return;
        };
        if let Some(message) = self.messages.get_mut(Key::List(list))
            && message.is_contested_by(seen)
        {
            return;
        }
        if !self.was_received(seen, look) {
            self.sent(list, Hop::Queue, seen);
            let contested = self.may_have_sent_another(list, seen) || look.disputed;
            if let Some(message) = self.messages.get_mut(Key::List(list)) {
                message.note_look(seen, look, &self.senders);
                message.claim.contested |= contested;
            }
        }
        // What the thread had looked for before and not found was sent before this.
        self.give_looks_of(seen.stamp.by.tid, 0);
    }

    /// Whether the thread's own list may have been read before it looked, so that the one that it
    /// found is another's at the same address.
    fn may_have_sent_another(&mut self, list: List, seen: &Sighting) -> bool {
        let since = self.senders.previous_look(&seen.stamp);
        let missed = self.senders.may_have_missed_the_read(&seen.stamp);
        let read_as_own = |message: &Message| message.is_being_received();
        let own = self.messages.get(Key::List(list));
        let own = own.is_some_and(read_as_own);
        let mut contested = missed && !own;
        let awaiting = self.messages.awaiting();
        let rivals: Vec<Id> = awaiting
            .filter(|(_, message)| message.may_be_sent_by(seen, since))
            .map(|(id, _)| id)
            .collect();
        for id in rivals {
            // It is not known either whose that one is.
            contested = true;
            if let Some(message) = self.messages.at_mut(id) {
                message.claim.contested = true;
            }
        }
        contested
    }

    /// Joins a look at the queue whose record comes after the receive has returned, for its program
    /// was preempted; says whether it is such a one.
    fn was_received(&mut self, seen: &Sighting, look: Look) -> bool {
        let received = self.awaiting_like(|message| message.was_seen_queued(seen));
        let Some(id) = received.first().copied() else {
            return false;
        };
        let Some(message) = self.messages.at_mut(id) else {
            return false;
        };
        message.record(Hop::Queue, seen);
        message.note_look(seen, look, &self.senders);
        message.claim.contested |= self.senders.may_have_missed_the_read(&seen.stamp);
        if let Some((returned_ns, ending)) = self.messages.awaits_since(id) {
            self.await_sender(id, returned_ns, ending);
        }
        true
    }

    /// A sender whose list had left the queue: finds the message by what else is known.
    fn sent_late(&mut self, seen: &Sighting, look: Look) {
        if seen.files.len() < usize::from(seen.total) {
            return;
        }
        let mut late = LateSender::new(seen, look.began_ns);
        let head = late.stamp;
        late.since = self.senders.previous_look(&head);
        // What others had sent on the socket before a wanted task did is in no event.
        late.is_doubtful = self.senders.may_have_missed_the_read(&head) || look.is_first;
        if self.senders.sharing(&head) == Sharing::Threads {
            self.give_to_process(late);
            return;
        }
        self.senders.keep(late);
        self.give_looks_of(head.by.tid, 0);
    }

    /// Gives a look that found its list gone, one of several threads', to the only message that such a
    /// look may be for. That is the process's, whichever of them sent it: were it not, another one
    /// with the same files would lack its sender too.
    fn give_to_process(&mut self, mut late: LateSender) {
        let is_like = |message: &Message| message.lacks_sender() && message.is_sent_like(&late);
        let received = self.awaiting_like(is_like);
        let is_being_read = self.lists_like(is_like).next().is_some();
        if let ([id], false, false) = (received.as_slice(), is_being_read, late.is_doubtful)
            && self
                .messages
                .at(*id)
                .is_some_and(|message| evidence(&late, message, 0) != Evidence::No)
        {
            if !self.senders.agree_with(&late) {
                late.forget_numbers();
            }
            self.end_sent_by(*id, late, Some(Doubt::TwoThreadsSend));
            return;
        }
        self.senders.pool(late);
    }

    /// The open messages that are being read without a sender and of which this is true.
    pub(super) fn lists_like(
        &self,
        is_like: impl Fn(&Message) -> bool,
    ) -> impl Iterator<Item = &Message> {
        let reads = self.reads_without_sender.values();
        let listed = reads.filter_map(|list| self.messages.get(Key::List(*list)));
        listed.filter(move |message| is_like(message))
    }

    /// The messages that await their sender and of which this is true.
    fn awaiting_like(&self, is_like: impl Fn(&Message) -> bool) -> Vec<Id> {
        let awaiting = self.messages.awaiting();
        let like = awaiting.filter(|(_, message)| is_like(message));
        like.map(|(id, _)| id).collect()
    }

    /// Ends a message that was received, and that `late` has sent.
    fn end_sent_by(&mut self, id: Id, late: LateSender, doubt: Option<Doubt>) {
        if let Some((_, ending)) = self.messages.awaits_since(id)
            && let Some(message) = self.messages.at_mut(id)
        {
            message.claim(late, doubt);
            self.end_with(id, ending);
        }
    }

    /// Gives each look of this thread that found its list gone to the message that it was for, where
    /// only one can be that. No look is still to come for what was sent until `told_until`.
    fn give_looks_of(&mut self, tid: u32, told_until: u64) {
        // What was read since its latest look may be of the thread's next call.
        let told_until = told_until.max(self.senders.latest_look(tid));
        // The latest first: what is given to it is not disputed among those before any more.
        for late in self.senders.waiting_of(tid) {
            if self.give_to_message(&late, told_until) {
                self.senders.drop(&late);
            }
        }
    }

    fn give_to_message(&mut self, late: &LateSender, told_until: u64) -> bool {
        let is_its = |message: &Message| {
            evidence(late, message, told_until) == Evidence::Certain
                && !self.senders.dispute(message, late)
        };
        let received = self.awaiting_like(is_its);
        let reads = self.reads_without_sender.values();
        let is_read = |list: &List| self.messages.get(Key::List(*list)).is_some_and(is_its);
        let read: Vec<List> = reads.copied().filter(is_read).collect();
        match (received.as_slice(), read.as_slice()) {
            ([id], []) => self.end_sent_by(*id, late.clone(), None),
            ([], [list]) => {
                if let Some(message) = self.messages.get_mut(Key::List(*list)) {
                    message.claim(late.clone(), None);
                }
            }
            _ => return false,
        }
        true
    }

    /// Looks who has sent a message that is being read and was not seen in its queue.
    pub(super) fn read_without_sender(&mut self, list: List) {
        let message = self.messages.get(Key::List(list));
        let Some(message) = message.filter(|message| message.lacks_sender()) else {
            return;
        };
        let waiting = self.senders.waiting_for(message);
        self.reads_without_sender.insert(list, list);
        if let Some(tid) = waiting {
            self.give_looks_of(tid, 0);
        }
    }

    /// Every event up to `t_ns` has come: ends what was received so long ago that no sender's look will
    /// tell of it any more.
    pub(super) fn settle_senders(&mut self, t_ns: u64) {
        let told_until = t_ns.saturating_sub(PREEMPTED_MAX_NS);
        if self
            .messages
            .longest_awaiting()
            .is_some_and(|since| since < told_until)
        {
            for tid in self.senders.waiting_threads() {
                self.give_looks_of(tid, told_until);
            }
        }
        while let Some((message, ending)) = self.messages.take_awaiting(AWAITING_MAX, told_until) {
            self.end_settled(message, ending);
        }
    }

    /// Ends a message whose sender is not certain, with what is when every look has come that may tell
    /// of it.
    pub(super) fn end_settled(&mut self, mut message: Box<Message>, ending: Ending) {
        message.settle_sender(&self.senders);
        self.close(message, ending);
    }

    /// Ends the oldest messages whose sender is not certain where there is no room for more.
    pub(super) fn give_up_excess(&mut self) {
        while let Some((message, ending)) = self.messages.take_awaiting(AWAITING_MAX, 0) {
            self.close(message, ending);
        }
    }
}
