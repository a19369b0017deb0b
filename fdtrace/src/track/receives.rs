//! Receives: from the read of a message to its return, and what became of the files that one took
//! and did not install.

use fdtrace_common::records::{
    FLAG_HAS_URING, FLAG_INSTALLED_UNSEEN, FLAG_LEFT, FLAG_OOB, FLAG_PEEK, FLAG_WINDOW_SHORT, Head,
    NOT_TOLD, RecordKind,
};

use super::{
    ORPHANS_MAX, Tracker,
    fate::{self, Called},
    message::{Message, Refusal},
};
use crate::{
    model::{Cause, Fate, Hop},
    wire::Sighting,
};

/// Calls that have no place for descriptors: read, readv, recvfrom, and what 32-bit processes
/// call them, whose numbers stand for calls that receive nothing in others. The functions that a call
/// is in say more: io_uring receives within any call of its task.
const READS: [i32; 6] = [0, 19, 45, 3, 145, 371];

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
    pub(super) fn dequeued(&mut self, seen: &Sighting) {
        let head = &seen.head;
        self.end_waiting(head.tid);
        if self
            .open
            .get(head.list)
            .is_some_and(|message| !message.is_on(head) || message.shares_nothing_with(seen))
        {
            // The same address on another skb or with other files: a list of which nothing was seen
            // until now, and of the one before not how it ended.
            self.retire(head.list);
        }
        self.reads.note(head);
        self.senders.note_read(head);
        let since = self.reads.before(head.tid);
        let task = self.known.task(head.tid);
        let message = self.open_message(head);
        let overtaken = message.reader().filter(|reader| *reader != head.tid);
        let overtaken = overtaken.map(|reader| (reader, message.clone()));
        // After a peek the list is read again, perhaps by another task: the last reader counts.
        message.forget_unless_same(Hop::Dequeue, head);
        message.record(Hop::Dequeue, seen);
        message.note_reader(since, task);
        if let Some((reader, message)) = overtaken {
            self.overtaken.insert(reader, message);
        }
        self.describe(seen);
        self.read_without_sender(head.list);
    }

    pub(super) fn detached(&mut self, seen: &Sighting) {
        let list = seen.head.list;
        if self
            .peeks
            .get(list)
            .is_some_and(|(_, peek)| peek.was_detached_before(&seen.head))
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
        self.retire_unless_of(seen);
        if !self.peeks.contains(list)
            && let Some(message) = self.open.get_mut(list)
        {
            message.forget_peek();
        }
        if let Some(message) = self.receiving(list) {
            message.record(Hop::Detach, seen);
        }
    }

    pub(super) fn received(&mut self, hop: Hop, seen: &Sighting) {
        let Head { list, result, .. } = seen.head;
        let is_next = |message: &Message| hop == Hop::Receive && message.had_the_turn_of(seen);
        if !self.peeks.contains(list) && self.open.get(list).is_some_and(is_next) {
            self.retire(list);
        }
        let Some(message) = self.receiving(list) else {
            return;
        };
        let told = seen.files.first().map_or(-1, |file| file.told);
        let place = message.place_of(hop, seen);
        let is_told = told != NOT_TOLD;
        if hop == Hop::Install && (result < 0 || is_told && told < 0) {
            // One that was told instead of a number is no reason to give up.
            let in_place = result >= 0;
            let errno = if in_place { told } else { result };
            let refusal = Refusal { errno, in_place };
            message.refuse(place, refusal);
        } else {
            message.record_at(place, hop, seen);
            if hop == Hop::Install && !is_told {
                message.note_numberless(place);
            }
        }
    }

    /// The message that a receiver is installing from, or the duplicate it got by peeking.
    fn receiving(&mut self, list: u64) -> Option<&mut Message> {
        match self.peeks.get_mut(list) {
            Some((_, peek)) => Some(peek),
            None => self.open.get_mut(list),
        }
    }

    /// A receive is over whose installs were looked for in the receiver's table.
    pub(super) fn returned(&mut self, seen: Sighting) {
        let head = seen.head;
        self.reads.note(&head);
        self.reads_without_sender.remove(head.list);
        let Some((mut place, mut message)) = self.take_read_by(&head) else {
            // The address is another message's by now, and what this belongs to was not seen.
            return;
        };
        // The next message may be at this one's addresses by then.
        let was_left = head.flags & FLAG_LEFT != 0 && place == Place::Open;
        let has_failed = head.result < 0;
        let leaves_it = head.flags & (FLAG_PEEK | FLAG_OOB) != 0
            || was_left
            || (has_failed && message.is_in_stream(&head));
        if !leaves_it && let Some(next) = message.split_off_next(&head, self.messages + 1) {
            self.messages += 1;
            if place == Place::Open {
                self.open.insert(head.list, next);
                place = Place::Returning;
            } else {
                // Yet another is at the address since.
                self.close_unseen(&next, Fate::Unknown);
            }
        }
        if let Some(addresses) = self.called.remove(head.list) {
            message.received_in = self.named(addresses);
        }
        let Some(gained) = message.collect_returned(seen) else {
            self.put(place, &head, message);
            return;
        };
        if !leaves_it {
            message.install(&head, &gained);
            if place == Place::Overtaken {
                self.tell_apart(&message, head.list);
            }
            self.end_table_receive(message, head);
            return;
        }
        // A peek installs duplicates; an out-of-band byte comes without its descriptors. Either
        // leaves the message where it was.
        if head.flags & FLAG_PEEK != 0 && !has_failed {
            let mut peek = message.clone();
            peek.install(&head, &gained);
            self.end_peek_with(&peek, &head, &peek.received_in);
        }
        match place {
            Place::Open => {
                message.forget(Hop::Dequeue);
                self.put(place, &head, message);
            }
            Place::Returning => self.put(place, &head, message),
            // The one that is open is the one that stays.
            Place::Overtaken => {}
        }
    }

    /// The message that this receive is of, out of where it is kept.
    fn take_read_by(&mut self, returned: &Head) -> Option<(Place, Message)> {
        let is_its = |message: &Message| message.is_read_by(returned);
        let tid = returned.tid;
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
        if self.open.get(returned.list).is_some_and(is_its) {
            let message = self.open.remove(returned.list)?;
            return Some((Place::Open, message));
        }
        None
    }

    fn put(&mut self, place: Place, returned: &Head, message: Message) {
        let Head { tid, list, .. } = *returned;
        match place {
            Place::Open => self.open.insert(list, message),
            Place::Returning => self.returning.insert(tid, (list, message)),
            Place::Overtaken => self.overtaken.insert(tid, message),
        }
    }

    /// `taken` was no peek: what another thread reads at this address since is another message,
    /// whose sender has not been seen yet.
    fn tell_apart(&mut self, taken: &Message, list: u64) {
        if let Some(other) = self.open.get_mut(list)
            && other.id == taken.id
        {
            self.messages += 1;
            other.become_another(self.messages);
        }
    }

    /// Ends a receive that took the message, unless a look that is still to come may tell who sent it.
    pub(super) fn end_table_receive(&mut self, mut message: Message, head: Head) {
        if !message.lacks_sender() {
            if self.has_rival(&message) {
                message.contest();
            }
            message.settle_number(&self.senders);
        }
        if !message.awaits_sender() {
            self.end_receive(&message, &head);
            return;
        }
        self.orphans.push_back((message, head));
        if self.orphans.len() > ORPHANS_MAX {
            self.give_up_orphan();
        }
    }

    /// Whether a message without a sender may be what the thread has sent that found this one.
    fn has_rival(&self, message: &Message) -> bool {
        let mut orphans = self.orphans.iter();
        let is_rival = |other: &Message| other.is_rival_of(message);
        orphans.any(|(orphan, _)| is_rival(orphan))
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
    pub(super) fn put_back(&mut self, list: u64) {
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
    pub(super) fn end_peek_with(&mut self, peek: &Message, last: &Head, called: &Called) {
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

    pub(super) fn end_receive(&mut self, message: &Message, last: &Head) {
        self.end_receive_in(message, last, &message.received_in);
    }

    pub(super) fn end_receive_in(&mut self, message: &Message, last: &Head, called: &Called) {
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
    last: &Head,
    called: &Called,
) -> (Fate, Option<Cause>) {
    if last.flags & FLAG_WINDOW_SHORT != 0 {
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
    } else if last.flags & FLAG_INSTALLED_UNSEEN != 0 {
        (Fate::Unknown, None)
    } else if last.result < 0 {
        (Fate::Discarded, Some(Cause::ReceiveFailed))
    } else if let Some(ended) = called.given_back() {
        ended
    } else if !message.is_being_received() {
        (Fate::Unknown, None)
    } else if is_plain_read(last, called) {
        (Fate::Discarded, Some(Cause::PlainRead))
    } else if message.may_hide(last) {
        (Fate::Unknown, None)
    } else if last.kind == RecordKind::ReceiveReturned as u16 {
        message.missing_in_table(index, last)
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
fn is_plain_read(last: &Head, called: &Called) -> bool {
    let in_its_call = last.flags & FLAG_HAS_URING == 0;
    called.by_plain_read() || in_its_call && READS.contains(&last.syscall)
}
