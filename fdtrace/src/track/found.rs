//! Messages that were in a queue before the trace began, or when it ended. All that is known of the
//! former's sender is the socket.

use super::{Key, Lost, Tracker, message::Message};
use crate::{
    model::{Hop, Occasion},
    wire::{List, Sighting, Stamp},
};

impl Tracker {
    /// A list was in its queue as somebody looked through all of them.
    pub(super) fn found(&mut self, list: List, seen: &Sighting, occasion: Occasion) {
        match occasion {
            Occasion::First => self.found_first(list, seen),
            Occasion::Meanwhile | Occasion::Last => self.found_again(list, seen, occasion),
        }
    }

    /// A list was found in a queue, by a look at them all with everything attached already: it may
    /// have been queued, and read, under the program's eyes as well.
    fn found_first(&mut self, list: List, seen: &Sighting) {
        let name = self.names.remove(list);
        let open = self.messages.get(Key::List(list));
        if open.is_some_and(|message| !message.is_found_with(&seen.stamp)) {
            // Its own events say more.
            self.known.done_with(seen);
            return;
        }
        if let Some(message) = self.message_at(list, &seen.stamp) {
            message.find(seen);
            if name.is_some() {
                message.socket_name = name;
            }
        }
        self.describe(list, seen);
    }

    /// A list was in its queue when the trace ended: if that is a message's that is not known to
    /// have been read since, it is queued whatever else can be seen here.
    fn found_again(&mut self, list: List, seen: &Sighting, occasion: Occasion) {
        if let Some(message) = self.messages.get_mut(Key::List(list))
            && message.is_on(&seen.stamp)
        {
            if occasion == Occasion::Last {
                message.find_last(seen);
            } else {
                message.still_there = !message.differs_from(seen);
            }
            message.describe_all(&self.known, seen);
        }
        self.known.done_with(seen);
    }

    /// All queues were looked through as the trace ended.
    pub(super) fn looked_through(&mut self, t_ns: u64, at_all: bool) {
        self.looked_last = Some(LastLook { t_ns, at_all });
    }

    /// Whether a message that is open as the trace ends is in its queue.
    pub(super) fn is_queued(&self, message: &Message) -> bool {
        if message.was_found_last() {
            return true;
        }
        let Some(queued) = message.queued_as() else {
            return false;
        };
        let was_missed = self
            .looked_last
            .as_ref()
            .is_some_and(|look| look.at_all && queued.at.ns < look.t_ns);
        self.sees_every_end
            && !was_missed
            && !message.is_being_received()
            && !message.is_doubtful()
            && !self.lost.is_since(queued)
    }

    /// Whether a message is open that may still be in its queue.
    #[must_use]
    pub fn awaits_a_reader(&self) -> bool {
        let mut listed = self.messages.listed();
        listed.any(|message| message.was_queued() && !message.is_being_received())
    }

    /// Whether a message with this list is open.
    #[must_use]
    pub fn follows(&self, list: u64) -> bool {
        List::at(list).is_some_and(|list| self.messages.contains(Key::List(list)))
    }

    /// A hop of a list with its sender: what was found at its address was this, seen again, or else
    /// its end was not seen.
    pub(super) fn make_way_for(&mut self, list: List, seen: &Sighting) {
        let Some(message) = self.messages.get(Key::List(list)) else {
            return;
        };
        if !message.is_merely_found() {
            return;
        }
        if message.was_found_as(seen) {
            self.messages.take(Key::List(list));
        } else {
            self.retire(list);
        }
    }
}

/// A look through all queues as a trace ends.
pub(super) struct LastLook {
    /// When it began.
    t_ns: u64,
    /// Every queue could be read.
    at_all: bool,
}

impl Message {
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

    /// Whether nothing can have gone unseen since it was queued, with these latest losses.
    pub(super) fn is_seen_since(&self, lost: Lost) -> bool {
        self.queued_as()
            .is_some_and(|queued| !lost.is_since(queued))
    }

    /// Notes that it was there at last, unless the files say that it was another one.
    fn find_last(&mut self, seen: &Sighting) {
        self.found_last = (!self.differs_from(seen)).then_some(seen.stamp);
    }

    /// Notes a part of it as it was found.
    fn find(&mut self, seen: &Sighting) {
        match &mut self.found {
            Some(found) => found.files.extend(&seen.files),
            None => self.found = Some(seen.clone()),
        }
    }

    /// Whether `head` is of the look that found it.
    fn is_found_with(&self, head: &Stamp) -> bool {
        self.is_merely_found()
            && self
                .found
                .as_ref()
                .is_some_and(|found| (found.stamp.at.ns, found.stamp.skb) == (head.at.ns, head.skb))
    }

    /// Whether a part of the message that was found is this: the same files on the same skb, where
    /// that is known.
    fn was_found_as(&self, seen: &Sighting) -> bool {
        self.found.as_ref().is_some_and(|found| {
            let first = usize::from(seen.first);
            let same_skb = seen.stamp.skb.is_none() || seen.stamp.skb == found.stamp.skb;
            same_skb
                && seen.stamp.count == found.stamp.count
                && found
                    .files
                    .iter()
                    .skip(first)
                    .zip(&seen.files)
                    .all(|(one, two)| one.is_of(two))
        })
    }
}
