//! Sends whose descriptors go nowhere though the call succeeds: SCM_RIGHTS on a socket that is no Unix
//! socket, which the kernel passes over without a word, and an SCM_RIGHTS that names nothing.
//!
//! `__sock_cmsg_send` is called for each control message of level SOL_SOCKET that is sent over TCP, UDP, packet
//! and CAN sockets: nobody else pays. Families that do not look at control messages (vsock) do not call it.
//! With tracepoints alone only the one through which every socket's sends go shows either, so
//! it is watched by those who look at whatever it takes.

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, fentry, kprobe},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext},
};
use fdtrace_common::{
    counters::Counter,
    records::{LIST_MAX, RecordKind},
};

use super::copy::socket_fd;
use crate::{
    control::{self, Control, Rights},
    describe,
    emit::{self, Files, Program, Scratch},
    filter,
    header::{self, Found, Looker},
    kernel::{FdTable, Msghdr, Pointer, Registers, Sock, Task, Typed},
};

// `__sock_cmsg_send(sock, cmsg, cookie)`
#[fentry]
pub(crate) fn copy_cmsg_f(ctx: FEntryContext) -> i32 {
    passed_over(Sock(Typed(ctx.arg(0))), ctx.arg(1));
    0
}

#[kprobe]
pub(crate) fn copy_cmsg_k(ctx: ProbeContext) -> u32 {
    let registers = Registers::of(&ctx);
    passed_over(Sock(registers.argument::<0>()), registers.argument::<1>());
    0
}

// `__sock_cmsg_send(sock, message, cmsg, cookie)`, up to 6.11
#[fentry]
pub(crate) fn copy_cmsg3_f(ctx: FEntryContext) -> i32 {
    passed_over(Sock(Typed(ctx.arg(0))), ctx.arg(2));
    0
}

#[kprobe]
pub(crate) fn copy_cmsg3_k(ctx: ProbeContext) -> u32 {
    let registers = Registers::of(&ctx);
    passed_over(Sock(registers.argument::<0>()), registers.argument::<2>());
    0
}

/// A control message is about to be looked at by a socket that passes no descriptors.
#[inline(always)]
fn passed_over(sender: Sock<impl Pointer>, cmsg: u64) {
    let Some(control) = Control::rights_at(cmsg) else {
        return;
    };
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Ignored, RecordKind::RightsIgnored) else {
        return;
    };
    let passed = control::read_copied_fds(Program::Ignored, control);
    ignored(scratch, task, sender, passed);
}

/// A send on a Unix socket has made no list of its control messages.
#[inline(always)]
pub(super) fn empty<P: Pointer>(sender: Sock<P>, message: Msghdr<P>) {
    let task = Task::current();
    let passed = control::read_copied_fds(Program::Copy, Control::copied(message));
    if passed.empty == 0 || passed.named != 0 {
        return;
    }
    if let Some(scratch) = emit::begin(task, Program::Copy, RecordKind::RightsEmpty) {
        named_nothing(scratch, sender, passed);
    }
}

// Every socket's sends return through it.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn end_sock_send_ignored(ctx: BtfTracePointContext) -> i32 {
    let result: i32 = ctx.arg(1);
    if result > 0 {
        sent(&ctx, Sock(Typed(ctx.arg(0))));
    }
    0
}

/// A send has succeeded.
#[inline(always)]
fn sent(ctx: &BtfTracePointContext, sender: Sock<Typed>) {
    let task = Task::current();
    let Found::At(message) = header::of_send(ctx.as_ptr(), task, Looker::Ignored) else {
        return;
    };
    let kind = match sender.is_unix() {
        true => RecordKind::RightsEmpty,
        false => RecordKind::RightsIgnored,
    };
    let Some(scratch) = emit::begin(task, Program::Ignored, kind) else {
        return;
    };
    let passed = control::read_copied_fds(Program::Ignored, Control::copied(Msghdr(message)));
    if !sender.is_unix() {
        ignored(scratch, task, sender, passed);
    } else if passed.empty != 0 && passed.named == 0 {
        named_nothing(scratch, sender, passed);
    }
}

/// Reports descriptors that a socket of another family passes over.
#[inline(always)]
fn ignored(scratch: &mut Scratch, task: Task, sender: Sock<impl Pointer>, passed: Rights) {
    if passed.named == 0 {
        return;
    }
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    let head = &mut scratch.head;
    head.sender_sock = sender.0.address();
    head.sender_ino = sender.ino();
    head.socket_fd = socket_fd(task, &table, sender.0.address());
    head.count = passed.named as u16;
    let files = Files::behind(passed.read.min(LIST_MAX as u32));
    if !filter::drops(&scratch.head) {
        describe::files(scratch, files.total);
        describe::socket(scratch, sender.file());
        describe::task(scratch);
    }
    emit::files(scratch, Counter::CopyLost, files);
}

/// Reports a send whose SCM_RIGHTS name nothing.
#[inline(always)]
fn named_nothing(scratch: &mut Scratch, sender: Sock<impl Pointer>, passed: Rights) {
    let head = &mut scratch.head;
    head.sender_sock = sender.0.address();
    head.sender_ino = sender.ino();
    head.socket_type = sender.kind();
    head.count = passed.empty as u16;
    emit::files(scratch, Counter::CopyLost, Files::NONE);
}
