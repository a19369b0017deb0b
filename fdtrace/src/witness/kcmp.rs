//! `kcmp(KCMP_FILE)`: the kernel compares two processes' descriptors by the file behind them.

use std::{cmp::Ordering, os::fd::BorrowedFd};

use crate::{kernel::sys::compare_files, model::Verdict};

/// Compares a descriptor of ours with one of `pid`.
pub(super) fn compare(ours: BorrowedFd<'_>, pid: u32, fd: i32) -> Verdict {
    match compare_files(ours, pid, fd) {
        Ok(Ordering::Equal) => Verdict::Same,
        Ok(_) => Verdict::Different,
        // CONFIG_KCMP is off, or we may not look at that process.
        Err(_) => Verdict::Unverified,
    }
}
