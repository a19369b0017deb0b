//! `receive` and `install`, by the function that does both for one file: `scm_recv_one_fd` (7.3),
//! `receive_fd` (6.8 to 7.2) or `__receive_fd` (before). At its entry the file is about to get a
//! number; at its return the number is in the receiver's memory and the file in its table.
//!
//! `fd_install` itself is not hooked: everybody's opens and accepts go through it. Others call
//! these functions too (`pidfd_getfd`), but not while they are installing a list.

use fdtrace_common::{counters::Counter, records::RecordKind};

use super::{on_entry, on_return};
use crate::{
    calls,
    emit::{self, Program, Slot},
    kernel::{self, FdTable, File},
    offsets::RECEIVE_FD_FIRST_IS_NUMBER,
    ring,
};

on_entry! {
    received(0, 1) fentry receive_fd_f kprobe receive_fd_k
}

on_return! {
    installed_3(0, 1, 2) -> 3 as Program::Install;
    fexit install_3_f kprobe install_3_k kretprobe install_3_r
}

on_return! {
    installed_4(0, 1, 2, 3) -> 4 as Program::Install;
    fexit install_4_f kprobe install_4_k kretprobe install_4_r
}

#[inline(always)]
fn received(first: u64, second: u64) {
    let file = if RECEIVE_FD_FIRST_IS_NUMBER.load() == 1 {
        second
    } else {
        first
    };
    let Some(detaching) = calls::detaching() else {
        return;
    };
    ring::count(Counter::ReceiveFired);
    let Some(scratch) = emit::begin(Program::Receive, RecordKind::FileReceived) else {
        return;
    };
    scratch.head.list = detaching.list;
    scratch.head.count = detaching.count as u16;
    scratch.head.first = detaching.index as u16;
    emit::files(
        scratch,
        1,
        Counter::ReceiveLost,
        |_, _| (File(file), Slot::UNKNOWN),
        || 0,
    );
}

#[inline(always)]
fn installed_3([file, user_fd, _flags]: [u64; 3], result: i64) {
    installed(file, user_fd, result);
}

#[inline(always)]
fn installed_4([first, second, third, _last]: [u64; 4], result: i64) {
    if RECEIVE_FD_FIRST_IS_NUMBER.load() == 1 {
        installed(second, third, result);
    } else {
        installed(first, second, result);
    }
}

#[inline(always)]
fn installed(file: u64, user_fd: u64, result: i64) {
    let Some(detaching) = calls::detaching() else {
        return;
    };
    ring::count(Counter::InstallFired);
    let index = detaching.index;
    detaching.index = index + 1;
    let (list, count) = (detaching.list, detaching.count);
    let Some(scratch) = emit::begin(Program::Install, RecordKind::FdInstalled) else {
        return;
    };
    let table = FdTable::current();
    let result = result as i32;
    scratch.head.list = list;
    scratch.head.count = count as u16;
    scratch.head.first = index as u16;
    scratch.head.result = result;
    // The number is what the receiver is told. Not all of these functions return it, and a
    // refusal may be told there too, as a negative errno.
    let fd = if result < 0 {
        result
    } else {
        kernel::read_user(user_fd)
    };
    emit::files(
        scratch,
        1,
        Counter::InstallLost,
        |_, _| {
            let mut slot = Slot::of(fd, &table);
            slot.told = fd;
            (File(file), slot)
        },
        || 0,
    );
}
