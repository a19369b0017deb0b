//! `copy`: the sender's numbers have become references in a list.
//!
//! `scm_fp_copy` itself is inlined into `__scm_send` on every kernel, so that is where it is seen:
//! at its return the list is whole, and the kernel's copy of the control messages still says which
//! number became which file.

use core::ptr::read_volatile;

use fdtrace_common::{
    counters::Counter,
    records::{Head, RecordKind},
};

use super::{on_return, send};
use crate::{
    calls, control,
    emit::{self, FDS_MAX, Program},
    kernel::{self, Cookie, FdTable, Msghdr, Pointer, Sock, SyscallRegs, Task},
    offsets::HAS_TASK_PT_REGS,
    ring,
};

on_return! {
    copied(0, 1, 2) -> 3 as Program::Copy;
    fexit copy_scm_send_f kprobe copy_scm_send_k kretprobe copy_scm_send_r
}

#[inline(always)]
fn copied<P: Pointer>([socket, message, cookie]: [P; 3], result: i64) {
    let sender = kernel::sock_of(socket);
    if !sender.is_unix() {
        return;
    }
    let result = result as i32;
    if result != 0 {
        refused(sender, Msghdr(message), result);
        return;
    }
    let list = Cookie(cookie).list();
    if list.0.is_null() {
        return;
    }
    ring::count(Counter::CopyFired);
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Copy, RecordKind::ListCopied) else {
        return;
    };
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    scratch.found = control::read_copied_fds(Msghdr(message), &mut scratch.fds).read;
    // SAFETY: a plain field, volatile for the reason that `Scratch` gives.
    let passed = unsafe { read_volatile(&raw const scratch.found) };
    calls::begin_send(list.0.address(), scratch.head.t_ns);
    scratch.head.list = list.0.address();
    scratch.head.sender_sock = sender.0.address();
    scratch.head.sender_ino = sender.ino();
    scratch.head.count = list.count();
    note_socket_fd(&mut scratch.head, task, &table, sender.0.address());
    let total = u32::from(scratch.head.count).min(passed);
    emit::files(
        scratch,
        total,
        Counter::CopyLost,
        |scratch, index| {
            let fd = scratch.fds[index % FDS_MAX];
            (list.file(index), scratch.slot(fd))
        },
        || 0,
    );
}

/// The numbers did not become a list: one of them is bad, or there are too many.
#[inline(always)]
fn refused<P: Pointer>(sender: Sock<P>, message: Msghdr<P>, result: i32) {
    // Most failed sends pass no descriptors.
    if message.control().1 == 0 {
        return;
    }
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Copy, RecordKind::SendReturned) else {
        return;
    };
    let passed = control::read_copied_fds(message, &mut scratch.fds);
    if passed.named == 0 {
        return;
    }
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    note_socket_fd(&mut scratch.head, task, &table, sender.0.address());
    send::returned(scratch, sender, passed, result);
}

/// Only where the system call's first argument is this very socket is it the sender's number for
/// it.
#[inline(always)]
fn note_socket_fd(head: &mut Head, task: Task, table: &FdTable, sender: u64) {
    if HAS_TASK_PT_REGS.load() == 1 {
        let regs = SyscallRegs::of(task);
        head.syscall = regs.number();
        let socket_fd = regs.first() as i32;
        if table.sock(socket_fd).0 == sender {
            head.socket_fd = socket_fd;
        }
    }
}
