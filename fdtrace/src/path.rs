//! A file's path, from the names that the kernel half found on the way up.

use std::fmt;

use fdtrace_common::paths::{
    PATH_CUT, PATH_DETACHED, PATH_MOUNT_ROOT, PATH_ROOTLESS, PATH_UNLINKED, PathHead,
};

use crate::lossless;

/// Where an open file is, or what describes it if it is in no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    /// The path from the root of the mount namespace that the file was opened in; the one name of
    /// a file that is in no tree, such as `[eventfd]`, which may be empty. What is not UTF-8 in it
    /// is as [`lossless`] has it.
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

impl FilePath {
    /// Turns the names round. `names` is what was read, of which `head.len` bytes count.
    #[must_use]
    pub fn of(head: &PathHead, names: &[u8]) -> Self {
        let used = usize::try_from(head.len).map_or(names.len(), |len| len.min(names.len()));
        let is = |flag: u32| head.flags & flag != 0;
        let mut parts: Vec<&[u8]> = names[..used].split(|byte| *byte == 0).collect();
        // What follows the last NUL is nothing.
        parts.pop();
        parts.reverse();
        let joined = parts.join(&b'/');
        let joined = lossless::text(&joined);
        let text = if is(PATH_ROOTLESS) {
            joined
        } else if is(PATH_CUT) {
            format!("…/{joined}")
        } else {
            format!("/{joined}")
        };
        Self {
            text,
            unlinked: is(PATH_UNLINKED),
            rootless: is(PATH_ROOTLESS),
            cut: is(PATH_CUT),
            detached: is(PATH_DETACHED),
            mount_root: is(PATH_MOUNT_ROOT),
            mount_id: head.mount_id,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(flags: u32, names: &[u8]) -> FilePath {
        let head = PathHead {
            dentry: 0,
            mount: 0,
            inode: 0,
            len: names.len() as u64,
            flags,
            mount_id: 21,
        };
        // What an earlier and longer path left there does not count.
        FilePath::of(&head, &[names, b"left over\0"].concat())
    }

    #[test]
    fn names_are_read_from_the_root_down() {
        assert_eq!(path(0, b"log\0var\0").text, "/var/log");
        assert_eq!(path(0, b"").text, "/");
        assert_eq!(path(0, b"log\0").mount_id, 21);
    }

    #[test]
    fn what_is_odd_about_a_path_is_said() {
        let deleted = path(PATH_UNLINKED, b"x\0tmp\0");
        assert_eq!(deleted.to_string(), "/tmp/x (deleted)");
        assert_eq!(
            path(PATH_DETACHED, b"x\0").to_string(),
            "/x (in a detached mount)"
        );
        assert_eq!(path(PATH_CUT, b"c\0b\0").text, "…/b/c");
        let eventfd = path(PATH_ROOTLESS, b"[eventfd]\0");
        assert_eq!(eventfd.to_string(), "[eventfd]");
        assert!(eventfd.rootless);
        assert_eq!(path(PATH_ROOTLESS, b"\0").text, "");
    }

    #[test]
    fn a_length_that_cannot_be_is_no_panic() {
        let head = PathHead {
            dentry: 0,
            mount: 0,
            inode: 0,
            len: u64::MAX,
            flags: 0,
            mount_id: 0,
        };
        assert_eq!(FilePath::of(&head, b"a\0b\0").text, "/b/a");
        assert_eq!(FilePath::of(&head, b"").text, "/");
    }
}
