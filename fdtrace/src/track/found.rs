//! Messages that were in a queue before the trace began, or when it ended. All that is known of the
//! former's sender is the socket.

use super::{
    Key, Lost, Tracker,
    message::{Message, Step},
};
use crate::{
    model::{Hop, Occasion},
    wire::{List, Sighting, Stamp},
};

impl Tracker {
    /// A list was in its queue as somebody looked through all of them.
    pub(super) fn found(&mut self, list: List, seen: &Sighting, occasion: Occasion) {
        if occasion == Occasion::First {
            self.found_first(list, seen);
        } else if let Some(message) = self.messages.get_mut(Key::List(list))
            && message.is_on(&seen.stamp)
        {
            // If that is a message's that is not known to have been read since, it is queued whatever
            // else can be seen here, unless the files say that it was another one.
            let is_it = !message.differs_from(seen);
            match occasion {
                Occasion::Last => message.found_last = is_it.then_some(seen.stamp),
                _ => message.still_there = is_it,
            }
            message.describe(seen);
        }
    }

    /// A list was found in a queue, by a look at them all with everything attached already: it may
    /// have been queued, and read, under the program's eyes as well. Then its own events say more.
    fn found_first(&mut self, list: List, seen: &Sighting) {
        if self.messages.find(Key::List(list)).is_none()
            && let Some(message) = self.message_at(list, &seen.stamp)
        {
            message.found = Some(Box::new(seen.clone()));
            message.socket_name = seen.aside.socket_name.clone();
            message.describe(seen);
        }
    }

    /// Whether a message that is open as the trace ends is in its queue.
    pub(super) fn is_queued(&self, message: &Message) -> bool {
        if message.was_found_last() {
            return true;
        }
        let Some(queued) = message.queued_as() else {
            return false;
        };
        let looked = self.looked_at_all;
        let was_missed = looked.is_some_and(|looked| queued.at.ns < looked);
        self.coverage.every_end
            && !was_missed
            && message.step() == Step::Queued
            && !message.is_doubtful()
            && !self.lost.is_since(queued)
    }

    /// Whether a message is open that may still be in its queue.
    #[must_use]
    pub fn awaits_a_reader(&self) -> bool {
        let mut listed = self.messages.listed();
        listed.any(|message| message.step() == Step::Queued)
    }

    /// Whether a message with this list is open.
    #[must_use]
    pub fn follows(&self, list: u64) -> bool {
        List::at(list).is_some_and(|list| self.messages.find(Key::List(list)).is_some())
    }

    /// A hop of a list with its sender: what was found at its address was this, seen again, or else
    /// its end was not seen.
    pub(super) fn make_way_for(&mut self, list: List, seen: &Sighting) {
        let message = self.messages.get(Key::List(list));
        match message.filter(|message| message.is_merely_found()) {
            Some(message) if message.was_found_as(seen) => {
                drop(self.messages.take(Key::List(list)));
            }
            Some(_) => self.retire(list),
            None => {}
        }
    }
}

impl Message {
    /// Whether nothing has been seen of it since it was found in its queue.
    fn is_merely_found(&self) -> bool {
        self.found.is_some() && self.heads.is_empty()
    }

    /// Whether it was in its queue when the trace ended, and nobody has begun to read it since.
    fn was_found_last(&self) -> bool {
        self.found_last.is_some_and(|found| {
            let read = self.head(Hop::Dequeue).or(self.head(Hop::Detach));
            read.is_none_or(|read| read.at.ns < found.at.ns)
        })
    }

    /// When it got into its queue, or was found there.
    pub(super) fn queued_as(&self) -> Option<&Stamp> {
        let found = self.found.as_ref().map(|found| &found.stamp);
        self.head(Hop::Queue).or(found)
    }

    /// Whether it is queued since before `t_ns`, and was not shown for that yet.
    pub(super) fn is_overdue(&self, t_ns: u64) -> bool {
        let since = self
            .queued_as()
            .filter(|_| !self.overdue && self.step() == Step::Queued);
        since.is_some_and(|queued| queued.at.ns < t_ns)
    }

    /// Whether nothing can have gone unseen since it was queued, with these latest losses.
    pub(super) fn is_seen_since(&self, lost: Lost) -> bool {
        self.queued_as()
            .is_some_and(|queued| !lost.is_since(queued))
    }

    /// Whether the message that was found is this: the same files on the same skb, where that is known.
    fn was_found_as(&self, seen: &Sighting) -> bool {
        self.found.as_ref().is_some_and(|found| {
            let same_skb = seen.stamp.skb.is_none() || seen.stamp.skb == found.stamp.skb;
            let mut files = found.files.iter().skip(seen.first.into()).zip(&seen.files);
            same_skb
                && seen.stamp.count == found.stamp.count
                && files.all(|(one, two)| one.is_of(two))
        })
    }
}
