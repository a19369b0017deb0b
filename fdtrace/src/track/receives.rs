//! Receives: who reads a message, and how its receive ends.

use super::{
    Called, Ended, Key, Message, Phase, Tracker,
    conclude::{Ending, conclude},
};
use crate::{
    model::{Fate, Hop},
    wire::{List, Return, Sighting},
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
        let task = self.known.task(head.by.tid);
        let Some(message) = self.message_at(list, head) else {
            return;
        };
        let overtaken = message.reader().filter(|reader| *reader != head.by.tid);
        let overtaken = overtaken.map(|by| (by, message.clone()));
        // After a peek the list is read again, perhaps by another task: the last reader counts.
        message.forget_unless_same(Hop::Dequeue, head);
        message.record(Hop::Dequeue, seen);
        message.note_reader(since, task);
        if let Some((by, message)) = overtaken {
            self.begin(message, Phase::Overtaken { by });
        }
        self.describe(list, seen);
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

    pub(super) fn end_peek(&mut self, peek: &Message) {
        let transfers =
            peek.transfers(|index| peek.is_installed(index).then_some((Fate::Peeked, None)));
        self.number_and_push(transfers);
    }

    /// Ends a peek that was seen to return. What it lost is in the message still.
    pub(super) fn end_peek_with(&mut self, peek: &Message, last: Ended<'_>, called: &Called) {
        let ending = Ending::Received(last, called);
        let mut transfers = peek.transfers(|index| match conclude(peek, index, ending) {
            (Fate::Delivered, _) => Some((Fate::Peeked, None)),
            (Fate::Discarded, _) => None,
            lost => Some(lost),
        });
        for transfer in &mut transfers {
            transfer.peek = true;
        }
        self.want_possibly_wanted(peek, &mut transfers);
        self.number_and_push(transfers);
    }

    /// Ends a receive that has returned.
    pub(super) fn end_receive(&mut self, message: &Message, last: &Return) {
        let ending = Ending::Received(Ended::Returned(last), &message.received_in);
        self.close(message, ending);
    }
}
