//! A file's path, and what is odd about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an open file is, or what describes it if it is in no tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePath {
    /// The path from the root of the mount namespace that the file was opened in; the one name of
    /// a file that is in no tree, such as `[eventfd]`, which may be empty. What is not UTF-8 in it
    /// is as [`lossless`](crate::model::lossless) has it.
    pub text: String,
    /// The name is gone: unlinked since it was opened.
    pub unlinked: bool,
    /// The file is in no tree, and `text` no path.
    pub rootless: bool,
    /// `text` lacks what is nearest to the root, for it was too long.
    pub cut: bool,
    /// The path begins at a mount that is in no namespace (any more), not at a root.
    pub detached: bool,
    /// It is the root of the mount that it was opened through.
    pub mount_root: bool,
    /// The mount that it was opened through, as in `/proc/self/mountinfo`.
    pub mount_id: u32,
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.unlinked {
            f.write_str(" (deleted)")?;
        }
        if self.detached {
            f.write_str(" (in a detached mount)")?;
        }
        Ok(())
    }
}
