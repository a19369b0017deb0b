//! `copy`: the sender's numbers have become references in a list.
//!
//! `scm_fp_copy` itself is inlined into `__scm_send` on every kernel, so that is where it is seen:
//! at its return the list is whole, and the kernel's copy of the control messages still says which
//! number became which file.

use fdtrace_common::{
    counters::Counter,
    records::{Head, LIST_MAX, RecordKind},
};

use super::on_return;
use crate::{
    calls,
    control::{self, Control},
    describe,
    emit::{self, Files, Program},
    filter,
    kernel::{self, Cookie, FdTable, List, Msghdr, Pointer, SyscallRegs, Task},
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
    let message = Msghdr(message);
    // Most failed sends pass no descriptors.
    if result != 0 && message.control().1 == 0 {
        return;
    }
    let mut list = 0;
    if result == 0 {
        list = Cookie(cookie).list().0.address();
        if list == 0 {
            return;
        }
    }
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Copy, RecordKind::ListCopied) else {
        return;
    };
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    let passed = control::read_copied_fds(Program::Copy, Control::copied(message));
    let head = &mut scratch.head;
    head.sender_sock = sender.0.address();
    head.sender_ino = sender.ino();
    note_socket_fd(head, task, &table, sender.0.address());
    let files = if list == 0 {
        if passed.named == 0 {
            return;
        }
        // The numbers did not become a list: one of them is bad, or there are too many.
        head.kind = RecordKind::SendReturned as u16;
        head.result = result;
        head.socket_type = sender.kind();
        head.count = passed.named as u16;
        let files = Files::behind(passed.read.min(LIST_MAX as u32));
        if !filter::drops(&scratch.head) {
            describe::files(scratch, files.total);
        }
        files
    } else {
        ring::count(Counter::CopyFired);
        let connected = if message.is_addressed() {
            0
        } else {
            head.sender_sock
        };
        calls::begin_send(list, connected, head.t_ns);
        head.list = list;
        head.count = List(list).count();
        let mut files = Files::of(List(list), head.count);
        // What more control messages than are looked at name has no number here, and no record.
        files.total = passed.read.min(files.total);
        files.numbers = files.total;
        files
    };
    emit::files(scratch, Counter::CopyLost, files);
}

/// Only where the system call's first argument is this very socket is it the sender's number for
/// it.
#[inline(always)]
pub(super) fn note_socket_fd(head: &mut Head, task: Task, table: &FdTable, sender: u64) {
    if HAS_TASK_PT_REGS.load() == 1 {
        let regs = SyscallRegs::of(task);
        head.syscall = regs.number();
        let socket_fd = regs.first() as i32;
        if table.sock(socket_fd).0 == sender {
            head.socket_fd = socket_fd;
        }
    }
}
