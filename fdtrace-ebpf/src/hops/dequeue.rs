//! `dequeue`: a receiver is reading an skb that carries a list.
//!
//! `skb_copy_datagram_iovec` fires in the receiver's task before the list is detached, so the
//! list is still there to be read. It also opens the window in which [`super::install`] looks for
//! new descriptors: what is open in the receiver's table *now* cannot come from this list.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::{Array, LruHashMap},
    programs::BtfTracePointContext,
};
use fdtrace_common::{
    counters::Counter,
    records::{Head, RecordKind, WINDOW_WORDS},
};

use super::on_entry;
use crate::{
    calls, describe,
    emit::{self, Files, Program},
    filter,
    kernel::{FdTable, Pointer, Skb, Task, Typed},
    offsets::INSTALL_BY_TABLE,
    ring,
};

/// A receive under way: which list it reads, and which descriptors were open before.
#[repr(C)]
pub(crate) struct Window {
    /// 0 once it has returned.
    pub(crate) list: u64,
    pub(crate) skb: u64,
    /// Time of the dequeue's record, which tells one receive from another.
    pub(crate) t_ns: u64,
    /// First word of the bitmap that `before` holds.
    pub(crate) base: u32,
    pub(crate) count: u32,
    /// Words of `before` that the table had: it may grow.
    pub(crate) words: u32,
    reserved: u32,
    pub(crate) before: [u64; WINDOW_WORDS],
}

static EMPTY: Window = Window {
    list: 0,
    skb: 0,
    t_ns: 0,
    base: 0,
    count: 0,
    words: 0,
    reserved: 0,
    before: [0; WINDOW_WORDS],
};

/// The last receive of each thread, by thread id: it stays for the thread's next one, as putting it
/// there costs more than all that is noted in it. The longest unused make room.
#[map]
pub(crate) static WINDOWS: LruHashMap<u32, Window> = LruHashMap::with_max_entries(4096, 0);

#[btf_tracepoint(function = "skb_copy_datagram_iovec")]
pub(crate) fn dequeue_skb_copy_datagram_iovec(ctx: BtfTracePointContext) -> i32 {
    being_read(Typed(ctx.arg(0)));
    0
}

// The function around that tracepoint, where functions are asked for.
on_entry! {
    being_read(0) fentry dequeue_iter_f kprobe dequeue_iter_k
}

#[inline(always)]
fn being_read(skb: impl Pointer) {
    let skb = Skb(skb);
    let sender = skb.sock();
    if !sender.is_unix() {
        return;
    }
    let list = skb.list();
    if list.0 == 0 {
        return;
    }

    ring::count(Counter::DequeueFired);
    let task = Task::current();
    if filter::passes_over(task, list.0, skb.0.address(), sender.0.address()) {
        return;
    }
    let Some(scratch) = emit::begin(task, Program::Dequeue, RecordKind::ListDequeued) else {
        return;
    };
    scratch.head.list = list.0;
    scratch.head.skb = skb.0.address();
    scratch.head.sender_sock = sender.0.address();
    if filter::is_on() {
        // For those of whose sender nothing else is known.
        scratch.head.sender_ino = sender.ino();
    }
    scratch.head.count = list.count();
    if INSTALL_BY_TABLE.load() == 1 {
        open_window(task, &scratch.head);
    } else {
        calls::begin_read(list.0, u32::from(scratch.head.count));
    }
    let total = scratch.head.count;
    if !filter::drops(&scratch.head) {
        describe::task(scratch);
        describe::files(scratch, u32::from(total));
    }
    emit::files(scratch, Counter::DequeueLost, Files::of(list, total));
}

/// Whether threads have opened a window, by thread id: a look here costs less than one into the
/// table, and is all that those pay who never receive descriptors. Several have a place in common,
/// so it is never taken back.
#[map]
static OPENERS: Array<u64> = Array::with_max_entries(OPENER_SLOTS, 0);
const OPENER_SLOTS: u32 = 4096;

/// The window that this thread has open.
#[inline(always)]
pub(crate) fn window_of(tid: u32) -> Option<*mut Window> {
    let opener = OPENERS.get_ptr(tid % OPENER_SLOTS)?;
    // SAFETY: the slot lives as long as the map; volatile because other CPUs write it.
    if unsafe { opener.read_volatile() } == 0 {
        return None;
    }
    let window = WINDOWS.get_ptr_mut(&tid)?;
    // SAFETY: the entry is this thread's, and only this thread writes it.
    (unsafe { (*window).list } != 0).then_some(window)
}

#[inline(always)]
fn open_window(task: Task, head: &Head) {
    let tid = task.tid();
    if let Some(opener) = OPENERS.get_ptr_mut(tid % OPENER_SLOTS) {
        // SAFETY: as above; all that is ever written is this.
        unsafe { opener.write_volatile(1) };
    }
    if WINDOWS.get_ptr(&tid).is_none() && WINDOWS.insert(&tid, &EMPTY, 0).is_err() {
        ring::count(Counter::WindowFull);
        return;
    }
    let Some(window) = WINDOWS.get_ptr_mut(&tid) else {
        return;
    };
    let table = FdTable::of(task);
    let base = table.next / 64;
    // SAFETY: the entry is this thread's, and only this thread writes it.
    unsafe {
        (*window).list = head.list;
        (*window).skb = head.skb;
        (*window).t_ns = head.t_ns;
        (*window).base = base;
        (*window).count = u32::from(head.count);
        (*window).words = table
            .copy_open_words(base, (&raw mut (*window).before).cast())
            .0;
    }
}
