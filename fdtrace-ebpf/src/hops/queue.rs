//! `queue`: a list has reached a socket's receive queue.
//!
//! `sk_data_ready` fires in the sender's task right after the skb was queued, with no lock held:
//! a receiver on another CPU may have taken the skb already. The sender's side is read here too,
//! because here the task is still inside its `sendmsg`: the numbers it passed are in its memory,
//! and its table says which files they stand for.

use core::ptr::read_volatile;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    counters::Counter,
    records::{FLAG_RACED, Head, RecordKind},
};

use super::on_entry;
use crate::{
    calls, control,
    describe::{self, Who},
    emit::{self, FDS_MAX, Program, Scratch, Slot},
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
    report_name(head, receiver.address());
    let total = u32::from(head.count);
    describe::task(Who::Queue, &scratch.head);
    emit::files(
        scratch,
        total,
        Counter::QueueLost,
        |_, index| (list.file(index), Slot::UNKNOWN),
        || 0,
    );
}

/// The socket's name, as a record of its own ahead of the list's.
#[inline(always)]
fn report_name(head: &mut Head, address: u64) {
    if address == 0 {
        return;
    }
    head.kind = RecordKind::SocketNamed as u16;
    ring::submit_name(head, Counter::QueueLost, |name, room| {
        kernel::copy_socket_name(address, name, room)
    });
    head.kind = RecordKind::ListQueued as u16;
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
        return;
    }
    let Some(scratch) = emit::begin(task, Program::Queue, RecordKind::ListQueued) else {
        return;
    };
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    scratch.head.syscall = syscall;
    let mut passed = 0;
    let mut first_file = File(0);
    let mut sender = Sock(0);
    let mut look_back = 1;
    if syscall == SYS_SENDMSG || syscall == SYS_COMPAT_SENDMSG {
        passed = if syscall == SYS_SENDMSG {
            control::read_fds(regs.second(), &mut scratch.fds)
        } else {
            control::read_compat_fds(regs.compat_second(), &mut scratch.fds)
        }
        .read;
        if passed == 0 {
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
    scratch.found = passed;
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
            return;
        }
        // Who sent what under which number is known all the same, and reported without a list, as
        // of now: a receiver may have taken the list since this look began.
        scratch.head.t_ns = emit::now();
        debug!(ctx, "the list of {} descriptors has left the queue", passed);
        ring::count(Counter::QueueRaced);
        scratch.head.count = passed as u16;
    }
    if syscall == SYS_SENDMMSG {
        find_in_batch(&regs, list, scratch, &table);
    }
    report(receiver, skb, list, scratch);
}

/// Finds the numbers of `list` among the messages of the `sendmmsg` that sends it.
///
/// Nothing says which of them it is, so it is the one that has as many descriptors and the list's
/// first file under its first number. If several have, under different numbers, none is taken.
#[inline(always)]
fn find_in_batch(regs: &SyscallRegs, list: List, scratch: &mut Scratch, table: &FdTable) {
    let (batch, len) = (regs.second(), regs.third() as u32);
    let (count, file) = (u32::from(list.count()), list.file(0));
    let mut found = 0;
    let mut number = -1;
    for place in 0..BATCH_MAX {
        if place >= u64::from(len) {
            break;
        }
        let entry = batch + place * control::MMSGHDR;
        let fd = control::first_fd(entry, count);
        if fd < 0 || table.file(fd) != file {
            continue;
        }
        if number < 0 {
            number = fd;
            found = entry;
        } else if fd != number || count > 1 {
            return;
        }
    }
    if found != 0 && control::read_fds(found, &mut scratch.fds).read == count {
        scratch.found = count;
    }
}

#[inline(always)]
fn report(receiver: Sock<Typed>, skb: Skb<Typed>, list: List, scratch: &mut Scratch) {
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
    report_name(head, address);

    // All ones where there is no list.
    scratch.bits = if list.0 == 0 { u64::MAX } else { 0 };
    // All ones where no number is known, which makes -1 of whatever the scratch holds.
    // SAFETY: plain fields, volatile for the reason that `Scratch` gives.
    let (known, total, list, skb) = unsafe {
        (
            read_volatile(&raw const scratch.found),
            read_volatile(&raw const scratch.head.count),
            List(read_volatile(&raw const scratch.head.list)),
            Skb(read_volatile(&raw const scratch.head.skb)),
        )
    };
    let unknown = ((i64::from(known) - 1) >> 63) as i32;
    emit::files(
        scratch,
        u32::from(total),
        Counter::QueueLost,
        |scratch, index| {
            let fd = scratch.fds[index % FDS_MAX] | unknown;
            let slot = scratch.slot(fd);
            // Without a list, what the sender's number stands for is the file it sent.
            // SAFETY: as above.
            let no_list = unsafe { read_volatile(&raw const scratch.bits) };
            (File(list.file(index).0 | slot.file.0 & no_list), slot)
        },
        // Still attached after the reads: then no receiver had begun to take it apart.
        || {
            if list.0 != 0 && skb.list() == list {
                0
            } else {
                FLAG_RACED
            }
        },
    );
}
