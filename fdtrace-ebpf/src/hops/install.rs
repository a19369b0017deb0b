//! `install`: a receive that read a list returns.
//!
//! `sock_recv_length` fires in the receiver's task after every new descriptor is in its table.
//! Reported are the descriptors that are open now and were not when the window opened, with the
//! file behind each, and beside them the numbers that the receiver's control message names. The
//! first come from the kernel's table and may include what other threads opened; the second come
//! from user memory and may be stale. Userspace believes a number that is in both.

use core::ptr::read_volatile;

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    counters::Counter,
    records::{
        FLAG_LEFT, FLAG_OOB, FLAG_PEEK, FLAG_TABLE_FULL, FLAG_TABLE_SHARED, FLAG_WINDOW_SHORT,
        RecordKind, WINDOW_WORDS,
    },
};

use super::dequeue::{Window, window_of};
use crate::{
    control::{self, Control},
    emit::{self, FDS_MAX, Files, Program, Scratch},
    kernel::{FdTable, Pointer, Skb, Sock, SyscallRegs, Task, Typed},
    ring,
};

/// New descriptors that one receive can report: a full list, and some of other threads.
const NEW_FDS_MAX: u32 = 272;

const MSG_OOB: i32 = 1;
const MSG_PEEK: i32 = 2;
const SYS_RECVMSG: i32 = 47;

#[btf_tracepoint(function = "sock_recv_length")]
pub(crate) fn install_sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    let receiver = Sock(Typed(ctx.arg(0)));
    if !receiver.is_unix() {
        return 0;
    }
    let task = Task::current();
    let Some(window) = window_of(task.tid()) else {
        return 0;
    };
    report(&ctx, task, receiver, window);
    // SAFETY: the entry is this thread's, and only this thread writes it.
    unsafe { (*window).list = 0 };
    0
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, task: Task, receiver: Sock<Typed>, window: *const Window) {
    let (result, flags): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    ring::count(Counter::InstallFired);
    let Some(scratch) = emit::begin(task, Program::Install, RecordKind::ReceiveReturned) else {
        return;
    };
    // SAFETY: the entry is this thread's, and only this thread writes it.
    let window = unsafe { &*window };
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    let (words, past) = table.copy_open_words(window.base, scratch.open.as_mut_ptr());
    let new = collect_new_fds(window, scratch, words as usize);
    let head = &mut scratch.head;
    head.list = window.list;
    head.skb = window.skb;
    head.origin = window.t_ns;
    head.count = window.count as u16;
    head.receiver_sock = receiver.0.address();
    head.receiver_ino = receiver.ino();
    head.socket_type = receiver.kind();
    head.result = result;
    let regs = SyscallRegs::of(task);
    head.syscall = regs.number();
    if flags & MSG_PEEK != 0 {
        head.flags |= FLAG_PEEK;
    }
    if table.users > 1 {
        head.flags |= FLAG_TABLE_SHARED;
    }
    if flags & MSG_OOB != 0 {
        head.flags |= FLAG_OOB;
    }
    if new < window.count {
        if past > 0 {
            head.flags |= FLAG_WINDOW_SHORT;
        }
        let free = lowest_free(
            Program::Install as u64,
            u64::from(window.base),
            u64::from(words),
        );
        if free >= task.descriptor_limit() {
            scratch.head.flags |= FLAG_TABLE_FULL;
        }
    }
    if new == 0 && result >= 0 && flags & (MSG_PEEK | MSG_OOB) == 0 {
        // An earlier skb's data went before this one's, which could not be copied.
        let skb = Skb(window.skb);
        if skb.list().0 == window.list {
            scratch.head.flags |= FLAG_LEFT;
        }
    }
    if new < window.count && regs.number() != SYS_RECVMSG {
        // Whether there was a place for descriptors: io_uring has calls with and without.
        emit::callers(scratch, ctx.as_ptr());
    }
    let mut told = 0;
    if regs.number() == SYS_RECVMSG {
        let rights = control::read_told_fds(Program::Install, Control::of(regs.second()));
        told = rights.read;
        scratch.head.room = rights.room as u16;
    }
    scratch.head.location = u64::from(told);
    // One row for each new descriptor, or for each that is told of, if those are more.
    let mut files = Files::behind(new);
    files.told = told;
    files.total = new.max(told.min(window.count));
    emit::files(scratch, Counter::InstallLost, files);
}

/// The lowest number that is not open, given the bitmap of those that are from word `base` on, of
/// which there are `words`; what lies before it is taken.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lowest_free(program: u64, base: u64, words: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    let mut word = 0;
    while word < WINDOW_WORDS as u64 && word < words {
        let open = scratch.open[word as usize];
        if open != u64::MAX {
            return (base + word) * 64 + u64::from(open.trailing_ones());
        }
        word += 1;
    }
    (base + word) * 64
}

/// Lists the descriptors that are open now and were not when the window opened, lowest first;
/// returns how many there are.
#[inline(always)]
fn collect_new_fds(window: &Window, scratch: &mut Scratch, words: usize) -> u32 {
    scratch.found = 0;
    for word in 0..WINDOW_WORDS {
        if word >= words {
            break;
        }
        let new = scratch.open[word] & !window.before[word];
        if new != 0 {
            let first = (u64::from(window.base) + word as u64) * 64;
            collect_word(Program::Install as u64, first, new);
        }
    }
    // SAFETY: a plain field, volatile because another function writes it.
    unsafe { (&raw const scratch.found).read_volatile() }
}

/// Lists those whose bits are set in one word, of which the lowest stands for `first`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn collect_word(program: u64, first: u64, mut bits: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    for _ in 0..u64::BITS {
        let found = scratch.found;
        if bits == 0 || found >= NEW_FDS_MAX {
            break;
        }
        // From memory, so that the compiler does not leave the bound to the comparison above, which
        // the verifier does not connect with this value.
        // SAFETY: a plain local.
        let place = unsafe { read_volatile(&raw const found) } as usize % FDS_MAX;
        scratch.fds[place] = (first as u32 + bits.trailing_zeros()) as i32;
        scratch.found = found + 1;
        bits &= bits - 1;
    }
    0
}
