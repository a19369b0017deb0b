//! Whose list it is: what tells this message from others at the same addresses, and how far it has come.

use super::message::{Message, Seen, Step};
use crate::{
    model::{Hop, SocketType},
    track::by_look::Claim,
    wire::{Sighting, Sights, Stamp},
};

impl Message {
    /// Whether it is what was seen at `copy` at this time.
    pub(crate) fn is_copied_at(&self, t_ns: u64) -> bool {
        self.head(Hop::Copy)
            .is_some_and(|copied| copied.at.ns == t_ns)
    }

    /// The thread that was seen sending it.
    pub(crate) fn sending_thread(&self) -> Option<u32> {
        self.head(Hop::Copy)
            .or(self.head(Hop::Queue))
            .map(|head| head.by.tid)
    }

    /// Whether this thread has copied it, and nothing was seen of it since.
    pub(crate) fn is_being_sent_by(&self, tid: u32) -> bool {
        self.sending_thread() == Some(tid) && self.heads.iter().all(|(hop, _)| *hop == Hop::Copy)
    }

    /// Whether no other thread than this was seen with it.
    pub(crate) fn is_only_seen_with(&self, tid: u32) -> bool {
        self.heads.iter().all(|(_, head)| head.by.tid == tid)
    }

    /// Whether a hop on its sender's side was seen.
    pub(crate) fn is_seen_sent(&self) -> bool {
        self.heads.iter().any(|(hop, _)| *hop <= Hop::Queue)
    }

    /// The processes that were seen with it.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        let late = self.claim.late.iter().map(|late| late.stamp.by.pid);
        self.heads.iter().map(|(_, head)| head.by.pid).chain(late)
    }

    /// Inode numbers of the sockets that it was sent on and to, where they were seen.
    pub(crate) fn socket_inos(&self) -> (Option<u64>, Option<u64>) {
        let ends = || self.heads.iter().map(|(_, head)| head.ends);
        let sender = ends().find_map(|ends| ends.sender_ino);
        (sender, ends().find_map(|ends| ends.receiver_ino))
    }

    /// How far it has come, as far as that was seen.
    pub(crate) fn step(&self) -> Step {
        if self.has(Hop::Detach) {
            Step::Installing
        } else if self.taken || self.has(Hop::Dequeue) {
            Step::Reading
        } else if self.was_queued() {
            Step::Queued
        } else {
            Step::Sending
        }
    }

    /// Whether a receiver has begun with it.
    pub(crate) fn is_being_received(&self) -> bool {
        self.step() >= Step::Reading
    }

    /// The thread that is reading it.
    pub(crate) fn reader(&self) -> Option<u32> {
        self.head(Hop::Dequeue).map(|head| head.by.tid)
    }

    /// Whether the receive that returned is the one that is reading it.
    pub(crate) fn is_read_by(&self, tid: u32, read_ns: u64) -> bool {
        self.head(Hop::Dequeue)
            .is_some_and(|read| (read.by.tid, read.at.ns) == (tid, read_ns))
    }

    /// Whether it got as far as a receive queue.
    pub(crate) fn was_queued(&self) -> bool {
        self.has(Hop::Queue) || self.found.is_some()
    }

    /// Whether the list that is being read can be this message's: same size, same skb, same sender.
    pub(crate) fn is_on(&self, dequeued: &Stamp) -> bool {
        fn is_other<T: PartialEq>(there: Option<T>, here: Option<T>) -> bool {
            there.zip(here).is_some_and(|(there, here)| there != here)
        }
        let other = [Hop::Attach, Hop::Queue]
            .into_iter()
            .filter_map(|hop| self.head(hop))
            .chain(self.found.iter().map(|found| &found.stamp))
            .any(|head| {
                is_other(head.skb, dequeued.skb) || is_other(head.ends.sender, dequeued.ends.sender)
            });
        self.count == dequeued.count && !other
    }

    /// Whether `seen`, which begins the list, found none of the files that were there before: then
    /// that is another message. One that differs in some is none, but proof that they were swapped.
    pub(crate) fn shares_nothing_with(&self, seen: &Sighting) -> bool {
        let files = self.files.iter().zip(&seen.files);
        let mut known = files
            .filter_map(|(file, now)| Some(file.seen.last()?.sight.is_of(now)))
            .peekable();
        seen.first == 0 && known.peek().is_some() && !known.any(|same| same)
    }

    /// Whether one of its files is known to be another than `seen` has in its place.
    pub(crate) fn differs_from(&self, seen: &Sighting) -> bool {
        let its_files = self.files.iter().skip(usize::from(seen.first));
        its_files.zip(&seen.files).any(|(file, now)| {
            let known = file.seen.last();
            known.is_some_and(|known| !known.sight.is_of(now))
        })
    }

    /// Becomes a message of its own of which only the read is known.
    pub(crate) fn become_another(&mut self, id: u64) {
        self.id = id;
        for hop in [Hop::Copy, Hop::Attach, Hop::Queue] {
            self.forget(hop);
        }
        self.claim = Claim::default();
        self.socket_name = None;
    }

    /// Gives up the look at the queue if it began when this message's receive had returned: what was
    /// found then is the next message at its address.
    pub(crate) fn split_off_next(&mut self, returned: &Stamp, id: u64) -> Option<Box<Self>> {
        let queued = *self.head(Hop::Queue)?;
        if queued.at.ns <= returned.at.ns {
            return None;
        }
        let mut next = Box::new(Self::new(id, self.count));
        let head = next.note_head(Hop::Queue, queued);
        // Each keeps its place: records of some may be lost.
        for (file, mixed) in next.files.iter_mut().zip(&self.files) {
            let seen = mixed.at(Hop::Queue);
            file.seen.extend(seen.map(|seen| Seen { head, ..*seen }));
        }
        next.socket_name = self.socket_name.take();
        next.claim = self.claim.split_off_look();
        self.forget(Hop::Queue);
        Some(next)
    }

    /// Notes that the thread that is reading it got a duplicate of its list.
    pub(crate) fn note_peek(&mut self, duplicated: &Stamp) {
        let read = self.head(Hop::Dequeue);
        let read = read.filter(|read| read.by.tid == duplicated.by.tid);
        self.peek_ns = read.map(|read| read.at.ns);
    }

    /// Drops a read that was a peek: its list itself is being received now, and neither the end of
    /// the peek nor the read for that was seen.
    pub(crate) fn forget_peek(&mut self) {
        let read = self.head(Hop::Dequeue).map(|read| read.at.ns);
        if self.peek_ns.is_some() && read == self.peek_ns {
            self.forget(Hop::Dequeue);
        }
    }

    /// Whether it is in the queue of a stream. A receive of such a one that fails takes nothing.
    pub(crate) fn is_in_stream(&self, returned: &Stamp) -> bool {
        let queued = || self.queued_as().and_then(|queued| queued.ends.kind);
        returned.ends.kind.or_else(queued) == Some(SocketType::Stream)
    }

    /// What its sender passed, as far as that was seen in its call: on which socket, and the files
    /// with their numbers.
    pub(crate) fn passed(&self) -> Option<(&Stamp, Sights)> {
        if let Some(late) = &self.claim.late {
            return Some((&late.stamp, late.files.clone()));
        }
        let copied = self.files.iter().map_while(|file| file.at(Hop::Copy));
        Some((
            self.head(Hop::Copy)?,
            copied.map(|seen| seen.sight).collect(),
        ))
    }
}
