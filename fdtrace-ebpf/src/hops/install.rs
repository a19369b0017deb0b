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
    records::{FLAG_PEEK, FLAG_TABLE_SHARED, FLAG_WINDOW_SHORT, RecordKind, WINDOW_WORDS},
};

use super::dequeue::{WINDOWS, Window};
use crate::{
    control,
    emit::{self, FDS_MAX, Program, Scratch, Slot},
    kernel::{FdTable, Pointer, Sock, SyscallRegs, Task, Typed},
    ring,
};

/// New descriptors that one receive can report: a full list, and some of other threads.
const NEW_FDS_MAX: usize = 272;

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
    if past > 0 && new < window.count {
        head.flags |= FLAG_WINDOW_SHORT;
    }
    scratch.word = 0;
    if regs.number() == SYS_RECVMSG {
        scratch.word = control::read_fds(regs.second(), &mut scratch.told);
    }
    // SAFETY: a plain field, volatile for the reason that `Scratch` gives.
    let told = unsafe { read_volatile(&raw const scratch.word) };
    scratch.head.location = u64::from(told);
    emit::files(
        scratch,
        new,
        Counter::InstallLost,
        |scratch, index| {
            let fd = scratch.fds[index % FDS_MAX];
            let mut slot = Slot::of(fd, &table);
            // All ones past the last number, which makes -1 of what the scratch holds there.
            let past_told = ((i64::from(told) - 1 - index as i64) >> 63) as i32;
            slot.told = scratch.told[index % FDS_MAX] | past_told;
            (slot.file, slot)
        },
        || 0,
    );
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
