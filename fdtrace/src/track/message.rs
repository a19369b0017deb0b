//! One message: what each hop saw of its list, file by file.

mod list;
mod outcome;

use fdtrace_common::records::LIST_MAX;

use super::{
    Known,
    by_look::{Claim, LateSender},
    conclude::Called,
    known::Description,
};
use crate::{
    model::{CauseMissing, DescriptionMissing, Hop, Task},
    wire::{Refusal, Sight, Sighting, Stamp},
};

/// A message on its way.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) socket_name: Option<String>,
    pub(super) count: u16,
    /// The heads of all sightings.
    heads: Vec<(Hop, Stamp)>,
    pub(super) files: Vec<File>,
    /// When the receive returned, and what of its records has come.
    returned: (u64, Vec<Sight>),
    /// Who has sent it, as far as looks at its queue tell.
    pub(super) claim: Claim,
    /// As it was found in its queue when the trace began, if it had been sent before.
    pub(super) found: Option<Sighting>,
    /// As it was found in its queue when the trace ended.
    pub(super) found_last: Option<Stamp>,
    /// When the thread that reads it was at a read before: it took it off its queue since.
    pub(super) read_since: u64,
    /// How many of its files the receiver's control buffer has room for, as it was detached last.
    room: Option<usize>,
    /// The read of it that was a peek, as long as that is not over.
    peek_ns: Option<u64>,
    /// Records were lost, and what was seen of it may be of the message before at its address.
    doubtful: bool,
    /// The functions that its receive returned through, where that was told.
    pub(super) received_in: Called,
    /// How many files its receive installed is known.
    pub(super) counted: bool,
    /// Its skb was freed by the call that sends it, so that has failed.
    pub(super) given_up: bool,
    /// Why no cause is known, should it end without.
    cause_missing: CauseMissing,
    /// Somebody found it in its queue because it had been there for long.
    pub(super) still_there: bool,
    /// It was told of as being queued for long.
    overdue: bool,
    pub(super) receiver_task: Option<Task>,
}

/// One file of a message.
#[derive(Clone)]
pub(super) struct File {
    pub(super) seen: Vec<Seen>,
    /// Why it was not installed.
    pub(super) refused: Option<Refusal>,
    /// It was installed, though its number was not there any more.
    pub(super) arrived: bool,
    /// Its number was not told but found by the file behind it.
    pub(super) inferred: bool,
    /// That number may be a duplicate's, or none is known.
    pub(super) numberless: bool,
    /// What it is, by the latest hop that should have told.
    pub(super) description: Description,
}

#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) hop: Hop,
    /// Index of its head in the message's.
    pub(super) head: usize,
    pub(super) sight: Sight,
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
            claim: Claim::default(),
            found: None,
            found_last: None,
            read_since: 0,
            room: None,
            peek_ns: None,
            doubtful: false,
            received_in: Called::default(),
            counted: false,
            given_up: false,
            cause_missing: CauseMissing::NotSeen,
            still_there: false,
            overdue: false,
            receiver_task: None,
        }
    }

    /// A message of which nothing is known but what its sender passed.
    pub(super) fn unsent(id: u64, sender: LateSender) -> Self {
        let count = sender.stamp.count;
        let mut message = Self::new(id, count);
        message.claim(sender, None);
        message
    }

    /// What it takes in memory, counted in files.
    pub(super) fn weight(&self) -> usize {
        1 + self.files.len()
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

    /// How many of its files there was room for, where that was seen.
    pub(super) fn room(&self) -> Option<usize> {
        self.room.filter(|_| self.has(Hop::Detach))
    }

    /// Notes how many of its files there is room for.
    pub(super) fn note_room(&mut self, room: u16) {
        self.room = Some(room.into());
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

    pub(super) fn note_head(&mut self, hop: Hop, head: Stamp) -> usize {
        let known = self
            .heads
            .iter()
            .rposition(|(at, here)| *at == hop && here.is_of(&head));
        known.unwrap_or_else(|| {
            self.heads.push((hop, head));
            self.heads.len() - 1
        })
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
        let sent = self.claim.late.as_ref().map(|late| &late.files);
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
    pub(super) fn at(&self, hop: Hop) -> Option<&Seen> {
        self.seen.iter().rev().find(|seen| seen.hop == hop)
    }
}
