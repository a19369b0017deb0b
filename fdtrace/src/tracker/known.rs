//! What is known of files and tasks beside the messages they are in: the latest that was told.

use std::sync::Arc;

use fdtrace_common::descriptions::TaskDescribed;

use super::{recent::Recent, transfer::Transfer};
use crate::description::{FileDescription, FileKey};

/// Files, and likewise tasks, that are kept; what is still in use is told again within a second.
const KEPT_MAX: usize = 16_384;

/// What was told last.
pub(super) struct Known {
    files: Recent<FileKey, Arc<FileDescription>>,
    tasks: Recent<u32, TaskDescribed>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            files: Recent::new(KEPT_MAX),
            tasks: Recent::new(KEPT_MAX),
        }
    }
}

/// What is known of a transfer's file and ends; nothing where it was not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// What the file is.
    pub file: Option<Arc<FileDescription>>,
    /// What separates the sender from others.
    pub sender: Option<TaskDescribed>,
    /// What separates the receiver from others.
    pub receiver: Option<TaskDescribed>,
}

impl Known {
    pub(super) fn note_file(&mut self, key: FileKey, description: FileDescription) {
        self.files.insert(key, Arc::new(description));
        self.files.excess();
    }

    pub(super) fn note_task(&mut self, tid: u32, task: TaskDescribed) {
        self.tasks.insert(tid, task);
        self.tasks.excess();
    }

    pub(super) fn file(&self, key: FileKey) -> Option<Arc<FileDescription>> {
        self.files.get(key).cloned()
    }

    /// Says what a transfer's file is, where that was told apart from the hops that it was seen at.
    pub(super) fn describe(&self, transfer: &mut Transfer) {
        if transfer.context.file.is_none() {
            transfer.context.file = self.file((transfer.file.dev, transfer.file.ino));
        }
    }

    pub(super) fn task(&self, tid: u32) -> Option<TaskDescribed> {
        self.tasks.get(tid).copied()
    }
}
