//! `detach`: the list has left its skb, and its files are about to be installed.
//!
//! Seen as `scm_detach_fds` is entered, which happens only if the receiver has a control buffer.
//! It also opens the span in which [`super::receive`] takes what is installed for a transfer.

use fdtrace_common::{counters::Counter, records::RecordKind};

use super::on_entry;
use crate::{
    calls,
    emit::{self, Files, Program},
    kernel::{Cookie, Msghdr, Pointer, Task},
    ring,
};

on_entry! {
    detached(0, 1) fentry detach_fds_f kprobe detach_fds_k
}

#[inline(always)]
fn detached<P: Pointer>(message: P, cookie: P) {
    let list = Cookie(cookie).list();
    if list.0.is_null() {
        return;
    }
    ring::count(Counter::DetachFired);
    let Some(scratch) = emit::begin(Task::current(), Program::Detach, RecordKind::ListDetached)
    else {
        return;
    };
    scratch.head.list = list.0.address();
    scratch.head.count = list.count();
    scratch.head.room = Msghdr(message).room();
    let total = scratch.head.count;
    calls::begin_install(list.0.address(), u32::from(total));
    emit::files(scratch, Counter::DetachLost, Files::of(list, total));
}
