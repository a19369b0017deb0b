//! `queue`: a list has reached a socket's receive queue.
//!
//! `sk_data_ready` fires in the sender's task right after the skb was queued, with no lock held:
//! a receiver on another CPU may have taken the skb already. The sender's side is read here too,
//! because here the task is still inside its `sendmsg`: the numbers it passed are in its memory,
//! and its table says which files they stand for.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    counters::Counter,
    records::{FLAG_HAS_URING, FLAG_RACED, RecordKind},
};

use super::on_entry;
use crate::{
    calls,
    control::{self, Control},
    describe,
    emit::{self, Files, Program, Scratch},
    filter,
    kernel::{self, FdTable, File, List, Pointer, Skb, Sock, SyscallRegs, Task, Typed},
    log::debug,
    offsets::LIST_END_BY_FREE,
    ring,
};

/// How far to look back from the tail: others may queue behind us before we look.
const LOOK_BACK: usize = 16;

const SYS_SENDMSG: i32 = 46;
const SYS_SENDMMSG: i32 = 307;
const SYS_IO_URING_ENTER: i32 = 426;
/// What `orig_ax` holds in io_uring's workers, which never entered a system call.
const SYS_NONE: i32 = 0;
/// `sendmsg` of a 32-bit process. To a 64-bit one these numbers mean nothing, and nothing that the
/// first ones mean to a 32-bit one sends on a socket.
const SYS_COMPAT_SENDMSG: i32 = 370;
/// The same process's other calls that send, of which nothing is read.
const SYS_COMPAT_SENDMMSG: i32 = 345;
const SYS_COMPAT_SOCKETCALL: i32 = 102;

/// Messages of one `sendmmsg` whose numbers are looked for.
const BATCH_MAX: u64 = 16;

#[btf_tracepoint(function = "sk_data_ready")]
pub(crate) fn queue_sk_data_ready(ctx: BtfTracePointContext) -> i32 {
    let receiver = Sock(Typed(ctx.arg(0)));
    if receiver.is_unix() {
        look_for_list(&ctx, receiver);
    }
    0
}

on_entry! {
    edges_added(0, 1) fentry queue_edges_f kprobe queue_edges_k
}

on_entry! {
    tail_queued(0, 1) fentry queue_tail_f kprobe queue_tail_k
}

/// `unix_add_edges` (6.1.141, 6.10 and later): under the receiver's lock, right before the skb is
/// queued, and nothing can fail any more.
#[inline(always)]
fn edges_added<P: Pointer>(list: P, receiver: P) {
    report_list(List(list), 0, Sock(receiver));
}

/// `skb_queue_tail` (where there are no edges): every protocol's skbs come by here.
#[inline(always)]
fn tail_queued<P: Pointer>(queue: P, skb: P) {
    let skb = Skb(skb);
    if !skb.sock().is_unix() {
        return;
    }
    let list = skb.list();
    if list.0 != 0 {
        report_list(list, skb.0.address(), Sock::of_queue(queue));
    }
}

#[inline(always)]
fn report_list(list: List<impl Pointer>, skb: u64, receiver: Sock<impl Pointer>) {
    if list.0.is_null() {
        return;
    }
    ring::count(Counter::QueueFired);
    let Some(scratch) = emit::begin(Task::current(), Program::Queue, RecordKind::ListQueued) else {
        return;
    };
    let head = &mut scratch.head;
    head.list = list.0.address();
    head.skb = skb;
    head.receiver_sock = receiver.0.address();
    head.receiver_ino = receiver.ino();
    head.count = list.count();
    head.socket_type = receiver.kind();
    let total = head.count;
    report_name(scratch, receiver.address());
    describe::task(scratch);
    emit::files(scratch, Counter::QueueLost, Files::of(list, total));
}

/// The socket's name, as a record of its own ahead of the list's.
#[inline(always)]
fn report_name(scratch: &mut Scratch, address: u64) {
    if address != 0 {
        emit::name(scratch, Counter::QueueLost, |name, room| {
            kernel::copy_socket_name(address, name, room)
        });
    }
}

#[inline(always)]
fn look_for_list(ctx: &BtfTracePointContext, receiver: Sock<Typed>) {
    let task = Task::current();
    let regs = SyscallRegs::of(task);
    let syscall = regs.number();
    if syscall != SYS_SENDMSG
        && syscall != SYS_SENDMMSG
        && syscall != SYS_IO_URING_ENTER
        && syscall != SYS_NONE
        && syscall != SYS_COMPAT_SENDMSG
    {
        if syscall == SYS_COMPAT_SENDMMSG || syscall == SYS_COMPAT_SOCKETCALL || task.has_uring() {
            sent_unread(task, receiver);
        }
        return;
    }
    let mut control = Control::NONE;
    if syscall == SYS_SENDMSG {
        control = Control::of(regs.second());
    } else if syscall == SYS_COMPAT_SENDMSG {
        control = Control::of_compat(regs.compat_second());
    }
    // Most calls pass nothing, and should not pay for those that do.
    if control.is_empty() && (syscall == SYS_SENDMSG || syscall == SYS_COMPAT_SENDMSG) {
        if task.has_uring() || receiver.queue_tail().list().0 != 0 {
            sent_unread(task, receiver);
        }
        return;
    }
    let Some(scratch) = emit::begin(task, Program::Queue, RecordKind::ListQueued) else {
        return;
    };
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    scratch.head.syscall = syscall;
    if task.has_uring() {
        scratch.head.flags |= FLAG_HAS_URING;
    }
    let mut passed = 0;
    let mut first_file = File(0);
    let mut sender = Sock(0);
    let mut look_back = 1;
    if syscall == SYS_SENDMSG || syscall == SYS_COMPAT_SENDMSG {
        passed = if syscall == SYS_SENDMSG {
            control::read_fds(Program::Queue, control)
        } else {
            control::read_compat_fds(Program::Queue, control)
        }
        .read;
        if passed == 0 {
            sent_unread(task, receiver);
            return;
        }
        first_file = table.file(scratch.fds[0]);
    }
    if syscall == SYS_SENDMSG || syscall == SYS_SENDMMSG || syscall == SYS_COMPAT_SENDMSG {
        let socket_fd = if syscall == SYS_COMPAT_SENDMSG {
            regs.compat_first() as i32
        } else {
            regs.first() as i32
        };
        scratch.head.socket_fd = socket_fd;
        sender = table.sock(socket_fd);
        look_back = LOOK_BACK;
    }
    scratch.head.sender_sock = sender.0;

    let queue_head = receiver.queue_head();
    let mut skb = receiver.queue_tail();
    let mut list = List(0);
    for depth in 0..LOOK_BACK {
        if depth >= look_back || skb.0.address() == queue_head.0 || skb.0.is_null() {
            break;
        }
        let candidate = skb.list();
        let from = skb.sock();
        if sender.0 == 0 || from.0.address() == sender.0 {
            if candidate.0 == 0 {
                // Ours, without a list. If nobody has read of it, a later part of a large message
                // that was reported with its first part; else the first part, and somebody was
                // faster. What lies before it is older.
                if skb.is_untouched() {
                    return;
                }
                break;
            }
            // Where the numbers are known, the sender's own table must agree with the list:
            // other threads may be sending on the same socket.
            if passed == 0
                || (u32::from(candidate.count()) == passed && candidate.file(0) == first_file)
            {
                list = candidate;
                break;
            }
        }
        skb = skb.prev();
    }
    if list.0 == 0 {
        if passed == 0 {
            // Nor is it known which of the batch's messages this is: only that there was one.
            if syscall != SYS_SENDMMSG
                || batch_passes_fds(regs.second(), regs.third() & u64::from(u32::MAX)) == 0
            {
                sent_unread(task, receiver);
                return;
            }
        }
        // Who sent what under which number is known all the same, and reported without a list, as
        // of now: a receiver may have taken the list since this look began.
        scratch.head.t_ns = emit::now();
        debug!(ctx, "the list of {} descriptors has left the queue", passed);
        ring::count(Counter::QueueRaced);
        scratch.head.count = passed as u16;
    }
    if syscall == SYS_SENDMMSG && list.0 != 0 {
        passed = find_in_batch(
            Program::Queue as u64,
            regs.second(),
            regs.third() & u64::from(u32::MAX),
            list.0,
        ) as u32;
    }
    report(receiver, skb, list, scratch, passed);
}

/// It cannot be read whether the current task passes descriptors. If the filter wants it, it says
/// that it sends here, once for each socket: what is received here without a sender may be its.
#[inline(always)]
fn sent_unread(task: Task, receiver: Sock<Typed>) {
    if !filter::is_on() {
        return;
    }
    let sender = receiver.peer();
    if filter::is_of_wanted_sock(sender.0) || !filter::wants_sender(task) {
        return;
    }
    let Some(scratch) = emit::begin(task, Program::Queue, RecordKind::SenderWanted) else {
        return;
    };
    scratch.head.sender_sock = sender.0;
    scratch.head.sender_ino = sender.ino();
    scratch.head.receiver_sock = receiver.0.address();
    scratch.head.receiver_ino = receiver.ino();
    emit::files(scratch, Counter::QueueLost, Files::NONE);
}

/// Whether any message of a `sendmmsg` may pass descriptors.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn batch_passes_fds(batch: u64, len: u64) -> u64 {
    for place in 0..BATCH_MAX {
        if place >= len {
            return 0;
        }
        if !Control::of(batch + place * control::MMSGHDR).is_empty() {
            return 1;
        }
    }
    u64::from(len > BATCH_MAX)
}

/// Reads the numbers of `list` among the messages of the `sendmmsg` that sends it; returns how many
/// there are.
///
/// Nothing says which of them it is, so it is the one that has as many descriptors and the list's
/// first file under its first number. If several have, under different numbers, none is taken.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_in_batch(program: u64, batch: u64, len: u64, list: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    let list = List(list);
    let (count, file) = (u32::from(list.count()), list.file(0));
    let mut found = 0;
    let mut number = -1;
    for place in 0..BATCH_MAX {
        if place >= len {
            break;
        }
        let entry = batch + place * control::MMSGHDR;
        let fd = control::first_fd(entry, count);
        if fd < 0 || scratch.slot(fd).file != file {
            continue;
        }
        if number < 0 {
            number = fd;
            found = entry;
        } else if fd != number || count > 1 {
            return 0;
        }
    }
    if found == 0 || control::read_fds(Program::Queue, Control::of(found)).read != count {
        return 0;
    }
    u64::from(count)
}

#[inline(always)]
fn report(receiver: Sock<Typed>, skb: Skb<Typed>, list: List, scratch: &mut Scratch, numbers: u32) {
    let head = &mut scratch.head;
    if list.0 != 0 {
        ring::count(Counter::QueueFired);
        head.list = list.0;
        head.skb = skb.0.address();
        // The skb may be gone and another's by now; the sender's table does not change its mind.
        if head.sender_sock == 0 {
            head.sender_sock = skb.sock().0.address();
        }
        head.count = list.count();
        if LIST_END_BY_FREE.load() == 1 {
            // Watched before it is looked at again: if it is still there then, its end is seen.
            calls::watch_list(list.0);
            if skb.list() != list {
                calls::forget_list(list.0);
            }
        }
    }
    let sender = Sock(head.sender_sock);
    head.receiver_sock = receiver.0.address();
    head.receiver_ino = receiver.ino();
    head.sender_ino = sender.ino();
    head.socket_type = receiver.kind();

    // A connected stream's client is unnamed: the path it connected to is its peer's name.
    let mut address = receiver.address();
    if address == 0 {
        address = sender.address();
    }
    report_name(scratch, address);
    let head = &mut scratch.head;

    let mut files = if list.0 == 0 {
        // What the sender's numbers stand for are the files that it sent.
        head.flags |= FLAG_RACED;
        Files::behind(numbers)
    } else {
        Files::of(list, head.count)
    };
    files.numbers = numbers;
    let skb = head.skb;
    describe::task(scratch);
    // Still attached after the reads: then no receiver had begun to take it apart.
    files.skb = Skb(skb);
    emit::files(scratch, Counter::QueueLost, files);
}
