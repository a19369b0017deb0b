//! What is held of unwanted senders, until it is known whether anybody wants it.
//!
//! Everybody can send, so the room is shared out by user: whoever has used up his share is not held
//! any more, and nobody else is the worse for it. Of what is not held there is a note. With it a
//! list is known to come from an unwanted sender, and what that costs a wanted receiver is counted.

mod buckets;

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_get_current_uid_gid,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use fdtrace_common::{
    counters::Counter,
    records::{FILES_PER_RECORD, FLAG_DISPUTED, FLAG_RACED, Head, LIST_MAX, RecordKind},
};

use crate::{
    emit,
    offsets::{BY_SLOT, SEEN_BEFORE_QUEUE},
    ring::{self, Held},
};

/// Records that there is room for, and how many of them one user may have: most have a few, which
/// wait for as long as a receiver takes to wake up.
const HELD_MAX: u32 = 8192;
const HELD_SHARE: i64 = 1024;

/// Lists that are noted.
const NOTED_MAX: u32 = 65536;

/// Records of unwanted senders.
#[map]
static HELD_RECORDS: HashMap<HeldKey, Held> = HashMap::with_max_entries(HELD_MAX, 0);

/// How many of them each user has.
#[map]
static HELD_BY_USER: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

/// Lists of unwanted senders of whom not everything is held, with the skb that each was put on, if
/// that is known.
#[map]
static UNHELD_LISTS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(NOTED_MAX, 0);

/// Which record of which list.
#[derive(Clone, Copy)]
#[repr(C)]
struct HeldKey {
    list: u64,
    kind: u32,
    first: u32,
}

impl HeldKey {
    #[inline(always)]
    fn first_of(list: u64, kind: RecordKind) -> Self {
        Self {
            list,
            kind: kind as u32,
            first: 0,
        }
    }
}

/// Whether a record is held, and not reported at once. That of a sender which looked too late is
/// reported: the list is not in its queue any more, and nobody will come for it.
#[inline(always)]
pub(crate) fn can_be(head: &Head) -> bool {
    head.flags & FLAG_RACED == 0
}

/// How the records of a list wait that is about to get into its queue, with so many files: whether in a
/// [bucket](buckets). What was held of an earlier list at its address goes.
#[inline(always)]
pub(crate) fn begin(list: u64, count: u16) -> bool {
    if count == 1 && buckets::claim(list) {
        return true;
    }
    forget(list);
    false
}

/// Keeps a record in the bucket of its list, likewise.
#[inline(always)]
pub(crate) fn hold_in_bucket(head: &Head) {
    buckets::keep(head.list, head.kind, (&raw const *head).cast());
}

/// Keeps the record in a program's scratch until it is known whether anybody wants it.
#[inline(always)]
pub(crate) fn hold(program: u32) {
    hold_record(u64::from(program));
}

/// A global function, as those below: the kernel verifies it once, and not in each program.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold_record(program: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    // SAFETY: the scratch begins as such a one does.
    keep(unsafe { &mut *(&raw mut *scratch).cast::<Held>() });
    0
}

#[inline(always)]
fn keep(held: &mut Held) {
    let head = held.record.head();
    let key = HeldKey {
        list: head.list,
        kind: u32::from(head.kind),
        first: u32::from(head.first),
    };
    let skb = head.skb;
    // SAFETY: takes nothing and always succeeds.
    let user = bpf_get_current_uid_gid() as u32;
    held.user = u64::from(user);
    if dispute(&key, held) {
        held.record.head_mut().flags |= FLAG_DISPUTED;
    }
    if has_room(user) {
        if HELD_RECORDS
            .insert(&key, &*held, u64::from(BPF_NOEXIST))
            .is_ok()
        {
            add(user, 1);
            return;
        }
        // What lies there is of a list whose end went unseen, or of another thread that took this
        // one for its own.
        take(&key);
        if HELD_RECORDS
            .insert(&key, &*held, u64::from(BPF_NOEXIST))
            .is_ok()
        {
            add(user, 1);
            return;
        }
    } else {
        take(&key);
    }
    // The oldest notes make room.
    let _ = UNHELD_LISTS.insert(&key.list, &skb, 0);
}

/// Whether another thread has found the same list in its queue, and taken it for its own.
#[inline(always)]
fn dispute(key: &HeldKey, held: &Held) -> bool {
    if SEEN_BEFORE_QUEUE.load() == 1 || key.kind != RecordKind::ListQueued as u32 {
        return false;
    }
    // SAFETY: the entry stays while the list is in its queue.
    unsafe { HELD_RECORDS.get(key) }.is_some_and(|other| {
        let (other, head) = (other.record.head(), held.record.head());
        other.skb == head.skb && (other.tid != head.tid || other.flags & FLAG_DISPUTED != 0)
    })
}

/// Whether this list, which is on that skb (0 if that is not known), is an unwanted sender's.
#[inline(always)]
pub(super) fn knows(list: u64, skb: u64) -> bool {
    let is_on = |other: u64| other == skb || other == 0 || skb == 0;
    let key = HeldKey::first_of(list, RecordKind::ListQueued);
    // SAFETY: entries are copied from, and whoever takes a list apart is alone with it.
    unsafe {
        HELD_RECORDS
            .get(&key)
            .is_some_and(|held| is_on(held.record.head().skb))
            || UNHELD_LISTS.get(&list).is_some_and(|noted| is_on(*noted))
    }
}

/// Reports what is held of the list of a record, and of the one that it was duplicated from.
#[inline(always)]
pub(super) fn release(head: &Head) {
    take_out(head.list, head.skb, u64::from(head.count), 1);
}

/// Forgets it.
#[inline(always)]
pub(super) fn forget(list: u64) {
    take_out(list, 0, 0, 0);
}

/// Takes out what is held of a list, on that skb, with so many files; reports it if so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_out(list: u64, skb: u64, count: u64, report: u64) -> u64 {
    let is_on = |other: u64| other == skb || other == 0 || skb == 0;
    if BY_SLOT.load() == 1 && buckets::take(list, report != 0) {
        return 0;
    }
    let mut whole = false;
    if report != 0 {
        // SAFETY: the entry is a number, and stays one whoever writes it.
        let noted = unsafe { UNHELD_LISTS.get(&list) }.is_some_and(|noted| is_on(*noted));
        if noted {
            // Its sender will not be known, or not all of what it sent.
            ring::count(Counter::HeldFull);
        }
        let key = HeldKey::first_of(list, RecordKind::ListQueued);
        // What a sender that looked too late has left is not of the list that is read now.
        // SAFETY: whoever takes the list apart is alone with it.
        let left = unsafe { HELD_RECORDS.get(&key) }.is_some_and(|held| {
            let held = held.record.head();
            u64::from(held.count) != count || !is_on(held.skb)
        });
        whole = !left && !noted;
    }
    take_all(list, whole);
    0
}

/// The list that `list` was duplicated from (up to 6.9), or itself.
#[inline(always)]
fn origin(list: u64) -> u64 {
    let key = HeldKey::first_of(list, RecordKind::ListAttached);
    // SAFETY: the entry stays while the list does.
    match unsafe { HELD_RECORDS.get(&key) } {
        Some(held) if held.record.head().origin != 0 => held.record.head().origin,
        _ => list,
    }
}

#[inline(always)]
fn take_all(list: u64, report: bool) {
    if BY_SLOT.load() == 1 {
        take_one(list, RecordKind::SocketNamed as u64, 0, u64::from(report));
        take_run(list, RecordKind::Sent, report);
        let _ = UNHELD_LISTS.remove(&list);
        return;
    }
    if SEEN_BEFORE_QUEUE.load() == 1 {
        let origin = origin(list);
        take_run(origin, RecordKind::ListCopied, report);
        take_run(list, RecordKind::ListAttached, report);
    }
    take_one(list, RecordKind::SocketNamed as u64, 0, u64::from(report));
    take_run(list, RecordKind::ListQueued, report);
    let _ = UNHELD_LISTS.remove(&list);
}

/// Most records of one kind that a list has.
const RUNS_MAX: u64 = LIST_MAX.div_ceil(FILES_PER_RECORD) as u64;

#[inline(always)]
fn take_run(list: u64, kind: RecordKind, report: bool) {
    for run in 0..RUNS_MAX {
        let first = run * FILES_PER_RECORD as u64;
        if take_one(list, kind as u64, first, u64::from(report)) == 0 {
            return;
        }
    }
}

/// Takes one record out, and reports it if so. Returns 0 if there was none, or if it was the last of
/// its run. A global function: the kernel verifies it once, and not for each record that a list may
/// have.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_one(list: u64, kind: u64, first: u64, report: u64) -> u64 {
    let key = HeldKey {
        list,
        kind: kind as u32,
        first: first as u32,
    };
    // SAFETY: whoever takes the list apart is alone with it.
    let Some(held) = (unsafe { HELD_RECORDS.get(&key) }) else {
        return 0;
    };
    if report != 0 {
        ring::submit_held(&held.record, Counter::QueueLost);
    }
    let head = held.record.head();
    let more = head.first + head.files < head.total;
    take(&key);
    u64::from(more)
}

/// Takes a record out, if there is one, and gives its room back to its user.
#[inline(always)]
fn take(key: &HeldKey) {
    // SAFETY: as above.
    let Some(user) = (unsafe { HELD_RECORDS.get(key) }).map(|held| held.user as u32) else {
        return;
    };
    if HELD_RECORDS.remove(key).is_ok() {
        add(user, u64::MAX);
    }
}

/// Whether this user has not used up his share.
#[inline(always)]
fn has_room(user: u32) -> bool {
    // SAFETY: the entry is a number, and stays one whoever writes it.
    let held = unsafe { HELD_BY_USER.get(&user) }.copied().unwrap_or(0);
    // One that made room for others, and is counted anew, may be below zero.
    held.cast_signed() < HELD_SHARE
}

/// Adds to what a user has; all CPUs do.
#[inline(always)]
fn add(user: u32, number: u64) {
    let slot = HELD_BY_USER.get_ptr_mut(&user).or_else(|| {
        let _ = HELD_BY_USER.insert(&user, &0, u64::from(BPF_NOEXIST));
        HELD_BY_USER.get_ptr_mut(&user)
    });
    if let Some(slot) = slot {
        // SAFETY: the entry is a number of that size, and stays one as long as the map lives. This
        // target has no atomic types, but the kernel has had this instruction from the start.
        unsafe {
            asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) slot, in(reg) number);
        }
    }
}
