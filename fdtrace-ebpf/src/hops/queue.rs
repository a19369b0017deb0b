//! `queue`: a list has reached a socket's receive queue.
//!
//! `sk_data_ready` fires in the sender's task right after the skb was queued, with no lock held:
//! a receiver on another CPU may have taken the skb already. The sender's side is read here too,
//! because here the task is still inside its `sendmsg`: the numbers it passed are in the kernel's
//! copy of its control messages, and its table says which files they stand for.

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    arch::place,
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
    header::{self, Found, Looker, Way},
    kernel::{self, FdTable, File, List, Msghdr, Pointer, Skb, Sock, SyscallRegs, Task, Typed},
    log::debug,
    offsets::LIST_END_BY_FREE,
    ring,
};

/// How far to look back from the tail: others may queue behind us before we look.
const LOOK_BACK: usize = 16;

const MSG_OOB: u64 = 1;

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
pub(super) fn report_name(scratch: &mut Scratch, address: u64) {
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
    let number = regs.number();
    let call = number.sending();
    let by_call = header::sends(call);
    if !by_call && !number.may_be_uring() {
        if task.has_uring() {
            sent_unread(task, receiver);
        }
        return;
    }
    // Most calls pass nothing, and should not pay for those that do.
    let control = match call {
        place::SENDMSG => Control::of(regs.second()),
        _ => None,
    };
    if control.is_some_and(Control::is_empty) {
        if task.has_uring() || receiver.queue_tail().list().0 != 0 {
            sent_unread(task, receiver);
        }
        return;
    }
    let table = FdTable::of(task);
    let queue_head = receiver.queue_head();
    let mut skb = receiver.queue_tail();
    let mut sender = Sock(0);
    let mut socket_fd = -1;
    if by_call {
        if call == place::SENDMSG || call == place::SENDMMSG {
            socket_fd = regs.first() as i32;
        } else if call != place::SEND_BY_SOCKETCALL {
            socket_fd = regs.compat_first() as i32;
        }
        sender = table.sock(socket_fd);
        if is_plain(skb, queue_head, sender) {
            return;
        }
    }
    let Some(scratch) = emit::begin(task, Program::Queue, RecordKind::ListQueued) else {
        return;
    };
    scratch.look_up_in(table);
    scratch.head.location = task.start_ns();
    scratch.head.socket_fd = socket_fd;
    scratch.head.sender_sock = sender.0;
    let has_uring = task.has_uring();
    if has_uring {
        scratch.head.flags |= FLAG_HAS_URING;
    }
    let mut passed = 0;
    let mut first_file = File(0);
    let mut look_back = 1;
    let oob = call == place::SENDMSG && regs.third() & MSG_OOB != 0;
    let own_ready = sender.0 != 0 && receiver.data_ready() != sender.data_ready();
    if let Some(way) = Way::of(Looker::Queue, call, receiver.kind(), oob, own_ready) {
        look_back = LOOK_BACK;
        match header::find(ctx.as_ptr(), regs, way, has_uring, control.is_some()) {
            Found::Nothing => {
                if has_uring {
                    sent_unread(task, receiver);
                }
                return;
            }
            Found::Unsure => {}
            Found::At(message) => {
                let rights =
                    control::read_copied_fds(Program::Queue, Control::copied(Msghdr(message)));
                if rights.named == 0 {
                    return;
                }
                // Of more control messages than are looked at, nothing is said.
                if rights.whole {
                    passed = rights.read;
                    first_file = table.file(scratch.fds[0]);
                }
            }
        }
    }

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
        // What io_uring sends may pass descriptors or not.
        if passed == 0 && (!by_call || has_uring) {
            sent_unread(task, receiver);
            return;
        }
        // Who sent what under which number is known all the same, and reported without a list, as
        // of now: a receiver may have taken the list since this look began.
        scratch.head.t_ns = emit::now();
        debug!(ctx, "the list of {} descriptors has left the queue", passed);
        ring::count(Counter::QueueRaced);
        scratch.head.count = passed as u16;
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

/// Whether the skb queued last is the sender's, as far as that is known, and passes nothing.
#[inline(always)]
fn is_plain(skb: Skb<Typed>, queue_head: Skb, sender: Sock) -> bool {
    skb.0.address() != queue_head.0
        && !skb.0.is_null()
        && skb.list().0 == 0
        && (sender.0 == 0 || skb.sock().0.address() == sender.0)
        && skb.is_untouched()
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
