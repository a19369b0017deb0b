//! What was installed, where that is looked for in the receiver's table as its receive returns.

use super::{CallOf, Ended, Id, Key, Message, Phase, Tracker};
use crate::{
    model::{Fate, Hop},
    wire::{List, Return, Sighting},
};

impl Tracker {
    /// A receive is over whose installs were looked for in the receiver's table.
    pub(super) fn returned(&mut self, list: List, seen: Sighting, returned: &Return) {
        let (stamp, by) = (seen.stamp, seen.stamp.by.tid);
        self.reads.note(&stamp);
        self.reads_without_sender.remove(list);
        let Some((mut key, id)) = self.read_by(list, by, returned.read_ns) else {
            // The address is another message's by now, and what this belongs to was not seen.
            return;
        };
        let Some(message) = self.messages.at_mut(id) else {
            return;
        };
        // The next message may be at this one's addresses by then.
        let was_left = returned.left && key == Key::List(list);
        let has_failed = returned.given.errno.is_some();
        let leaves_it = returned.peeks
            || returned.is_oob
            || was_left
            || (has_failed && message.is_in_stream(&stamp));
        if !leaves_it && let Some(next) = message.split_off_next(&stamp, self.count + 1) {
            self.count += 1;
            if key == Key::List(list) {
                key = Key::Returning(by);
                self.enter(id, Phase::Returning { by });
                self.begin(next, Phase::Listed(list));
            } else {
                // Yet another is at the address since.
                self.close_unseen(&next, Fate::Unknown);
            }
        }
        let called = self.called.remove(CallOf::List(list));
        let called = called.map(|addresses| self.named(addresses));
        let Some(message) = self.messages.at_mut(id) else {
            return;
        };
        if let Some(called) = called {
            message.received_in = called;
        }
        let Some(gained) = message.collect_returned(seen) else {
            return;
        };
        if !leaves_it {
            message.install(&stamp, returned, &gained);
            let number = message.id;
            if key == Key::Overtaken(by) {
                self.tell_apart(number, list);
            }
            self.await_sender(id, stamp.at.ns, *returned);
            return;
        }
        // A peek installs duplicates; an out-of-band byte comes without its descriptors. Either
        // leaves the message where it was.
        let peek = (returned.peeks && !has_failed).then(|| message.clone());
        match key {
            Key::List(_) => message.forget(Hop::Dequeue),
            // The one at the address is the one that stays.
            Key::Overtaken(_) => drop(self.messages.remove(id)),
            _ => {}
        }
        if let Some(mut peek) = peek {
            peek.install(&stamp, returned, &gained);
            self.end_peek_with(&peek, Ended::Returned(returned), &peek.received_in);
        }
    }

    /// Where the message is that this thread began to read then.
    fn read_by(&self, list: List, by: u32, read_ns: u64) -> Option<(Key, Id)> {
        let keys = [Key::Overtaken(by), Key::Returning(by), Key::List(list)];
        keys.into_iter().find_map(|key| {
            let id = self.messages.find(key)?;
            let message = self.messages.at(id)?;
            message.is_read_by(by, read_ns).then_some((key, id))
        })
    }

    /// The message of this number was taken by no peek: what another thread reads at this address since
    /// is another message, whose sender has not been seen yet.
    fn tell_apart(&mut self, taken: u64, list: List) {
        let next = self.count + 1;
        if let Some(other) = self.messages.get_mut(Key::List(list))
            && other.id == taken
        {
            other.become_another(next);
            self.count = next;
        }
    }

    /// Ends a receive that took the message, unless a look that is still to come may tell who sent it.
    pub(super) fn await_sender(&mut self, id: Id, returned_ns: u64, last: Return) {
        let Some(message) = self.messages.at(id) else {
            return;
        };
        let has_rival = !message.lacks_sender() && self.has_rival(message);
        let Some(message) = self.messages.at_mut(id) else {
            return;
        };
        if has_rival {
            message.contest();
        }
        if !message.lacks_sender() {
            message.settle_number(&self.senders);
        }
        if message.awaits_sender() {
            self.enter(id, Phase::AwaitingSender { returned_ns, last });
            self.give_up_excess();
        } else if let Some(ended) = self.messages.remove(id) {
            self.end_receive(&ended.message, &last);
        }
    }

    /// Whether a message without a sender may be what the thread has sent that found this one.
    fn has_rival(&self, message: &Message) -> bool {
        let mut awaiting = self.messages.awaiting();
        let is_rival = |other: &Message| other.is_rival_of(message);
        awaiting.any(|(_, other)| is_rival(other))
            || (message.is_shared() && self.lists_like(is_rival).next().is_some())
    }
}
