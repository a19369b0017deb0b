//! `copy`: the sender's numbers have become references in a list.
//!
//! `scm_fp_copy` itself is inlined into `__scm_send` on every kernel, so that is where it is seen:
//! at its return the list is whole, and the kernel's copy of the control messages still says which
//! number became which file.

use fdtrace_common::{
    counters::Counter,
    records::{LIST_MAX, RecordKind},
};

use super::{nowhere, on_return};
use crate::{
    calls,
    control::{self, Control, Rights},
    describe,
    emit::{self, Files, Program, Scratch},
    filter,
    kernel::{self, Cookie, FdTable, List, Msghdr, Pointer, Sock, SyscallRegs, Task},
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
            nowhere::empty(sender, message);
            return;
        }
    }
    let task = Task::current();
    let Some((scratch, passed)) = begin(task, sender, message) else {
        return;
    };
    if list == 0 {
        refused(scratch, sender, passed, result);
        return;
    }
    let head = &mut scratch.head;
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
    emit::files(scratch, Counter::CopyLost, files);
}

/// What a sender's record says first: which socket, and which numbers.
#[inline(always)]
pub(super) fn begin<P: Pointer>(
    task: Task,
    sender: Sock<P>,
    message: Msghdr<P>,
) -> Option<(&'static mut Scratch, Rights)> {
    let scratch = emit::begin(task, Program::Copy, RecordKind::ListCopied)?;
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    let passed = control::read_copied_fds(Program::Copy, Control::copied(message));
    let head = &mut scratch.head;
    head.sender_sock = sender.0.address();
    head.sender_ino = sender.ino();
    head.socket_fd = socket_fd(task, &table, sender.0.address());
    Some((scratch, passed))
}

/// The numbers did not become a list: one of them is bad, or there are too many.
#[inline(always)]
pub(super) fn refused(
    scratch: &mut Scratch,
    sender: Sock<impl Pointer>,
    passed: Rights,
    result: i32,
) {
    if passed.named == 0 {
        return;
    }
    let head = &mut scratch.head;
    head.kind = RecordKind::SendReturned as u16;
    head.result = result;
    head.socket_type = sender.kind();
    head.count = passed.named as u16;
    let files = Files::behind(passed.read.min(LIST_MAX as u32));
    if !filter::drops(&scratch.head) {
        describe::files(scratch, files.total);
    }
    emit::files(scratch, Counter::CopyLost, files);
}

/// The sender's number for a socket, or -1: only where the system call's first argument is this very
/// socket is it that.
#[inline(always)]
pub(super) fn socket_fd(task: Task, table: &FdTable, sender: u64) -> i32 {
    if HAS_TASK_PT_REGS.load() == 1 {
        let socket_fd = SyscallRegs::of(task).first() as i32;
        if table.sock(socket_fd).0 == sender {
            return socket_fd;
        }
    }
    -1
}
