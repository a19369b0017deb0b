//! `end`: the list's references are given back: an skb goes away with its list still on it, or a
//! call is done with the list it has.
//!
//! `kfree_skb` and `consume_skb` fire for every packet of the machine; the first two reads tell
//! whether it is a Unix socket's. The list of a normal receive was detached before its skb is
//! consumed, so it does not show up here.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    counters::Counter,
    records::{FLAG_DESTRUCTED, RecordKind},
};

use super::on_entry;
use crate::{
    calls,
    emit::{self, Program, Scratch, Slot},
    kernel::{Cookie, List, Pointer, Skb, SyscallRegs, Task, Typed},
    offsets::{CONSUME_SKB_HAS_LOCATION, HAS_TASK_PT_REGS},
    ring,
};

#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn end_kfree_skb(ctx: BtfTracePointContext) -> i32 {
    freed(
        Skb(Typed(ctx.arg(0))),
        || ctx.arg(1),
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
        Program::EndConsume,
        Counter::EndConsumeFired,
    );
    0
}

#[inline(always)]
fn freed(skb: Skb<Typed>, location: impl Fn() -> u64, program: Program, fired: Counter) {
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
    scratch.head.location = location();
    end_of_list(scratch, list);
}

on_entry! {
    released(0) fentry end_release_f kprobe end_release_k
}

on_entry! {
    destructed(0) fentry end_destruct_f kprobe end_destruct_k
}

/// `__scm_destroy`: a call is done with its list, having installed it, dropped it, or failed to
/// send it. Before 6.10 a sender drops its own list here when the skb has got a duplicate.
#[inline(always)]
fn released(cookie: impl Pointer) {
    calls::end_detach();
    let list = Cookie(cookie).list();
    if list.0.is_null() {
        return;
    }
    ring::count(Counter::ReleaseFired);
    let task = Task::current();
    let Some(scratch) = emit::begin(task, Program::Release, RecordKind::ListReleased) else {
        return;
    };
    if HAS_TASK_PT_REGS.load() == 1 {
        scratch.head.syscall = SyscallRegs::of(task).number();
    }
    end_of_list(scratch, list);
}

/// `unix_destruct_scm`: an skb goes away; lists that were received have left it before.
#[inline(always)]
fn destructed(skb: impl Pointer) {
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
    end_of_list(scratch, list);
}

#[inline(always)]
fn end_of_list(scratch: &mut Scratch, list: List<impl Pointer>) {
    scratch.head.list = list.0.address();
    scratch.head.count = list.count();
    let total = u32::from(scratch.head.count);
    emit::files(
        scratch,
        total,
        Counter::EndLost,
        |_, index| (list.file(index), Slot::UNKNOWN),
        || 0,
    );
}
