//! What was installed, where that is seen: each file of a list gets its number, or is refused one, in
//! its turn.

use super::{
    Key, Message, Phase, Tracker,
    message::{File, Seen},
};
use crate::{
    model::Hop,
    wire::{Fd, List, Refusal, Sight, Sighting},
};

impl Tracker {
    /// A list has left its skb and is about to be installed.
    pub(super) fn detached(&mut self, list: List, seen: &Sighting, room: u16) {
        // Another duplicate is at this address: how that one ended was not seen.
        let peek = self.messages.get(Key::Peek(list));
        if peek.is_some_and(|peek| peek.has(Hop::Detach)) {
            let peek = self.messages.take(Key::Peek(list));
            peek.into_iter().for_each(|peek| self.end_unseen(peek));
        }
        if let Some(origin) = self.take_origin(list)
            && let Some(message) = self.messages.get(Key::List(origin))
            && !message.shares_nothing_with(seen)
        {
            let peek = Box::new(message.clone());
            self.begin(peek, Phase::PeekOf { origin, at: list });
        }
        // Other files are another list: what was seen before is of one whose end went unseen.
        self.retire_unless_of(list, seen);
        if self.messages.find(Key::Peek(list)).is_none()
            && let Some(message) = self.messages.get_mut(Key::List(list))
        {
            message.forget_peek();
        }
        if let Some(message) = self.receiving(list) {
            message.record(Hop::Detach, seen);
            message.room = Some(room.into());
        }
    }

    /// A number is about to be reserved for a file.
    pub(super) fn received(&mut self, list: List, seen: &Sighting) {
        let is_next = |message: &Message| message.had_the_turn_of(seen);
        if self.messages.find(Key::Peek(list)).is_none()
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
        if outcome.is_ok() {
            message.record_at(place, Hop::Install, seen);
        }
        match (outcome, message.files.get_mut(place)) {
            (Err(refusal), Some(file)) => file.refused = Some(refusal),
            (Ok(None), Some(file)) => (file.inferred, file.numberless) = (true, true),
            _ => {}
        }
    }

    /// The message that a receiver is installing from, or the duplicate it got by peeking.
    pub(super) fn receiving(&mut self, list: List) -> Option<&mut Message> {
        let peek = self.messages.find(Key::Peek(list));
        let id = peek.or_else(|| self.messages.find(Key::List(list)))?;
        self.messages.at_mut(id)
    }
}

impl Message {
    /// Notes the sighting of one file at its place.
    pub(super) fn record_at(&mut self, place: usize, hop: Hop, seen: &Sighting) {
        let head = self.note_head(hop, seen.stamp);
        if let (Some(file), Some(sight)) = (self.files.get_mut(place), seen.files.first()) {
            file.seen.push(Seen {
                hop,
                head,
                sight: *sight,
            });
        }
    }

    /// Which of its files is being received or installed. The programs count, but the kernel skips
    /// a run of a program that it has preempted on the same CPU, and then their count is behind:
    /// a file that the list has further on is that one. One that it does not have at all is where
    /// the count says, and shows as another.
    pub(super) fn place_of(&self, hop: Hop, seen: &Sighting) -> usize {
        let first = usize::from(seen.first);
        let Some(sight) = seen.files.first() else {
            return first;
        };
        let is_open = |place: &usize| {
            let file = self.files.get(*place);
            file.is_some_and(|file| {
                let known = file.in_list();
                file.at(hop).is_none()
                    && file.refused.is_none()
                    && known.is_none_or(|known| known == sight.file.ptr)
            })
        };
        if is_open(&first) && !self.was_tried(first + 1) {
            return first;
        }
        let mut places = first..self.files.len();
        let tried = |place: &usize| is_open(place) && self.was_tried(*place);
        let latest_tried = places.clone().rfind(tried);
        latest_tried
            .filter(|_| hop == Hop::Install)
            .or_else(|| places.find(is_open))
            .unwrap_or(first)
    }

    /// Whether this is of another list, whose beginning went unseen: it has a file that is not in
    /// this one, in a turn that was another's already.
    pub(super) fn had_the_turn_of(&self, seen: &Sighting) -> bool {
        let is_here = |file: &Sight| {
            let mut files = self.files.iter();
            files.any(|known| known.in_list() == Some(file.file.ptr))
        };
        self.was_tried(seen.first.into()) && !seen.files.first().is_some_and(is_here)
    }

    /// Whether a number was about to be reserved for this file.
    pub(crate) fn was_tried(&self, index: usize) -> bool {
        let file = self.files.get(index);
        file.is_some_and(|file| file.at(Hop::Receive).is_some())
    }
}

impl File {
    /// Its address, as the list has it.
    fn in_list(&self) -> Option<u64> {
        let in_list = self.seen.iter().find(|seen| seen.hop <= Hop::Detach);
        in_list.map(|seen| seen.sight.file.ptr)
    }
}
