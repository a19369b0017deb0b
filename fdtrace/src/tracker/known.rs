//! What is known of files and tasks beside the messages they are in: the latest that was told.

use std::{collections::HashMap, sync::Arc};

use fdtrace_common::descriptions::TaskDescribed;

use crate::description::{FileDescription, FileKey};

/// Of more than this is nothing kept; what is still in use is told again within a second.
const KEPT_MAX: usize = 65_536;

/// What was told last.
#[derive(Default)]
pub(super) struct Known {
    files: HashMap<FileKey, Arc<FileDescription>>,
    tasks: HashMap<u32, TaskDescribed>,
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
        if self.files.len() >= KEPT_MAX {
            self.files.clear();
        }
        self.files.insert(key, Arc::new(description));
    }

    pub(super) fn note_task(&mut self, tid: u32, task: TaskDescribed) {
        if self.tasks.len() >= KEPT_MAX {
            self.tasks.clear();
        }
        self.tasks.insert(tid, task);
    }

    pub(super) fn file(&self, key: FileKey) -> Option<Arc<FileDescription>> {
        self.files.get(&key).cloned()
    }

    pub(super) fn task(&self, tid: u32) -> Option<TaskDescribed> {
        self.tasks.get(&tid).copied()
    }
}
