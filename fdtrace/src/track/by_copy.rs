//! Who sent it, where that is seen: the numbers become a list in the sender's call, and that list gets
//! onto an skb and into a queue.

use super::{Key, Message, Tracker};
use crate::{
    model::Hop,
    wire::{List, Sighting},
};

impl Tracker {
    /// The sender's numbers have become a list.
    pub(super) fn copied(&mut self, list: List, seen: &Sighting) {
        self.take_up(seen);
        self.end_unsent_before(&seen.stamp);
        self.sent(list, Hop::Copy, seen);
    }

    /// The list, or a duplicate of `from`, is on its skb.
    pub(super) fn attached(&mut self, list: List, seen: &Sighting, from: Option<List>) {
        self.duplicates.remove(&list);
        if let Some(from) = from.filter(|from| *from != list) {
            self.move_to_duplicate(from, list, seen);
        }
        self.sent(list, Hop::Attach, seen);
    }

    /// A hop on the sender's side. These come once and in order, so one that does not fit the
    /// message that is open at this address begins another.
    pub(super) fn sent(&mut self, list: List, hop: Hop, seen: &Sighting) {
        let head = &seen.stamp;
        self.make_way_for(list, seen);
        let fits = self.messages.get(Key::List(list)).is_none_or(|message| {
            message.same_sighting(hop, head)
                || message.latest_hop().is_none_or(|latest| latest < hop)
                // The sender's look at the queue may come after the receiver's at the skb.
                || (hop == Hop::Queue
                    && message.is_read_before_queue(head)
                    && !message.shares_nothing_with(seen))
        });
        let messages = &self.messages;
        let doubtful = !fits
            && messages
                .get(Key::List(list))
                .is_some_and(Message::is_doubtful);
        if !fits {
            self.retire(list);
        }
        if let Some(message) = self.message_at(list, head) {
            message.doubtful |= doubtful;
            message.record(hop, seen);
        }
    }
}
