//! The sender's look at the queue, where it comes after the fact: which message it was for, and what
//! is known of one that it has not told of.

use super::{
    Orphan, Tracker,
    message::Message,
    put_off::HANDLER_MAX_NS,
    senders::{LateSender, PREEMPTED_MAX_NS, Sharing},
};
use crate::{
    model::{Doubt, Hop},
    wire::{List, Look, Sighting},
};

impl Tracker {
    pub(super) fn queued(&mut self, seen: &Sighting, look: Look) {
        self.senders.note(seen, look);
        self.wanted_senders.note(&seen.stamp);
        self.take_up(seen);
        if look.raced {
            self.sent_late(seen, look);
            return;
        }
        let Some(list) = seen.stamp.list else {
            return;
        };
        if let Some(message) = self.open.get_mut(list)
            && message.is_contested_by(seen)
        {
            return;
        }
        if !self.was_received(list, seen, look) {
            self.sent(list, Hop::Queue, seen);
            let contested = self.may_have_sent_another(list, seen) || look.disputed;
            if let Some(message) = self.open.get_mut(list) {
                let name = self.names.remove(list);
                message.note_look(seen, look, &self.senders, &self.known, name);
                if contested {
                    message.contest();
                }
            }
        }
        // What the thread had looked for before and not found was sent before this.
        self.give_looks_of(seen.stamp.by.tid, 0);
    }

    /// Whether the thread's own list may have been read before it looked, so that the one that it
    /// found is another's at the same address.
    fn may_have_sent_another(&mut self, list: List, seen: &Sighting) -> bool {
        let since = self.senders.previous_look(&seen.stamp);
        let missed = self.senders.may_have_missed_the_read(&seen.stamp);
        let read_as_own = |message: &Message| message.is_being_received();
        let own = self.open.get(list).is_some_and(read_as_own);
        let mut contested = missed && !own;
        for Orphan { message, .. } in &mut self.orphans {
            if message.may_be_sent_by(seen, since) {
                // Nor can it be told whose that one is.
                message.contest();
                contested = true;
            }
        }
        contested
    }

    /// Joins a look at the queue whose record comes after the receive has returned, for its program
    /// was preempted; says whether it is such a one.
    fn was_received(&mut self, list: List, seen: &Sighting, look: Look) -> bool {
        let mut orphans = self.orphans.iter_mut();
        let Some(at) = orphans.position(|orphan| orphan.message.was_seen_queued(seen)) else {
            return false;
        };
        let Some(mut orphan) = self.orphans.remove(at) else {
            return false;
        };
        let message = &mut orphan.message;
        message.record(Hop::Queue, seen);
        let name = self.names.remove(list);
        message.note_look(seen, look, &self.senders, &self.known, name);
        if self.senders.may_have_missed_the_read(&seen.stamp) {
            message.contest();
        }
        if seen.is_last() {
            self.await_sender(orphan);
        } else {
            self.orphans.push_front(orphan);
        }
        true
    }

    /// A sender whose list had left the queue: finds the message by what else is known.
    fn sent_late(&mut self, seen: &Sighting, look: Look) {
        let Some(mut late) = self.late.add(seen, look.began_ns) else {
            return;
        };
        let head = late.stamp;
        late.since = self.senders.previous_look(&head);
        // What others had sent on the socket before a wanted task did was not told.
        late.is_doubtful = self.senders.may_have_missed_the_read(&head) || look.is_first;
        if self.senders.sharing(&head) == Sharing::Threads {
            self.give_to_process(late);
            return;
        }
        self.senders.keep(late);
        self.give_looks_of(head.by.tid, 0);
    }

    /// Gives a look that found its list gone, one of several threads', to the only message that such a
    /// look may be for. That is the process's, whichever of them sent it: were it not, another one
    /// with the same files would lack its sender too.
    fn give_to_process(&mut self, mut late: LateSender) {
        let is_like = |message: &Message| message.lacks_sender() && message.is_sent_like(&late);
        let received = self.orphans.iter().enumerate();
        let received: Vec<usize> = received
            .filter(|(_, orphan)| is_like(&orphan.message))
            .map(|(at, _)| at)
            .collect();
        let is_being_read = self.lists_like(is_like).next().is_some();
        if let ([at], false, false) = (received.as_slice(), is_being_read, late.is_doubtful)
            && self.orphans[*at].message.may_be_of(&late)
            && let Some(Orphan {
                mut message, last, ..
            }) = self.orphans.remove(*at)
        {
            if !self.senders.agree_with(&late) {
                late.forget_numbers();
            }
            message.claim(late, Some(Doubt::TwoThreadsSend));
            self.end_receive(&message, &last);
            return;
        }
        self.senders.pool(late);
    }

    /// The open messages that are being read without a sender and of which this is true.
    pub(super) fn lists_like(
        &self,
        is_like: impl Fn(&Message) -> bool,
    ) -> impl Iterator<Item = &Message> {
        let reads = self.reads_without_sender.values();
        let open = reads.filter_map(|list| self.open.get(*list));
        open.filter(move |message| is_like(message))
    }

    /// Gives each look of this thread that found its list gone to the message that it was for, where
    /// only one can be that. No look is still to come for what was sent until `told_until`.
    fn give_looks_of(&mut self, tid: u32, told_until: u64) {
        // What was read since its latest look may be of the thread's next call.
        let told_until = told_until.max(self.senders.latest_look(tid));
        // The latest first: what is given to it is not disputed among those before any more.
        for late in self.senders.waiting_of(tid) {
            if self.give_to_message(&late, told_until) {
                self.senders.drop(&late);
            }
        }
    }

    fn give_to_message(&mut self, late: &LateSender, told_until: u64) -> bool {
        let is_its = |message: &Message| {
            message.may_be_of(late)
                && message.was_sent_as(late)
                && (late.stamp.list.is_some() || message.is_read_until(told_until))
                && !self.senders.dispute(message, late)
        };
        let received = self.orphans.iter().enumerate();
        let received: Vec<usize> = received
            .filter(|(_, orphan)| is_its(&orphan.message))
            .map(|(at, _)| at)
            .collect();
        let reads = self.reads_without_sender.values();
        let read: Vec<List> = reads
            .copied()
            .filter(|list| self.open.get(*list).is_some_and(is_its))
            .collect();
        match (received.as_slice(), read.as_slice()) {
            ([at], []) => {
                if let Some(Orphan {
                    mut message, last, ..
                }) = self.orphans.remove(*at)
                {
                    message.claim(late.clone(), None);
                    self.end_receive(&message, &last);
                }
            }
            ([], [list]) => {
                if let Some(message) = self.open.get_mut(*list) {
                    message.claim(late.clone(), None);
                }
            }
            _ => return false,
        }
        true
    }

    /// Looks who has sent a message that is being read and was not seen in its queue.
    pub(super) fn read_without_sender(&mut self, list: List) {
        let Some(message) = self.open.get(list).filter(|message| message.lacks_sender()) else {
            return;
        };
        let waiting = self.senders.waiting_for(message);
        self.reads_without_sender.insert(list, list);
        self.reads_without_sender.excess();
        if let Some(tid) = waiting {
            self.give_looks_of(tid, 0);
        }
    }

    /// Every record up to `t_ns` has come: ends what was received so long ago that no sender's look
    /// will tell of it any more. Says whether there was anything.
    pub fn settle(&mut self, t_ns: u64) -> bool {
        let told_until = t_ns.saturating_sub(PREEMPTED_MAX_NS);
        let (closed, is_old) = (self.closed.len(), |orphan: &Orphan| {
            orphan.returned_ns < told_until
        });
        if self.orphans.iter().any(is_old) {
            for tid in self.senders.waiting_threads() {
                self.give_looks_of(tid, told_until);
            }
        }
        while self.orphans.front().is_some_and(is_old)
            && let Some(orphan) = self.orphans.pop_front()
        {
            self.end_settled(orphan);
        }
        self.give_up_passed(t_ns.saturating_sub(HANDLER_MAX_NS));
        self.closed.len() > closed
    }

    /// Ends a message whose sender is not certain, with what is when every look has come that may tell
    /// of it.
    pub(super) fn end_settled(&mut self, mut orphan: Orphan) {
        orphan.message.settle_sender(&self.senders);
        self.end_receive(&orphan.message, &orphan.last);
    }

    /// Ends the oldest message whose sender is not certain: there is no room to wait for more.
    pub(super) fn give_up_orphan(&mut self) {
        if let Some(orphan) = self.orphans.pop_front() {
            self.end_receive(&orphan.message, &orphan.last);
        }
    }
}
