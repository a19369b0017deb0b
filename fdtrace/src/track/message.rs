//! One message: what each hop saw of its list, file by file.

mod list;
mod outcome;

use fdtrace_common::records::LIST_MAX;

use super::by_look::Claim;
use crate::{
    model::{CauseMissing, DescriptionMissing, Hop, Task},
    wire::{Backtrace, Description, Refusal, Sight, Sighting, Stamp},
};

/// A message on its way.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) socket_name: Option<String>,
    pub(super) count: u16,
    /// The heads of all sightings.
    pub(super) heads: Vec<(Hop, Stamp)>,
    pub(super) files: Vec<File>,
    /// Who has sent it, as far as looks at its queue tell.
    pub(super) claim: Claim,
    /// As it was found in its queue when the trace began, if it had been sent before.
    pub(super) found: Option<Sighting>,
    /// As it was found in its queue when the trace ended.
    pub(super) found_last: Option<Stamp>,
    /// When the thread that reads it was at a read before: it took it off its queue since.
    pub(super) read_since: u64,
    /// How many of its files the receiver's control buffer has room for, as it was detached last.
    pub(super) room: Option<usize>,
    /// The read of it that was a peek, as long as that is not over.
    peek_ns: Option<u64>,
    /// Records were lost, and what was seen of it may be of the message before at its address.
    pub(super) doubtful: bool,
    /// The functions under way as it ended, where they were written down.
    pub(super) ended_in: Backtrace,
    /// How many files its receive installed is known.
    pub(super) counted: bool,
    /// Its skb was freed by the call that sends it, so that has failed.
    pub(super) given_up: bool,
    /// Why no cause is known, should it end without.
    pub(super) cause_missing: CauseMissing,
    /// Somebody found it in its queue because it had been there for long.
    pub(super) still_there: bool,
    /// It was shown as being queued for long.
    pub(super) overdue: bool,
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
            claim: Claim::default(),
            found: None,
            found_last: None,
            read_since: 0,
            room: None,
            peek_ns: None,
            doubtful: false,
            ended_in: Backtrace::default(),
            counted: false,
            given_up: false,
            cause_missing: CauseMissing::NotSeen,
            still_there: false,
            overdue: false,
            receiver_task: None,
        }
    }

    /// What it takes in memory, counted in files.
    pub(super) fn weight(&self) -> usize {
        1 + self.files.len()
    }

    /// Whether it may be made of two messages.
    pub(super) fn is_doubtful(&self) -> bool {
        let mut epochs = self.heads.iter().map(|(_, head)| head.at.epoch);
        let first = epochs.next();
        self.doubtful || epochs.any(|epoch| Some(epoch) != first)
    }

    /// The latest sighting at `hop`.
    pub(super) fn head(&self, hop: Hop) -> Option<&Stamp> {
        let mut latest = self.heads.iter().rev();
        latest.find(|(at, _)| *at == hop).map(|(_, head)| head)
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

    /// How many of its files there was room for, where that was seen.
    pub(super) fn room(&self) -> Option<usize> {
        self.room.filter(|_| self.has(Hop::Detach))
    }

    /// Undoes a sighting at `hop`: the message is where it was before.
    pub(super) fn forget(&mut self, hop: Hop) {
        let before = |at: usize| self.heads[..at].iter().filter(|(at, _)| *at != hop).count();
        let places: Vec<usize> = (0..self.heads.len()).map(before).collect();
        self.heads.retain(|(at, _)| *at != hop);
        for file in &mut self.files {
            file.seen.retain(|seen| seen.hop != hop);
            file.seen
                .iter_mut()
                .for_each(|seen| seen.head = places[seen.head]);
        }
    }

    /// Notes a sighting: its files at their places in the list, and what else is said of it.
    pub(super) fn record(&mut self, hop: Hop, seen: &Sighting) {
        let head = self.note_head(hop, seen.stamp);
        let files = self.files.iter_mut().skip(seen.first.into());
        for (file, &sight) in files.zip(&seen.files) {
            file.seen.push(Seen { hop, head, sight });
        }
        if let Some(name) = &seen.aside.socket_name {
            self.socket_name = Some(name.clone());
        }
        self.describe(seen);
    }

    pub(super) fn note_head(&mut self, hop: Hop, head: Stamp) -> usize {
        let mut heads = self.heads.iter();
        let known = heads.rposition(|(at, here)| *at == hop && here.is_of(&head));
        known.unwrap_or_else(|| {
            self.heads.push((hop, head));
            self.heads.len() - 1
        })
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

    /// Joins what a hop says of the files that it saw, or of all if it does not name them. That takes the
    /// place of what an earlier hop said.
    pub(super) fn describe(&mut self, seen: &Sighting) {
        if !seen.stamp.described && seen.aside.described.is_empty() {
            return;
        }
        let sent = self.claim.late.as_ref().map(|late| &late.files);
        let passed = sent.or(self.found.as_ref().map(|found| &found.files));
        let len = match seen.files.len() {
            // Earlier versions did not say which files they are.
            0 => usize::MAX,
            len => len,
        };
        let files = self.files.iter_mut().enumerate();
        for (index, file) in files.skip(seen.first.into()).take(len) {
            let latest = file.seen.last().map(|seen| &seen.sight);
            let sight = latest.or_else(|| passed?.get(index));
            if let Some(description) = sight.and_then(|sight| seen.description(index, sight)) {
                file.description = description;
            }
        }
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
