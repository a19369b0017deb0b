//! `end`: the list's references are given back: an skb goes away with its list still on it, or a
//! call is done with the list it has.
//!
//! `kfree_skb` and `consume_skb` fire for every packet of the machine; the first two reads tell
//! whether it is a Unix socket's. The list of a normal receive was detached before its skb is
//! consumed, so it does not show up here.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use fdtrace_common::{
    counters::Counter,
    records::{FLAG_DESTRUCTED, FLAG_HAS_URING, FLAG_INSTALLED_UNSEEN, RecordKind},
};

use super::{dequeue::WINDOWS, on_entry};
use crate::{
    calls::{self, Stage},
    describe,
    emit::{self, Files, Program, Scratch},
    filter,
    kernel::{Cookie, List, Pointer, Skb, SyscallRegs, Task, Typed},
    offsets::{CONSUME_SKB_HAS_LOCATION, HAS_TASK_PT_REGS},
    ring,
};

#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn end_kfree_skb(ctx: BtfTracePointContext) -> i32 {
    freed(
        Skb(Typed(ctx.arg(0))),
        || ctx.arg(1),
        ctx.as_ptr(),
        Program::EndKfree,
        Counter::EndKfreeFired,
    );
    0
}

#[btf_tracepoint(function = "consume_skb")]
pub(crate) fn end_consume_skb(ctx: BtfTracePointContext) -> i32 {
    let location = || {
        if CONSUME_SKB_HAS_LOCATION.load() == 1 {
            ctx.arg(1)
        } else {
            0
        }
    };
    freed(
        Skb(Typed(ctx.arg(0))),
        location,
        ctx.as_ptr(),
        Program::EndConsume,
        Counter::EndConsumeFired,
    );
    0
}

#[inline(always)]
fn freed(
    skb: Skb<Typed>,
    location: impl Fn() -> u64,
    context: *const c_void,
    program: Program,
    fired: Counter,
) {
    let sender = skb.sock();
    if !sender.is_unix() {
        return;
    }
    let list = skb.list();
    if list.0 == 0 {
        return;
    }
    ring::count(fired);
    let Some(scratch) = emit::begin(Task::current(), program, RecordKind::ListDestroyed) else {
        return;
    };
    scratch.head.skb = skb.0.address();
    scratch.head.sender_sock = sender.0.address();
    if filter::is_on() {
        scratch.head.sender_ino = sender.ino();
    }
    scratch.head.location = location();
    scratch.head.list = list.0;
    scratch.head.count = list.count();
    filter::takes(&scratch.head);
    emit::callers(scratch, context);
    end_of_list(scratch, list, true);
}

on_entry! {
    released(context, 0) fentry end_release_f kprobe end_release_k
}

on_entry! {
    destructed(context, 0) fentry end_destruct_f kprobe end_destruct_k
}

/// `__scm_destroy`: a call is done with its list, having installed it, dropped it, or failed to
/// send it. Before 6.10 a sender drops its own list here when the skb has got a duplicate.
#[inline(always)]
fn released(context: *const c_void, cookie: impl Pointer) {
    // One that was being installed has told of its files by itself.
    let receive = calls::end_receive();
    let was_installing = receive == Some(Stage::Installing);
    let list = Cookie(cookie).list();
    if list.0.is_null() {
        return;
    }
    let is_spare = calls::release_sent(list.0.address());
    let tells_all = !was_installing && !is_spare;
    let unseen = receive == Some(Stage::InstallingUnseen);
    dropped(context, list, unseen, tells_all);
}

/// A call is done with its list. What is installed was described as it was read, and a list of which a
/// duplicate was sent will be as that is: these need not tell more (`tells_all`).
#[inline(always)]
pub(super) fn dropped(
    context: *const c_void,
    list: List<impl Pointer>,
    installed_unseen: bool,
    tells_all: bool,
) {
    ring::count(Counter::ReleaseFired);
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Release, RecordKind::ListReleased) else {
        return;
    };
    if HAS_TASK_PT_REGS.load() == 1 {
        scratch.head.call = SyscallRegs::of(task).number().call() as i32;
    }
    if task.has_uring() {
        // What runs may be a request of that, within another call.
        scratch.head.flags |= FLAG_HAS_URING;
    }
    if installed_unseen {
        scratch.head.flags |= FLAG_INSTALLED_UNSEEN;
    }
    scratch.head.list = list.0.address();
    if tells_all {
        emit::callers(scratch, context);
    }
    end_of_list(scratch, list, tells_all);
}

/// `unix_destruct_scm`: an skb goes away; lists that were received have left it before.
#[inline(always)]
fn destructed(context: *const c_void, skb: impl Pointer) {
    let skb = Skb(skb);
    let list = skb.list();
    if list.0 == 0 {
        return;
    }
    ring::count(Counter::DestructFired);
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Destruct, RecordKind::ListDestroyed) else {
        return;
    };
    scratch.head.skb = skb.0.address();
    scratch.head.flags = FLAG_DESTRUCTED;
    scratch.head.list = list.0;
    scratch.head.count = list.count();
    filter::takes(&scratch.head);
    emit::callers(scratch, context);
    end_of_list(scratch, list, true);
}

/// Memory that the allocator hands out in pieces of a power of two is aligned to that size (5.4),
/// and a list takes 2 KiB or 4 KiB.
const LIST_ALIGNMENT: u64 = 2048;

/// `kfree`, where nothing else shows that a list was given back. Everybody's frees go through it.
#[raw_tracepoint(tracepoint = "kfree")]
pub(crate) fn end_kfree(ctx: RawTracePointContext) -> i32 {
    let memory: u64 = ctx.arg(1);
    if memory % LIST_ALIGNMENT == 0 && calls::is_watched(memory) {
        given_back(ctx.as_ptr(), memory);
    }
    0
}

#[inline(always)]
fn given_back(context: *const c_void, list: u64) {
    calls::forget_list(list);
    ring::count(Counter::FreeFired);
    // A receive that has a window on it tells what came of it as it returns.
    let task = Task::current();
    let tid = task.tid();
    // SAFETY: the entry is this thread's, and only this thread writes it.
    if unsafe { WINDOWS.get(&tid) }.is_some_and(|window| window.list == list) {
        return;
    }
    let Some(scratch) = emit::begin(task, Program::Free, RecordKind::ListReleased) else {
        return;
    };
    scratch.head.list = list;
    scratch.head.count = List(list).count();
    emit::callers(scratch, context);
    // Its files have been given back before, so nothing can be said of them here.
    emit::files(scratch, Counter::EndLost, Files::NONE);
}

#[inline(always)]
fn end_of_list(scratch: &mut Scratch, list: List<impl Pointer>, describes: bool) {
    scratch.head.list = list.0.address();
    scratch.head.count = list.count();
    let total = scratch.head.count;
    if describes && !filter::drops(&scratch.head) {
        describe::files(scratch, u32::from(total));
    }
    emit::files(scratch, Counter::EndLost, Files::of(list, total));
}
