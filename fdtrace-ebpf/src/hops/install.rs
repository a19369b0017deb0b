//! `install`: a receive that read a list returns.
//!
//! `sock_recv_length` fires in the receiver's task after every new descriptor is in its table.
//! Reported are the descriptors that are open now and were not when the window opened, with the
//! file behind each, and beside them the numbers that the receiver's control message names. The
//! first come from the kernel's table and may include what other threads opened; the second come
//! from user memory and may be stale. Userspace believes a number that is in both.

use core::ptr::read_volatile;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    counters::Counter,
    records::{
        FLAG_OOB, FLAG_PEEK, FLAG_TABLE_FULL, FLAG_TABLE_SHARED, FLAG_WINDOW_SHORT, NOT_TOLD,
        RecordKind, WINDOW_WORDS,
    },
};

use super::dequeue::{WINDOWS, Window};
use crate::{
    control,
    emit::{self, FDS_MAX, Program, Scratch},
    kernel::{FdTable, Pointer, Sock, SyscallRegs, Task, Typed},
    ring,
};

/// New descriptors that one receive can report: a full list, and some of other threads.
const NEW_FDS_MAX: usize = 272;

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
    let tid = task.tid();
    let Some(window) = WINDOWS.get_ptr_mut(&tid) else {
        return 0;
    };
    report(task, receiver, window, ctx.arg(1), ctx.arg(2));
    let _ = WINDOWS.remove(&tid);
    0
}

#[inline(always)]
fn report(task: Task, receiver: Sock<Typed>, window: *const Window, result: i32, flags: i32) {
    ring::count(Counter::InstallFired);
    let Some(scratch) = emit::begin(task, Program::Install, RecordKind::ReceiveReturned) else {
        return;
    };
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
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
        if u64::from(lowest_free(window.base, scratch, words as usize)) >= task.descriptor_limit() {
            scratch.head.flags |= FLAG_TABLE_FULL;
        }
    }
    scratch.word = 0;
    if regs.number() == SYS_RECVMSG {
        let rights = control::read_fds(regs.second(), &mut scratch.told);
        scratch.word = rights.read;
        scratch.head.room = rights.room as u16;
    }
    // SAFETY: a plain field, volatile for the reason that `Scratch` gives.
    let told = unsafe { read_volatile(&raw const scratch.word) };
    scratch.head.location = u64::from(told);
    // One row for each new descriptor, or for each that is told of, if those are more.
    let told_of_these = if told > window.count {
        window.count
    } else {
        told
    };
    scratch.found = if told_of_these > new {
        told_of_these
    } else {
        new
    };
    scratch.bits = u64::from(new);
    // SAFETY: likewise.
    let rows = unsafe { read_volatile(&raw const scratch.found) };
    emit::files(
        scratch,
        rows,
        Counter::InstallLost,
        |scratch, index| {
            // SAFETY: likewise.
            let (new, told) = unsafe {
                (
                    read_volatile(&raw const scratch.bits) as u32,
                    read_volatile(&raw const scratch.word),
                )
            };
            let (past_new, past_told) = (mask_past(new, index), mask_past(told, index));
            let mut slot = scratch.slot(scratch.fds[index % FDS_MAX] | past_new);
            slot.told = scratch.told[index % FDS_MAX] & !past_told | NOT_TOLD & past_told;
            (slot.file, slot)
        },
        || 0,
    );
}

/// All ones if `index` is past the last of `count`, zero otherwise. It goes through memory, or the
/// compiler would make a branch of it, and the verifier follow both ways at every index.
#[inline(always)]
fn mask_past(count: u32, index: usize) -> i32 {
    let mask = ((i64::from(count) - 1 - index as i64) >> 63) as i32;
    // SAFETY: a plain local.
    unsafe { read_volatile(&raw const mask) }
}

/// The lowest number that is not open, given the bitmap of those that are from word `base` on;
/// what lies before it is taken.
#[inline(always)]
fn lowest_free(base: u32, scratch: &mut Scratch, words: usize) -> u32 {
    scratch.found = 0;
    for word in 0..WINDOW_WORDS {
        if word >= words {
            break;
        }
        let open = scratch.open[word];
        if open != u64::MAX {
            scratch.found = word as u32 * 64 + open.trailing_ones();
            break;
        }
        scratch.found = (word as u32 + 1) * 64;
    }
    // SAFETY: a plain field, volatile for the reason that `Scratch` gives.
    base * 64 + unsafe { read_volatile(&raw const scratch.found) }
}

/// Lists the descriptors that are open now and were not when the window opened, lowest first.
///
/// The cursor lives in the scratch and not in registers: the verifier then takes it for unknown
/// and walks the loop once per step, not once per combination of word and count.
#[inline(always)]
fn collect_new_fds(window: &Window, scratch: &mut Scratch, words: usize) -> u32 {
    scratch.word = 0;
    scratch.found = 0;
    if words == 0 {
        return 0;
    }
    scratch.bits = scratch.open[0] & !window.before[0];
    // Every step leaves a word behind or notes a descriptor, so both bound the steps.
    for _ in 0..WINDOW_WORDS + NEW_FDS_MAX {
        // SAFETY: plain fields, volatile for the reason above.
        let (bits, word, found) = unsafe {
            (
                read_volatile(&raw const scratch.bits),
                read_volatile(&raw const scratch.word) as usize,
                read_volatile(&raw const scratch.found) as usize,
            )
        };
        if bits == 0 {
            let word = word + 1;
            if word >= words || word >= WINDOW_WORDS {
                break;
            }
            scratch.word = word as u32;
            scratch.bits = scratch.open[word] & !window.before[word];
            continue;
        }
        if found >= NEW_FDS_MAX {
            break;
        }
        scratch.bits = bits & (bits - 1);
        scratch.fds[found] = ((window.base + word as u32) * 64 + bits.trailing_zeros()) as i32;
        scratch.found = found as u32 + 1;
    }
    // SAFETY: as above.
    unsafe { read_volatile(&raw const scratch.found) }
}
