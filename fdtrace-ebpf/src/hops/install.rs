//! `install`: a receive that read a list returns.
//!
//! `sock_recv_length` fires in the receiver's task after every new descriptor is in its table.
//! Reported are the descriptors that are open now and were not when the window opened, with the
//! file behind each. If those may not tell all, because some are missing or other threads use the
//! table, the kernel's own message header is looked at for what room is left, and the receiver's
//! control message for numbers that contradict.

use core::ptr::read_volatile;

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};
use fdtrace_common::{
    counters::Counter,
    records::{
        Call, FLAG_CONTROL_SEEN, FLAG_HAS_URING, FLAG_HOLE, FLAG_LEFT, FLAG_OOB, FLAG_PEEK,
        FLAG_TABLE_FULL, FLAG_TABLE_SHARED, FLAG_WINDOW_SHORT, NO_CONTROL, ROOM_UNKNOWN,
        RecordKind, WINDOW_WORDS,
    },
};

use super::dequeue::{Window, window_of};
use crate::{
    control::{self, Control},
    emit::{self, FDS_MAX, Files, Program, Scratch},
    header::{self, Found, Looker, Way},
    kernel::{FdTable, Msghdr, Pointer, Skb, Sock, SyscallRegs, Task, Typed},
    ring,
};

/// New descriptors that one receive can report: a full list, and some of other threads.
const NEW_FDS_MAX: u32 = 272;

const MSG_OOB: i32 = 1;
const MSG_PEEK: i32 = 2;

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
fn report(ctx: &BtfTracePointContext, task: Task, receiver: Sock<Typed>, window: *mut Window) {
    let (result, flags): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    ring::count(Counter::InstallFired);
    let Some(scratch) = emit::begin(task, Program::Install, RecordKind::ReceiveReturned) else {
        return;
    };
    // SAFETY: the entry is this thread's, and only this thread writes it.
    let window = unsafe { &mut *window };
    let table = FdTable::of(task);
    scratch.look_up_in(table);
    let (words, past) = table.copy_open_words(window.base, scratch.open.as_mut_ptr());
    if words > window.words {
        forget_after(window);
    }
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
    head.room = ROOM_UNKNOWN;
    let regs = SyscallRegs::of(task);
    let number = regs.number();
    head.call = number.call() as i32;
    if flags & MSG_PEEK != 0 {
        head.flags |= FLAG_PEEK;
    }
    if flags & MSG_OOB != 0 {
        head.flags |= FLAG_OOB;
    }
    let is_shared = table.users > 1;
    if is_shared {
        head.flags |= FLAG_TABLE_SHARED;
    }
    if new == 0 && result >= 0 && flags & (MSG_PEEK | MSG_OOB) == 0 {
        // An earlier skb's data went before this one's, which could not be copied.
        let skb = Skb(window.skb);
        if skb.list().0 == window.list {
            head.flags |= FLAG_LEFT;
        }
    }
    let has_uring = task.has_uring();
    if has_uring {
        // What runs may be a request of that, within another call.
        head.flags |= FLAG_HAS_URING;
    }
    let mut told = 0;
    let way = Way::of(
        Looker::Install,
        number.receiving(),
        receiver.kind(),
        flags & MSG_OOB != 0,
        false,
    );
    let doubtful = new != window.count || is_shared;
    if doubtful || way.is_some_and(|way| !header::knows(way)) {
        note_numbers(task, window, words, past, scratch);
        let found = way.is_some_and(|way| find_header(ctx, regs, way, has_uring, scratch));
        if found && scratch.head.call == Call::Recvmsg as i32 {
            told = read_told(regs, scratch);
        }
        if !found && new < window.count {
            // In which call that was, and whether it had a place for descriptors.
            emit::callers(scratch, ctx.as_ptr());
        }
    }
    // One row for each new descriptor, or for each that is told of, if those are more.
    let mut files = Files::behind(new);
    files.told = told;
    files.total = new.max(told.min(window.count));
    emit::files(scratch, Counter::InstallLost, files);
}

/// Notes which numbers are left: whether there are any, and whether one below the new ones is free.
/// The kernel gives the lowest.
#[inline(always)]
fn note_numbers(task: Task, window: &Window, words: u32, past: u32, scratch: &mut Scratch) {
    let free = lowest_free(
        Program::Install as u64,
        u64::from(window.base),
        u64::from(words),
    );
    if free >= task.descriptor_limit() {
        scratch.head.flags |= FLAG_TABLE_FULL;
    }
    let is_shared = scratch.head.flags & FLAG_TABLE_SHARED != 0;
    if past > 0 && (is_shared || free >= u64::from(window.base + words) * 64) {
        scratch.head.flags |= FLAG_WINDOW_SHORT;
    }
    let found = scratch.found as usize;
    if found > 0 && free < scratch.fds[(found - 1) % FDS_MAX] as u64 {
        scratch.head.flags |= FLAG_HOLE;
    }
}

/// Notes what the kernel's message header says of the control buffer, if it is found.
#[inline(always)]
fn find_header(
    ctx: &BtfTracePointContext,
    regs: SyscallRegs,
    way: Way,
    has_uring: bool,
    scratch: &mut Scratch,
) -> bool {
    let head = &mut scratch.head;
    let Found::At(message) = header::find(ctx.as_ptr(), regs, way, has_uring, false) else {
        return false;
    };
    let message = Msghdr(message);
    let (at, left) = message.control();
    head.flags |= FLAG_CONTROL_SEEN;
    let left = if at == 0 { NO_CONTROL } else { left };
    head.location = u64::from(message.flags()) << 32 | left;
    if head.call == Call::Recvmsg as i32
        && let Some(control) = Control::of(regs.second())
    {
        // Only where it begins: what has been written ends here.
        head.room = (at.wrapping_sub(control.address()) % 8) as u16;
    }
    true
}

/// Reads the numbers in the receiver's control message, and gives how many there are.
#[inline(always)]
fn read_told(regs: SyscallRegs, scratch: &Scratch) -> u32 {
    if scratch.head.flags & FLAG_TABLE_SHARED == 0 {
        return 0;
    }
    Control::of(regs.second()).map_or(0, |control| {
        control::read_told_fds(Program::Install, control)
    })
}

/// What the table had no words for was not open.
#[inline(always)]
fn forget_after(window: &mut Window) {
    for word in 0..WINDOW_WORDS {
        if word as u32 >= window.words {
            window.before[word] = 0;
        }
    }
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
