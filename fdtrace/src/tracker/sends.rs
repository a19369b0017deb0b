//! Sends whose list did not get into a queue. Its end is seen before the call returns, and only
//! what that returns says why.

use fdtrace_common::records::Head;

use super::{Cause, Fate, Tracker, fate, message::Message};
use crate::{event::Sighting, plan::Hop};

impl Tracker {
    /// A send returned.
    pub(super) fn send_returned(&mut self, seen: &Sighting) {
        if seen.head.origin == 0 {
            self.failed_by_itself(seen);
            return;
        }
        let head = &seen.head;
        let is_its = |message: &Message| message.is_copied_at(head.origin);
        if self.unsent.get(head.tid).is_some_and(is_its)
            && let Some(message) = self.unsent.remove(head.tid)
        {
            let attached = message.has(Hop::Attach);
            let ended = fate::of_send(head, attached, message.count());
            self.close(&message, |_| ended);
        }
    }

    /// A send that says its own numbers: it never had a list, or nothing saw it.
    fn failed_by_itself(&mut self, seen: &Sighting) {
        let Some(sender) = self.failing.add(seen) else {
            return;
        };
        let head = sender.head;
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
            self.close_unreturned(&message);
        }
    }

    /// Closes a send whose return went unseen.
    pub(super) fn close_unreturned(&mut self, message: &Message) {
        let ended = if self.sees_failed_sends {
            (Fate::Unknown, None)
        } else {
            (Fate::Failed, Some(Cause::NotSent))
        };
        self.close(message, |_| ended);
    }
}
