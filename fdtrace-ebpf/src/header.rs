//! The `struct msghdr` of the call that the current task is in: the kernel's own, which says what
//! it copied from a sender's control messages, or what room is left in a receiver's.
//!
//! Tracepoints do not pass it. It is a local variable of the system call, so it lies on the
//! task's kernel stack, between a program's context and the registers that the task entered with.
//! How far from the context depends on the functions in between alone, so the distance is noted
//! for each [`Way`] and tried first. Until it is known, the stack is searched, and what is found
//! is believed only if it is the one thing there that looks like a header: earlier calls leave
//! theirs behind. Where io_uring runs a request within another call, the header of that other call
//! is there too; then the distance must agree as well.

use core::ffi::c_void;

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
};

use fdtrace_common::arch::{Arch, place};

use crate::{
    control::Control,
    kernel::{self, Msghdr, SyscallRegs, Task},
    offsets::*,
};

const SOCK_STREAM: u16 = 1;

/// How many system calls send messages, and how many receive them.
const SENDING: u32 = Arch::X86_64.calls().sending.len() as u32;
const RECEIVING: u32 = Arch::X86_64.calls().receiving.len() as u32;

/// The programs that look for a header.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Looker {
    Queue,
    Send,
    Install,
    Ignored,
}

const LOOKERS: u32 = 4;
const CALLS: u32 = 8; // no fewer than either
const SOCKETS: u32 = 8;
/// Added to a socket's number where something else than the usual function is called when a message
/// was queued, as for a socket in a sockmap.
const OWN_READY: u32 = 4;

/// Which functions lie between the header and a program's context: a number below [`WAYS`].
#[derive(Clone, Copy)]
pub(crate) struct Way {
    looker: Looker,
    number: u32,
}

const WAYS: u32 = LOOKERS * CALLS * SOCKETS;

impl Way {
    /// The way from the system call at this place among those that send or receive, if it is one of
    /// them, to `looker`, over a socket of this type; an out-of-band byte takes another way, and so does
    /// a receiver with a function of its own that is called when something was queued.
    #[inline(always)]
    pub(crate) fn of(
        looker: Looker,
        call: u32,
        socket_type: u16,
        oob: bool,
        own_ready: bool,
    ) -> Option<Self> {
        let calls = match looker {
            Looker::Install => RECEIVING,
            _ => SENDING,
        };
        if call >= calls {
            return None;
        }
        let socket = match socket_type {
            _ if oob => 3,
            1 => 0,
            2 => 1,
            _ => 2,
        };
        let socket = socket + u32::from(own_ready) * OWN_READY;
        let number = ((looker as u32) * CALLS + call) * SOCKETS + socket;
        Some(Self { looker, number })
    }
}

/// Whether a system call at this place among those that send messages is one of them.
#[inline(always)]
pub(crate) fn sends(call: u32) -> bool {
    call < SENDING
}

/// How far the header is from the context, by way; 0 where that is not known yet.
#[map]
static DISTANCES: Array<u64> = Array::with_max_entries(WAYS, 0);

/// As much of a header as is looked at, in words.
const HEADER_WORDS: usize = 13;

/// As much of the stack as is searched, below the registers, in words. The header is in one of
/// the outermost frames; the kernel may move those down by up to 1 KiB at random.
const STACK_WORDS: usize = 352;

/// A header may begin at any word but the last ones.
const SEARCHED_WORDS: usize = STACK_WORDS - HEADER_WORDS;

/// Words that one call searches. Wherever a header may begin, the verifier follows the rest of the
/// loop once more: one loop over all words is 0.7 million instructions to it, in each program that
/// searches.
const RUN_WORDS: usize = 16;

/// What a search works on.
#[repr(C)]
struct Search {
    context: u64,
    /// Where the registers are.
    top: u64,
    /// What looks like a header, as far as the search has got, and whether there is more than one.
    found: u64,
    several: u64,
    /// With room for the run that the last word to search is in.
    stack: [u64; STACK_WORDS + RUN_WORDS],
}

#[map]
static SEARCHES: PerCpuArray<Search> = PerCpuArray::with_max_entries(LOOKERS, 0);

/// What was found of the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is here.
    At(u64),
    /// The call passes no control messages.
    Nothing,
    /// Several things look like it, or it may be another call's.
    Unsure,
}

const NOTHING: u64 = 0;
const UNSURE: u64 = 1;

/// Whether it is known where the header is by this way. The first calls show that best: they find
/// no headers of earlier ones.
#[inline(always)]
pub(crate) fn knows(way: Way) -> bool {
    // SAFETY: the slot lives as long as the map; volatile because other CPUs write it.
    DISTANCES
        .get_ptr(way.number)
        .is_some_and(|distance| unsafe { distance.read_volatile() } != 0)
}

/// Looks for the header of the call that entered with `regs`. Where the task has an io_uring
/// (`beside_uring`), what runs may be a request of that, and have no header there. Where the caller's
/// own memory says that there are control messages (`asked`), a header without them is not believed.
#[inline(always)]
pub(crate) fn find(
    context: *const c_void,
    regs: SyscallRegs,
    way: Way,
    beside_uring: bool,
    asked: bool,
) -> Found {
    let Some(search) = SEARCHES.get_ptr_mut(way.looker as u32) else {
        return Found::Unsure;
    };
    // Through memory, where addresses are numbers to the verifier.
    // SAFETY: the slot is this program's and this CPU's.
    unsafe {
        (&raw mut (*search).context).write_volatile(context as u64);
        (&raw mut (*search).top).write_volatile(regs.address());
    }
    let looker = way.looker as u64;
    let way = u64::from(way.number);
    match find_header(looker, way, u64::from(beside_uring), u64::from(asked)) {
        NOTHING => Found::Nothing,
        UNSURE => Found::Unsure,
        at => Found::At(at),
    }
}

/// The header of the send that returns now, for a program that all types of socket get to in the same way.
/// Nothing where the current task is in no call that sends, or passes no control message.
#[inline(always)]
pub(crate) fn of_send(context: *const c_void, task: Task, looker: Looker) -> Found {
    let regs = SyscallRegs::of(task);
    let call = regs.number().sending();
    let Some(way) = Way::of(looker, call, SOCK_STREAM, false, false) else {
        return Found::Nothing;
    };
    let control = match call {
        place::SENDMSG => Control::of(regs.second()),
        _ => None,
    };
    if control.is_some_and(Control::is_empty) {
        return Found::Nothing;
    }
    find(context, regs, way, task.has_uring(), control.is_some())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_header(looker: u64, way: u64, beside_uring: u64, asked: u64) -> u64 {
    let Some(search) = SEARCHES.get_ptr_mut(looker as u32) else {
        return UNSURE;
    };
    let Some(distance) = DISTANCES.get_ptr_mut(way as u32) else {
        return UNSURE;
    };
    // SAFETY: the slot is this program's and this CPU's.
    let search = unsafe { &mut *search };
    let (context, top) = (search.context, search.top);
    let sending = looker != Looker::Install as u64;
    let stack = Stack { context, top };
    // SAFETY: the slot lives as long as the map; volatile because other CPUs write it.
    let known = unsafe { distance.read_volatile() };
    if known != 0 && beside_uring == 0 {
        let at = context + known;
        match stack.header_at(Msghdr(at), sending) {
            Looks::Full => return at,
            Looks::Empty if asked == 0 => return NOTHING,
            Looks::Empty => {
                // The caller's memory has changed since, or the functions in between have.
                // SAFETY: as above.
                unsafe { distance.write_volatile(0) };
                return UNSURE;
            }
            Looks::Other => {}
        }
    }
    search_stack(looker);
    // SAFETY: plain fields, volatile because another function writes them.
    let (found, several) = unsafe {
        (
            (&raw const search.found).read_volatile(),
            (&raw const search.several).read_volatile(),
        )
    };
    if found == 0 && beside_uring == 0 {
        return NOTHING;
    }
    if found == 0 || several != 0 {
        return UNSURE;
    }
    if beside_uring == 0 {
        // SAFETY: as above; a wrong number is only tried in vain.
        unsafe { distance.write_volatile(found - context) };
    } else if found - context != known {
        return UNSURE;
    }
    found
}

/// Looks for headers from the registers downward.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_stack(looker: u64) -> u64 {
    const STACK_BYTES: u32 = size_of::<[u64; STACK_WORDS]>() as u32;
    let Some(search) = SEARCHES.get_ptr_mut(looker as u32) else {
        return 0;
    };
    // SAFETY: the slot is this program's and this CPU's.
    let search = unsafe { &mut *search };
    let from = search.top.wrapping_sub(u64::from(STACK_BYTES));
    search.found = 0;
    search.several = 0;
    let words = &raw mut search.stack;
    // SAFETY: there is room for the length.
    unsafe { kernel::copy_from_kernel(words.cast(), STACK_BYTES, from) };
    let mut first = 0;
    while first < SEARCHED_WORDS {
        search_run(looker, from, first as u64);
        first += RUN_WORDS;
    }
    0
}

/// Looks for headers that begin in the run of words from `first`, in the copy of what is at `from`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_run(looker: u64, from: u64, first: u64) -> u64 {
    let Some(search) = SEARCHES.get_ptr_mut(looker as u32) else {
        return 0;
    };
    // SAFETY: the slot is this program's and this CPU's.
    let words = unsafe { &raw const (*search).stack }.cast::<u64>();
    let (control, control_len) = (
        MSGHDR__CONTROL.load() as usize / 8,
        MSGHDR__CONTROLLEN.load() as usize / 8,
    );
    if control >= HEADER_WORDS || control_len >= HEADER_WORDS {
        return 0;
    }
    // A branch less for the verifier to follow each time.
    let (side, least, span) = if looker == Looker::Install as u64 {
        (0, 0, RECEIVED_MAX)
    } else {
        (1, HEADER_MIN, SENT_MAX - HEADER_MIN)
    };
    let first = first as usize;
    if first >= SEARCHED_WORDS {
        return 0;
    }
    for word in first..first + RUN_WORDS {
        if word >= SEARCHED_WORDS {
            break;
        }
        // SAFETY: a header that begins here lies within what was copied.
        let (address, len) = unsafe {
            (
                words.add(word + control).read_volatile(),
                words.add(word + control_len).read_volatile(),
            )
        };
        let len = len.wrapping_sub(least);
        let other = (address >> 63 ^ side) | (span.wrapping_sub(len) | len) >> 63;
        if other == 0 {
            note_header(looker, from + word as u64 * 8);
        }
    }
    0
}

/// Notes what is at this address, if it looks like a header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_header(looker: u64, at: u64) -> u64 {
    let Some(search) = SEARCHES.get_ptr_mut(looker as u32) else {
        return 0;
    };
    // SAFETY: the slot is this program's and this CPU's.
    let search = unsafe { &mut *search };
    let stack = Stack {
        context: search.context,
        top: search.top,
    };
    let sending = looker != Looker::Install as u64;
    if at > search.context && stack.header_at(Msghdr(at), sending) == Looks::Full {
        search.several |= search.found;
        search.found = at;
    }
    0
}

/// What a place on the stack looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// A header with control messages, or one to receive with.
    Full,
    /// A header to send without control messages.
    Empty,
    /// Anything else.
    Other,
}

/// Bytes of control messages that a sender may have: at least a header, and less than what
/// `optmem_max` allows.
const HEADER_MIN: u64 = 16;
const SENT_MAX: u64 = 1 << 20;
/// Bytes of a control buffer that the kernel accepts.
const RECEIVED_MAX: u64 = i32::MAX as u64;
/// Lengths of a `sockaddr`.
const NAME_MAX: u32 = 128;

/// Whether a header may have these control messages: a sender's were copied to the kernel's memory, a
/// receiver's are to be written to its own.
#[inline(always)]
fn is_control(control: u64, len: u64, sending: bool) -> bool {
    let is_kernel = control >> 63 == 1;
    if sending {
        is_kernel && len >= HEADER_MIN && len <= SENT_MAX
    } else {
        !is_kernel && len <= RECEIVED_MAX
    }
}

/// Whether the rest fits a receiver: the address is in a frame further in, its control buffer in user
/// memory if there is one, and the flags are those that a receive sets.
#[inline(always)]
fn is_received(name: u64, header: u64, control: u64, flags: u32) -> bool {
    const PAGE: u64 = 4096;
    // MSG_CMSG_COMPAT, MSG_CMSG_CLOEXEC, MSG_ERRQUEUE, and from MSG_EOR down to MSG_OOB.
    const FLAGS: u32 = 0xc000_20ff;
    name < header && name % 8 == 0 && (control == 0 || control >= PAGE) && flags & !FLAGS == 0
}

struct Stack {
    context: u64,
    top: u64,
}

impl Stack {
    #[inline(always)]
    fn has(&self, address: u64) -> bool {
        address > self.context && address < self.top
    }

    /// Whether these are control messages that the kernel has copied for this header: few bytes to
    /// the stack, in a frame further in, and more to memory of their own.
    #[inline(always)]
    fn is_copied(&self, header: u64, control: u64, len: u64) -> bool {
        const FEW: u64 = 64;
        if self.has(control) && (control > header || len > FEW) {
            return false;
        }
        let first: u64 = kernel::read_copied(control);
        first >= HEADER_MIN && first <= len
    }

    #[inline(always)]
    fn header_at(&self, header: Msghdr<u64>, sending: bool) -> Looks {
        let (control, len) = header.control();
        let (name, name_len) = header.name();
        if !sending && !is_received(name, header.0, control, header.flags()) {
            return Looks::Other;
        }
        // A receiver's address is always put on the stack, a sender's if it has one.
        let is_named = self.has(name) && name_len <= NAME_MAX;
        let is_unnamed = sending && name == 0 && name_len == 0;
        if !(is_named || is_unnamed) {
            Looks::Other
        } else if is_control(control, len, sending) {
            if sending && !self.is_copied(header.0, control, len) {
                return Looks::Other;
            }
            Looks::Full
        } else if sending && len == 0 && control >> 63 == 0 && header.iter() != 0 {
            Looks::Empty
        } else {
            Looks::Other
        }
    }
}
