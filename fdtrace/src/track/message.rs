//! One message: what each hop saw of its list, file by file.

use std::{mem, sync::Arc};

use fdtrace_common::records::LIST_MAX;

use super::by_look::Claim;
use crate::{
    model::{CauseMissing, FailedSend, FileDescription, Hop, Task},
    wire::{Backtrace, Description, Refusal, Sight, Sighting, Stamp},
};

/// A message on its way.
#[derive(Clone, Default)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) socket_name: Option<String>,
    /// What it was sent on, where that is no Unix socket.
    pub(crate) other_socket: Option<Arc<FileDescription>>,
    pub(crate) count: u16,
    /// What its send had to do with that failed.
    pub(crate) failed_send: Option<Box<FailedSend>>,
    /// The heads of all sightings.
    pub(crate) heads: Vec<(Hop, Stamp)>,
    pub(crate) files: Vec<File>,
    /// Who has sent it, as far as looks at its queue tell.
    pub(crate) claim: Claim,
    /// As it was found in its queue when the trace began, if it had been sent before.
    pub(crate) found: Option<Box<Sighting>>,
    /// As it was found in its queue when the trace ended.
    pub(crate) found_last: Option<Stamp>,
    /// When the thread that reads it was at a read before: it took it off its queue since.
    pub(crate) read_since: u64,
    /// How many of its files the receiver's control buffer has room for, as it was detached last.
    pub(crate) room: Option<usize>,
    /// The read of it that was a peek, as long as that is not over.
    pub(crate) peek_ns: Option<u64>,
    /// Records were lost, and what was seen of it may be of the message before at its address.
    pub(crate) doubtful: bool,
    /// The functions under way as it ended, where they were written down.
    pub(crate) ended_in: Backtrace,
    /// How many files its receive installed is known.
    pub(crate) counted: bool,
    /// Its skb was freed by the call that sends it, so that has failed.
    pub(crate) given_up: bool,
    /// Its list was on an skb as its sender gave it back, which only that tells where two records tell of a
    /// message.
    pub(crate) ended_on_skb: bool,
    /// The call that gave it back has taken it off its queue, as the functions under way show.
    pub(crate) taken: bool,
    /// Nobody looks whether its receiver had a place for descriptors.
    pub(crate) may_be_detached: bool,
    /// Why no cause is known, should it end without.
    pub(crate) cause_missing: CauseMissing,
    /// Somebody found it in its queue because it had been there for long.
    pub(crate) still_there: bool,
    /// It was shown as being queued for long.
    pub(crate) overdue: bool,
    pub(crate) receiver_task: Option<Task>,
}

/// How far a message whose list is alive has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It is in its sender's call.
    Sending,
    /// It is in a receive queue.
    Queued,
    /// A receiver reads it, and may leave it there.
    Reading,
    /// Its list is off its skb, and its files get their numbers.
    Installing,
}

/// One file of a message.
#[derive(Clone, Default)]
pub(crate) struct File {
    pub(crate) seen: Vec<Seen>,
    /// Why it was not installed.
    pub(crate) refused: Option<Refusal>,
    /// It was installed, though its number was not there any more.
    pub(crate) arrived: bool,
    /// Its number was found by the file behind it, not in the control message.
    pub(crate) inferred: bool,
    /// That number may be a duplicate's, or none is known.
    pub(crate) numberless: bool,
    /// What it is, by the latest hop that says so.
    pub(crate) description: Option<Description>,
}

#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) hop: Hop,
    /// Index of its head in the message's.
    pub(crate) head: usize,
    pub(crate) sight: Sight,
}

impl Message {
    pub(crate) fn new(id: u64, count: u16) -> Self {
        let mut message = Self::default();
        message.begin_anew(id, count);
        message
    }

    /// Becomes a message of which nothing is known, in the memory of one that has ended.
    pub(crate) fn begin_anew(&mut self, id: u64, count: u16) {
        let Self {
            mut heads,
            mut files,
            ..
        } = mem::take(self);
        heads.clear();
        let count_kept = usize::from(count).min(LIST_MAX);
        files.truncate(count_kept);
        files.iter_mut().for_each(File::forget);
        files.resize_with(count_kept, File::default);
        *self = Self {
            id,
            count,
            heads,
            files,
            ..Self::default()
        };
    }

    /// What it takes in memory, counted in files.
    pub(crate) fn weight(&self) -> usize {
        1 + self.files.len()
    }

    /// Whether it may be made of two messages.
    pub(crate) fn is_doubtful(&self) -> bool {
        let mut epochs = self.heads.iter().map(|(_, head)| head.at.epoch);
        let first = epochs.next();
        self.doubtful || epochs.any(|epoch| Some(epoch) != first)
    }

    /// The latest sighting at `hop`.
    pub(crate) fn head(&self, hop: Hop) -> Option<&Stamp> {
        let mut latest = self.heads.iter().rev();
        latest.find(|(at, _)| *at == hop).map(|(_, head)| head)
    }

    pub(crate) fn has(&self, hop: Hop) -> bool {
        self.head(hop).is_some()
    }

    /// The hop furthest along the path.
    pub(crate) fn latest_hop(&self) -> Option<Hop> {
        self.heads.iter().map(|(hop, _)| *hop).max()
    }

    /// Whether `head` is another record of a sighting that is already here.
    pub(crate) fn same_sighting(&self, hop: Hop, head: &Stamp) -> bool {
        self.head(hop).is_some_and(|here| here.is_of(head))
    }

    /// Undoes a sighting at `hop`: the message is where it was before.
    pub(crate) fn forget(&mut self, hop: Hop) {
        if !self.has(hop) {
            return;
        }
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
    pub(crate) fn record(&mut self, hop: Hop, seen: &Sighting) {
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

    pub(crate) fn note_head(&mut self, hop: Hop, head: Stamp) -> usize {
        let mut heads = self.heads.iter();
        let known = heads.rposition(|(at, here)| *at == hop && here.is_of(&head));
        known.unwrap_or_else(|| {
            self.heads.push((hop, head));
            self.heads.len() - 1
        })
    }

    /// Joins what a hop says of the files that it saw, or of all if it does not name them. That takes the
    /// place of what an earlier hop said.
    pub(crate) fn describe(&mut self, seen: &Sighting) {
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
            let description = sight.and_then(|sight| seen.description(index, sight));
            file.description = description.or(file.description.take());
        }
    }
}

impl File {
    fn forget(&mut self) {
        let mut seen = mem::take(&mut self.seen);
        seen.clear();
        *self = Self {
            seen,
            ..Self::default()
        };
    }

    pub(crate) fn at(&self, hop: Hop) -> Option<&Seen> {
        self.seen.iter().rev().find(|seen| seen.hop == hop)
    }
}
