//! File: what identifies an open file, what kind it is, and what it is called.

mod description;
mod kind;
mod path;

pub use description::{DescriptionMissing, FileDescription, SocketDescription, VsockAddr};
pub use kind::FileKind;
pub use path::FilePath;

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::{Sole, lossless, named};

/// Bytes of the kernel's own name for a file that is in no directory.
pub(super) const LABEL_LEN: usize = fdtrace_common::records::LABEL_LEN;

/// What identifies a file, as the kernel showed it while the list held a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Address of the `struct file`; means something only while the transfer lasts.
    pub ptr: u64,
    /// Inode number.
    pub ino: u64,
    /// Device of its file system, kernel encoding (major << 20 | minor).
    pub dev: u32,
    /// Device that it stands for, likewise.
    pub rdev: u32,
    /// Type and permissions.
    pub mode: u16,
    /// Open flags.
    pub flags: u32,
    /// Magic number of its file system.
    pub magic: u64,
    /// What the kernel calls it if it is in no directory; up to the first NUL.
    pub label: Option<[u8; LABEL_LEN]>,
}

/// A device as users know it, `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device(u32);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minor = self.0 & ((1 << kind::MINOR_BITS) - 1);
        write!(f, "{}:{minor}", self.0 >> kind::MINOR_BITS)
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FileIdentity {
    /// The device of its file system.
    #[must_use]
    pub fn device(&self) -> Device {
        Device(self.dev)
    }

    /// What kind of file it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        kind::of(self)
    }

    /// How far its inode tells it from all other open files.
    #[must_use]
    pub fn sole(&self) -> Sole {
        kind::sole(self)
    }

    /// Whether it was opened with `O_PATH`: it only says where a file is.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.flags & kind::O_PATH != 0
    }

    /// Whether it is of a kind that pidfds are of, on this kernel or an earlier one.
    #[must_use]
    pub fn may_be_pidfd(&self) -> bool {
        [kind::PIDFS_MAGIC, kind::ANON_INODE_FS_MAGIC].contains(&self.magic)
    }

    /// Whether it has no inode of its own (`anon_inode:` in `/proc/PID/fd`).
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.magic == kind::ANON_INODE_FS_MAGIC
    }
}
