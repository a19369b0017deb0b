//! Wanted senders, where a filter keeps most of what others do in the kernel.
//!
//! A message that nobody's look was for may be of any of those who send on its socket. If a task is
//! among them that the filter wants, it may be that one's, and is shown for it.

use super::message::Message;
use crate::wire::{Recent, Stamp};

/// Sockets that are remembered.
const REMEMBERED: usize = 16_384;

/// Sockets that wanted tasks have sent on and to, by inode number: an address is another socket's
/// at once.
pub(super) struct WantedSenders {
    from: Recent<u64, ()>,
    to: Recent<u64, ()>,
}

impl Default for WantedSenders {
    fn default() -> Self {
        Self {
            from: Recent::new(REMEMBERED),
            to: Recent::new(REMEMBERED),
        }
    }
}

impl WantedSenders {
    /// Notes a send, by the task of this record.
    pub(super) fn note(&mut self, head: &Stamp) {
        if !head.by.wanted {
            return;
        }
        // One that has no number, being closed or not accepted yet, could be any.
        let ends = &head.ends;
        for (sockets, ino) in [
            (&mut self.from, ends.sender_ino),
            (&mut self.to, ends.receiver_ino),
        ] {
            ino.map(|ino| sockets.insert(ino, ()));
        }
    }

    /// Whether one of them may have sent this message, of which nobody is known to have. A socket
    /// that it was sent on, and that is closed by now, has no number any more.
    pub(super) fn may_have_sent(&self, message: &Message) -> bool {
        let (from, to) = message.socket_inos();
        match from {
            Some(from) => self.from.contains(&from),
            None => to.is_some_and(|to| self.to.contains(&to)),
        }
    }
}
