//! Receives: from the read of a message to its return, and what became of the files that one took
//! and did not install.

use super::{
    CallOf, ORPHANS_MAX, Orphan, Tracker,
    fate::{self, Called},
    message::Message,
};
use crate::{
    model::{Cause, Fate, Hop},
    wire::{Call, Fd, Given, List, Refusal, Return, Sighting},
};

/// With what a receive ended.
#[derive(Clone, Copy)]
pub(super) enum Ended<'a> {
    /// It returned, and its table was looked at.
    Returned(&'a Return),
    /// It gave its list back.
    Gave(&'a Given),
}

impl<'a> Ended<'a> {
    fn given(self) -> &'a Given {
        match self {
            Self::Returned(returned) => &returned.given,
            Self::Gave(given) => given,
        }
    }
}

/// Where a message is kept whose receive returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At its list's address.
    Open,
    /// With its reader: the address is another's by now.
    Returning,
    /// With its reader: another thread reads at the address since.
    Overtaken,
}

impl Tracker {
    pub(super) fn dequeued(&mut self, list: List, seen: &Sighting) {
        let head = &seen.stamp;
        self.end_waiting(head.by.tid);
        if self
            .open
            .get(list)
            .is_some_and(|message| !message.is_on(head) || message.shares_nothing_with(seen))
        {
            // The same address on another skb or with other files: a list of which nothing was seen
            // until now, and of the one before not how it ended.
            self.retire(list);
        }
        self.reads.note(head);
        self.senders.note_read(head);
        let since = self.reads.before(head.by.tid);
        let task = self.known.task(head.by.tid);
        let message = self.open_message(list, head);
        let overtaken = message.reader().filter(|reader| *reader != head.by.tid);
        let overtaken = overtaken.map(|reader| (reader, message.clone()));
        // After a peek the list is read again, perhaps by another task: the last reader counts.
        message.forget_unless_same(Hop::Dequeue, head);
        message.record(Hop::Dequeue, seen);
        message.note_reader(since, task);
        if let Some((reader, message)) = overtaken {
            self.overtaken.insert(reader, message);
        }
        self.describe(list, seen);
        self.read_without_sender(list);
    }

    pub(super) fn detached(&mut self, list: List, seen: &Sighting, room: u16) {
        if self
            .peeks
            .get(list)
            .is_some_and(|(_, peek)| peek.was_detached_before(&seen.stamp))
            && let Some((_, peek)) = self.peeks.remove(list)
        {
            // Another duplicate is at this address: how that one ended was not seen.
            self.end_peek(&peek);
        }
        if let Some(origin) = self.take_origin(list)
            && let Some(message) = self.open.get(origin)
            && !message.shares_nothing_with(seen)
        {
            self.peeks.insert(list, (origin, message.clone()));
        }
        // Other files are another list: what was seen before is of one whose end went unseen.
        self.retire_unless_of(list, seen);
        if !self.peeks.contains(list)
            && let Some(message) = self.open.get_mut(list)
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
        if !self.peeks.contains(list) && self.open.get(list).is_some_and(is_next) {
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
        match self.peeks.get_mut(list) {
            Some((_, peek)) => Some(peek),
            None => self.open.get_mut(list),
        }
    }

    /// A receive is over whose installs were looked for in the receiver's table.
    pub(super) fn returned(&mut self, list: List, seen: Sighting, returned: &Return) {
        let head = seen.stamp;
        self.reads.note(&head);
        self.reads_without_sender.remove(list);
        let taken = self.take_read_by(list, head.by.tid, returned.read_ns);
        let Some((mut place, mut message)) = taken else {
            // The address is another message's by now, and what this belongs to was not seen.
            return;
        };
        // The next message may be at this one's addresses by then.
        let was_left = returned.left && place == Place::Open;
        let has_failed = returned.given.errno.is_some();
        let leaves_it = returned.peeks
            || returned.is_oob
            || was_left
            || (has_failed && message.is_in_stream(&head));
        if !leaves_it && let Some(next) = message.split_off_next(&head, self.messages + 1) {
            self.messages += 1;
            if place == Place::Open {
                self.open.insert(list, next);
                place = Place::Returning;
            } else {
                // Yet another is at the address since.
                self.close_unseen(&next, Fate::Unknown);
            }
        }
        if let Some(addresses) = self.called.remove(CallOf::List(list)) {
            message.received_in = self.named(addresses);
        }
        let Some(gained) = message.collect_returned(seen) else {
            self.put(place, list, head.by.tid, message);
            return;
        };
        if !leaves_it {
            message.install(&head, returned, &gained);
            if place == Place::Overtaken {
                self.tell_apart(&message, list);
            }
            self.await_sender(Orphan {
                message,
                returned_ns: head.at.ns,
                last: *returned,
            });
            return;
        }
        // A peek installs duplicates; an out-of-band byte comes without its descriptors. Either
        // leaves the message where it was.
        if returned.peeks && !has_failed {
            let mut peek = message.clone();
            peek.install(&head, returned, &gained);
            self.end_peek_with(&peek, Ended::Returned(returned), &peek.received_in);
        }
        match place {
            Place::Open => {
                message.forget(Hop::Dequeue);
                self.put(place, list, head.by.tid, message);
            }
            Place::Returning => self.put(place, list, head.by.tid, message),
            // The one that is open is the one that stays.
            Place::Overtaken => {}
        }
    }

    /// The message that this receive is of, out of where it is kept.
    fn take_read_by(&mut self, list: List, tid: u32, read_ns: u64) -> Option<(Place, Message)> {
        let is_its = |message: &Message| message.is_read_by(tid, read_ns);
        if self.overtaken.get(tid).is_some_and(is_its) {
            let message = self.overtaken.remove(tid)?;
            return Some((Place::Overtaken, message));
        }
        if self
            .returning
            .get(tid)
            .is_some_and(|(_, message)| is_its(message))
        {
            let (_, message) = self.returning.remove(tid)?;
            return Some((Place::Returning, message));
        }
        if self.open.get(list).is_some_and(is_its) {
            let message = self.open.remove(list)?;
            return Some((Place::Open, message));
        }
        None
    }

    fn put(&mut self, place: Place, list: List, tid: u32, message: Message) {
        match place {
            Place::Open => self.open.insert(list, message),
            Place::Returning => self.returning.insert(tid, (list, message)),
            Place::Overtaken => self.overtaken.insert(tid, message),
        }
    }

    /// `taken` was no peek: what another thread reads at this address since is another message,
    /// whose sender has not been seen yet.
    fn tell_apart(&mut self, taken: &Message, list: List) {
        if let Some(other) = self.open.get_mut(list)
            && other.id == taken.id
        {
            self.messages += 1;
            other.become_another(self.messages);
        }
    }

    /// Ends a receive that took the message, unless a look that is still to come may tell who sent it.
    pub(super) fn await_sender(&mut self, mut orphan: Orphan) {
        let message = &mut orphan.message;
        if !message.lacks_sender() {
            if self.has_rival(message) {
                message.contest();
            }
            message.settle_number(&self.senders);
        }
        if !message.awaits_sender() {
            self.end_receive(&orphan.message, &orphan.last);
            return;
        }
        self.orphans.push_back(orphan);
        if self.orphans.len() > ORPHANS_MAX {
            self.give_up_orphan();
        }
    }

    /// Whether a message without a sender may be what the thread has sent that found this one.
    fn has_rival(&self, message: &Message) -> bool {
        let mut orphans = self.orphans.iter();
        let is_rival = |other: &Message| other.is_rival_of(message);
        orphans.any(|orphan| is_rival(&orphan.message))
            || (message.is_shared() && self.lists_like(is_rival).next().is_some())
    }

    /// A thread that begins another receive is done with the one before, whose return went unseen.
    pub(super) fn end_waiting(&mut self, tid: u32) {
        self.overtaken.remove(tid);
        if let Some((_, message)) = self.returning.remove(tid) {
            self.close_unseen(&message, Fate::Unknown);
        }
    }

    /// The message whose list this is was only looked at.
    pub(super) fn put_back(&mut self, list: List) {
        if let Some(message) = self.open.get_mut(list) {
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
        let mut transfers = peek.transfers(|index| {
            if peek.is_installed(index) {
                return Some((Fate::Peeked, None));
            }
            let ended = undelivered(peek, index, last, called);
            (ended.0 != Fate::Discarded).then_some(ended)
        });
        for transfer in &mut transfers {
            transfer.peek = true;
        }
        self.want_possibly_wanted(peek, &mut transfers);
        self.number_and_push(transfers);
    }

    pub(super) fn end_receive(&mut self, message: &Message, last: &Return) {
        self.end_receive_in(message, Ended::Returned(last), &message.received_in);
    }

    pub(super) fn end_receive_in(&mut self, message: &Message, last: Ended<'_>, called: &Called) {
        self.close(message, |index| {
            if message.is_installed(index) {
                (Fate::Delivered, None)
            } else {
                undelivered(message, index, last, called)
            }
        });
    }
}

/// What became of a file that a receive took and did not install. `last` is the record with which
/// the receive ended, in the functions of `called`.
fn undelivered(
    message: &Message,
    index: usize,
    last: Ended<'_>,
    called: &Called,
) -> (Fate, Option<Cause>) {
    let given = last.given();
    let returned = match last {
        Ended::Returned(returned) => Some(returned),
        Ended::Gave(_) => None,
    };
    if returned.is_some_and(|returned| returned.table.is_short) {
        // New numbers may lie beyond what was looked at.
        return (Fate::Unknown, None);
    }
    if let Some(refused) = message.refusal(index) {
        return fate::of_refusal(refused.errno);
    }
    if let Some(before) = message.gave_up_before(index) {
        let (_, cause) = fate::of_refusal(before.errno);
        return (Fate::Truncated, cause);
    }
    if message.was_tried(index) {
        // What came of it went unseen.
        (Fate::Unknown, None)
    } else if let Some(room) = message.room() {
        if index >= room {
            (Fate::Truncated, Some(Cause::NoControlRoom))
        } else {
            // It had its turn, and what came of that went unseen.
            (Fate::Unknown, None)
        }
    } else if given.installed_unseen {
        (Fate::Unknown, None)
    } else if given.errno.is_some() {
        (Fate::Discarded, Some(Cause::ReceiveFailed))
    } else if let Some(ended) = called.given_back() {
        ended
    } else if !message.is_being_received() {
        (Fate::Unknown, None)
    } else if is_plain_read(given, called) {
        (Fate::Discarded, Some(Cause::PlainRead))
    } else if let Some(returned) = returned {
        match message.may_hide(returned) {
            true => (Fate::Unknown, None),
            false => message.missing_in_table(index, returned),
        }
    } else if !called.by_recvmsg() {
        // Whether that call had a place for descriptors was not seen.
        (Fate::Unknown, None)
    } else {
        // The list was given back before anything looked for room, so there was no control buffer.
        (Fate::Truncated, Some(Cause::NoControlRoom))
    }
}

/// Whether the receive was a call that has no place for descriptors. Where the task has an io_uring, the
/// system call that it is in may be another: then only the functions tell.
fn is_plain_read(given: &Given, called: &Called) -> bool {
    called.by_plain_read() || !given.has_uring && given.call == Some(Call::PlainRead)
}
