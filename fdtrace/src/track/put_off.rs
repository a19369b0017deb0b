//! Sends that were put off: a signal interrupted them, or io_uring waits until there is room.
//!
//! What such a call returned to the kernel is no answer to its program. The kernel may make it anew
//! (SA_RESTART, or no handler), tell the program EINTR, or end the process, and nothing here sees
//! which. If the same files leave under the same numbers through the same socket again, that is the
//! same send, or one that its program repeated, and nothing has failed. A send that does not come
//! back has not been queued, and that is all that is known of it.

use super::{Ending, Key, Message, Phase, Tracker, by_look::PREEMPTED_MAX_NS, messages::Entry};
use crate::{
    model::CauseMissing,
    wire::{Backtrace, Fd, Sight, Sighting, Sock, Stamp},
};

/// A handler that runs for longer than this is taken for the program going on.
const HANDLER_MAX_NS: u64 = PREEMPTED_MAX_NS;

impl Tracker {
    /// Keeps a send that `last` says has been put off: by thread what a signal interrupted; by process,
    /// socket and number what io_uring put off, as any of its threads may try again.
    pub(super) fn put_off(&mut self, message: Box<Message>, last: &Stamp, in_uring: bool) {
        let key = match message.first_passed() {
            Some((sock, fd)) if in_uring => Key::Uring(last.by.pid, sock, fd),
            _ => Key::Interrupted(last.by.tid),
        };
        let phase = Phase::PutOff {
            key,
            last: *last,
            passed_ns: None,
        };
        self.begin(message, phase);
    }

    /// A send was seen: if it is one that was put off, that has not ended but goes on.
    pub(super) fn take_up(&mut self, seen: &Sighting) {
        let head = &seen.stamp;
        let (Some(first), 0) = (seen.files.first(), seen.first) else {
            return;
        };
        let keys = [
            Key::Interrupted(head.by.tid),
            Key::Uring(head.by.pid, head.ends.sender, first.fd),
        ];
        for key in keys {
            let Some(Entry { message, phase }) = self.messages.entry_mut(key) else {
                continue;
            };
            let Phase::PutOff {
                last, passed_ns, ..
            } = phase
            else {
                continue;
            };
            if last.by.pid == head.by.pid && message.was_passed_as(head, &seen.files) {
                self.messages.take(key);
                return;
            }
            passed_ns.get_or_insert(head.at.ns);
        }
    }

    /// Ends what has not come back by `t_ns` though its thread has gone on, and no signal handler takes
    /// that long.
    pub(super) fn give_up_passed(&mut self, t_ns: u64) {
        let until = t_ns.saturating_sub(HANDLER_MAX_NS);
        let is_over = |entry: &Entry| match entry.phase {
            Phase::PutOff {
                key: Key::Interrupted(_),
                passed_ns,
                ..
            } => passed_ns.is_some_and(|passed_ns| passed_ns < until),
            _ => false,
        };
        for Entry { message, phase } in self.messages.take_all(is_over) {
            if let Phase::PutOff { last, .. } = phase {
                self.give_up(message, &last);
            }
        }
    }

    /// Ends a send that has not come back since `last`.
    pub(super) fn give_up(&mut self, mut message: Box<Message>, last: &Stamp) {
        if message.cause_missing != CauseMissing::NotYetWatched {
            message.cause_missing = CauseMissing::Interrupted;
        }
        let is_lossy = self.lost.is_since(last);
        self.close(message, Ending::PutOff { is_lossy });
    }
}

/// Whether what a send returned is no answer to its program: a signal came, and the kernel makes the
/// call anew or not, as the signal's handler wants it; or io_uring waits for room.
pub(super) fn is_put_off(result: i32, backtrace: &Backtrace) -> bool {
    const ERESTARTSYS: i32 = 512;
    const ERESTARTNOINTR: i32 = 513;
    const ERESTARTNOHAND: i32 = 514;
    const ERESTART_RESTARTBLOCK: i32 = 516;
    match -result {
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK => true,
        libc::EAGAIN => backtrace.in_uring() || backtrace.unnamed,
        _ => false,
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
