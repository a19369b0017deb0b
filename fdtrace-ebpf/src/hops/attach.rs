//! `attach`: the list is on its skb.
//!
//! `unix_attach_fds` is a function on 5.10 alone; later it is inlined into `unix_scm_to_skb`,
//! which runs for every skb. Until 6.9 the skb gets a duplicate of the list, since then the list
//! itself. `scm_fp_dup` also serves MSG_PEEK, so a duplicate is reported by itself: which of the
//! two it was shows in what comes next.

use fdtrace_common::{counters::Counter, records::RecordKind};

use super::on_return;
use crate::{
    calls,
    emit::{self, Files, Program},
    filter,
    kernel::{Cookie, List, Pointer, Skb, Task},
    offsets::BY_SLOT,
    ring, slots,
};

on_return! {
    attached(0, 1) -> 3 as Program::Attach;
    fexit attach_to_skb_f kprobe attach_to_skb_k kretprobe attach_to_skb_r
}

on_return! {
    attached(0, 1) -> 2 as Program::Attach;
    fexit attach_fds_f kprobe attach_fds_k kretprobe attach_fds_r
}

on_return! {
    duplicated(0) -> 1 as Program::Duplicate;
    fexit attach_dup_f kprobe attach_dup_k kretprobe attach_dup_r
}

#[inline(always)]
fn attached<P: Pointer>([cookie, skb]: [P; 2], result: i64) {
    let skb = Skb(skb);
    if (result as i32) < 0 {
        return;
    }
    let list = skb.list();
    if list.0 == 0 {
        return;
    }
    ring::count(Counter::AttachFired);
    let Some(scratch) = emit::begin(Task::current(), Program::Attach, RecordKind::ListAttached)
    else {
        return;
    };
    let sender = skb.sock();
    scratch.head.list = list.0;
    // Where the list itself moved, the cookie has none any more.
    scratch.head.origin = Cookie(cookie).list().0.address();
    if scratch.head.origin != 0 {
        calls::duplicate_sent(scratch.head.origin);
    }
    scratch.head.skb = skb.0.address();
    scratch.head.sender_sock = sender.0.address();
    scratch.head.sender_ino = sender.ino();
    scratch.head.count = list.count();
    let total = scratch.head.count;
    emit::files(scratch, Counter::AttachLost, Files::of(list, total));
}

#[inline(always)]
fn duplicated<P: Pointer>([origin]: [P; 1], duplicate: i64) {
    if origin.is_null() || duplicate == 0 {
        return;
    }
    ring::count(Counter::DuplicateFired);
    if BY_SLOT.load() == 0 {
        calls::duplicate_sent(origin.address());
    } else if goes_on(origin.address(), duplicate as u64) {
        return;
    }
    let Some(scratch) = emit::begin(
        Task::current(),
        Program::Duplicate,
        RecordKind::ListDuplicated,
    ) else {
        return;
    };
    scratch.head.list = duplicate as u64;
    scratch.head.origin = origin.address();
    scratch.head.count = List(duplicate as u64).count();
    filter::duplicates(&mut scratch.head);
    emit::files(scratch, Counter::AttachLost, Files::NONE);
}

/// Whether the duplicate is what travels of a list that two records tell of.
#[inline(always)]
fn goes_on(list: u64, duplicate: u64) -> bool {
    let tid = Task::current().tid();
    slots::slot(tid).is_some_and(|slot| slot.duplicate(tid, list, duplicate))
}
