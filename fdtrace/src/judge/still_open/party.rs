//! Party: one process at one end, and the numbers under which it received, or from which it sent.

use std::collections::{BTreeMap, HashMap};

use super::{answer::Asked, names::Names};
use crate::model::{Also, FileHolder, Holding, Side, Sole, StillOpen};

/// One number, until it is known to be closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) transfer: u64,
    pub(super) asked: Asked,
    /// The thread that received it.
    pub(super) tid: u32,
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
    /// By number.
    pub(super) numbers: BTreeMap<i32, Entry>,
    /// Those whose number is not known, or was given to another thread since, which may have a table of
    /// its own.
    pub(super) others: Vec<Entry>,
    /// Numbers of which nothing can be told.
    pub(super) unknown: u64,
    /// Numbers that ended with the process, without anybody having looked.
    pub(super) unseen: u64,
    /// When the process ended: CLOCK_MONOTONIC, nanoseconds.
    pub(super) ended_ns: Option<u64>,
    /// Who else has some of it, by the latest look.
    also: HashMap<u32, Also>,
}

impl Party {
    pub(super) fn new(comm: &str) -> Self {
        Self {
            comm: comm.to_owned(),
            all: 0,
            numbers: BTreeMap::new(),
            others: Vec::new(),
            unknown: 0,
            unseen: 0,
            ended_ns: None,
            also: HashMap::new(),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.numbers.values().chain(&self.others)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len() + self.others.len()
    }

    /// Takes a number in. Returns the transfer whose number it was before, which was closed by then.
    pub(super) fn add(&mut self, entry: Entry, side: Side) -> Option<u64> {
        let Some(fd) = entry.asked.fd else {
            self.all += 1;
            self.others.push(entry);
            return None;
        };
        let before = self.numbers.get(&fd).copied();
        if let Some(before) = before
            && side == Side::Sender
            && before.asked.key == entry.asked.key
        {
            // It is sent again.
            let asked = before.asked;
            self.numbers.insert(fd, Entry { asked, ..entry });
            return None;
        }
        self.all += 1;
        match before {
            // Events may come in another order than things happened.
            Some(before) if before.asked.since_ns > entry.asked.since_ns => {
                if side == Side::Receiver && before.tid != entry.tid {
                    self.others.push(entry);
                    return None;
                }
                Some(entry.transfer)
            }
            Some(before) => {
                self.numbers.insert(fd, entry);
                let is_another = before.asked.key != entry.asked.key;
                if side == Side::Receiver && before.tid != entry.tid {
                    self.others.push(before);
                    return None;
                }
                // The number was closed; a duplicate of it may be open, as libraries make them.
                if is_another && before.asked.sole != Sole::Never {
                    self.others.push(before);
                }
                Some(before.transfer)
            }
            None => {
                self.numbers.insert(fd, entry);
                None
            }
        }
    }

    /// Lets go of what is closed.
    pub(super) fn drop_closed(&mut self) {
        let is_open = |entry: &Entry| !entry.state.is_some_and(StillOpen::is_final);
        self.numbers.retain(|_, entry| is_open(entry));
        self.others.retain(is_open);
    }

    /// Forgets who else had what it has, ahead of a new look.
    pub(super) fn look_anew(&mut self) {
        self.also.clear();
    }

    /// Notes that others have one of its open files too.
    pub(super) fn note_also<'a>(&mut self, others: impl Iterator<Item = &'a FileHolder>) {
        /// Of more processes than anybody reads about.
        const ALSO_MAX: usize = 64;
        for other in others {
            if self.also.len() >= ALSO_MAX && !self.also.contains_key(&other.pid) {
                continue;
            }
            let also = self.also.entry(other.pid).or_insert_with(|| Also {
                pid: other.pid,
                comm: other.comm.clone(),
                files: 0,
                inherited: true,
            });
            also.files += 1;
            also.inherited &= other.inherited;
        }
    }

    pub(super) fn holding(&self, pid: u32, side: Side, names: &Names) -> Holding {
        let held = || {
            let is_held = |entry: &&Entry| entry.state.and_then(StillOpen::is_held) == Some(true);
            self.entries().filter(is_held)
        };
        let is_unknown =
            |entry: &&Entry| entry.state.is_none_or(|state| state == StillOpen::Unknown);
        let mut also: Vec<Also> = self.also.values().cloned().collect();
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
