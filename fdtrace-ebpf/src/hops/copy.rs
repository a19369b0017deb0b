//! `copy`: the sender's numbers have become references in a list.
//!
//! `scm_fp_copy` itself is inlined into `__scm_send` on every kernel, so that is where it is seen:
//! at its return the list is whole, and the kernel's copy of the control messages still says which
//! number became which file.

use fdtrace_common::{counters::Counter, records::RecordKind};

use super::on_return;
use crate::{
    control,
    emit::{self, FDS_MAX, Program, Slot},
    kernel::{self, Cookie, FdTable, Msghdr, Pointer, SyscallRegs, Task},
    offsets::HAS_TASK_PT_REGS,
    ring,
};

on_return! {
    copied(0, 1, 2) -> 3 as Program::Copy;
    fexit copy_scm_send_f kprobe copy_scm_send_k kretprobe copy_scm_send_r
}

#[inline(always)]
fn copied<P: Pointer>([socket, message, cookie]: [P; 3], result: i64) {
    let list = Cookie(cookie).list();
    if result as i32 != 0 || list.0.is_null() {
        return;
    }
    let sender = kernel::sock_of(socket);
    if !sender.is_unix() {
        return;
    }
    ring::count(Counter::CopyFired);
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Copy, RecordKind::ListCopied) else {
        return;
    };
    let table = FdTable::of(task);
    let passed = control::read_copied_fds(Msghdr(message), &mut scratch.fds);
    scratch.head.list = list.0.address();
    scratch.head.sender_sock = sender.0.address();
    scratch.head.sender_ino = sender.ino();
    scratch.head.count = list.count();
    if HAS_TASK_PT_REGS.load() == 1 {
        let regs = SyscallRegs::of(task);
        scratch.head.syscall = regs.number();
        // Only where the first argument is this very socket is it the sender's number for it.
        let socket_fd = regs.first() as i32;
        if table.sock(socket_fd).0 == sender.0.address() {
            scratch.head.socket_fd = socket_fd;
        }
    }
    let total = u32::from(scratch.head.count).min(passed);
    emit::files(
        scratch,
        total,
        Counter::CopyLost,
        |scratch, index| {
            let fd = scratch.fds[index % FDS_MAX];
            (list.file(index), Slot::of(fd, &table))
        },
        || 0,
    );
}
