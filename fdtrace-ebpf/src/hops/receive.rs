//! `receive` and `install`, by the function that does both for one file: `scm_recv_one_fd` (7.3),
//! `receive_fd` (6.8 to 7.2) or `__receive_fd` (before). At its entry the file is about to get a
//! number; at its return the number is in the receiver's memory and the file in its table.
//!
//! `fd_install` itself is not hooked: everybody's opens and accepts go through it. Others call
//! these functions too (`pidfd_getfd`), but not while they are installing a list.

use fdtrace_common::{
    counters::Counter,
    records::{NOT_TOLD, RecordKind},
};

use super::{on_entry, on_return};
use crate::{
    calls,
    emit::{self, Files, Program},
    kernel::{self, FdTable, File, Pointer, Task},
    offsets::RECEIVE_FD_FIRST_IS_NUMBER,
    ring,
};

on_entry! {
    received(0, 1) fentry receive_fd_f kprobe receive_fd_k
}

// `scm_recv_one_fd(file, user_fd, flags, notrunc)`
on_return! {
    told(0, 1) -> 4 as Program::Install;
    fexit install_one_f kprobe install_one_k kretprobe install_one_r
}

// `receive_fd(file, user_fd, flags)` and `__receive_fd` with the same
on_return! {
    returned(0) -> 3 as Program::Install;
    fexit install_fd_f kprobe install_fd_k kretprobe install_fd_r
}

// `__receive_fd(fd, file, user_fd, flags)` of 5.10, where a program may not look at `user_fd`
on_return! {
    returned(1) -> 4 as Program::Install;
    fexit install_num_f kprobe install_num_k kretprobe install_num_r
}

#[inline(always)]
fn received<P: Pointer>(first: P, second: P) {
    let file = if RECEIVE_FD_FIRST_IS_NUMBER.load() == 1 {
        second
    } else {
        first
    };
    let Some(receiving) = calls::installing() else {
        return;
    };
    ring::count(Counter::ReceiveFired);
    let Some(scratch) = emit::begin(Task::current(), Program::Receive, RecordKind::FileReceived)
    else {
        return;
    };
    scratch.head.list = receiving.list;
    scratch.head.count = receiving.count as u16;
    scratch.head.first = receiving.index as u16;
    emit::files(scratch, Counter::ReceiveLost, Files::one(File(file), 0));
}

/// Does not return the number: the receiver is told it, or a refusal as a negative errno.
#[inline(always)]
fn told<P: Pointer>([file, user_fd]: [P; 2], result: i64) {
    let (file, result) = (File(file), result as i32);
    let fd = match result {
        ..0 => result,
        _ => number_told(file.0.address(), user_fd.address()),
    };
    installed(file, result, fd);
}

/// What a receiver was told of a file that was just installed: its number, or a refusal as a negative errno.
/// [`NOT_TOLD`] if that may not be what the kernel has written, for another thread may have written since. A
/// number that it wrote may stand for the same file; then it is not the one that was given away last.
#[inline(always)]
pub(super) fn number_told(file: u64, user_fd: u64) -> i32 {
    let number = kernel::read_user(user_fd).unwrap_or(NOT_TOLD);
    let table = FdTable::of(Task::current());
    let is_new = table.file(number).0 == file && table.gave_last(number);
    if number < 0 || is_new {
        number
    } else {
        NOT_TOLD
    }
}

/// Returns the number, or a refusal as a negative errno.
#[inline(always)]
fn returned<P: Pointer>([file]: [P; 1], result: i64) {
    installed(File(file), result as i32, result as i32);
}

#[inline(always)]
fn installed(file: File<impl Pointer>, result: i32, fd: i32) {
    let Some(receiving) = calls::installing() else {
        return;
    };
    ring::count(Counter::InstallFired);
    let index = receiving.index;
    receiving.index = index + 1;
    let (list, count) = (receiving.list, receiving.count);
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Install, RecordKind::FdInstalled) else {
        return;
    };
    scratch.look_up_in(FdTable::of(task));
    scratch.head.list = list;
    scratch.head.count = count as u16;
    scratch.head.first = index as u16;
    scratch.head.result = result;
    scratch.fds[0] = fd;
    scratch.told[0] = fd;
    emit::files(scratch, Counter::InstallLost, Files::one(file, 1));
}
