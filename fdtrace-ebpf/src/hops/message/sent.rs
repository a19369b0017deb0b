//! The first record of a message: its files, its numbers and its sockets, as it gets into a queue; or that
//! it got nowhere.

use aya_ebpf::{
    macros::{fentry, fexit, map},
    maps::Array,
    programs::{FEntryContext, FExitContext},
};
use fdtrace_common::{
    counters::Counter,
    records::{FILES_PER_RECORD, FLAG_DESTRUCTED, FLAG_HAS_URING, LIST_MAX, NOT_TOLD, RecordKind},
};

use super::{describe_rows, row};
use crate::{
    control::{self, Control},
    describe,
    emit::{self, FDS_MAX, Program, Scratch},
    filter::{self, Way},
    hops::{copy, nowhere, queue::report_name},
    kernel::{self, Cookie, FdTable, List, Msghdr, Pointer, Skb, Sock, Task, Typed},
    ring,
    slots::{self, Entry, Slot, Stage},
};

/// Not zero once what failed sends return is told by [`crate::hops::send`].
#[map]
static RETURNS: Array<u64> = Array::with_max_entries(1, 0);

#[fexit]
pub(crate) fn copy_slot_f(ctx: FExitContext) -> i32 {
    let message = Msghdr(Typed(ctx.arg(1)));
    let cookie = Cookie(Typed(ctx.arg(2)));
    copied(Typed(ctx.arg(0)), message, cookie, ctx.arg::<u64>(3) as i32);
    0
}

/// The numbers have become a list. What the sender's table holds at them is read here: another thread may
/// change it before the list is queued.
#[inline(always)]
fn copied(socket: Typed, message: Msghdr<Typed>, cookie: Cookie<Typed>, result: i32) {
    let sender = kernel::sock_of(socket);
    if !sender.is_unix() {
        return;
    }
    let task = Task::current();
    if result != 0 {
        // Most failed sends pass no descriptors.
        if message.control().1 != 0
            && let Some((scratch, passed)) = copy::begin(task, sender, message)
        {
            copy::refused(scratch, sender, passed, result);
        }
        return;
    }
    let list = cookie.list().0.address();
    if list == 0 {
        nowhere::empty(sender, message);
        return;
    }
    ring::count(Counter::CopyFired);
    let tid = task.tid();
    let Some(slot) = slots::slot(tid) else {
        return;
    };
    slot.take(tid, list, Stage::Sending);
    slot.t_ns = emit::now();
    slot.cookie = cookie.0.address();
    slot.sender_sock = sender.0.address();
    slot.sender_ino = sender.ino();
    slot.socket_type = sender.kind();
    slot.addressed = u16::from(message.is_addressed());
    slot.empty = u16::from(message.is_empty());
    let table = FdTable::of(task);
    slot.socket_fd = copy::socket_fd(task, &table, sender.0.address());
    let control = Control::copied(message);
    if let Some(number) = control.only_number() {
        slot.note(0, Entry::new(table.file(number).0, number, tid, 0));
        slot.count = 1;
        return;
    }
    if let Some(scratch) = emit::scratch(Program::Copy as u32) {
        scratch.look_up_in(table);
        let passed = control::read_copied_fds(Program::Copy, control);
        note_numbers(u64::from(tid), u64::from(passed.read));
    }
}

/// Notes the numbers that were read, and the files behind them, in the slot of a thread.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_numbers(tid: u64, numbers: u64) -> u64 {
    let tid = tid as u32;
    let (Some(scratch), Some(slot)) = (emit::scratch(Program::Copy as u32), slots::slot(tid))
    else {
        return 0;
    };
    let mut place = 0;
    while place < LIST_MAX && (place as u64) < numbers {
        let file = scratch.file_of_number(place);
        let number = scratch.fds[place % FDS_MAX];
        slot.note(place, Entry::new(file.0, number, tid, 0));
        place += 1;
    }
    slot.count = place as u32;
    0
}

#[fentry]
pub(crate) fn queue_slot_f(ctx: FEntryContext) -> i32 {
    queued(List(Typed(ctx.arg(0))), Sock(Typed(ctx.arg(1))));
    0
}

#[fentry]
pub(crate) fn queue_slot_tail_f(ctx: FEntryContext) -> i32 {
    tail_queued(Typed(ctx.arg(0)), Skb(Typed(ctx.arg(1))));
    0
}

/// `skb_queue_tail`, where there are no edges: every protocol's skbs come by here, so the slot is looked at
/// first.
#[inline(always)]
fn tail_queued(queue: Typed, skb: Skb<Typed>) {
    let tid = Task::current().tid();
    let Some(slot) = slots::slot(tid) else {
        return;
    };
    if slot.stage(tid) != Stage::Sending {
        return;
    }
    let list = skb.list();
    if list.0 == slot.list_number() {
        queued(list, Sock::of_queue(queue));
    }
}

/// `unix_add_edges`: see [`crate::hops::queue`].
#[inline(always)]
fn queued(list: List<impl Pointer>, receiver: Sock<impl Pointer>) {
    if list.0.is_null() {
        return;
    }
    ring::count(Counter::QueueFired);
    let Some(scratch) = emit::begin(Task::current(), Program::Queue, RecordKind::Sent) else {
        return;
    };
    let head = &mut scratch.head;
    let tid = head.tid;
    head.list = list.0.address();
    head.receiver_sock = receiver.0.address();
    head.receiver_ino = receiver.ino();
    head.socket_type = receiver.kind();
    head.count = list.count();
    head.total = head.count;
    scratch.found = 0;
    let Some(slot) = slots::slot(tid) else {
        return;
    };
    if slot.stage_of(tid, list.0.address()) == Stage::Sending {
        note_sender(scratch, slot);
        slot.enter(Stage::Idle);
    } else {
        // Its copy went unseen, or another thread has taken the slot.
        ring::count(Counter::WindowFull);
    }
    let way = emit::decide(scratch, filter::Stage::Sending);
    report_name(scratch, receiver.address());
    if way == Way::Emit {
        describe::task(scratch);
    }
    scratch.lost = Counter::QueueLost as u32;
    let total = scratch.head.total;
    emit::runs(total, |first| write_sent(Program::Queue as u64, first));
}

/// Notes in a sender's record what its slot has.
#[inline(always)]
fn note_sender(scratch: &mut Scratch, slot: &Slot) {
    let head = &mut scratch.head;
    head.origin = slot.t_ns;
    head.sender_sock = slot.sender_sock;
    head.sender_ino = slot.sender_ino;
    head.socket_fd = slot.socket_fd;
    scratch.found = slot.count;
}

/// Writes the record of a sender's files from `first` on. Returns 1 if that and what comes after it is
/// lost, else 0. A global function: the kernel verifies it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_sent(program: u64, first: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 1;
    };
    let (tid, total, numbers) = (scratch.head.tid, scratch.head.total, scratch.found);
    let Some(slot) = slots::slot(tid) else {
        return 1;
    };
    let list = List(scratch.head.list);
    let mut count = 0;
    while count < FILES_PER_RECORD as u64 && first + count < u64::from(total) {
        let place = (first + count) as usize;
        let seen = row(scratch, count);
        let entry = slot.entry(place);
        let (mut held, mut number) = (0, -1);
        if place < numbers as usize && entry.is_of(tid) {
            (held, number) = (entry.file, entry.number());
        }
        // SAFETY: the row is within the scratch.
        unsafe {
            list.file(place).describe(seen, true, &mut scratch.room);
            (*seen).slot = held;
            (*seen).fd = number;
            (*seen).told = NOT_TOLD;
            (*seen).cloexec = 0;
        }
        count += 1;
    }
    if program == Program::Release as u64 {
        describe_rows(scratch, first, count);
    }
    emit::run(scratch, first, count, u64::from(total))
}

/// The sender's call fails, or sends nothing.
#[inline(always)]
pub(super) fn unsent(task: Task, list: List<Typed>, cookie: Cookie<Typed>, slot: &Slot) {
    ring::count(Counter::ReleaseFired);
    let Some(scratch) = emit::begin(task, Program::Release, RecordKind::Unsent) else {
        return;
    };
    note_sender(scratch, slot);
    let head = &mut scratch.head;
    head.list = list.0.address();
    head.socket_type = slot.socket_type;
    head.count = list.count();
    head.total = head.count;
    head.room = slot.empty;
    if cookie.0.address() != slot.cookie {
        head.flags |= FLAG_DESTRUCTED;
    }
    // SAFETY: the slot lives as long as the map; volatile because userspace writes it.
    let told = RETURNS
        .get_ptr(0)
        .is_some_and(|told| unsafe { told.read_volatile() } != 0);
    head.result = i32::from(told);
    if task.has_uring() {
        head.flags |= FLAG_HAS_URING;
    }
    let way = emit::decide(scratch, filter::Stage::Receiving);
    if way != Way::Drop {
        describe::task(scratch);
        scratch.lost = Counter::EndLost as u32;
        let total = scratch.head.total;
        emit::runs(total, |first| write_sent(Program::Release as u64, first));
    }
    filter::done(&scratch.head, way, filter::Stage::Receiving);
}
