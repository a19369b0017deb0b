//! Slots: what a thread's call has found out of its list so far, where two records tell of a message.
//!
//! A thread sends or receives one list at a time. So what is known of that between one hook and the next
//! is in an array by thread id, which costs a fifth of a map that is hashed. Threads whose ids are the same
//! modulo [`SLOTS`] have a slot in common: who it is of says the slot itself, and so does every entry. Who
//! finds another's there has lost what it had noted, and counts that.

use aya_ebpf::{macros::map, maps::Array};
use fdtrace_common::{counters::Counter, records::LIST_MAX};

use crate::ring;

const SLOTS: u32 = 1024;

/// What the thread does with the list.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    /// Nothing.
    Idle,
    /// It sends it, and that is in no queue yet.
    Sending,
    /// It has given it back without queueing it: its call fails, or has sent nothing.
    GivenUp,
    /// It installs its files.
    Installing,
    /// It installs files of a list, and nothing saw that begin.
    InstallingUnseen,
    /// It installs files of a list that nobody wants.
    PassingOver,
}

/// A number, and the file that it is of.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    /// Of a sender, what its table holds at the number; of a receiver, what the kernel installs.
    pub(crate) file: u64,
    /// Number, thread and `ENTRY_*` flags in one word, so that they are of one thread.
    word: u64,
}

/// The new descriptor is close-on-exec.
pub(crate) const ENTRY_CLOEXEC: u64 = 1 << 62;
/// It was refused, and the receiver was given the errno in its place.
pub(crate) const ENTRY_IN_PLACE: u64 = 1 << 63;

impl Entry {
    #[inline(always)]
    pub(crate) fn new(file: u64, number: i32, tid: u32, flags: u64) -> Self {
        Self {
            file,
            word: u64::from(number as u32) | u64::from(tid) << 32 | flags,
        }
    }

    /// Whether it is this thread's. Ids have 22 bits at most.
    #[inline(always)]
    pub(crate) fn is_of(self, tid: u32) -> bool {
        (self.word >> 32) as u32 & 0x3fff_ffff == tid
    }

    #[inline(always)]
    pub(crate) fn number(self) -> i32 {
        self.word as i32
    }

    #[inline(always)]
    pub(crate) fn has(self, flag: u64) -> bool {
        self.word & flag != 0
    }
}

/// Room for a list's entries; a power of two, so that a mask keeps within.
const ENTRIES: usize = 256;
const _: () = assert!(ENTRIES >= LIST_MAX);

#[repr(C)]
pub(crate) struct Slot {
    tid: u32,
    stage: Stage,
    /// Of a sender before 6.10, the skb's duplicate as soon as there is one.
    pub(crate) list: u64,
    /// The list that this was duplicated from, which its sender gives back when the call is done; or 0.
    original: u64,
    /// What another thread had not given back yet as this one took the slot from it.
    robbed: u64,
    /// Of a sender, where its call keeps the list: not there any more once an skb has it.
    pub(crate) cookie: u64,
    /// When it was copied, or detached.
    pub(crate) t_ns: u64,
    /// The socket that it is sent on, and its inode.
    pub(crate) sender_sock: u64,
    pub(crate) sender_ino: u64,
    pub(crate) socket_fd: i32,
    /// Type of that socket.
    pub(crate) socket_type: u16,
    /// 1 if it goes elsewhere than the socket is connected to.
    pub(crate) addressed: u16,
    /// 1 if it is sent without data.
    pub(crate) empty: u16,
    /// Descriptors that the receiver's control buffer has room for.
    pub(crate) room: u16,
    /// Entries in use; of a receiver, files that had their turn, which may be more.
    pub(crate) count: u32,
    entries: [Entry; ENTRIES],
}

#[map]
static THREADS: Array<Slot> = Array::with_max_entries(SLOTS, 0);

/// The slot that this thread shares with others.
#[inline(always)]
pub(crate) fn slot(tid: u32) -> Option<&'static mut Slot> {
    let slot = THREADS.get_ptr_mut(tid % SLOTS)?;
    // SAFETY: the slot lives as long as the map. Others who write it leave their id.
    Some(unsafe { &mut *slot })
}

impl Slot {
    /// Whether it has been this thread's since then; not if it holds another one's list.
    #[inline(always)]
    fn is_of(&self, tid: u32) -> bool {
        // SAFETY: a plain field, volatile because other CPUs write it.
        unsafe { (&raw const self.tid).read_volatile() == tid }
    }

    /// What this thread does with `list`.
    #[inline(always)]
    pub(crate) fn stage_of(&self, tid: u32, list: u64) -> Stage {
        if self.is_of(tid) && self.list == list {
            self.stage
        } else {
            Stage::Idle
        }
    }

    /// What this thread does with whatever list.
    #[inline(always)]
    pub(crate) fn stage(&self, tid: u32) -> Stage {
        if self.is_of(tid) {
            self.stage
        } else {
            Stage::Idle
        }
    }

    /// From here on it is this thread's, with this list. Another one that is not done with its own loses that.
    #[inline(always)]
    pub(crate) fn take(&mut self, tid: u32, list: u64, stage: Stage) {
        let in_use = self.stage == Stage::Sending || self.stage == Stage::Installing;
        if !self.is_of(tid) {
            if in_use {
                ring::count(Counter::WindowFull);
                self.robbed = self.list;
            }
            if self.original != 0 {
                self.robbed = self.original;
            }
        }
        self.tid = tid;
        self.list = list;
        self.original = 0;
        self.stage = stage;
        self.count = 0;
    }

    /// The skb has got a duplicate of the list that this thread sends, and that travels. Says whether it
    /// sends it; that of another thread whose slot this was has been counted as lost.
    #[inline(always)]
    pub(crate) fn duplicate(&mut self, tid: u32, list: u64, duplicate: u64) -> bool {
        if self.stage_of(tid, list) == Stage::Sending {
            self.original = list;
            self.list = duplicate;
            return true;
        }
        list == self.robbed
    }

    /// Whether this list is the one that the thread's was duplicated from, or was another thread's: of these
    /// there is nothing to tell. It is about to be gone.
    #[inline(always)]
    pub(crate) fn forgets(&mut self, tid: u32, list: u64) -> bool {
        if self.is_of(tid) && self.original == list {
            self.original = 0;
            if self.stage == Stage::Sending {
                // Nothing saw it get into a queue.
                ring::count(Counter::WindowFull);
                self.stage = Stage::Idle;
            }
            return true;
        }
        if self.robbed == list {
            self.robbed = 0;
            return true;
        }
        false
    }

    /// The list's address as a number that can be handed to a global function: what the verifier knows to be
    /// a pointer cannot.
    #[inline(always)]
    pub(crate) fn list_number(&self) -> u64 {
        // SAFETY: a plain field, volatile so that it comes from the map.
        unsafe { (&raw const self.list).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// The entry at this place.
    #[inline(always)]
    pub(crate) fn entry(&self, place: usize) -> Entry {
        let entry = self.entries.as_ptr().wrapping_add(place % ENTRIES);
        // SAFETY: within the slot; volatile because other CPUs write it.
        unsafe { entry.read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn note(&mut self, place: usize, entry: Entry) {
        let to = self.entries.as_mut_ptr().wrapping_add(place % ENTRIES);
        // SAFETY: as above.
        unsafe { to.write_volatile(entry) };
    }
}
