//! What was installed, where that is seen: each file of a list gets its number, or is refused one, in
//! its turn.

use super::{Key, Message, Phase, Tracker};
use crate::{
    model::Hop,
    wire::{Fd, List, Refusal, Sighting},
};

impl Tracker {
    /// A list has left its skb and is about to be installed.
    pub(super) fn detached(&mut self, list: List, seen: &Sighting, room: u16) {
        let peek = self.messages.get(Key::Peek(list));
        if peek.is_some_and(|peek| peek.was_detached_before(&seen.stamp)) {
            // Another duplicate is at this address: how that one ended was not seen.
            let peek = self.messages.take(Key::Peek(list));
            peek.into_iter().for_each(|peek| self.end_unseen(peek));
        }
        if let Some(origin) = self.take_origin(list)
            && let Some(message) = self.messages.get(Key::List(origin))
            && !message.shares_nothing_with(seen)
        {
            let peek = message.clone();
            self.begin(peek, Phase::PeekOf { origin, at: list });
        }
        // Other files are another list: what was seen before is of one whose end went unseen.
        self.retire_unless_of(list, seen);
        if !self.messages.contains(Key::Peek(list))
            && let Some(message) = self.messages.get_mut(Key::List(list))
        {
            message.forget_peek();
        }
        if let Some(message) = self.receiving(list) {
            message.record(Hop::Detach, seen);
            message.note_room(room);
        }
    }

    /// A number is about to be reserved for a file.
    pub(super) fn received(&mut self, list: List, seen: &Sighting) {
        let is_next = |message: &Message| message.had_the_turn_of(seen);
        if !self.messages.contains(Key::Peek(list))
            && self.messages.get(Key::List(list)).is_some_and(is_next)
        {
            self.retire(list);
        }
        if let Some(message) = self.receiving(list) {
            let place = message.place_of(Hop::Receive, seen);
            message.record_at(place, Hop::Receive, seen);
        }
    }

    /// A file was installed, or refused.
    pub(super) fn installed(
        &mut self,
        list: List,
        seen: &Sighting,
        outcome: Result<Option<Fd>, Refusal>,
    ) {
        let Some(message) = self.receiving(list) else {
            return;
        };
        let place = message.place_of(Hop::Install, seen);
        match outcome {
            Err(refusal) => message.refuse(place, refusal),
            Ok(fd) => {
                message.record_at(place, Hop::Install, seen);
                if fd.is_none() {
                    message.note_numberless(place);
                }
            }
        }
    }

    /// The message that a receiver is installing from, or the duplicate it got by peeking.
    fn receiving(&mut self, list: List) -> Option<&mut Message> {
        let peek = self.messages.find(Key::Peek(list));
        let id = peek.or_else(|| self.messages.find(Key::List(list)))?;
        self.messages.at_mut(id)
    }
}
