//! The only module that writes the ring buffer, and the counters of what could not be written.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_get_stack},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use fdtrace_common::{
    counters::Counter,
    records::{CALLERS_MAX, Callers, FILES_PER_RECORD, FileSeen, Head, RecordKind, SocketName},
};

use crate::{
    emit::Slot,
    filter::{self, Stage, Way},
    kernel::{self, File, Pointer},
};

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// When a record was last lost. A time and not a count: this target has no atomic increment, and
/// of two CPUs that store at once either value differs from the one before.
#[map]
static LAST_LOSS: Array<u64> = Array::with_max_entries(1, 0);

/// See [`Head::epoch`].
#[inline(always)]
pub(crate) fn epoch() -> u64 {
    // SAFETY: the slot lives as long as the map; volatile because other CPUs write it.
    LAST_LOSS
        .get_ptr(0)
        .map_or(0, |last| unsafe { last.read_volatile() })
}

/// Counts records that found no room.
#[inline(always)]
fn count_lost(counter: Counter, records: u32) {
    add(counter, u64::from(records));
    if let Some(last) = LAST_LOSS.get_ptr_mut(0) {
        // SAFETY: as above; the helper takes nothing and always succeeds.
        unsafe { last.write_volatile(bpf_ktime_get_ns()) };
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    add(counter, 1);
}

#[inline(always)]
fn add(counter: Counter, number: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot is this CPU's own and lives as long as the map. An interrupt between
        // load and store may lose one count of the same CPU, never one of another.
        unsafe { *slot += number };
    }
}

/// A hop's record with room for `N` files.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct HopRecord<const N: usize> {
    head: Head,
    files: [FileSeen; N],
}

/// A record that is being filled in.
pub(crate) struct Pending<const N: usize>(RingBufEntry<HopRecord<N>>);

impl<const N: usize> Pending<N> {
    /// Room for one record. If there is none, this and the rest of its list, `records` in all,
    /// count as `lost`.
    #[inline(always)]
    pub(crate) fn reserve(lost: Counter, records: u32) -> Option<Self> {
        let entry = EVENTS.reserve::<HopRecord<N>>(0);
        if entry.is_none() {
            count_lost(lost, records);
        }
        entry.map(Self)
    }

    /// Writes file `index` of this record, as it is now, and its label if `labelled`, which is to
    /// be a constant; `index` is below `N`.
    #[inline(always)]
    pub(crate) fn put_file(
        &mut self,
        index: usize,
        file: File<impl Pointer>,
        slot: Slot,
        labelled: bool,
    ) {
        if index >= N {
            return;
        }
        // SAFETY: the entry has N files, and the index was just checked.
        unsafe {
            let seen = (&raw mut (*self.0.as_mut_ptr()).files)
                .cast::<FileSeen>()
                .add(index);
            file.describe(seen);
            if labelled {
                file.label(seen);
            }
            (*seen).slot = slot.file.0;
            (*seen).fd = slot.fd;
            (*seen).told = slot.told;
            (*seen).cloexec = slot.cloexec as u16;
        }
    }

    /// Writes the head, with `flags` added, and hands the record to userspace; or, if it is to be
    /// `held`, to the filter.
    #[inline(always)]
    pub(crate) fn submit(mut self, head: &Head, flags: u16, held: u32) {
        // SAFETY: the entry is as large as its type.
        unsafe {
            let to = &raw mut (*self.0.as_mut_ptr()).head;
            copy_head(to, head);
            (*to).flags |= flags;
        }
        if filter::holds() && held == 1 {
            if let Some(to) = filter::held(head) {
                // SAFETY: a held record has room for the largest one.
                unsafe { kernel::copy(to.cast::<HopRecord<N>>(), &*self.0.as_ptr()) };
            }
            self.0.discard(0);
            return;
        }
        self.0.submit(0);
    }
}

/// Hands a record over that was written elsewhere. One that finds no room is counted, but breaks
/// no message up.
#[inline(always)]
pub(crate) fn submit_whole<T>(record: &T, lost: Counter) {
    if EVENTS.output::<T>(record, 0).is_err() {
        count(lost);
    }
}

/// A record that waits in a map, with the room of the largest one.
pub(crate) type Held = HopRecord<FILES_PER_RECORD>;

/// What a held record is made of.
pub(crate) static NOTHING_HELD: Held = HopRecord {
    // SAFETY: all-zero bytes are a head, and files.
    head: unsafe { core::mem::zeroed() },
    files: unsafe { core::mem::zeroed() },
};

impl Held {
    /// The list that this one's was duplicated from, or 0.
    #[inline(always)]
    pub(crate) fn origin(&self) -> u64 {
        self.head.origin
    }
}

/// Hands a record that was held to userspace.
#[inline(always)]
pub(crate) fn submit_held(held: &Held, lost: Counter) {
    let one_file = held.head.files <= 1 && held.head.kind != RecordKind::SocketNamed as u16;
    let written = if one_file {
        // SAFETY: the larger record begins like the smaller one.
        let small = unsafe { &*(&raw const *held).cast::<HopRecord<1>>() };
        EVENTS.output::<HopRecord<1>>(small, 0)
    } else {
        EVENTS.output::<Held>(held, 0)
    };
    if written.is_err() {
        count_lost(lost, 1);
    }
}

const _: () = assert!(size_of::<NameRecord>() <= size_of::<Held>());

/// Copies the head, a word at a time: the compiler would call a function that goes byte by byte.
///
/// # Safety
/// `to` can be written.
#[inline(always)]
unsafe fn copy_head(to: *mut Head, from: &Head) {
    const WORDS: usize = size_of::<Head>() / size_of::<u64>();
    const { assert!(size_of::<Head>() % size_of::<u64>() == 0) };
    let (to, from) = (to.cast::<u64>(), (&raw const *from).cast::<u64>());
    for word in 0..WORDS {
        // SAFETY: the caller's promise; both are a head long, and any bytes are a word.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct NameRecord {
    head: Head,
    name: SocketName,
}

/// Writes a socket's name, filled in by `fill`, which returns the name's length.
#[inline(always)]
pub(crate) fn submit_name(
    head: &mut Head,
    lost: Counter,
    fill: impl FnOnce(*mut u8, usize) -> u32,
) {
    const ROOM: usize = 108; // sun_path
    let way = filter::way(head, Stage::Sending);
    let Some(mut entry) = EVENTS.reserve::<NameRecord>(0) else {
        count_lost(lost, 1);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is as large as its type, and `fill` writes at most ROOM bytes.
    unsafe {
        copy_head(&raw mut (*record).head, head);
        let len = fill((&raw mut (*record).name.name).cast(), ROOM);
        (*record).name.len = len;
        (*record).name.reserved = 0;
    }
    if filter::holds() && way == Way::Hold {
        if let Some(to) = filter::held(head) {
            // SAFETY: a held record has room for the largest one.
            unsafe { kernel::copy(to.cast::<NameRecord>(), &*entry.as_ptr()) };
        }
        entry.discard(0);
        return;
    }
    entry.submit(0);
}

#[repr(C)]
struct CallersRecord {
    head: Head,
    callers: Callers,
}

/// Writes the functions that the program which has this `context` was called in.
#[inline(always)]
pub(crate) fn submit_callers(head: &mut Head, lost: Counter, context: *const c_void) {
    if filter::way(head, Stage::Receiving) == Way::Drop {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<CallersRecord>(0) else {
        count_lost(lost, 1);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is as large as its type, and the helper writes no more than it is told.
    unsafe {
        kernel::copy(&raw mut (*record).head, head);
        let bytes = bpf_get_stack(
            context.cast_mut(),
            (&raw mut (*record).callers.addresses).cast(),
            size_of::<[u64; CALLERS_MAX]>() as u32,
            0,
        );
        (*record).callers.len = if bytes > 0 { bytes as u32 / 8 } else { 0 };
        (*record).callers.reserved = 0;
    }
    entry.submit(0);
}
