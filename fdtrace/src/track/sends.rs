//! Sends whose list did not get into a queue. Its end is seen before the call returns, and only
//! what that returns says why.

use fdtrace_common::records::Head;

use super::{Tracker, fate, message::Message};
use crate::{
    model::{CauseMissing, Fate, Hop},
    wire::Sighting,
};

impl Tracker {
    /// A send returned.
    pub(super) fn send_returned(&mut self, seen: &Sighting) {
        if seen.head.origin == 0 {
            self.failed_by_itself(seen);
            return;
        }
        let head = &seen.head;
        let called = self.called_at(&Head { list: 0, ..*head });
        let is_its = |message: &Message| message.is_copied_at(head.origin);
        if self.unsent.get(head.tid).is_some_and(is_its)
            && let Some(message) = self.unsent.remove(head.tid)
        {
            if fate::is_put_off(head.result, &called) {
                self.put_off(message, head, called.in_uring());
                return;
            }
            let attached = message.has(Hop::Attach);
            let ended = fate::of_send(head, attached, message.count());
            self.close(&message, |_| ended);
        }
    }

    /// A send that says its own numbers: it never had a list, or nothing saw it.
    fn failed_by_itself(&mut self, seen: &Sighting) {
        self.take_up(seen);
        let Some(sender) = self.failing.add(seen) else {
            return;
        };
        let head = sender.head;
        let called = self.called_at(&head);
        if called.in_uring() {
            // The numbers are of the call that this ran inside of.
            return;
        }
        // If an skb with the list has been seen, that was all of it: its sender is here.
        let attached = self
            .unsent
            .get(head.tid)
            .is_some_and(|message| message.sending_thread().is_none());
        if attached {
            self.unsent.remove(head.tid);
        } else {
            self.end_unsent_before(&head);
        }
        self.messages += 1;
        let mut message = Message::unsent(self.messages, sender);
        message.describe_all(&self.known, head);
        self.known.forget_files(&head);
        if fate::is_put_off(head.result, &called) {
            self.put_off(message, &head, false);
            return;
        }
        let ended = fate::of_send(&head, attached, head.count);
        self.close(&message, |_| ended);
    }

    /// A thread that sends anew is done with the send before, whose return went unseen.
    pub(super) fn end_unsent_before(&mut self, head: &Head) {
        if self
            .unsent
            .get(head.tid)
            .is_some_and(|message| !message.is_copied_at(head.t_ns))
            && let Some(message) = self.unsent.remove(head.tid)
        {
            self.close_unreturned(message);
        }
    }

    /// Closes a send whose return went unseen. That its list was given back says nothing: up to 6.9
    /// every sender does that, and another one may be in the queue.
    pub(super) fn close_unreturned(&mut self, mut message: Message) {
        if !self.sees_failed_sends {
            message.lacks_cause_for(CauseMissing::NotWatched);
        }
        let fate = match message.given_up {
            true => Fate::Failed,
            false => Fate::Unknown,
        };
        self.close(&message, |_| (fate, None));
    }
}
