//! Which of the descriptors that a receiver's table gained are the message's.
//!
//! The kernel gives each file of a list the lowest free number, in order, and stops at the first that
//! it does not install. Where the receiving task alone has the table, what is new there is the
//! list's, and that settles it. Where other tasks use the table, any of them may have opened
//! the numbers, made duplicates, or closed what was installed: then a number is given only if nothing
//! speaks against it.

use super::{Message, Seen};
use crate::{
    model::{Cause, Fate, Hop},
    wire::{Call, Errno, Fd, Return, Sight, Stamp},
};

impl Message {
    /// Finds each file's new descriptor among those that the receiver's table gained.
    pub(in crate::track) fn install(&mut self, stamp: &Stamp, returned: &Return, rows: &[Sight]) {
        let head = self.note_head(Hop::Install, *stamp);
        let new: Vec<Sight> = rows
            .iter()
            .filter(|row| row.file.ptr != 0)
            .copied()
            .collect();
        let told: Vec<Result<Fd, Errno>> = rows.iter().map_while(|row| row.told).collect();
        let listed: Vec<Option<u64>> = self
            .files
            .iter()
            .map(|file| file.at(Hop::Dequeue).or(file.at(Hop::Queue)))
            .map(|seen| seen.map(|seen| seen.sight.file.ptr))
            .collect();
        let shared = returned.table.is_shared;
        let places = if shared {
            pair_up(&listed, &new)
        } else {
            in_order(&listed, &new)
        };
        let control = returned.control;
        // Everything was installed, or had an errno put in its place.
        let complete = shared && control.is_some_and(|control| !control.truncated);
        for (index, file) in self.files.iter_mut().enumerate() {
            let told = told.get(index).copied();
            let found = places[index].map(|at| new[at]);
            // It was refused, or another task wrote that over its number.
            let may_be_refused = shared && told.is_some_and(|told| told.is_err());
            let Some(found) = found.filter(|_| !may_be_refused) else {
                file.arrived = complete && !may_be_refused;
                continue;
            };
            file.inferred = returned.given.call != Some(Call::Recvmsg);
            if shared && told.and_then(Result::ok) != found.fd
                || is_doubtful(&found, returned, &listed, &new)
            {
                // The number may be a duplicate's. That the file came is sure if all did; where that is
                // not known, it is taken to have come if nothing else speaks against that number.
                let likely = control.is_none()
                    && listed
                        .iter()
                        .filter(|file| **file == Some(found.file.ptr))
                        .count()
                        == 1
                    && !is_doubtful(&found, returned, &listed, &new);
                if !complete && !likely {
                    continue;
                }
                (file.inferred, file.numberless) = (true, true);
            }
            file.seen.push(Seen {
                hop: Hop::Install,
                head,
                sight: found,
            });
        }
        self.counted = !shared || told.len() == self.installed() && returned.room_known;
    }

    /// Files of its list that got a number, from the first one on.
    fn installed(&self) -> usize {
        let installed = self.files.iter().take_while(|file| {
            let seen = file.at(Hop::Install).is_some();
            seen && !file.numberless || file.arrived
        });
        installed.count()
    }

    /// Whether the file may have been installed under a number that does not show: one that was open
    /// before, which another task closed meanwhile.
    pub(in crate::track) fn may_hide(&self, returned: &Return) -> bool {
        let absent = returned.control.is_some_and(|control| control.absent);
        returned.table.is_shared && !self.counted && !absent
    }

    /// What became of a file that the receiver's table did not gain, where the function that refused
    /// it is not seen. The cause is given where the kernel's own tables leave no other.
    pub(in crate::track) fn missing_in_table(
        &self,
        index: usize,
        returned: &Return,
    ) -> (Fate, Option<Cause>) {
        let control = returned.control;
        let room = control.map(|control| control.room(self.installed()));
        if room.as_ref().is_some_and(|room| index >= *room.end()) {
            return (Fate::Truncated, Some(Cause::NoControlRoom));
        }
        let later = index + 1..self.files.len();
        let in_place = control.is_some_and(|control| !control.truncated);
        if in_place || later.into_iter().any(|later| self.is_installed(later)) {
            // Only a refusal leaves the others their turn.
            return (Fate::Refused, None);
        }
        let full = returned.table.is_full;
        let cause =
            (full && room.is_some_and(|room| index < *room.start())).then_some(Cause::RlimitNofile);
        (Fate::Truncated, cause)
    }
}

/// Gives each new descriptor to the next file of the list that it can be, by place in the list.
fn in_order(listed: &[Option<u64>], new: &[Sight]) -> Vec<Option<usize>> {
    let is_pidfd = |row: &Sight| row.file.may_be_pidfd();
    if new.len() == listed.len() && !new.last().is_some_and(is_pidfd) {
        // As many as the list has are the list's, whatever they are. The one that may come with
        // it is a pidfd (SO_PASSPIDFD), after the others.
        return (0..new.len()).map(Some).collect();
    }
    let mut places = vec![None; listed.len()];
    let mut next = 0;
    for (at, row) in new.iter().enumerate() {
        let rest = listed.iter().skip(next);
        if let Some(more) = rest.clone().position(|file| *file == Some(row.file.ptr)) {
            places[next + more] = Some(at);
            next += more + 1;
        }
    }
    places
}

/// Gives each file the new descriptors that hold it, if there are as many as the list has places with
/// that file.
fn pair_up(listed: &[Option<u64>], new: &[Sight]) -> Vec<Option<usize>> {
    let holding = |file: u64| (0..new.len()).filter(move |at| new[*at].file.ptr == file);
    let place = |(index, file): (usize, &Option<u64>)| {
        let file = (*file)?;
        let before = listed[..index].iter().filter(|other| **other == Some(file));
        holding(file).nth(before.count())
    };
    listed.iter().enumerate().map(place).collect()
}

/// Whether a new descriptor in a table that others use may be somebody else's doing: there are more
/// of the file than in the list, a lower number is free, or a lower one was opened by another.
fn is_doubtful(found: &Sight, returned: &Return, listed: &[Option<u64>], new: &[Sight]) -> bool {
    if !returned.table.is_shared {
        return false;
    }
    let places = listed.iter().filter(|file| **file == Some(found.file.ptr));
    let holders = new.iter().filter(|row| row.file.ptr == found.file.ptr);
    let is_stranger = |row: &Sight| row.fd < found.fd && !listed.contains(&Some(row.file.ptr));
    returned.table.has_hole || holders.count() > places.count() || new.iter().any(is_stranger)
}
