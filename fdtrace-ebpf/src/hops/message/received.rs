//! The last record of a message: what was installed of its files, as the list is given back.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use fdtrace_common::{
    counters::Counter,
    records::{FILES_PER_RECORD, IN_PLACE, NOT_TOLD, RecordKind},
};

use super::{describe_rows, row, sent::unsent};
use crate::{
    describe,
    emit::{self, Program},
    filter::{self, Way},
    hops::{end, receive::number_told},
    kernel::{Cookie, List, Msghdr, Pointer, Task, Typed},
    ring,
    slots::{self, ENTRY_CLOEXEC, ENTRY_IN_PLACE, Entry, Slot, Stage},
};

#[fentry]
pub(crate) fn detach_slot_f(ctx: FEntryContext) -> i32 {
    detached(Msghdr(Typed(ctx.arg(0))), Cookie(Typed(ctx.arg(1))));
    0
}

/// `scm_detach_fds`: see [`crate::hops::detach`].
#[inline(always)]
fn detached(message: Msghdr<Typed>, cookie: Cookie<Typed>) {
    let list = cookie.list().0.address();
    if list == 0 {
        return;
    }
    ring::count(Counter::DetachFired);
    let task = Task::current();
    let tid = task.tid();
    if let Some(slot) = slots::slot(tid) {
        slot.take(tid, list, Stage::Installing);
        if filter::passes_over_list(task, slot.list_number()) {
            slot.enter(Stage::PassingOver);
            return;
        }
        slot.t_ns = emit::now();
        slot.room = message.room();
    }
}

// `scm_recv_one_fd(file, user_fd, flags, notrunc)` (7.3) does not return the number.
#[fexit]
pub(crate) fn install_slot1_f(ctx: FExitContext) -> i32 {
    let (file, user_fd) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    let result = ctx.arg::<u64>(4) as i32;
    installed(
        file,
        user_fd,
        ctx.arg::<u64>(2) as u32,
        result,
        || match result {
            ..0 => result,
            _ => number_told(file, user_fd),
        },
    );
    0
}

// `receive_fd(file, user_fd, flags)` (6.8 to 7.2) does, and `__receive_fd` with the same (5.11 to 6.7).
#[fexit]
pub(crate) fn install_slot_f(ctx: FExitContext) -> i32 {
    let (file, user_fd) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    let result = ctx.arg::<u64>(3) as i32;
    installed(file, user_fd, ctx.arg::<u64>(2) as u32, result, || result);
    0
}

// `__receive_fd(fd, file, user_fd, flags)` of 5.10 likewise. A program may not look at `user_fd` there, so
// anybody's call counts as one for a list.
#[fexit]
pub(crate) fn install_slotn_f(ctx: FExitContext) -> i32 {
    const NOT_LOOKED_AT: u64 = 1;
    let (file, result) = (ctx.arg(1), ctx.arg::<u64>(4) as i32);
    installed(
        file,
        NOT_LOOKED_AT,
        ctx.arg::<u64>(3) as u32,
        result,
        || result,
    );
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
    match slot.stage(tid) {
        Stage::Installing => {}
        Stage::PassingOver => return,
        _ => {
            if user_fd != 0 {
                // Of which list is not known.
                slot.take(tid, 0, Stage::InstallingUnseen);
            }
            return;
        }
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
            unsent(task, list, cookie, slot);
        }
        Stage::PassingOver => slot.enter(Stage::Idle),
        _ if slot.forgets(tid, list.0.address()) => {}
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
    let way = emit::decide(scratch, filter::Stage::Receiving);
    if way != Way::Drop {
        describe::task(scratch);
        scratch.lost = Counter::EndLost as u32;
        let total = scratch.head.total;
        emit::runs(total, |first| write_received(first));
    }
    filter::done(&scratch.head, way, filter::Stage::Receiving);
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
