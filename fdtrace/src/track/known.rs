//! What is known of a transfer's file and ends beside the hops.

use std::sync::Arc;

use super::recent::Recent;
use crate::{
    model::{DescriptionMissing, FileDescription, Task},
    wire::{Described, List, Sight, Sighting, Stamp},
};

/// Tasks that are kept; what is still in use is told again within a second.
const TASKS_MAX: usize = 16_384;

/// Hops whose files have been described and which have not come themselves: that many only if their
/// records were lost.
const HOPS_MAX: usize = 1024;

/// What a file is, or why that is not known.
pub(super) type Description = Result<Arc<FileDescription>, DescriptionMissing>;

/// What was told ahead of the hops.
pub(super) struct Known {
    /// Files, by the hop that is to come. A file's description is of that hop's message, and never
    /// taken for another's.
    files: Recent<HopKey, Vec<Described>>,
    tasks: Recent<u32, Task>,
}

/// Which hop: its list, time and thread.
type HopKey = (Option<List>, u64, u32);

fn key(head: &Stamp) -> HopKey {
    (head.list, head.at.ns, head.by.tid)
}

impl Default for Known {
    fn default() -> Self {
        Self {
            files: Recent::new(HOPS_MAX),
            tasks: Recent::new(TASKS_MAX),
        }
    }
}

impl Known {
    pub(super) fn note_file(&mut self, head: &Stamp, described: Described) {
        self.files
            .get_or_insert(key(head), Vec::new)
            .push(described);
        // What is let go of belongs to a hop that was lost.
        self.files.excess();
    }

    /// What was told of this file of a hop, at this place in its list; `None` if that hop tells
    /// nothing of its files.
    pub(super) fn file(&self, seen: &Sighting, index: usize, file: &Sight) -> Option<Description> {
        let told = self
            .files
            .get(key(&seen.stamp))
            .map_or(&[][..], Vec::as_slice);
        let mut here = told
            .iter()
            .filter(|told| told.file != 0 && usize::from(told.index) == index)
            .peekable();
        let is_it = |told: &&Described| told.file == file.file.ptr && is_its_inode(told, file);
        if let Some(told) = here
            .clone()
            .find(is_it)
            .or_else(|| without_place(told, seen, file))
        {
            return Some(Ok(Arc::new(told.description.clone())));
        }
        let why = if file.file.ptr == 0 {
            DescriptionMissing::NoFile
        } else if here.peek().is_some() {
            DescriptionMissing::Changed
        } else {
            DescriptionMissing::Lost
        };
        seen.stamp.described.then_some(Err(why))
    }

    /// Lets go of what was told of a hop's files if this is the last of its records.
    pub(super) fn done_with(&mut self, seen: &Sighting) {
        if seen.is_last() {
            self.forget_files(&seen.stamp);
        }
    }

    /// Lets go of what was told of a hop's files.
    pub(super) fn forget_files(&mut self, head: &Stamp) {
        self.files.remove(key(head));
    }

    pub(super) fn note_task(&mut self, tid: u32, task: Task) {
        self.tasks.insert(tid, task);
        self.tasks.excess();
    }

    pub(super) fn task(&self, tid: u32) -> Option<Task> {
        self.tasks.get(tid).copied()
    }
}

fn is_its_inode(told: &Described, file: &Sight) -> bool {
    (told.ino, told.dev) == (file.file.ino, file.file.dev)
}

/// Earlier versions did not say which file of its list a description is of: it is of the only one
/// with that inode.
fn without_place<'a>(
    told: &'a [Described],
    seen: &Sighting,
    file: &Sight,
) -> Option<&'a Described> {
    let is_it = |told: &&Described| told.file == 0 && is_its_inode(told, file);
    let told = told.iter().find(is_it)?;
    let same = seen
        .files
        .iter()
        .filter(|other| (other.file.ino, other.file.dev) == (file.file.ino, file.file.dev));
    (same.count() == 1).then_some(told)
}
