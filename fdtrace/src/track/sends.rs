//! Sends whose list did not get into a queue. Its end is seen before the call returns, and only
//! what that returns says why.

use super::{
    Ending, Key, Message, Tracker, by_look::LateSender, message::Step, put_off::is_put_off,
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
        let backtrace = &seen.aside.backtrace;
        let given_back = self.take_send(seen.stamp.by.tid, |it| it.is_copied_at(copied_ns));
        let Some(mut message) = given_back.or_else(|| self.take_unqueued(seen, copied_ns)) else {
            return;
        };
        message.note_failed_send(seen);
        if is_put_off(returned.result, backtrace) {
            self.put_off(message, &seen.stamp, backtrace.in_uring());
            return;
        }
        let attached = message.has(Hop::Attach) || message.ended_on_skb || message.given_up;
        self.close(message, Ending::SendReturned(*returned, attached));
    }

    /// A send that says its own numbers: it never had a list, or nothing saw it.
    fn failed_by_itself(&mut self, seen: &Sighting, returned: &SendReturn) {
        self.take_up(seen);
        if seen.aside.backtrace.in_uring() || seen.aside.backtrace.unnamed {
            // The numbers are of the call that this ran inside of, or may be.
            return;
        }
        let head = seen.stamp;
        // If an skb with the list has been seen, that was all of it: its sender is here.
        let is_all = |it: &Message| it.sending_thread().is_none();
        let attached = self.take_send(head.by.tid, is_all).is_some();
        if !attached {
            self.end_unsent_before(&head);
        }
        let mut message = self.new_message(head.count);
        message.claim(LateSender::new(seen, 0), None);
        message.describe(seen);
        message.note_failed_send(seen);
        if is_put_off(returned.result, &seen.aside.backtrace) {
            self.put_off(message, &head, false);
            return;
        }
        self.close(message, Ending::SendReturned(*returned, attached));
    }

    /// A send named descriptors on a socket that is no Unix socket, which passes over them.
    pub(super) fn rights_ignored(&mut self, seen: &Sighting) {
        let mut message = self.new_message(seen.stamp.count);
        message.claim(LateSender::new(seen, 0), None);
        message.describe(seen);
        message.other_socket = seen.other_socket().cloned();
        self.close(message, Ending::Ignored);
    }

    /// Takes out the send of this thread that has still to return, if this is true of it.
    pub(super) fn take_send(
        &mut self,
        tid: u32,
        is_it: impl Fn(&Message) -> bool,
    ) -> Option<Box<Message>> {
        let key = Key::Send(tid);
        let is_it = self.messages.get(key).is_some_and(is_it);
        is_it
            .then(|| self.messages.take(key))
            .flatten()
            .map(|entry| entry.message)
    }

    /// Takes out the send that was copied then and has not been seen to get into a queue, nor to be given
    /// back, which some kernels do not show.
    fn take_unqueued(&mut self, seen: &Sighting, copied_ns: u64) -> Option<Box<Message>> {
        let key = Key::List(seen.stamp.list?);
        let message = self.messages.get(key)?;
        let is_it = message.is_copied_at(copied_ns) && message.step() == Step::Sending;
        let sees_queue = self.coverage.watches(Hop::Queue);
        (is_it && sees_queue)
            .then(|| self.messages.take(key))
            .flatten()
            .map(|entry| entry.message)
    }

    /// A thread that sends anew is done with the send before, whose return went unseen.
    pub(super) fn end_unsent_before(&mut self, head: &Stamp) {
        let unsent = self.take_send(head.by.tid, |it| !it.is_copied_at(head.at.ns));
        unsent.into_iter().for_each(|it| self.close_unreturned(it));
    }

    /// Closes a send whose return went unseen. That its list was given back says nothing: up to 6.9
    /// every sender does that, and another one may be in the queue.
    pub(super) fn close_unreturned(&mut self, mut message: Box<Message>) {
        if !self.coverage.failed_sends && message.cause_missing != CauseMissing::NotYetWatched {
            message.cause_missing = CauseMissing::NotWatched;
        }
        self.close(message, Ending::SendUnseen);
    }
}

impl Message {
    /// Notes what its send had to do with, which failed.
    fn note_failed_send(&mut self, seen: &Sighting) {
        self.failed_send.clone_from(&seen.aside.failed_send);
        let to = self.failed_send.as_ref().and_then(|it| it.path.as_ref());
        self.socket_name = self.socket_name.take().or_else(|| to.cloned());
    }
}
