//! Lists: which message is at a list's address, and how a list ends.

use super::{CallOf, Ended, Key, Message, Phase, Tracker, conclude::Ending};
use crate::{
    model::Hop,
    wire::{Given, List, Sighting, Stamp},
};

impl Tracker {
    /// The message at this list's address, which begins here if there is none.
    pub(super) fn message_at(&mut self, list: List, of: &Stamp) -> Option<&mut Message> {
        let key = Key::List(list);
        if !self.messages.contains(key) {
            let mut message = Message::new(self.next_number(), of.count);
            // An event that is older than the last forgetting may be what is left of a message that is
            // gone.
            if of.at.ns <= self.forgotten_at {
                message.doubt();
            }
            self.begin(message, Phase::Listed(list));
        }
        self.messages.get_mut(key)
    }

    /// Joins what was told of the files at this hop to the message.
    pub(super) fn describe(&mut self, list: List, seen: &Sighting) {
        if let Some(message) = self.messages.get_mut(Key::List(list)) {
            message.describe(&self.known, seen);
        }
        self.known.done_with(seen);
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

    /// A list was duplicated: by its sender for the skb, or by a peek, which leaves the message where
    /// it is. What was not seen at that address is of no message that is there later.
    pub(super) fn duplicated(&mut self, list: List, seen: &Sighting, from: List) {
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
        self.duplicates.insert(list, (from, message.id));
    }

    /// What the duplicate at `list` was made of, unless another message is there by now.
    pub(super) fn take_origin(&mut self, list: List) -> Option<List> {
        let (origin, id) = self.duplicates.remove(list)?;
        let message = self.messages.get(Key::List(origin));
        message
            .is_some_and(|message| message.id == id)
            .then_some(origin)
    }

    /// A call is done with a list.
    pub(super) fn released(&mut self, list: List, seen: &Sighting, given: &Given) {
        if self.messages.contains(Key::Peek(list)) {
            if seen.is_last()
                && let Some(peek) = self.messages.take(Key::Peek(list))
            {
                let called = self.called_at(CallOf::List(list), None);
                self.end_peek_with(&peek.message, Ended::Gave(given), &called);
                if let Phase::PeekOf { origin, .. } = peek.phase {
                    self.put_back(origin);
                }
            }
            return;
        }
        if let Some(origin) = self.take_origin(list) {
            // Peeked at by a call that took no descriptors.
            let called = self.called_at(CallOf::List(list), None);
            if let Some(peek) = self.messages.get(Key::List(origin)).cloned() {
                self.end_peek_with(&peek, Ended::Gave(given), &called);
            }
            self.put_back(origin);
            return;
        }
        self.retire_unless_of(list, seen);
        let Some(id) = self.messages.find(Key::List(list)) else {
            // A sender's own list, after the skb got a duplicate.
            return;
        };
        if let Some(message) = self.messages.at_mut(id) {
            message.record(Hop::End, seen);
        }
        self.describe(list, seen);
        if !seen.is_last() {
            return;
        }
        let called = self.called_at(CallOf::List(list), None);
        let ends = self
            .messages
            .at(id)
            .is_some_and(|message| message.is_being_received() || message.was_queued());
        if !ends {
            let by = seen.stamp.by.tid;
            self.enter(id, Phase::AwaitingReturn { by });
            return;
        }
        let Some(ended) = self.messages.remove(id) else {
            return;
        };
        if ended.message.is_being_received() {
            let ending = Ending::Received(Ended::Gave(given), &called);
            self.close(&ended.message, ending);
        } else {
            self.close(&ended.message, Ending::GivenBack(&called));
        }
    }

    /// An skb was freed with its list unread.
    pub(super) fn destroyed(
        &mut self,
        list: List,
        seen: &Sighting,
        freed_by: Option<u64>,
        is_late: bool,
    ) {
        if is_late && !self.messages.contains(Key::List(list)) {
            // Told by the hook on its freeing, or older than the trace.
            self.called.remove(CallOf::List(list));
            self.known.done_with(seen);
            return;
        }
        self.retire_unless_of(list, seen);
        if let Some(message) = self.message_at(list, &seen.stamp) {
            message.record(Hop::End, seen);
        }
        self.describe(list, seen);
        if !seen.is_last() {
            return;
        }
        let called = self.called_at(CallOf::List(list), freed_by);
        let Some(id) = self.messages.find(Key::List(list)) else {
            return;
        };
        if let Some(message) = self.messages.at_mut(id)
            && !message.was_queued()
            && called.by_sender()
        {
            // What the call returns says why.
            message.given_up = true;
            let by = seen.stamp.by.tid;
            self.enter(id, Phase::AwaitingReturn { by });
        } else if let Some(ended) = self.messages.remove(id) {
            self.close(&ended.message, Ending::Destroyed(&called));
        }
    }
}
