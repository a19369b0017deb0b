//! Calls under way, by thread: what a return needs to know of its entry.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::HashMap};
use fdtrace_common::counters::Counter;

use crate::{emit::Program, ring};

/// Arguments of a function that a kretprobe will look at when it returns.
pub(crate) type Arguments = [u64; 4];

#[map]
static CALLS: HashMap<u64, Arguments> = HashMap::with_max_entries(4096, 0);

#[inline(always)]
fn tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

#[inline(always)]
fn key(program: Program) -> u64 {
    u64::from(tid()) << 32 | program as u64
}

/// Keeps the arguments until this thread's call returns.
#[inline(always)]
pub(crate) fn enter(program: Program, arguments: Arguments) {
    if CALLS.insert(&key(program), &arguments, 0).is_err() {
        ring::count(Counter::WindowFull);
    }
}

/// The arguments of the call that returns now.
#[inline(always)]
pub(crate) fn leave(program: Program) -> Option<Arguments> {
    let key = key(program);
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
    let arguments = unsafe { CALLS.get(&key) }.copied();
    if arguments.is_some() {
        let _ = CALLS.remove(&key);
    }
    arguments
}

/// A list that this thread is installing.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Detaching {
    pub(crate) list: u64,
    /// Files that have been installed or refused so far.
    pub(crate) index: u32,
    pub(crate) count: u32,
}

/// Receives between `scm_detach_fds` and the release of the list. Without an entry here, a
/// descriptor that somebody installs is no transfer.
#[map]
static DETACHING: HashMap<u32, Detaching> = HashMap::with_max_entries(1024, 0);

/// This thread begins to install a list.
#[inline(always)]
pub(crate) fn begin_detach(list: u64, count: u32) {
    let detaching = Detaching {
        list,
        index: 0,
        count,
    };
    if DETACHING.insert(&tid(), &detaching, 0).is_err() {
        ring::count(Counter::WindowFull);
    }
}

/// What this thread is installing.
#[inline(always)]
pub(crate) fn detaching() -> Option<&'static mut Detaching> {
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
    DETACHING
        .get_ptr_mut(&tid())
        .map(|entry| unsafe { &mut *entry })
}

/// This thread is done with its list.
#[inline(always)]
pub(crate) fn end_detach() {
    let _ = DETACHING.remove(&tid());
}
