//! Lists: which message is at a list's address, and how a list ends.

use super::{Ending, Id, Key, Message, Phase, Tracker, message::Step};
use crate::{
    model::Hop,
    wire::{Given, List, Sighting, Stamp},
};

impl Tracker {
    /// The message at this list's address, which begins here if there is none.
    pub(super) fn message_at(&mut self, list: List, of: &Stamp) -> Option<&mut Message> {
        let key = Key::List(list);
        if self.messages.find(key).is_none() {
            let mut message = self.new_message(of.count);
            // An event that is older than the last forgetting may be what is left of a message that is
            // gone.
            message.doubtful = of.at.ns <= self.forgotten_at;
            self.begin(message, Phase::Listed(list));
        }
        self.messages.get_mut(key)
    }

    /// Makes room for another message at this list's address.
    ///
    /// Where installs are looked for in the receiver's table, that is after the list was freed: its
    /// address may be queued anew before the receive has returned. The message then waits for its
    /// reader. Otherwise its end went unseen.
    pub(super) fn retire(&mut self, list: List) {
        let Some(id) = self.messages.find(Key::List(list)) else {
            return;
        };
        match self.messages.at(id).and_then(Message::reader) {
            Some(by) => {
                self.end_waiting(by);
                self.enter(id, Phase::Returning { by });
            }
            None => {
                let stale = self.messages.remove(id);
                stale.into_iter().for_each(|stale| self.end_unseen(stale));
            }
        }
    }

    /// Makes room for another message if the list at this address has other files by now.
    pub(super) fn retire_unless_of(&mut self, list: List, seen: &Sighting) {
        let message = self.messages.get(Key::List(list));
        if message.is_some_and(|message| message.shares_nothing_with(seen)) {
            self.retire(list);
        }
    }

    /// The skb has a duplicate of the sender's list: from here on the message is that.
    pub(super) fn move_to_duplicate(&mut self, from: List, list: List, seen: &Sighting) {
        if let Some(id) = self.messages.find(Key::List(from)) {
            self.make_way_for(list, seen);
            self.retire(list);
            self.enter(id, Phase::Listed(list));
        }
    }

    /// Whether a read shows only as its list is detached, as where two records tell of a message.
    fn sees_detach_alone(&self) -> bool {
        self.coverage.watches(Hop::Detach) && !self.coverage.watches(Hop::Dequeue)
    }

    /// A list was duplicated: by its sender for the skb, or by a peek, which leaves the message where
    /// it is. What was not seen at that address is of no message that is there later.
    pub(super) fn duplicated(&mut self, list: List, seen: &Sighting, from: List) {
        if self.sees_detach_alone() {
            // Nothing else tells of it before, if what its sender told was lost or not kept.
            self.message_at(from, &seen.stamp);
        }
        let Some(message) = self.messages.get_mut(Key::List(from)) else {
            return;
        };
        if message.is_being_sent_by(seen.stamp.by.tid) {
            if from != list {
                self.move_to_duplicate(from, list, seen);
            }
            return;
        }
        message.note_peek(&seen.stamp);
        if self.duplicates.insert(list, (from, message.id)).is_some() {
            self.note_forgotten();
        }
    }

    /// What the duplicate at `list` was made of, unless another message is there by now.
    pub(super) fn take_origin(&mut self, list: List) -> Option<List> {
        let (origin, id) = self.duplicates.remove(&list)?;
        let message = self.messages.get(Key::List(origin))?;
        (message.id == id).then_some(origin)
    }

    /// A call is done with a list.
    pub(super) fn released(&mut self, list: List, seen: &mut Sighting, given: &Given) {
        let received = Ending::Received(*given, None);
        let sees_detach = self.coverage.watches(Hop::Detach);
        let sees_detach_alone = self.sees_detach_alone();
        let sees_queue = self.coverage.watches(Hop::Queue);
        let peek = match self.messages.take(Key::Peek(list)) {
            Some(peek) => match peek.phase {
                Phase::PeekOf { origin, .. } => Some((origin, peek.message)),
                _ => None,
            },
            // Peeked at by a call that took no descriptors.
            None => self.take_origin(list).and_then(|origin| {
                let message = self.messages.get(Key::List(origin))?;
                Some((origin, Box::new(message.clone())))
            }),
        };
        if let Some((origin, mut peek)) = peek {
            peek.ended_in = std::mem::take(&mut seen.aside.backtrace);
            peek.may_be_detached = !sees_detach;
            peek.taken = sees_detach_alone && peek.ended_in.by_receiver();
            self.close_peek(peek, received);
            self.put_back(origin);
            return;
        }
        self.retire_unless_of(list, seen);
        // Else it is a sender's own list, after the skb got a duplicate.
        if let Some(id) = self.messages.find(Key::List(list))
            && let Some(message) = self.messages.at_mut(id)
        {
            message.record_end(seen);
            message.may_be_detached = !sees_detach;
            // Where nobody looks when it is read, the end of that call shows it.
            let may_be_queued = message.was_queued() || !sees_queue;
            message.taken = sees_detach_alone && may_be_queued && message.ended_in.by_receiver();
            match message.step() {
                Step::Reading | Step::Installing => self.end_with(id, received),
                Step::Queued => self.end_with(id, Ending::GivenBack),
                Step::Sending if message.is_only_seen_with(seen.stamp.by.tid) => {
                    let by = seen.stamp.by.tid;
                    self.enter(id, Phase::AwaitingReturn { by });
                }
                // That it got into a queue is not seen everywhere.
                Step::Sending => self.end_with(id, Ending::GivenBack),
            }
        }
    }

    /// An skb was freed with its list unread.
    pub(super) fn destroyed(&mut self, list: List, seen: &mut Sighting, is_late: bool) {
        if is_late && self.messages.find(Key::List(list)).is_none() {
            // Seen by the hook on its freeing, or older than the trace.
            return;
        }
        self.retire_unless_of(list, seen);
        let Some(message) = self.message_at(list, &seen.stamp) else {
            return;
        };
        message.record_end(seen);
        // What the sender's call returns says why.
        message.given_up = !message.was_queued() && message.ended_in.by_sender();
        let given_up = message.given_up;
        match self.messages.find(Key::List(list)) {
            Some(id) if given_up => {
                let by = seen.stamp.by.tid;
                self.enter(id, Phase::AwaitingReturn { by });
            }
            Some(id) => self.end_with(id, Ending::Destroyed),
            None => {}
        }
    }

    /// Ends a message.
    pub(super) fn end_with(&mut self, id: Id, ending: Ending) {
        if let Some(ended) = self.messages.remove(id) {
            self.close(ended.message, ending);
        }
    }
}

impl Message {
    /// Notes where its list ended.
    fn record_end(&mut self, seen: &mut Sighting) {
        self.record(Hop::End, seen);
        self.ended_in = std::mem::take(&mut seen.aside.backtrace);
    }
}
