//! Sends that were put off: a signal interrupted them, or io_uring waits until there is room.
//!
//! What such a call returned to the kernel is no answer to its program. The kernel may make it anew
//! (SA_RESTART, or no handler), tell the program EINTR, or end the process, and nothing here sees
//! which. If the same files leave under the same numbers through the same socket again, that is the
//! same send, or one that its program repeated, and nothing has failed. A send that does not come
//! back has not been queued, and that is all that is known of it.

use super::{Tracker, message::Message, recent::Recent, senders::PREEMPTED_MAX_NS};
use crate::{
    model::{CauseMissing, Fate},
    wire::{Fd, Sight, Sighting, Sock, Stamp},
};

/// Files of such sends that are kept, at most, each send counting as one more.
const FILES_MAX: usize = 16_384;

/// Sends that may come back.
pub(super) struct PutOff {
    /// What signals interrupted, by thread.
    interrupted: Recent<u32, Waiting>,
    /// What io_uring put off. The process is what the threads have in common that may try again.
    by_uring: Recent<(u32, Option<Sock>, Option<Fd>), Waiting>,
}

struct Waiting {
    message: Message,
    last: Stamp,
    /// When the thread was seen with another send, which may be a signal handler's.
    passed_ns: Option<u64>,
}

impl Default for PutOff {
    fn default() -> Self {
        Self {
            interrupted: Recent::weighing(FILES_MAX, |waiting| waiting.message.weight()),
            by_uring: Recent::weighing(FILES_MAX, |waiting| waiting.message.weight()),
        }
    }
}

impl Waiting {
    fn is(&self, head: &Stamp, files: &[Sight]) -> bool {
        self.last.by.pid == head.by.pid && self.message.was_passed_as(head, files)
    }
}

impl Tracker {
    /// Keeps a send that `last` says has been put off.
    pub(super) fn put_off(&mut self, message: Message, last: &Stamp, in_uring: bool) {
        let first = message.first_passed();
        let waiting = Waiting {
            message,
            last: *last,
            passed_ns: None,
        };
        let before = match first {
            Some((sock, fd)) if in_uring => {
                let key = (last.by.pid, sock, fd);
                let before = self.put_off.by_uring.remove(key);
                self.put_off.by_uring.insert(key, waiting);
                before
            }
            _ => {
                let before = self.put_off.interrupted.remove(last.by.tid);
                self.put_off.interrupted.insert(last.by.tid, waiting);
                before
            }
        };
        if let Some(before) = before {
            self.give_up(before);
        }
    }

    /// Takes out what came first, if there is too much of it: it may come back unnoticed.
    pub(super) fn put_off_excess(&mut self) -> Option<Message> {
        let interrupted = self.put_off.interrupted.excess();
        let excess = interrupted.or_else(|| self.put_off.by_uring.excess());
        excess.map(|waiting| waiting.message)
    }

    /// A send was seen: if it is one that was put off, that has not ended but goes on.
    pub(super) fn take_up(&mut self, seen: &Sighting) {
        let (head, files) = (&seen.stamp, seen.files.as_slice());
        let (Some(first), 0) = (files.first(), seen.first) else {
            return;
        };
        if let Some(waiting) = self.put_off.interrupted.get_mut(head.by.tid) {
            if waiting.is(head, files) {
                self.put_off.interrupted.remove(head.by.tid);
                return;
            }
            waiting.passed_ns.get_or_insert(head.at.ns);
        }
        let key = (head.by.pid, head.ends.sender, first.fd);
        let comes_back = |waiting: &Waiting| waiting.is(head, files);
        if self.put_off.by_uring.get(key).is_some_and(comes_back) {
            self.put_off.by_uring.remove(key);
        }
    }

    /// Ends what has not come back though its thread has gone on since, and no signal handler takes
    /// that long.
    pub(super) fn give_up_passed(&mut self, until: u64) {
        let is_over = |waiting: &Waiting| waiting.passed_ns.is_some_and(|t_ns| t_ns < until);
        if self.put_off.interrupted.values().any(is_over) {
            for waiting in self.put_off.interrupted.extract(is_over) {
                self.give_up(waiting);
            }
        }
    }

    /// Ends all of whose messages this is true.
    pub(super) fn give_up_put_off(&mut self, is_meant: impl Fn(&Message) -> bool) {
        let is_meant = |waiting: &Waiting| is_meant(&waiting.message);
        let mut waiting = self.put_off.interrupted.extract(is_meant);
        waiting.extend(self.put_off.by_uring.extract(is_meant));
        waiting.sort_by_key(|waiting| waiting.message.id);
        for waiting in waiting {
            self.give_up(waiting);
        }
    }

    fn give_up(&mut self, waiting: Waiting) {
        let Waiting {
            mut message, last, ..
        } = waiting;
        // What is lost may be its return.
        let fate = match self.has_lost_since(&last) {
            true => Fate::Unknown,
            false => Fate::Failed,
        };
        message.lacks_cause_for(CauseMissing::Interrupted);
        self.close(&message, |_| (fate, None));
    }
}

impl Message {
    /// The socket that it was sent on, and the first of the numbers.
    fn first_passed(&self) -> Option<(Option<Sock>, Option<Fd>)> {
        let (head, files) = self.passed()?;
        Some((head.ends.sender, files.first()?.fd))
    }

    /// Whether a send of these files, which may be the first of more, is of this message.
    fn was_passed_as(&self, head: &Stamp, files: &[Sight]) -> bool {
        let Some((passed, its_files)) = self.passed() else {
            return false;
        };
        (passed.ends.sender, passed.count) == (head.ends.sender, head.count)
            && files.len() <= its_files.len()
            && its_files
                .iter()
                .zip(files)
                .all(|(one, two)| one.fd == two.fd && one.is_of(two))
    }
}

/// A handler that runs for longer than this is taken for the program going on.
pub(super) const HANDLER_MAX_NS: u64 = PREEMPTED_MAX_NS;
