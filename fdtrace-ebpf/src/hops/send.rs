//! A send that returns without its list in a queue: what it returned tells why.
//!
//! By functions that is the return of what Unix sockets do for `sendmsg`, where this thread had a
//! list. By `sock_send_length`, through which every socket's sends go, it is a failure, or nothing
//! sent: both are rare, and rejected by the first comparison where they are not.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, fexit, kretprobe},
    programs::{BtfTracePointContext, FExitContext, RetProbeContext},
};
use fdtrace_common::{
    arch::place,
    counters::Counter,
    records::{FLAG_NO_RIGHTS, Head, LIST_MAX, RecordKind},
};

use super::{copy::socket_fd, on_entry, refused};
use crate::{
    calls,
    control::{self, Control, Rights},
    describe,
    emit::{self, Files, Program, Scratch},
    filter,
    header::{self, Found, Looker},
    kernel::{self, FdTable, Msghdr, Pointer, Registers, Sock, SyscallRegs, Task, Typed},
    offsets::BY_SLOT,
    ring,
    slots::{self, Stage},
};

const EPERM: i32 = 1;
const EAGAIN: i32 = 11;
const SOCK_STREAM: u16 = 1;

// Both take `(socket, message, length)`, so the result is number 3.

#[fexit]
pub(crate) fn end_stream_f(ctx: FExitContext) -> i32 {
    list_sent(
        ctx.as_ptr(),
        Some((Typed(ctx.arg(0)), Typed(ctx.arg(1)))),
        ctx.arg::<u64>(3) as i64,
        Program::SendStream,
        Counter::SentStreamFired,
    );
    0
}

#[kretprobe]
pub(crate) fn end_stream_r(ctx: RetProbeContext) -> u32 {
    list_sent(
        ctx.as_ptr(),
        None,
        Registers::of(&ctx).result() as i64,
        Program::SendStream,
        Counter::SentStreamFired,
    );
    0
}

#[fexit]
pub(crate) fn end_dgram_f(ctx: FExitContext) -> i32 {
    list_sent(
        ctx.as_ptr(),
        Some((Typed(ctx.arg(0)), Typed(ctx.arg(1)))),
        ctx.arg::<u64>(3) as i64,
        Program::SendDgram,
        Counter::SentDgramFired,
    );
    0
}

#[kretprobe]
pub(crate) fn end_dgram_r(ctx: RetProbeContext) -> u32 {
    list_sent(
        ctx.as_ptr(),
        None,
        Registers::of(&ctx).result() as i64,
        Program::SendDgram,
        Counter::SentDgramFired,
    );
    0
}

/// The send of a list that was seen at `copy` returns, by a call with this socket and message, where they
/// are known.
#[inline(always)]
fn list_sent(
    context: *const c_void,
    call: Option<(Typed, Typed)>,
    result: i64,
    program: Program,
    fired: Counter,
) {
    let Some(sending) = ending_send() else {
        return;
    };
    let result = result as i32;
    // Up to 6.9 the list is given back after every send; the tracker knows which was queued.
    if result >= 0 && !sending.released {
        return;
    }
    ring::count(fired);
    if result < 0 {
        filter::failed(sending.list);
    }
    let task = Task::current();
    let Some(scratch) = emit::begin(task, program, RecordKind::SendReturned) else {
        return;
    };
    if result == -EAGAIN {
        note_uring(scratch, context, task);
    }
    scratch.head.list = sending.list;
    scratch.head.origin = sending.t_ns;
    scratch.head.result = result;
    if result == -EPERM && sending.sock != 0 {
        note_rights(&mut scratch.head, Sock(sending.sock));
    }
    if result < 0 && !filter::drops(&scratch.head) {
        match call {
            Some((socket, message)) => {
                let sender = kernel::sock_of(socket);
                refused::tell(scratch, task, sender, Some(Msghdr(message)));
            }
            None if sending.sock != 0 => {
                refused::tell(scratch, task, Sock(sending.sock), None::<Msghdr<u64>>);
            }
            // Where the message was to go was in its call's arguments.
            None => {}
        }
    }
    emit::files(scratch, Counter::EndLost, Files::NONE);
}

/// A send whose list was seen.
struct Sending {
    list: u64,
    /// When it was made.
    t_ns: u64,
    /// The socket that it is sent on, if it goes where that is connected to, or 0.
    sock: u64,
    /// It was given back.
    released: bool,
}

/// What this thread was sending, as the call returns.
#[inline(always)]
fn ending_send() -> Option<Sending> {
    if BY_SLOT.load() == 0 {
        let sending = calls::end_send()?;
        return Some(Sending {
            list: sending.list,
            t_ns: sending.t_ns,
            sock: sending.sock,
            released: sending.released != 0,
        });
    }
    let tid = Task::current().tid();
    let slot = slots::slot(tid)?;
    if slot.stage(tid) != Stage::GivenUp {
        return None;
    }
    slot.enter(Stage::Idle);
    Some(Sending {
        list: slot.list,
        t_ns: slot.t_ns,
        sock: if slot.addressed == 1 {
            0
        } else {
            slot.sender_sock
        },
        released: true,
    })
}

#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn end_sock_send_length(ctx: BtfTracePointContext) -> i32 {
    let result: i32 = ctx.arg(1);
    if result <= 0 {
        nothing_sent(&ctx, Sock(Typed(ctx.arg(0))), result);
    }
    0
}

#[inline(always)]
fn nothing_sent(ctx: &BtfTracePointContext, sender: Sock<Typed>, result: i32) {
    // A datagram without data is sent with its descriptors all the same.
    if !sender.is_unix() || (result == 0 && sender.kind() != SOCK_STREAM) {
        return;
    }
    let task = Task::current();
    let message = match header::of_send(ctx.as_ptr(), task, Looker::Send) {
        Found::At(message) => message,
        Found::Nothing => return,
        // What io_uring sends meanwhile has a header of its own, and there is nothing to tell by.
        Found::Unsure => {
            ring::count(Counter::SendUnread);
            return;
        }
    };
    let Some(scratch) = emit::begin(task, Program::Send, RecordKind::SendReturned) else {
        return;
    };
    let message = Msghdr(message);
    let passed = control::read_copied_fds(Program::Send, Control::copied(message));
    if passed.named == 0 {
        return;
    }
    ring::count(Counter::SentFired);
    note_uring(scratch, ctx.as_ptr(), task);
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    let regs = SyscallRegs::of(task);
    let call = regs.number().sending();
    let socket_fd = if call == place::SENDMSG || call == place::SENDMMSG {
        regs.first() as i32
    } else {
        regs.compat_first() as i32
    };
    if table.sock(socket_fd).0 == sender.0.address() {
        scratch.head.socket_fd = socket_fd;
    }
    if result == -EPERM && !message.is_addressed() {
        note_rights(&mut scratch.head, sender);
    }
    if result < 0 && !filter::drops(&scratch.head) {
        refused::tell(scratch, task, sender, Some(message));
    }
    returned(scratch, sender, passed, result);
}

/// Tells in which functions a send failed whose task has an io_uring. That sends within any call of the
/// task, and tries again by itself.
#[inline(always)]
fn note_uring(scratch: &mut Scratch, context: *const c_void, task: Task) {
    if task.has_uring() {
        emit::callers(scratch, context);
    }
}

on_entry! {
    seqpacket_sends(0, 1) fentry end_seqsend_f kprobe end_seqsend_k
}

#[fexit]
pub(crate) fn end_seqsent_f(ctx: FExitContext) -> i32 {
    seqpacket_sent(ctx.arg::<u64>(3) as i64);
    0
}

#[kretprobe]
pub(crate) fn end_seqsent_r(ctx: RetProbeContext) -> u32 {
    seqpacket_sent(Registers::of(&ctx).result() as i64);
    0
}

/// A SEQPACKET socket that has an error, or is not connected, says so before anything is made of the
/// descriptors: no other hop shows such a send.
#[inline(always)]
fn seqpacket_sends<P: Pointer>(socket: P, message: P) {
    let sender = kernel::sock_of(socket);
    let errno = sender.refuses_seqpacket();
    if errno != 0 && Msghdr(message).control().1 != 0 {
        let arguments = [sender.0.address(), message.address(), u64::from(errno), 0];
        calls::enter(Program::Seqpacket, arguments);
    }
}

#[inline(always)]
fn seqpacket_sent(result: i64) {
    let Some([sender, message, errno, _]) = calls::leave(Program::Seqpacket) else {
        return;
    };
    // Another thread may have been told the error first; then this one went on.
    let result = result as i32;
    if result != -(errno as i32) {
        return;
    }
    let (task, sender) = (Task::current(), Sock(sender));
    let Some(scratch) = emit::begin(task, Program::Seqpacket, RecordKind::SendReturned) else {
        return;
    };
    let passed = control::read_copied_fds(Program::Seqpacket, Control::copied(Msghdr(message)));
    if passed.named == 0 {
        return;
    }
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    scratch.head.socket_fd = socket_fd(task, &table, sender.0);
    if !filter::drops(&scratch.head) {
        refused::tell(scratch, task, sender, Some(Msghdr(message)));
    }
    returned(scratch, sender, passed, result);
}

/// Whether the descriptors are why it failed: where it was sent, any may fail with EPERM whose
/// receiver is connected to somebody else.
#[inline(always)]
fn note_rights(head: &mut Head, sender: Sock<impl Pointer>) {
    if sender.is_refused_rights() {
        head.flags |= FLAG_NO_RIGHTS;
    }
}

/// Reports a send by its own numbers: it never had a list, or nobody saw it.
#[inline(always)]
fn returned(scratch: &mut Scratch, sender: Sock<impl Pointer>, passed: Rights, result: i32) {
    let head = &mut scratch.head;
    head.sender_sock = sender.0.address();
    head.sender_ino = sender.ino();
    head.socket_type = sender.kind();
    head.count = passed.named as u16;
    head.result = result;
    let files = Files::behind(passed.read.min(LIST_MAX as u32));
    if !filter::drops(&scratch.head) {
        describe::files(scratch, files.total);
    }
    emit::files(scratch, Counter::EndLost, files);
}
