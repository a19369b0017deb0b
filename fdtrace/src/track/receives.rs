//! Receives: who reads a message, and how a receive of it ends.

use super::{Key, Message, Phase, Tracker};
use crate::{
    model::Hop,
    wire::{List, Sighting},
};

impl Tracker {
    /// A receiver is reading a list's skb.
    pub(super) fn dequeued(&mut self, list: List, seen: &Sighting) {
        let head = &seen.stamp;
        self.end_waiting(head.by.tid);
        let is_other =
            |message: &Message| !message.is_on(head) || message.shares_nothing_with(seen);
        if self.messages.get(Key::List(list)).is_some_and(is_other) {
            // The same address on another skb or with other files: a list of which nothing was seen
            // until now, and of the one before not how it ended.
            self.retire(list);
        }
        self.reads.note(head);
        self.senders.note_read(head);
        let since = self.reads.before(head.by.tid);
        let Some(message) = self.message_at(list, head) else {
            return;
        };
        let overtaken = message.reader().filter(|reader| *reader != head.by.tid);
        let overtaken = overtaken.map(|by| (by, Box::new(message.clone())));
        // After a peek the list is read again, perhaps by another task: the last reader counts.
        if !message.same_sighting(Hop::Dequeue, head) {
            message.forget(Hop::Dequeue);
        }
        message.record(Hop::Dequeue, seen);
        message.read_since = since;
        message.receiver_task = seen.aside.task;
        if let Some((by, message)) = overtaken {
            self.begin(message, Phase::Overtaken { by });
        }
        self.read_without_sender(list);
    }

    /// A thread that begins another receive is done with the one before, whose return went unseen.
    pub(super) fn end_waiting(&mut self, tid: u32) {
        for key in [Key::Overtaken(tid), Key::Returning(tid)] {
            let waiting = self.messages.take(key);
            waiting.into_iter().for_each(|it| self.end_unseen(it));
        }
    }

    /// The message whose list this is was only looked at.
    pub(super) fn put_back(&mut self, list: List) {
        if let Some(message) = self.messages.get_mut(Key::List(list)) {
            message.forget(Hop::Dequeue);
        }
    }
}
