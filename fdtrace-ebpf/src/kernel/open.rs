//! What a number of a process stands for, and who that process is.

use fdtrace_common::tables::{OpenNumber, TableOwner};

use super::{File, follow, read, task_comm, task_parent, task_pid};
use crate::offsets::*;

impl File {
    /// Writes what the number `fd` stands for, if that is this file.
    ///
    /// # Safety
    /// `number` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe_number(self, fd: u32, number: *mut OpenNumber) {
        let inode = follow(self.0, &FILE__INODE);
        // SAFETY: the caller's promise.
        unsafe {
            (*number).file = self.0;
            (*number).ino = read(inode, &INODE__INO);
            (*number).dev = read(follow(inode, &INODE__SB), &SUPER_BLOCK__DEV);
            (*number).fd = fd;
            (*number).made = u32::from(self.is_made());
            (*number).flags = read(self.0, &FILE__FLAGS);
        }
    }

    /// Whether the kernel made it together with its inode, and nobody opened it by a path.
    ///
    /// To open a file sets where it was last read ahead to -1 (`file_ra_state_init`). One that is made
    /// begins with zeros, and what is made that way (pipes, memfds) is never read ahead. An open with
    /// `O_PATH` does not get that far: its flags tell.
    #[inline(always)]
    fn is_made(self) -> bool {
        FILE__RA__PREV_POS.load() != 0 && read::<u64>(self.0, &FILE__RA__PREV_POS) == 0
    }
}

/// Writes whose table a task's is.
///
/// # Safety
/// `owner` can be written.
#[inline(always)]
pub(crate) unsafe fn describe_owner(task: u64, owner: *mut TableOwner) {
    let leader = if TASK_STRUCT__GROUP_LEADER.load() == 0 {
        task
    } else {
        read(task, &TASK_STRUCT__GROUP_LEADER)
    };
    // SAFETY: the caller's promise.
    unsafe {
        (*owner).start_ns = read(leader, &TASK_STRUCT__START_TIME);
        (*owner).pid = task_pid(task);
        (*owner).parent = task_pid(task_parent(leader));
        (*owner).comm = task_comm(leader);
    }
}
