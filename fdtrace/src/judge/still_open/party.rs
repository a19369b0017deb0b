//! Party: one process at one end, and the numbers under which it received, or from which it sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{answer::Asked, names::Names};
use crate::model::{Also, FileHolder, FileKey, Holding, Side, StillOpen};

/// One number, until it is known to be closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) transfer: u64,
    pub(super) asked: Asked,
    /// Place of its file's name.
    pub(super) name: u32,
    /// What the latest look said.
    pub(super) state: Option<StillOpen>,
}

/// A process at one end.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) comm: String,
    /// Numbers that there were.
    pub(super) all: u64,
    /// By number, and by what it stood for: a number that was given away again need not be closed, because
    /// threads may have tables of their own, and of one that was closed there may be a duplicate.
    pub(super) numbers: BTreeMap<(i32, FileKey), Entry>,
    /// Those whose number is not known.
    pub(super) unnumbered: Vec<Entry>,
    /// Numbers of which nothing can be told.
    pub(super) unknown: u64,
    /// Numbers that ended with the process, without anybody having looked.
    pub(super) unseen: u64,
    /// When the process ended: CLOCK_MONOTONIC, nanoseconds.
    pub(super) ended_ns: Option<u64>,
    /// Who else has some of it, by the latest look: which files, and whether all were inherited.
    also: HashMap<u32, Others>,
}

/// What another process has.
#[derive(Debug)]
struct Others {
    comm: String,
    files: HashSet<FileKey>,
    inherited: bool,
}

impl Party {
    pub(super) fn new(comm: &str) -> Self {
        Self {
            comm: comm.to_owned(),
            all: 0,
            numbers: BTreeMap::new(),
            unnumbered: Vec::new(),
            unknown: 0,
            unseen: 0,
            ended_ns: None,
            also: HashMap::new(),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.numbers.values().chain(&self.unnumbered)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.numbers.values_mut().chain(&mut self.unnumbered)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len() + self.unnumbered.len()
    }

    /// Takes a number in. If it stood for the same file before, that is one question, and the latest transfer
    /// is the one that is told of.
    pub(super) fn add(&mut self, entry: Entry, side: Side) {
        let Some(fd) = entry.asked.fd else {
            self.all += 1;
            self.unnumbered.push(entry);
            return;
        };
        let before = self.numbers.get(&(fd, entry.asked.key)).copied();
        // A number that is sent again is the same.
        self.all += u64::from(before.is_none() || side == Side::Receiver);
        let entry = match before {
            // Events may come in another order than things happened.
            Some(before) if before.asked.since_ns > entry.asked.since_ns => before,
            Some(before) if side == Side::Sender => Entry {
                asked: before.asked,
                ..entry
            },
            _ => entry,
        };
        self.numbers.insert((fd, entry.asked.key), entry);
    }

    /// Takes out what came after this time, which is another process's of the same number.
    pub(super) fn split_off(&mut self, t_ns: u64) -> Self {
        let mut next = Self::new(&self.comm);
        let is_later = |entry: &Entry| entry.asked.since_ns > t_ns;
        next.numbers
            .extend(self.numbers.extract_if(.., |_, entry| is_later(entry)));
        next.unnumbered
            .extend(self.unnumbered.extract_if(.., |entry| is_later(entry)));
        next.all = next.len() as u64;
        self.all = self.all.saturating_sub(next.all);
        next
    }

    /// Lets go of what is closed, and returns how much that was.
    pub(super) fn drop_closed(&mut self) -> usize {
        let len = self.len();
        let ended = |entry: &&Entry| entry.state == Some(StillOpen::Ended);
        self.unseen += self.entries().filter(ended).count() as u64;
        let is_open = |entry: &Entry| !entry.state.is_some_and(StillOpen::is_final);
        self.numbers.retain(|_, entry| is_open(entry));
        self.unnumbered.retain(is_open);
        len - self.len()
    }

    /// What its process has of it, by the latest look.
    pub(super) fn held(&self) -> impl Iterator<Item = &Entry> {
        let is_held = |entry: &&Entry| entry.state.and_then(StillOpen::is_held) == Some(true);
        self.entries().filter(is_held)
    }

    /// Forgets who else had what it has, ahead of a new look.
    pub(super) fn look_anew(&mut self) {
        self.also.clear();
    }

    /// Notes that others have one of its open files too.
    pub(super) fn note_also<'a>(
        &mut self,
        others: impl Iterator<Item = (FileKey, &'a FileHolder)>,
    ) {
        /// Of more processes than anybody reads about.
        const ALSO_MAX: usize = 64;
        for (key, other) in others {
            if self.also.len() >= ALSO_MAX && !self.also.contains_key(&other.pid) {
                continue;
            }
            let also = self.also.entry(other.pid).or_insert_with(|| Others {
                comm: other.comm.clone(),
                files: HashSet::new(),
                inherited: true,
            });
            // A file that it has under many numbers is one.
            also.files.insert(key);
            also.inherited &= other.inherited;
        }
    }

    pub(super) fn holding(&self, pid: u32, side: Side, names: &Names) -> Holding {
        let held = || self.held();
        let is_unknown =
            |entry: &&Entry| entry.state.is_none_or(|state| state == StillOpen::Unknown);
        let also = self.also.iter().map(|(pid, others)| Also {
            pid: *pid,
            comm: others.comm.clone(),
            files: others.files.len() as u64,
            inherited: others.inherited,
        });
        let mut also: Vec<Also> = also.collect();
        also.sort_by(|one, two| two.files.cmp(&one.files).then(one.pid.cmp(&two.pid)));
        Holding {
            pid,
            comm: self.comm.clone(),
            side,
            ended: self.ended_ns.is_some(),
            all: self.all,
            open: held().count() as u64,
            unknown: self.entries().filter(is_unknown).count() as u64 + self.unknown,
            unseen: self.unseen,
            files: names.count(held().map(|entry| entry.name)),
            oldest_ns: held().map(|entry| entry.asked.since_ns).min(),
            also,
        }
    }
}
