//! Buckets: what is held of messages that two records tell of, by the address of the list.
//!
//! Most messages pass one file, and most are read within microseconds. An array with a bucket for each hash
//! of an address, which holds one list, saves them the hash map's locks and the count of what each user has.
//! A list whose bucket is another's waits in the [maps](super), and so do messages of more files. So a user
//! who fills the buckets makes others pay, and lose nothing.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{macros::map, maps::Array};
use fdtrace_common::{
    counters::Counter,
    records::{FileSeen, Head, RecordKind, SocketName},
};

use crate::ring;

/// How many there are. Userspace makes do with one where nothing is filtered.
const BUCKETS: u32 = 8192;

/// A record with one file, and one with a socket's name.
const FILE_WORDS: usize = (size_of::<Head>() + size_of::<FileSeen>()) / size_of::<u64>();
const NAME_WORDS: usize = (size_of::<Head>() + size_of::<SocketName>()) / size_of::<u64>();
const _: () = assert!(size_of::<FileSeen>() % size_of::<u64>() == 0);
const _: () = assert!(size_of::<SocketName>() % size_of::<u64>() == 0);

#[repr(C)]
struct Bucket {
    /// Whose it is; 0 if nobody's.
    list: u64,
    /// [`HAS_FILE`] and [`HAS_NAME`].
    has: u64,
    file: [u64; FILE_WORDS],
    name: [u64; NAME_WORDS],
}

const HAS_FILE: u64 = 1;
const HAS_NAME: u64 = 2;

#[map]
static HELD_BUCKETS: Array<Bucket> = Array::with_max_entries(BUCKETS, 0);

/// The bucket that this list shares with others.
#[inline(always)]
fn bucket(list: u64) -> Option<&'static mut Bucket> {
    // Lists are pieces of 2 KiB or 4 KiB.
    let bucket = HELD_BUCKETS.get_ptr_mut((list >> 11 ^ list >> 24) as u32 % BUCKETS)?;
    // SAFETY: it lives as long as the map. Whoever is not its owner looks at `list` alone.
    Some(unsafe { &mut *bucket })
}

/// Takes a list's bucket for it, if nobody else has it; what lies there of an earlier list at the address goes.
#[inline(always)]
pub(super) fn claim(list: u64) -> bool {
    let Some(bucket) = bucket(list) else {
        return false;
    };
    // SAFETY: a plain field, volatile because other CPUs write it.
    let owner = unsafe { (&raw const bucket.list).read_volatile() };
    let is_mine = owner == list || (owner == 0 && exchange(bucket, 0, list));
    if is_mine {
        bucket.has = 0;
    }
    is_mine
}

/// Keeps the record at `record` in the bucket that its list has claimed.
#[inline(always)]
pub(super) fn keep(list: u64, kind: u16, record: *const u64) {
    let Some(bucket) = bucket(list) else {
        return;
    };
    if kind == RecordKind::SocketNamed as u16 {
        copy::<NAME_WORDS>(bucket.name.as_mut_ptr(), record);
        bucket.has |= HAS_NAME;
    } else {
        copy::<FILE_WORDS>(bucket.file.as_mut_ptr(), record);
        bucket.has |= HAS_FILE;
    }
}

/// Gives a list's bucket back, having reported what is there if so. Says whether it had one.
#[inline(always)]
pub(super) fn take(list: u64, report: bool) -> bool {
    let Some(bucket) = bucket(list) else {
        return false;
    };
    // SAFETY: as above.
    if unsafe { (&raw const bucket.list).read_volatile() } != list {
        return false;
    }
    if report {
        if bucket.has & HAS_NAME != 0 {
            ring::submit_words::<NAME_WORDS>(bucket.name.as_ptr(), Counter::QueueLost);
        }
        if bucket.has & HAS_FILE != 0 {
            ring::submit_words::<FILE_WORDS>(bucket.file.as_ptr(), Counter::QueueLost);
        }
    }
    // Not a store: who claims it next must not be overtaken by what was read above.
    exchange(bucket, list, 0);
    true
}

/// Makes it another's bucket, if it is still this one's. This target has no atomic types. The kernel has the
/// instruction since 5.12: for those before userspace takes it out, so that it always fails.
#[inline(always)]
fn exchange(bucket: &mut Bucket, owner: u64, next: u64) -> bool {
    let address = (&raw mut *bucket).cast::<u8>();
    let mut found = owner;
    // SAFETY: the field is a number of that size, and lives as long as the map.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({address} + {at}, r0, {next})",
            address = in(reg) address,
            at = const offset_of!(Bucket, list),
            next = in(reg) next,
            inout("r0") found,
        );
    }
    found == owner
}

#[inline(always)]
fn copy<const WORDS: usize>(to: *mut u64, from: *const u64) {
    for word in 0..WORDS {
        // SAFETY: both are at least that long. Volatile, so that it stays a load and a store each.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}
