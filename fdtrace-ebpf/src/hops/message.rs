//! Two records for a message, where nobody asked for each hop: `Sent` as its list gets into a queue, and
//! `Received` as a receiver gives it back, having installed its files. What is found out in between waits in
//! the thread's [slot](crate::slots).
//!
//! All of these functions run for messages with descriptors alone. `__scm_destroy` is the one end of every
//! list, be it installed, dropped, or still its sender's; one that was not installed is reported as by
//! [`super::end`]. Each file is described once, as its list ends.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, fexit, map},
    maps::Array,
    programs::{FEntryContext, FExitContext},
};
use fdtrace_common::{
    counters::Counter,
    records::{
        FILES_PER_RECORD, FLAG_DESCRIBED, FLAG_HAS_URING, FileSeen, IN_PLACE, LIST_MAX, NOT_TOLD,
        RecordKind,
    },
};

use super::{copy, end, queue::report_name};
use crate::{
    control::{self, Control},
    describe,
    emit::{self, FDS_MAX, Program, Scratch},
    kernel::{self, Cookie, FdTable, List, Msghdr, Pointer, Sock, Task, Typed},
    ring,
    slots::{self, ENTRY_CLOEXEC, ENTRY_IN_PLACE, Entry, Slot, Stage},
};

/// Not zero once what failed sends return is told by [`super::send`].
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
        return;
    }
    ring::count(Counter::CopyFired);
    let tid = task.tid();
    let Some(slot) = slots::slot(tid) else {
        return;
    };
    slot.take(tid, list, Stage::Sending);
    slot.t_ns = emit::now();
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

/// `unix_add_edges`: see [`super::queue`].
#[inline(always)]
fn queued(list: List<Typed>, receiver: Sock<Typed>) {
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
    report_name(scratch, receiver.address());
    describe::task(scratch);
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

/// A row of the record that is put together in the scratch.
#[inline(always)]
fn row(scratch: &mut Scratch, place: u64) -> *mut FileSeen {
    let rows = scratch.seen.as_mut_ptr();
    rows.wrapping_add(place as usize % FILES_PER_RECORD)
}

/// Describes the files of these rows, ahead of their record.
#[inline(always)]
fn describe_rows(scratch: &mut Scratch, first: u64, count: u64) {
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    if !describe::is_on() {
        return;
    }
    scratch.head.flags |= FLAG_DESCRIBED;
    let mut place = 0;
    while place < FILES_PER_RECORD as u64 && place < count {
        let seen = row(scratch, place);
        // SAFETY: the row is within the scratch.
        let (file, magic) = unsafe { ((*seen).file, (*seen).magic) };
        if file != 0 && magic != PIPEFS_MAGIC {
            describe::one(scratch, first + place);
        }
        place += 1;
    }
}

#[fentry]
pub(crate) fn detach_slot_f(ctx: FEntryContext) -> i32 {
    detached(Msghdr(Typed(ctx.arg(0))), Cookie(Typed(ctx.arg(1))));
    0
}

/// `scm_detach_fds`: see [`super::detach`].
#[inline(always)]
fn detached(message: Msghdr<Typed>, cookie: Cookie<Typed>) {
    let list = cookie.list().0.address();
    if list == 0 {
        return;
    }
    ring::count(Counter::DetachFired);
    let tid = Task::current().tid();
    if let Some(slot) = slots::slot(tid) {
        slot.take(tid, list, Stage::Installing);
        slot.t_ns = emit::now();
        slot.room = message.room();
    }
}

// `scm_recv_one_fd(file, user_fd, flags, notrunc)` (7.3) does not return the number.
#[fexit]
pub(crate) fn install_slot1_f(ctx: FExitContext) -> i32 {
    let (file, user_fd) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    let result = ctx.arg::<u64>(4) as i32;
    installed(file, user_fd, ctx.arg::<u64>(2) as u32, result, || {
        if result < 0 {
            return result;
        }
        // The kernel has just written it there, but another thread may have written since.
        let number = kernel::read_user(user_fd).unwrap_or(NOT_TOLD);
        let is_stale = number >= 0 && FdTable::of(Task::current()).file(number).0 != file;
        if is_stale { NOT_TOLD } else { number }
    });
    0
}

// `receive_fd(file, user_fd, flags)` (6.8 to 7.2) does.
#[fexit]
pub(crate) fn install_slot_f(ctx: FExitContext) -> i32 {
    let (file, user_fd) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    let result = ctx.arg::<u64>(3) as i32;
    installed(file, user_fd, ctx.arg::<u64>(2) as u32, result, || result);
    0
}

/// A file has got a number, or was refused one. Others who call this have no place for a number in user
/// memory (`pidfd_getfd`).
#[inline(always)]
fn installed(file: u64, user_fd: u64, flags: u32, result: i32, number: impl Fn() -> i32) {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let tid = Task::current().tid();
    let Some(slot) = slots::slot(tid) else {
        return;
    };
    if slot.stage(tid) != Stage::Installing {
        if user_fd != 0 {
            // Of which list is not known.
            slot.take(tid, 0, Stage::InstallingUnseen);
        }
        return;
    }
    let place = slot.count;
    if place == 0 {
        // That it fires at all is the question.
        ring::count(Counter::InstallFired);
    }
    let number = number();
    let mut noted = 0;
    if flags & O_CLOEXEC != 0 {
        noted |= ENTRY_CLOEXEC;
    }
    if result >= 0 && number < 0 && number != NOT_TOLD {
        noted |= ENTRY_IN_PLACE;
    }
    slot.note(place as usize, Entry::new(file, number, tid, noted));
    slot.count = place + 1;
}

#[fentry]
pub(crate) fn end_slot_f(ctx: FEntryContext) -> i32 {
    given_back(ctx.as_ptr(), Cookie(Typed(ctx.arg(0))));
    0
}

/// `__scm_destroy`: a call is done with its list.
#[inline(always)]
fn given_back(context: *const c_void, cookie: Cookie<Typed>) {
    let list = cookie.list();
    if list.0.is_null() {
        return;
    }
    let task = Task::current();
    let tid = task.tid();
    let Some(slot) = slots::slot(tid) else {
        return;
    };
    match slot.stage_of(tid, list.0.address()) {
        Stage::Installing => {
            slot.enter(Stage::Idle);
            received(task, list, slot);
        }
        Stage::Sending => {
            slot.enter(Stage::GivenUp);
            unsent(task, list, slot);
        }
        _ => {
            let unseen = slot.stage(tid) == Stage::InstallingUnseen;
            if unseen {
                slot.enter(Stage::Idle);
            }
            end::dropped(context, list, unseen, true);
        }
    }
}

#[inline(always)]
fn received(task: Task, list: List<Typed>, slot: &Slot) {
    ring::count(Counter::ReleaseFired);
    let Some(scratch) = emit::begin(task, Program::Release, RecordKind::Received) else {
        return;
    };
    let head = &mut scratch.head;
    head.list = list.0.address();
    head.count = list.count();
    head.total = head.count;
    head.origin = slot.t_ns;
    head.room = slot.room;
    head.location = u64::from(slot.count);
    describe::task(scratch);
    scratch.lost = Counter::EndLost as u32;
    let total = scratch.head.total;
    emit::runs(total, |first| write_received(first));
}

/// Writes the record of the received files from `first` on, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_received(first: u64) -> u64 {
    let Some(scratch) = emit::scratch(Program::Release as u32) else {
        return 1;
    };
    let (tid, total) = (scratch.head.tid, scratch.head.total);
    let tried = scratch.head.location as usize;
    let Some(slot) = slots::slot(tid) else {
        return 1;
    };
    let list = List(scratch.head.list);
    let mut count = 0;
    while count < FILES_PER_RECORD as u64 && first + count < u64::from(total) {
        let place = (first + count) as usize;
        let seen = row(scratch, count);
        let entry = slot.entry(place);
        let (mut installed, mut told, mut flags) = (0, NOT_TOLD, 0);
        if place < tried && entry.is_of(tid) {
            (installed, told) = (entry.file, entry.number());
            flags = u16::from(entry.has(ENTRY_CLOEXEC));
            if entry.has(ENTRY_IN_PLACE) {
                flags |= IN_PLACE;
            }
        } else if place < tried {
            // Another thread has taken the slot.
            ring::count(Counter::WindowFull);
        }
        // SAFETY: the row is within the scratch.
        unsafe {
            list.file(place).describe(seen, false, &mut scratch.room);
            (*seen).slot = installed;
            (*seen).told = told;
            (*seen).fd = told;
            (*seen).cloexec = flags;
        }
        count += 1;
    }
    describe_rows(scratch, first, count);
    emit::run(scratch, first, count, u64::from(total))
}

/// The sender's call fails, or sends nothing.
#[inline(always)]
fn unsent(task: Task, list: List<Typed>, slot: &Slot) {
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
    // SAFETY: the slot lives as long as the map; volatile because userspace writes it.
    let told = RETURNS
        .get_ptr(0)
        .is_some_and(|told| unsafe { told.read_volatile() } != 0);
    head.result = i32::from(told);
    if task.has_uring() {
        head.flags |= FLAG_HAS_URING;
    }
    describe::task(scratch);
    scratch.lost = Counter::EndLost as u32;
    let total = scratch.head.total;
    emit::runs(total, |first| write_sent(Program::Release as u64, first));
}
