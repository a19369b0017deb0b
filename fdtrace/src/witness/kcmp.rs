//! `kcmp(KCMP_FILE)`: the kernel compares two processes' descriptors by the file behind them.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::model::Verdict;

/// From `linux/kcmp.h`.
const KCMP_FILE: libc::c_int = 0;

/// Compares a descriptor of ours with one of `pid`.
pub(super) fn compare(ours: BorrowedFd<'_>, pid: u32, fd: i32) -> Verdict {
    // SAFETY: kcmp reads its arguments and nothing of our memory.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(std::process::id().cast_signed()),
            libc::c_long::from(pid.cast_signed()),
            libc::c_long::from(KCMP_FILE),
            libc::c_long::from(ours.as_raw_fd()),
            libc::c_long::from(fd),
        )
    };
    match order {
        0 => Verdict::Same,
        1..=3 => Verdict::Different,
        // CONFIG_KCMP is off, or we may not look at that process.
        _ => Verdict::Unverified,
    }
}
