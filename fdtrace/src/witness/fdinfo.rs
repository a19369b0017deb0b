//! `/proc/PID/fdinfo`: offsets, and how many descriptors a Unix socket has queued.

use std::{fs, os::fd::BorrowedFd};

use nix::{
    sys::stat::{SFlag, fstat},
    unistd::{Whence, lseek},
};

use crate::model::Verdict;

/// Far outside any file a scenario makes, and unlike any offset a program would be at.
const STRANGE_OFFSET: i64 = 0x5eed_f17e;

/// Moves the offset of `original` and looks whether that of `fd` in process `pid` has moved with
/// it, then puts it back. `None` for files that have no offset to share.
pub(super) fn compare_offsets(original: BorrowedFd<'_>, pid: u32, fd: i32) -> Option<Verdict> {
    let mode = SFlag::from_bits_truncate(fstat(original).ok()?.st_mode);
    if mode & SFlag::S_IFMT != SFlag::S_IFREG {
        return None;
    }
    let before = lseek(original, 0, Whence::SeekCur).ok()?;
    lseek(original, STRANGE_OFFSET, Whence::SeekSet).ok()?;
    let seen = field(pid, fd, "pos:");
    lseek(original, before, Whence::SeekSet).ok()?;
    Some(match seen {
        Some(STRANGE_OFFSET) => Verdict::Same,
        Some(_) => Verdict::Different,
        None => Verdict::Unverified,
    })
}

/// How many descriptors wait in the receive queue of the Unix socket `fd` of process `pid`;
/// `None` where fdinfo has no `scm_fds` (before 5.6).
#[must_use]
pub fn queued_descriptors(pid: u32, fd: i32) -> Option<u64> {
    field(pid, fd, "scm_fds:")?.try_into().ok()
}

fn field(pid: u32, fd: i32, name: &str) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}
