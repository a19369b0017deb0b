//! What was installed, where that is looked for in the receiver's table as its receive returns.
//!
//! The kernel gives each file of a list the lowest free number, in order, and stops at the first that
//! it does not install. Where the receiving task alone has the table, what is new there is the
//! list's, and that settles it. Where other tasks use the table, any of them may have opened
//! the numbers, made duplicates, or closed what was installed: then a number is given only if nothing
//! speaks against it.

use smallvec::{SmallVec, smallvec};

use super::{Ending, Id, Key, Message, Phase, Tracker, message::Seen};
use crate::{
    model::Hop,
    wire::{Call, Errno, Fd, List, Return, Sight, Sighting, Sights, Stamp},
};

/// Something of each file of a list.
type Each<T> = SmallVec<[T; 4]>;

impl Tracker {
    /// A receive is over whose installs were looked for in the receiver's table.
    pub(super) fn returned(&mut self, list: List, seen: &mut Sighting, returned: &Return) {
        let (stamp, by) = (seen.stamp, seen.stamp.by.tid);
        self.reads.note(&stamp);
        self.reads_without_sender.remove(&list);
        let Some((mut key, id)) = self.read_by(list, by, returned.read_ns) else {
            // The address is another message's by now, and what this belongs to was not seen.
            return;
        };
        let Some(message) = self.messages.at_mut(id) else {
            return;
        };
        message.ended_in = std::mem::take(&mut seen.aside.backtrace);
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
                self.close(next, Ending::Unseen { is_queued: false });
            }
        }
        // Behind a record that is lost, a number would be taken for that of an earlier file.
        let is_whole = seen.files.len() >= usize::from(seen.total);
        let Some(message) = self.messages.at_mut(id).filter(|_| is_whole) else {
            return;
        };
        let ending = Ending::Received(returned.given, Some(*returned));
        if !leaves_it {
            message.install(&stamp, returned, &seen.files);
            let number = message.id;
            if key == Key::Overtaken(by) {
                self.tell_apart(number, list);
            }
            self.await_sender(id, stamp.at.ns, ending);
            return;
        }
        // A peek installs duplicates; an out-of-band byte comes without its descriptors. Either
        // leaves the message where it was.
        let peek = (returned.peeks && !has_failed).then(|| Box::new(message.clone()));
        match key {
            Key::List(_) => message.forget(Hop::Dequeue),
            // The one at the address is the one that stays.
            Key::Overtaken(_) => drop(self.messages.remove(id)),
            _ => {}
        }
        if let Some(mut peek) = peek {
            peek.install(&stamp, returned, &seen.files);
            self.close_peek(peek, ending);
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
    pub(super) fn await_sender(&mut self, id: Id, returned_ns: u64, ending: Ending) {
        let Some(message) = self.messages.at(id) else {
            return;
        };
        let has_rival = !message.lacks_sender() && self.has_rival(message);
        let Some(message) = self.messages.at_mut(id) else {
            return;
        };
        message.claim.contested |= has_rival;
        if !message.lacks_sender() {
            message.settle_number(&self.senders);
        }
        if message.awaits_sender() {
            self.enter(
                id,
                Phase::AwaitingSender {
                    returned_ns,
                    ending,
                },
            );
            self.give_up_excess();
        } else {
            self.end_with(id, ending);
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

impl Message {
    /// Finds each file's new descriptor among those that the receiver's table gained.
    pub(super) fn install(&mut self, stamp: &Stamp, returned: &Return, rows: &[Sight]) {
        let head = self.note_head(Hop::Install, *stamp);
        let new: Sights = rows
            .iter()
            .filter(|row| row.file.ptr != 0)
            .copied()
            .collect();
        let told: Each<Result<Fd, Errno>> = rows.iter().map_while(|row| row.told).collect();
        let listed: Each<Option<u64>> = self
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
        let mut all_told = true;
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
                    // The memory that tells the numbers says nothing of it, or another thread made it.
                    all_told = false;
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
        // Memory that tells no number may have been written over. A full table that gained nothing
        // says by itself that nothing was installed.
        let stayed_full = returned.table.is_full && new.is_empty();
        self.counted = all_told
            && told.len() == self.installed()
            && returned.room_known
            && (stayed_full || !told.is_empty());
    }

    /// Files of its list that got a number, from the first one on.
    pub(crate) fn installed(&self) -> usize {
        let installed = self.files.iter().take_while(|file| {
            let seen = file.at(Hop::Install).is_some();
            seen && !file.numberless || file.arrived
        });
        installed.count()
    }
}

/// Gives each new descriptor to the next file of the list that it can be, by place in the list.
fn in_order(listed: &[Option<u64>], new: &[Sight]) -> Each<Option<usize>> {
    let is_pidfd = |row: &Sight| row.file.may_be_pidfd();
    if new.len() == listed.len() && !new.last().is_some_and(is_pidfd) {
        // As many as the list has are the list's, whatever they are. The one that may come with
        // it is a pidfd (SO_PASSPIDFD), after the others.
        return (0..new.len()).map(Some).collect();
    }
    let mut places = smallvec![None; listed.len()];
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
fn pair_up(listed: &[Option<u64>], new: &[Sight]) -> Each<Option<usize>> {
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
