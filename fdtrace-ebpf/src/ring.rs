//! The only module that writes the ring buffer, and the counters of what could not be written.

use core::{ffi::c_void, ptr::read_volatile, slice::from_raw_parts};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE},
    helpers::{bpf_ktime_get_ns, generated::bpf_get_stack},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use fdtrace_common::{
    counters::Counter,
    records::{CALLERS_MAX, Callers, FILES_PER_RECORD, FileSeen, Head, RecordKind, SocketName},
    wake,
};

use crate::kernel;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// When a record was last lost. A time and not a count: this target has no atomic increment, and
/// of two CPUs that store at once either value differs from the one before.
#[map]
static LAST_LOSS: Array<u64> = Array::with_max_entries(1, 0);

/// What the reader has [asked](wake) for.
#[map]
static WAKE: Array<u64> = Array::with_max_entries(1, 0);

/// Whether a record of now wakes the reader: if it has asked for that, and `is_filling_up` where it
/// lets records gather.
#[inline(always)]
fn wake_up(is_filling_up: bool) -> u64 {
    if let Some(asked) = WAKE.get_ptr_mut(0) {
        // SAFETY: the slot lives as long as the map; volatile because the reader writes it. That two
        // CPUs find the same in it does no harm.
        unsafe {
            let found = asked.read_volatile();
            if found == wake::BY_NEXT || (found == wake::WHEN_HALF_FULL && is_filling_up) {
                let gathers = found == wake::BY_NEXT;
                asked.write_volatile(if gathers { wake::WHEN_HALF_FULL } else { 0 });
                return u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    u64::from(BPF_RB_NO_WAKEUP)
}

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
fn count_lost(counter: u32, records: u32) {
    add(counter, u64::from(records));
    if let Some(last) = LAST_LOSS.get_ptr_mut(0) {
        // SAFETY: as above; the helper takes nothing and always succeeds.
        unsafe { last.write_volatile(bpf_ktime_get_ns()) };
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    add(counter as u32, 1);
}

#[inline(always)]
fn add(counter: u32, number: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: the slot is this CPU's own and lives as long as the map. An interrupt between
        // load and store may lose one count of the same CPU, never one of another.
        unsafe { *slot += number };
    }
}

/// A record as it is put together, and as it waits in a map: the head, and what follows it.
#[repr(C)]
pub(crate) struct Record {
    head: Head,
    files: [FileSeen; FILES_PER_RECORD],
}

/// A record that waits, and whose share of the room it takes.
#[repr(C)]
pub(crate) struct Held {
    pub(crate) record: Record,
    pub(crate) user: u64,
}

impl Record {
    #[inline(always)]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    #[inline(always)]
    pub(crate) fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    /// How long it is by what its head says.
    #[inline(always)]
    fn len(&self) -> u64 {
        let rest = if self.head.kind == RecordKind::SocketNamed as u16 {
            size_of::<SocketName>() as u64
        } else {
            u64::from(self.head.files) * size_of::<FileSeen>() as u64
        };
        size_of::<Head>() as u64 + rest
    }
}

/// Whether the ring buffer is more than half full.
#[inline(always)]
pub(crate) fn is_filling_up() -> bool {
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    waiting > EVENTS.query(u64::from(BPF_RB_RING_SIZE)) / 2
}

/// Hands the first `len` bytes of a record to userspace. If there is no room, this and the rest of
/// its list, `records` in all, count in the [`Counter`] of the number `lost`.
#[inline(always)]
pub(crate) fn submit(
    record: &Record,
    len: u64,
    lost: u32,
    records: u32,
    is_filling_up: bool,
) -> bool {
    // Most have one file.
    if len == (ONE_FILE * size_of::<u64>()) as u64 {
        let has_room = fill::<ONE_FILE>((&raw const *record).cast(), is_filling_up);
        if !has_room {
            count_lost(lost, records);
        }
        return has_room;
    }
    // From memory, so that the bound that the verifier sees is the one below.
    // SAFETY: a plain local.
    let mut len = unsafe { read_volatile(&raw const len) };
    if len > size_of::<Record>() as u64 {
        len = size_of::<Record>() as u64;
    }
    // SAFETY: the record has that many bytes.
    let bytes = unsafe { from_raw_parts((&raw const *record).cast::<u8>(), len as usize) };
    let has_room = EVENTS.output::<[u8]>(bytes, wake_up(is_filling_up)).is_ok();
    if !has_room {
        count_lost(lost, records);
    }
    has_room
}

/// Words of a record with one file.
const ONE_FILE: usize = (size_of::<Head>() + size_of::<FileSeen>()) / size_of::<u64>();
const _: () = assert!(size_of::<FileSeen>() % size_of::<u64>() == 0);

/// Hands over a record of so many words. To reserve that much and fill it costs less than to have any number
/// of bytes copied.
#[inline(always)]
fn fill<const WORDS: usize>(record: *const u64, is_filling_up: bool) -> bool {
    let Some(mut entry) = EVENTS.reserve::<[u64; WORDS]>(0) else {
        return false;
    };
    let to = entry.as_mut_ptr().cast::<u64>();
    for word in 0..WORDS {
        // SAFETY: both are at least that long. Volatile, so that it stays a load and a store each.
        unsafe {
            to.add(word)
                .write_volatile(record.add(word).read_volatile())
        };
    }
    entry.submit(wake_up(is_filling_up));
    true
}

/// Hands over a record of so many words that was held. One that finds no room counts in `lost`.
#[inline(always)]
pub(crate) fn submit_words<const WORDS: usize>(record: *const u64, lost: Counter) {
    if !fill::<WORDS>(record, false) {
        count_lost(lost as u32, 1);
    }
}

/// Hands over the first `len` bytes of a record that was put together elsewhere. One that finds no
/// room is counted, but breaks no message up.
#[inline(always)]
pub(crate) fn submit_part<T>(record: *const T, len: usize, lost: Counter) {
    // As above.
    // SAFETY: a plain local.
    let mut len = unsafe { read_volatile(&raw const len) };
    if len > size_of::<T>() {
        len = size_of::<T>();
    }
    // SAFETY: the record has that many bytes.
    let bytes = unsafe { from_raw_parts(record.cast::<u8>(), len) };
    if EVENTS.output::<[u8]>(bytes, wake_up(false)).is_err() {
        count(lost);
    }
}

/// Hands a record that was held to userspace.
#[inline(always)]
pub(crate) fn submit_held(held: &Record, lost: Counter) {
    submit(held, held.len(), lost as u32, 1, false);
}

const HEAD_WORDS: usize = size_of::<Head>() / size_of::<u64>();
const _: () = assert!(size_of::<Head>() % size_of::<u64>() == 0);

/// Makes the head all zero, a word at a time: the compiler would call a function that goes byte by
/// byte.
#[inline(always)]
pub(crate) fn clear_head(head: &mut Head) {
    let head = (&raw mut *head).cast::<u64>();
    for word in 0..HEAD_WORDS {
        // SAFETY: the head is that long, and zero is a value of each of its fields.
        unsafe { head.add(word).write_volatile(0) };
    }
}

#[repr(C)]
struct CallersRecord {
    head: Head,
    callers: Callers,
}

/// Writes the functions that the program which has this `context` was called in.
#[inline(always)]
pub(crate) fn submit_callers(head: &mut Head, lost: Counter, context: *const c_void) {
    let Some(mut entry) = EVENTS.reserve::<CallersRecord>(0) else {
        count_lost(lost as u32, 1);
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
    entry.submit(wake_up(false));
}
