//! One message: what each hop saw of its list, file by file.

mod installs;
mod outcome;
mod places;
mod sender;

use fdtrace_common::records::LIST_MAX;

use super::{
    Known,
    by_look::{LateSender, Sharing},
    conclude::Called,
    known::Description,
};
use crate::{
    model::{CauseMissing, DescriptionMissing, Doubt, Hop, Task},
    wire::{Refusal, Sight, Sighting, Stamp},
};

/// A message on its way.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) socket_name: Option<String>,
    count: u16,
    /// The heads of all sightings.
    heads: Vec<(Hop, Stamp)>,
    files: Vec<File>,
    /// When the receive returned, and what of its records has come.
    returned: (u64, Vec<Sight>),
    /// The sender's numbers, where the list had left the queue before it was looked for.
    late_sender: Option<LateSender>,
    /// As it was found in its queue when the trace began, if it had been sent before.
    pub(super) found: Option<Sighting>,
    /// As it was found in its queue when the trace ended.
    pub(super) found_last: Option<Stamp>,
    /// Two threads have found its list and taken it for theirs, or the one that did may have sent
    /// another.
    contested: bool,
    /// When the thread that found its list had looked for another before: it sent its own since.
    looked_since: u64,
    /// When that thread began; 0 if that is not known.
    began_ns: u64,
    /// When the thread that reads it was at a read before: it took it off its queue since.
    read_since: u64,
    /// How many of its files the receiver's control buffer has room for, as it was detached last.
    room: Option<usize>,
    /// The read of it that was a peek, as long as that is not over.
    peek_ns: Option<u64>,
    /// Who sends on the same socket, and may have sent it.
    sharing: Sharing,
    /// What there is to doubt of the sender that was found late.
    late_doubt: Option<Doubt>,
    /// Records were lost shortly before the look that found its list.
    is_after_loss: bool,
    /// Every look has come that may be of another process, and none was.
    is_process_settled: bool,
    /// Whichever thread sent it, its numbers are those that were told.
    is_number_settled: bool,
    /// Records were lost, and what was seen of it may be of the message before at its address.
    doubtful: bool,
    /// The functions that its receive returned through, where that was told.
    pub(super) received_in: Called,
    /// How many files its receive installed is known.
    counted: bool,
    /// Its skb was freed by the call that sends it, so that has failed.
    pub(super) given_up: bool,
    /// Why no cause is known, should it end without.
    cause_missing: CauseMissing,
    /// Somebody found it in its queue because it had been there for long.
    pub(super) still_there: bool,
    /// It was told of as being queued for long.
    overdue: bool,
    sender_task: Option<Task>,
    receiver_task: Option<Task>,
}

/// One file of a message.
#[derive(Clone)]
struct File {
    seen: Vec<Seen>,
    /// Why it was not installed.
    refused: Option<Refusal>,
    /// It was installed, though its number was not there any more.
    arrived: bool,
    /// Its number was not told but found by the file behind it.
    inferred: bool,
    /// That number may be a duplicate's, or none is known.
    numberless: bool,
    /// What it is, by the latest hop that should have told.
    description: Description,
}

#[derive(Clone, Copy)]
struct Seen {
    hop: Hop,
    /// Index of its head in the message's.
    head: usize,
    sight: Sight,
}

impl Message {
    pub(super) fn new(id: u64, count: u16) -> Self {
        Self {
            id,
            socket_name: None,
            count,
            heads: Vec::new(),
            files: vec![File::default(); usize::from(count).min(LIST_MAX)],
            returned: (0, Vec::new()),
            late_sender: None,
            found: None,
            found_last: None,
            contested: false,
            looked_since: 0,
            began_ns: 0,
            read_since: 0,
            room: None,
            peek_ns: None,
            sharing: Sharing::Alone,
            late_doubt: None,
            is_after_loss: false,
            is_process_settled: false,
            is_number_settled: false,
            doubtful: false,
            received_in: Called::default(),
            counted: false,
            given_up: false,
            cause_missing: CauseMissing::NotSeen,
            still_there: false,
            overdue: false,
            sender_task: None,
            receiver_task: None,
        }
    }

    /// A message of which nothing is known but what its sender passed.
    pub(super) fn unsent(id: u64, sender: LateSender) -> Self {
        let count = sender.stamp.count;
        Self {
            late_sender: Some(sender),
            ..Self::new(id, count)
        }
    }

    /// What it takes in memory, counted in files.
    pub(super) fn weight(&self) -> usize {
        1 + self.files.len()
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Whether it is what was seen at `copy` at this time.
    pub(super) fn is_copied_at(&self, t_ns: u64) -> bool {
        self.head(Hop::Copy)
            .is_some_and(|copied| copied.at.ns == t_ns)
    }

    /// The thread that was seen sending it.
    pub(super) fn sending_thread(&self) -> Option<u32> {
        self.head(Hop::Copy)
            .or(self.head(Hop::Queue))
            .map(|head| head.by.tid)
    }

    /// Whether this thread has copied it, and nothing was seen of it since.
    pub(super) fn is_being_sent_by(&self, tid: u32) -> bool {
        self.sending_thread() == Some(tid) && self.heads.iter().all(|(hop, _)| *hop == Hop::Copy)
    }

    fn latest_sender_hop(&self) -> Option<Hop> {
        self.heads
            .iter()
            .map(|(hop, _)| *hop)
            .filter(|hop| *hop <= Hop::Queue)
            .max()
    }

    /// Notes that the message that was open at its address is made of two, as far as is known: what
    /// comes next may be of either again.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether it may be made of two messages.
    pub(super) fn is_doubtful(&self) -> bool {
        let mut epochs = self.heads.iter().map(|(_, head)| head.at.epoch);
        let first = epochs.next();
        self.doubtful || epochs.any(|epoch| Some(epoch) != first)
    }

    /// The processes that were seen with it.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        let late = self.late_sender.iter().map(|late| late.stamp.by.pid);
        self.heads.iter().map(|(_, head)| head.by.pid).chain(late)
    }

    /// Inode numbers of the sockets that it was sent on and to, where they were seen.
    pub(super) fn socket_inos(&self) -> (Option<u64>, Option<u64>) {
        let seen = |ino: fn(&Stamp) -> Option<u64>| {
            let mut heads = self.heads.iter();
            heads.find_map(|(_, head)| ino(head))
        };
        (
            seen(|head| head.ends.sender_ino),
            seen(|head| head.ends.receiver_ino),
        )
    }

    /// The latest sighting at `hop`.
    pub(super) fn head(&self, hop: Hop) -> Option<&Stamp> {
        self.heads
            .iter()
            .rev()
            .find(|(at, _)| *at == hop)
            .map(|(_, head)| head)
    }

    pub(super) fn has(&self, hop: Hop) -> bool {
        self.head(hop).is_some()
    }

    /// The hop furthest along the path.
    pub(super) fn latest_hop(&self) -> Option<Hop> {
        self.heads.iter().map(|(hop, _)| *hop).max()
    }

    /// Whether `head` is another record of a sighting that is already here.
    pub(super) fn same_sighting(&self, hop: Hop, head: &Stamp) -> bool {
        self.head(hop).is_some_and(|here| here.is_of(head))
    }

    /// Notes why no cause is known.
    pub(super) fn lacks_cause_for(&mut self, why: CauseMissing) {
        self.cause_missing = why;
    }

    /// Whether a receiver has begun with it.
    pub(super) fn is_being_received(&self) -> bool {
        self.has(Hop::Dequeue) || self.has(Hop::Detach)
    }

    /// How many of its files there was room for, where that was seen.
    pub(super) fn room(&self) -> Option<usize> {
        self.room.filter(|_| self.has(Hop::Detach))
    }

    /// Notes how many of its files there is room for.
    pub(super) fn note_room(&mut self, room: u16) {
        self.room = Some(room.into());
    }

    /// The thread that is reading it.
    pub(super) fn reader(&self) -> Option<u32> {
        self.head(Hop::Dequeue).map(|head| head.by.tid)
    }

    /// Whether the receive that returned is the one that is reading it.
    pub(super) fn is_read_by(&self, tid: u32, read_ns: u64) -> bool {
        self.head(Hop::Dequeue)
            .is_some_and(|read| (read.by.tid, read.at.ns) == (tid, read_ns))
    }

    /// Whether it got as far as a receive queue.
    pub(super) fn was_queued(&self) -> bool {
        self.has(Hop::Queue) || self.found.is_some()
    }

    /// Whether nothing has been seen of it since it was found in its queue.
    pub(super) fn is_merely_found(&self) -> bool {
        self.found.is_some() && self.heads.is_empty()
    }

    /// Whether the list that is being read can be this message's: same size, same skb, same sender.
    pub(super) fn is_on(&self, dequeued: &Stamp) -> bool {
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
    pub(super) fn shares_nothing_with(&self, seen: &Sighting) -> bool {
        let files = self.files.iter().zip(&seen.files);
        let mut known = files
            .filter_map(|(file, now)| Some(file.seen.last()?.sight.is_of(now)))
            .peekable();
        seen.first == 0 && known.peek().is_some() && !known.any(|same| same)
    }

    /// Whether one of its files is known to be another than `seen` has in its place.
    pub(super) fn differs_from(&self, seen: &Sighting) -> bool {
        let its_files = self.files.iter().skip(usize::from(seen.first));
        its_files.zip(&seen.files).any(|(file, now)| {
            let known = file.seen.last();
            known.is_some_and(|known| !known.sight.is_of(now))
        })
    }

    /// Becomes a message of its own of which only the read is known.
    pub(super) fn become_another(&mut self, id: u64) {
        self.id = id;
        for hop in [Hop::Copy, Hop::Attach, Hop::Queue] {
            self.forget(hop);
        }
        (self.late_sender, self.late_doubt) = (None, None);
        (self.contested, self.sharing) = (false, Sharing::Alone);
        (self.socket_name, self.sender_task) = (None, None);
    }

    /// Gives up the look at the queue if it began when this message's receive had returned: what was
    /// found then is the next message at its address.
    pub(super) fn split_off_next(&mut self, returned: &Stamp, id: u64) -> Option<Self> {
        let queued = *self.head(Hop::Queue)?;
        if queued.at.ns <= returned.at.ns {
            return None;
        }
        let mut next = Self::new(id, self.count);
        let head = next.note_head(Hop::Queue, queued);
        // Each keeps its place: records of some may be lost.
        for (file, mixed) in next.files.iter_mut().zip(&self.files) {
            let seen = mixed.at(Hop::Queue);
            file.seen.extend(seen.map(|seen| Seen { head, ..*seen }));
        }
        (next.socket_name, next.sender_task) = (self.socket_name.take(), self.sender_task.take());
        (next.contested, next.sharing) = (self.contested, self.sharing);
        (next.looked_since, next.began_ns) = (self.looked_since, self.began_ns);
        self.forget(Hop::Queue);
        (self.contested, self.sharing) = (false, Sharing::Alone);
        Some(next)
    }

    /// Notes that the thread that is reading it got a duplicate of its list.
    pub(super) fn note_peek(&mut self, duplicated: &Stamp) {
        let read = self.head(Hop::Dequeue);
        let read = read.filter(|read| read.by.tid == duplicated.by.tid);
        self.peek_ns = read.map(|read| read.at.ns);
    }

    /// Drops a read that was a peek: its list itself is being received now, and neither the end of
    /// the peek nor the read for that was seen.
    pub(super) fn forget_peek(&mut self) {
        let read = self.head(Hop::Dequeue).map(|read| read.at.ns);
        if self.peek_ns.is_some() && read == self.peek_ns {
            self.forget(Hop::Dequeue);
        }
    }

    /// Undoes a sighting at `hop`: the message is where it was before.
    pub(super) fn forget(&mut self, hop: Hop) {
        let kept: Vec<bool> = self.heads.iter().map(|(at, _)| *at != hop).collect();
        let mut places = Vec::with_capacity(kept.len());
        let mut next = 0;
        for kept in &kept {
            places.push(next);
            next += usize::from(*kept);
        }
        self.heads.retain(|(at, _)| *at != hop);
        for file in &mut self.files {
            file.seen.retain(|seen| seen.hop != hop);
            for seen in &mut file.seen {
                seen.head = places[seen.head];
            }
        }
    }

    /// Drops what an earlier sighting at `hop` left, unless this is a part of it.
    pub(super) fn forget_unless_same(&mut self, hop: Hop, head: &Stamp) {
        if !self.same_sighting(hop, head) {
            self.forget(hop);
        }
    }

    /// Notes a sighting's files at their places in the list.
    pub(super) fn record(&mut self, hop: Hop, seen: &Sighting) {
        let head = self.note_head(hop, seen.stamp);
        let first = usize::from(seen.first);
        for (file, sight) in self.files.iter_mut().skip(first).zip(&seen.files) {
            file.seen.push(Seen {
                hop,
                head,
                sight: *sight,
            });
        }
    }

    fn note_head(&mut self, hop: Hop, head: Stamp) -> usize {
        let known = self
            .heads
            .iter()
            .rposition(|(at, here)| *at == hop && here.is_of(&head));
        known.unwrap_or_else(|| {
            self.heads.push((hop, head));
            self.heads.len() - 1
        })
    }

    /// Whether its files have been taken off an skb before, for another receive.
    pub(super) fn was_detached_before(&self, detached: &Stamp) -> bool {
        self.has(Hop::Detach) && !self.same_sighting(Hop::Detach, detached)
    }

    /// Notes that a file was not installed.
    pub(super) fn refuse(&mut self, index: usize, refusal: Refusal) {
        if let Some(file) = self.files.get_mut(index) {
            file.refused = Some(refusal);
        }
    }

    pub(super) fn refusal(&self, index: usize) -> Option<Refusal> {
        self.files.get(index)?.refused
    }

    /// The refusal of an earlier file, after which the kernel gave up.
    pub(super) fn gave_up_before(&self, index: usize) -> Option<Refusal> {
        let before = self.files.iter().take(index);
        before
            .filter_map(|file| file.refused)
            .find(|refused| !refused.in_place)
    }

    pub(super) fn is_installed(&self, index: usize) -> bool {
        self.files
            .get(index)
            .is_some_and(|file| file.at(Hop::Install).is_some() || file.arrived)
    }

    /// Gathers what a receiver's table gained; gives it once every record has come.
    pub(super) fn collect_returned(&mut self, seen: Sighting) -> Option<Vec<Sight>> {
        let at_ns = seen.stamp.at.ns;
        if self.returned.0 != at_ns {
            self.returned = (at_ns, Vec::new());
        }
        let gained = &mut self.returned.1;
        // Behind a record that is lost, a number would be taken for that of an earlier file.
        if gained.len() == usize::from(seen.first) {
            gained.extend(seen.files);
        }
        let is_whole = gained.len() >= usize::from(seen.total);
        is_whole.then(|| std::mem::take(gained))
    }

    /// Joins what was told of the files of a sighting, which takes the place of what an earlier one
    /// told.
    pub(super) fn describe(&mut self, known: &Known, seen: &Sighting) {
        let first = usize::from(seen.first);
        let files = self.files.iter_mut().enumerate().skip(first);
        for ((index, file), sight) in files.zip(&seen.files) {
            if let Some(description) = known.file(seen, index, sight) {
                file.description = description;
            }
        }
    }

    /// Likewise of all files, by a hop that does not tell of them itself.
    pub(super) fn describe_all(&mut self, known: &Known, seen: &Sighting) {
        let latest = |file: &File| file.seen.last().map(|seen| seen.sight);
        let sent = self.late_sender.as_ref().map(|late| &late.files);
        let found = self.found.as_ref().map(|found| &found.files);
        let told = sent.or(found).map_or(&[][..], Vec::as_slice);
        let files = self.files.iter().enumerate();
        let files = files
            .map_while(|(index, file)| latest(file).or(told.get(index).copied()))
            .skip(seen.first.into());
        // Earlier versions did not say which files they are.
        let len = match seen.files.len() {
            0 => usize::MAX,
            len => len,
        };
        let its = Sighting {
            files: files.take(len).collect(),
            ..*seen
        };
        self.describe(known, &its);
    }

    /// Whether it is queued since before `t_ns`, and is asked so for the first time since.
    pub(super) fn becomes_overdue(&mut self, t_ns: u64) -> bool {
        let overdue = self.is_overdue(t_ns);
        self.overdue |= overdue;
        overdue
    }

    /// Whether it would be.
    pub(super) fn is_overdue(&self, t_ns: u64) -> bool {
        !self.overdue
            && !self.is_being_received()
            && self
                .head(Hop::Queue)
                .or(self.found.as_ref().map(|found| &found.stamp))
                .is_some_and(|queued| queued.at.ns < t_ns)
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            refused: None,
            arrived: false,
            inferred: false,
            numberless: false,
            description: Err(DescriptionMissing::NotSeen),
        }
    }
}

impl File {
    fn at(&self, hop: Hop) -> Option<&Seen> {
        self.seen.iter().rev().find(|seen| seen.hop == hop)
    }
}
