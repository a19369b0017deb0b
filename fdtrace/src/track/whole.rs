//! Two records that tell of a message what else takes one for each hop: `Sent` and `Received`, or `Unsent`.
//! Here they become those hops. Each looks at its files once, so a file's references are known at one hop of
//! a record alone; what pins the file, its list, is the same at all of them.

use smallvec::smallvec;

use super::{Ending, Key, Message, Tracker};
use crate::{
    model::{CauseMissing, FileIdentity, Hop},
    wire::{Aside, Given, List, Look, Received, Refusal, Sight, Sighting, Unsent},
};

impl Tracker {
    /// A list is about to get into a queue.
    pub(super) fn sent_whole(&mut self, list: List, seen: &mut Sighting, copied_ns: Option<u64>) {
        if let Some(copied_ns) = copied_ns {
            self.copied_at(list, seen, copied_ns);
        }
        self.queued(seen, Look::default());
    }

    /// A sender gives back a list that was in no queue: its call fails, or sends nothing.
    pub(super) fn unsent(&mut self, list: List, seen: &mut Sighting, unsent: Unsent) {
        self.copied_at(list, seen, unsent.copied_ns);
        let stamp = seen.stamp;
        self.released(list, seen, &Given::UNREAD);
        if unsent.return_told {
            if let Some(message) = self.messages.get_mut(Key::Send(stamp.by.tid)) {
                message.ended_on_skb = unsent.attached;
            }
            return;
        }
        self.asks_for_returns = true;
        let is_it = |it: &Message| it.is_copied_at(unsent.copied_ns);
        let Some(mut message) = self.take_send(stamp.by.tid, is_it) else {
            return;
        };
        message.cause_missing = CauseMissing::NotYetWatched;
        if unsent.empty {
            // It may have returned 0, or failed.
            self.close(message, Ending::SendUnseen);
        } else {
            // If it was interrupted, it may come back.
            self.put_off(message, &stamp, unsent.has_uring);
        }
    }

    /// A receiver gives back a list whose files it has installed.
    pub(super) fn received_whole(&mut self, list: List, seen: &mut Sighting, received: Received) {
        let ended = seen.stamp;
        seen.stamp.at.ns = received.detached_ns;
        self.detached(list, seen, received.room);
        if self.receiving(list).is_none() {
            // What its sender told was lost, or not kept, or it was sent before anything was watched.
            self.message_at(list, &seen.stamp);
            self.detached(list, seen, received.room);
        }
        let receiver_task = seen.aside.task;
        if let Some(message) = self.receiving(list) {
            message.forget_refs(Hop::Detach);
            message.receiver_task = receiver_task;
        }
        // What the files are has been said.
        (seen.stamp, seen.aside) = (ended, Aside::default());
        seen.stamp.described = false;
        for place in 0..seen.files.len().min(received.tried) {
            let sight = seen.files[place];
            if sight.slot == 0 {
                // Another thread's note has taken the place of this one's.
                continue;
            }
            let outcome = match sight.told {
                Some(Err(errno)) => Err(Refusal {
                    errno,
                    in_place: sight.in_place,
                }),
                Some(Ok(number)) => Ok(Some(number)),
                None => Ok(None),
            };
            let install = Sighting {
                stamp: seen.stamp,
                first: place as u16,
                total: 1,
                files: smallvec![installed(&seen.files, &sight)],
                aside: Aside::default(),
            };
            self.installed(list, &install, outcome);
        }
        self.released(list, seen, &Given::UNREAD);
    }

    /// Its numbers had become a list at that time, with the files that were seen later.
    fn copied_at(&mut self, list: List, seen: &mut Sighting, copied_ns: u64) {
        let now = std::mem::replace(&mut seen.stamp.at.ns, copied_ns);
        self.copied(list, seen);
        seen.stamp.at.ns = now;
        if let Some(message) = self.messages.get_mut(Key::List(list)) {
            message.forget_refs(Hop::Copy);
        }
    }
}

/// What the kernel installed in the turn of a file: that one, as all expect, or another of the list, or
/// one of which only the address is known.
fn installed(list: &[Sight], turn: &Sight) -> Sight {
    let mut known = std::iter::once(turn).chain(list);
    let unknown = FileIdentity {
        ptr: turn.slot,
        ..turn.file
    };
    let file = known.find(|it| it.file.ptr == turn.slot);
    Sight {
        file: file.map_or(unknown, |it| it.file),
        refs: None,
        ..*turn
    }
}

impl Message {
    /// References were counted at another hop than this.
    fn forget_refs(&mut self, hop: Hop) {
        for file in &mut self.files {
            if let Some(seen) = file.seen.last_mut().filter(|seen| seen.hop == hop) {
                seen.sight.refs = None;
            }
        }
    }
}
