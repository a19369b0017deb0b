//! `dequeue`: a receiver is reading an skb that carries a list.
//!
//! `skb_copy_datagram_iovec` fires in the receiver's task before the list is detached, so the
//! list is still there to be read. It also opens the window in which [`super::install`] looks for
//! new descriptors: what is open in the receiver's table *now* cannot come from this list.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::HashMap,
    programs::RawTracePointContext,
};
use fdtrace_common::{
    counters::Counter,
    records::{RecordKind, WINDOW_WORDS},
};

use super::on_entry;
use crate::{
    emit::{self, Program, Slot},
    kernel::{FdTable, Skb},
    offsets::INSTALL_BY_TABLE,
    ring,
};

/// A receive under way: which list it reads, and which descriptors were open before.
#[repr(C)]
pub(crate) struct Window {
    pub(crate) list: u64,
    pub(crate) skb: u64,
    /// Time of the dequeue's record, which tells one receive from another.
    pub(crate) t_ns: u64,
    /// First word of the bitmap that `before` holds.
    pub(crate) base: u32,
    pub(crate) count: u32,
    pub(crate) before: [u64; WINDOW_WORDS],
}

static EMPTY: Window = Window {
    list: 0,
    skb: 0,
    t_ns: 0,
    base: 0,
    count: 0,
    before: [0; WINDOW_WORDS],
};

/// Receives under way, by thread id.
#[map]
pub(crate) static WINDOWS: HashMap<u32, Window> = HashMap::with_max_entries(1024, 0);

#[raw_tracepoint(tracepoint = "skb_copy_datagram_iovec")]
pub(crate) fn dequeue_skb_copy_datagram_iovec(ctx: RawTracePointContext) -> i32 {
    being_read(ctx.arg(0));
    0
}

// The function around that tracepoint, where functions are asked for.
on_entry! {
    being_read(0) fentry dequeue_iter_f kprobe dequeue_iter_k
}

#[inline(always)]
fn being_read(skb: u64) {
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
    let Some(scratch) = emit::begin(Program::Dequeue, RecordKind::ListDequeued) else {
        return;
    };
    let count = list.count();
    scratch.head.list = list.0;
    scratch.head.skb = skb.0;
    scratch.head.sender_sock = sender.0;
    scratch.head.count = count;
    if INSTALL_BY_TABLE.load() == 1 {
        open_window(list.0, skb.0, count, scratch.head.t_ns);
    }
    emit::files(
        scratch,
        u32::from(count),
        Counter::DequeueLost,
        |_, index| (list.file(index), Slot::UNKNOWN),
        || 0,
    );
}

#[inline(always)]
fn open_window(list: u64, skb: u64, count: u16, t_ns: u64) {
    let tid = bpf_get_current_pid_tgid() as u32;
    if WINDOWS.insert(&tid, &EMPTY, 0).is_err() {
        ring::count(Counter::WindowFull);
        return;
    }
    let Some(window) = WINDOWS.get_ptr_mut(&tid) else {
        return;
    };
    let table = FdTable::current();
    let base = table.next / 64;
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
    unsafe {
        (*window).list = list;
        (*window).skb = skb;
        (*window).t_ns = t_ns;
        (*window).base = base;
        (*window).count = u32::from(count);
        table.copy_open_words(base, (&raw mut (*window).before).cast());
    }
}
