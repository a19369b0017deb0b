//! Which file of a message it is that is being installed, one by one.

use super::{File, Message, Seen};
use crate::{
    model::Hop,
    wire::{Sight, Sighting},
};

impl Message {
    /// Notes the sighting of one file at its place.
    pub(in crate::track) fn record_at(&mut self, place: usize, hop: Hop, seen: &Sighting) {
        let head = self.note_head(hop, seen.stamp);
        if let (Some(file), Some(sight)) = (self.files.get_mut(place), seen.files.first()) {
            file.seen.push(Seen {
                hop,
                head,
                sight: *sight,
            });
        }
    }

    /// Notes that the number under which a file was installed is not known.
    pub(in crate::track) fn note_numberless(&mut self, place: usize) {
        if let Some(file) = self.files.get_mut(place) {
            (file.inferred, file.numberless) = (true, true);
        }
    }

    /// Which of its files is being received or installed. The programs count, but the kernel skips
    /// a run of a program that it has preempted on the same CPU, and then their count is behind:
    /// a file that the list has further on is that one. One that it does not have at all is where
    /// the count says, and shows as another.
    pub(in crate::track) fn place_of(&self, hop: Hop, seen: &Sighting) -> usize {
        let first = usize::from(seen.first);
        let Some(sight) = seen.files.first() else {
            return first;
        };
        let is_open = |place: &usize| {
            self.files.get(*place).is_some_and(|file| {
                file.at(hop).is_none()
                    && file.refused.is_none()
                    && file.in_list().is_none_or(|known| known == sight.file.ptr)
            })
        };
        let is_tried = |place: &usize| {
            self.files
                .get(*place)
                .is_some_and(|file| file.at(Hop::Receive).is_some())
        };
        if is_open(&first) && !is_tried(&(first + 1)) {
            return first;
        }
        let mut places = first..self.files.len();
        let latest_tried = places
            .clone()
            .rfind(|place| is_open(place) && is_tried(place));
        latest_tried
            .filter(|_| hop == Hop::Install)
            .or_else(|| places.find(is_open))
            .unwrap_or(first)
    }

    /// Whether this is of another list, whose beginning went unseen: it has a file that is not in
    /// this one, in a turn that was another's already.
    pub(in crate::track) fn had_the_turn_of(&self, seen: &Sighting) -> bool {
        let is_here = |file: &Sight| {
            let mut files = self.files.iter();
            files.any(|known| known.in_list() == Some(file.file.ptr))
        };
        self.was_tried(usize::from(seen.first)) && !seen.files.first().is_some_and(is_here)
    }

    /// Whether a number was about to be reserved for this file.
    pub(in crate::track) fn was_tried(&self, index: usize) -> bool {
        self.files
            .get(index)
            .is_some_and(|file| file.at(Hop::Receive).is_some())
    }
}

impl File {
    /// Its address, as the list has it.
    fn in_list(&self) -> Option<u64> {
        let in_list = self.seen.iter().find(|seen| seen.hop <= Hop::Detach);
        in_list.map(|seen| seen.sight.file.ptr)
    }
}
