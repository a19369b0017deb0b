//! Sends whose list did not get into a queue. Its end is seen before the call returns, and only
//! what that returns says why.

use super::{
    CallOf, Key, Message, Tracker,
    conclude::{Ending, is_put_off},
};
use crate::{
    model::{CauseMissing, Hop},
    wire::{SendReturn, Sighting, Stamp},
};

impl Tracker {
    /// A send returned.
    pub(super) fn send_returned(&mut self, seen: &Sighting, returned: &SendReturn) {
        let Some(copied_ns) = returned.copied_ns else {
            self.failed_by_itself(seen, returned);
            return;
        };
        let head = &seen.stamp;
        let called = self.called_at(CallOf::Thread(head.by.tid), None);
        let is_its = |message: &Message| message.is_copied_at(copied_ns);
        let key = Key::Send(head.by.tid);
        if self.messages.get(key).is_some_and(is_its)
            && let Some(entry) = self.messages.take(key)
        {
            let message = entry.message;
            if is_put_off(returned.result, &called) {
                self.put_off(message, head, called.in_uring());
                return;
            }
            let attached = message.has(Hop::Attach);
            self.close(&message, Ending::SendReturned(returned, attached));
        }
    }

    /// A send that says its own numbers: it never had a list, or nothing saw it.
    fn failed_by_itself(&mut self, seen: &Sighting, returned: &SendReturn) {
        self.take_up(seen);
        let Some(sender) = self.failing.add(seen, 0) else {
            return;
        };
        let head = sender.stamp;
        let called = self.called_at(CallOf::of(&head), None);
        if called.in_uring() {
            // The numbers are of the call that this ran inside of.
            return;
        }
        // If an skb with the list has been seen, that was all of it: its sender is here.
        let key = Key::Send(head.by.tid);
        let unsent = self.messages.get(key);
        let attached = unsent.is_some_and(|message| message.sending_thread().is_none());
        if attached {
            self.messages.take(key);
        } else {
            self.end_unsent_before(&head);
        }
        let mut message = Message::unsent(self.next_number(), sender);
        message.describe_all(
            &self.known,
            &Sighting {
                stamp: head,
                first: 0,
                total: 0,
                files: Vec::new(),
            },
        );
        self.known.forget_files(&head);
        if is_put_off(returned.result, &called) {
            self.put_off(message, &head, false);
            return;
        }
        self.close(&message, Ending::SendReturned(returned, attached));
    }

    /// A thread that sends anew is done with the send before, whose return went unseen.
    pub(super) fn end_unsent_before(&mut self, head: &Stamp) {
        let key = Key::Send(head.by.tid);
        let is_before = |message: &Message| !message.is_copied_at(head.at.ns);
        if self.messages.get(key).is_some_and(is_before)
            && let Some(entry) = self.messages.take(key)
        {
            self.close_unreturned(entry.message);
        }
    }

    /// Closes a send whose return went unseen. That its list was given back says nothing: up to 6.9
    /// every sender does that, and another one may be in the queue.
    pub(super) fn close_unreturned(&mut self, mut message: Message) {
        if !self.sees_failed_sends {
            message.lacks_cause_for(CauseMissing::NotWatched);
        }
        self.close(&message, Ending::SendUnseen);
    }
}
