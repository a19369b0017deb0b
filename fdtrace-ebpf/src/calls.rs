//! Calls under way, by thread: what a return needs to know of its entry.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use fdtrace_common::counters::Counter;

use crate::{emit::Program, ring};

/// Arguments of a function that a kretprobe will look at when it returns.
pub(crate) type Arguments = [u64; 4];

/// All zero, a word at a time: the compiler would call a function that goes byte by byte.
#[inline(always)]
pub(crate) fn no_arguments() -> Arguments {
    let mut arguments = MaybeUninit::<Arguments>::uninit();
    for index in 0..size_of::<Arguments>() / size_of::<u64>() {
        // SAFETY: that is within the arguments.
        unsafe {
            arguments
                .as_mut_ptr()
                .cast::<u64>()
                .add(index)
                .write_volatile(0)
        };
    }
    // SAFETY: all of them were written.
    unsafe { arguments.assume_init() }
}

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
///
/// The kernel follows only so many calls to their return at a time, and tells nobody of the others. One
/// whose arguments are here still when the thread calls again was among those.
#[inline(always)]
pub(crate) fn enter(program: Program, arguments: Arguments) {
    let key = key(program);
    if CALLS
        .insert(&key, &arguments, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        return;
    }
    ring::count(match CALLS.insert(&key, &arguments, 0) {
        Ok(()) => Counter::ReturnSkipped,
        Err(_) => Counter::WindowFull,
    });
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

/// A list that this thread receives.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Receiving {
    pub(crate) list: u64,
    /// Files that have been installed or refused so far.
    pub(crate) index: u32,
    pub(crate) count: u32,
    pub(crate) stage: Stage,
}

/// How far a receive is, as far as was seen. Not everything is: the kernel skips a program's run
/// on a CPU where a task was preempted within that program.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Stage {
    /// The message is being read.
    Reading,
    /// Its files are being installed.
    Installing,
    /// Its files are being installed, and nothing saw that begin.
    InstallingUnseen,
}

/// Receives between the read of a message and the release of its list. The oldest make room: a
/// read that failed leaves its own behind.
#[map]
static RECEIVING: LruHashMap<u32, Receiving> = LruHashMap::with_max_entries(4096, 0);

#[inline(always)]
fn begin(list: u64, count: u32, stage: Stage) {
    let receiving = Receiving {
        list,
        index: 0,
        count,
        stage,
    };
    if RECEIVING.insert(&tid(), &receiving, 0).is_err() {
        ring::count(Counter::WindowFull);
    }
}

/// This thread reads a message with `list`.
#[inline(always)]
pub(crate) fn begin_read(list: u64, count: u32) {
    begin(list, count, Stage::Reading);
}

/// This thread begins to install a list.
#[inline(always)]
pub(crate) fn begin_install(list: u64, count: u32) {
    begin(list, count, Stage::Installing);
}

/// What this thread is installing. A descriptor that somebody else installs is no transfer.
#[inline(always)]
pub(crate) fn installing() -> Option<&'static mut Receiving> {
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
    let receiving = unsafe { &mut *RECEIVING.get_ptr_mut(&tid())? };
    if receiving.stage == Stage::Installing {
        return Some(receiving);
    }
    // Of which list is not known: a peek installs a duplicate.
    receiving.stage = Stage::InstallingUnseen;
    None
}

/// This thread is done with its list; says how far it was.
#[inline(always)]
pub(crate) fn end_receive() -> Option<Stage> {
    let tid = tid();
    // SAFETY: as above.
    let stage = unsafe { RECEIVING.get(&tid) }.map(|receiving| receiving.stage);
    if stage.is_some() {
        let _ = RECEIVING.remove(&tid);
    }
    stage
}

/// A send whose list was seen.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Sending {
    pub(crate) list: u64,
    /// Time of its `ListCopied`.
    pub(crate) t_ns: u64,
    /// The socket that it is sent on, if it goes where that is connected to, or 0.
    pub(crate) sock: u64,
    /// Not zero once the call has given that list back.
    pub(crate) released: u32,
    /// Not zero if an skb has got a duplicate of it.
    duplicated: u32,
}

/// Sends under way. Where nothing sees them return, the oldest make room.
#[map]
static SENDING: LruHashMap<u32, Sending> = LruHashMap::with_max_entries(4096, 0);

/// This thread is sending `list` on `sock`, or 0 if it goes elsewhere than that is connected to.
#[inline(always)]
pub(crate) fn begin_send(list: u64, sock: u64, t_ns: u64) {
    let sending = Sending {
        list,
        t_ns,
        sock,
        released: 0,
        duplicated: 0,
    };
    // If there is no room, it will not be known why the send failed.
    let _ = SENDING.insert(&tid(), &sending, 0);
}

/// A duplicate of `list` has been made: if this thread is sending that, an skb has it.
#[inline(always)]
pub(crate) fn duplicate_sent(list: u64) {
    if let Some(sending) = SENDING.get_ptr_mut(&tid()) {
        // SAFETY: the entry is this thread's, and lives as long as the map.
        unsafe {
            if (*sending).list == list {
                (*sending).duplicated = 1;
            }
        }
    }
}

/// This thread gives a list back; says whether that is the one that it is sending, of which an skb
/// has got a duplicate: every sender does so up to 6.9, whatever became of the message.
#[inline(always)]
pub(crate) fn release_sent(list: u64) -> bool {
    let Some(sending) = SENDING.get_ptr_mut(&tid()) else {
        return false;
    };
    // SAFETY: the entry is this thread's, and lives as long as the map.
    unsafe {
        let ours = (*sending).list == list;
        if ours {
            (*sending).released = 1;
        }
        ours && (*sending).duplicated != 0
    }
}

/// Whether this thread is sending this list.
#[inline(always)]
pub(crate) fn is_sending(list: u64) -> bool {
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
    unsafe { SENDING.get(&tid()) }.is_some_and(|sending| sending.list == list)
}

/// What this thread was sending, as the call returns.
#[inline(always)]
pub(crate) fn end_send() -> Option<Sending> {
    let tid = tid();
    // SAFETY: the entry is this thread's, and only this thread adds or removes it.
    let sending = unsafe { SENDING.get(&tid) }.copied();
    if sending.is_some() {
        let _ = SENDING.remove(&tid);
    }
    sending
}

/// Lists that have been seen in a queue, where only the end of their memory shows what became of
/// them. Whatever comes to lie at such an address later is another list or none: the entry goes
/// with the memory.
#[map]
static LISTS: HashMap<u64, u32> = HashMap::with_max_entries(8192, 0);

/// Wants to know when the memory of `list` is given back.
#[inline(always)]
pub(crate) fn watch_list(list: u64) {
    if LISTS.insert(&list, &0, 0).is_err() {
        ring::count(Counter::WindowFull);
    }
}

#[inline(always)]
pub(crate) fn is_watched(memory: u64) -> bool {
    LISTS.get_ptr(&memory).is_some()
}

/// The list is gone.
#[inline(always)]
pub(crate) fn forget_list(list: u64) {
    let _ = LISTS.remove(&list);
}
