//! The filter: whose transfers are reported, decided here so that the rest never leaves the kernel.
//!
//! A transfer is wanted if either end is a wanted task. A sender's own records come before anybody
//! knows who will receive: those of an unwanted sender are *held*, by list, until a wanted task
//! reads the list or destroys it, and forgotten when another has. A list that is wanted is *marked*,
//! so that what others do with it is reported too.
//!
//! With tracepoints alone a receive returns after its list was freed, and the next one may be at
//! the address by then. So what is held is forgotten as the list is read, be it by a peek; a mark
//! has the time since which it holds.
//!
//! Without a filter all of this is a constant `false`, which the verifier cuts out.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::RawTracePointContext,
};
use fdtrace_common::{
    counters::Counter,
    records::{
        FILES_PER_RECORD, FLAG_LEFT, FLAG_OOB, FLAG_PEEK, FLAG_WANTED, Head, LIST_MAX, RecordKind,
    },
};

use crate::{
    calls,
    kernel::{self, Task},
    offsets::{
        FILTER_BY_CGROUP, FILTER_BY_COMM, FILTER_BY_PID, FILTER_CGROUP_HIGH, FILTER_CGROUP_LOW,
        INSTALL_BY_TABLE, SEEN_BEFORE_QUEUE,
    },
    ring::{self, Record},
};

const SOCK_STREAM: u16 = 1;

/// Wanted processes. Theirs become wanted as they are forked.
#[map]
static WANTED_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(65536, 0);

/// Not zero while fdtrace passes descriptors to itself, to see what fires: nothing is passed over.
#[map]
static SELF_TEST: Array<u64> = Array::with_max_entries(1, 0);

/// Names of wanted tasks, NUL-padded.
#[map]
static WANTED_COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(64, 0);

/// Lists of wanted transfers, by address, while they live; since when they are known to be.
#[map]
static MARKED_LISTS: HashMap<u64, u64> = HashMap::with_max_entries(16384, 0);

/// Records of unwanted senders.
#[map]
static HELD_RECORDS: HashMap<HeldKey, Record> = HashMap::with_max_entries(8192, 0);

/// Which record of which list.
#[derive(Clone, Copy)]
#[repr(C)]
struct HeldKey {
    list: u64,
    kind: u32,
    first: u32,
}

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is reported.
    Emit,
    /// It is kept until it is known whether anybody wants it.
    Hold,
    /// Nobody wants it.
    Drop,
}

/// Where in a list's life a hop is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// With its sender.
    Sending,
    /// A receiver begins to read it.
    Reading,
    /// With its receiver, or with whoever destroys it.
    Receiving,
}

impl Stage {
    /// The stage of the hop that counts its losses so.
    #[inline(always)]
    pub(crate) fn of(lost: Counter) -> Self {
        match lost {
            Counter::CopyLost | Counter::AttachLost | Counter::QueueLost => Self::Sending,
            Counter::DequeueLost => Self::Reading,
            _ => Self::Receiving,
        }
    }
}

#[inline(always)]
pub(crate) fn is_on() -> bool {
    FILTER_BY_PID.load() == 1 || FILTER_BY_COMM.load() == 1 || FILTER_BY_CGROUP.load() == 1
}

/// Whether neither the current task nor this list, which it reads, is wanted: then nothing need be
/// put together.
#[inline(always)]
pub(crate) fn passes_over(task: Task, list: u64) -> bool {
    if !is_on() || INSTALL_BY_TABLE.load() != 1 {
        return false;
    }
    let mut comm = [0; 16];
    if FILTER_BY_COMM.load() == 1 {
        // SAFETY: it can be written, and the task is the current one.
        unsafe { task.copy_comm(&raw mut comm) };
    }
    // SAFETY: the slot lives as long as the map.
    let is_tested = SELF_TEST
        .get_ptr(0)
        .is_some_and(|on| unsafe { on.read_volatile() } != 0);
    if is_tested || is_wanted(&comm) || is_marked(list) {
        return false;
    }
    forget(list);
    true
}

/// Whether nobody wants what a receiver, or whoever destroys a list, does with it now.
#[inline(always)]
pub(crate) fn drops(head: &Head) -> bool {
    is_on() && !is_wanted(&head.comm) && !is_marked(head.list)
}

/// Decides about a list's records, whose head is complete but for the run's own fields; notes in
/// the head whether the current task is wanted.
#[inline(always)]
pub(crate) fn way(head: &mut Head, stage: Stage) -> Way {
    if !is_on() {
        return Way::Emit;
    }
    let wanted = is_wanted(&head.comm);
    if wanted {
        head.flags |= FLAG_WANTED;
    }
    if head.list == 0 {
        // A sender that was too late for its list. There are few, and any may be wanted.
        return Way::Emit;
    }
    let marked = is_marked(head.list) || (head.origin != 0 && is_marked(head.origin));
    match stage {
        Stage::Sending => {
            if wanted || marked {
                mark(head);
                Way::Emit
            } else {
                Way::Hold
            }
        }
        Stage::Reading => {
            if wanted && !marked {
                take_up(head);
            }
            if wanted || marked {
                return Way::Emit;
            }
            if INSTALL_BY_TABLE.load() == 1 {
                forget(head.list);
            }
            Way::Drop
        }
        Stage::Receiving => {
            if wanted || marked {
                Way::Emit
            } else {
                Way::Drop
            }
        }
    }
}

/// The current task destroys a list that nobody has read: if it is wanted, so is the list, with what
/// was kept of its sender.
#[inline(always)]
pub(crate) fn destroys(head: &Head) {
    if is_on() && is_wanted(&head.comm) && !is_marked(head.list) {
        take_up(head);
    }
}

/// A send of this list has failed, so nobody will receive it.
#[inline(always)]
pub(crate) fn failed(list: u64) {
    if is_on() {
        forget(list);
    }
}

/// A hop's records have gone their way: what was kept for the list goes when the list does.
#[inline(always)]
pub(crate) fn done(head: &Head, way: Way, stage: Stage) {
    if !is_on() || stage != Stage::Receiving {
        return;
    }
    let ends = head.kind == RecordKind::ListReleased as u16
        || head.kind == RecordKind::ListDestroyed as u16
        || (head.kind == RecordKind::ReceiveReturned as u16
            && head.flags & (FLAG_PEEK | FLAG_OOB | FLAG_LEFT) == 0
            // A receive from a stream that fails leaves what it read.
            && (head.result >= 0 || head.socket_type != SOCK_STREAM));
    if !ends {
        return;
    }
    let returned = head.kind == RecordKind::ReceiveReturned as u16;
    if way == Way::Drop {
        // Up to 6.9 every sender gives its own list back, and a duplicate of it is in the queue.
        let lives_on = head.kind == RecordKind::ListReleased as u16 && calls::is_sending(head.list);
        if !returned && !lives_on {
            forget(head.list);
        }
        return;
    }
    // What was queued at its address since it was read is another list.
    let until = if returned { head.origin } else { u64::MAX };
    // SAFETY: the entry is a number, and stays one whoever writes it.
    if unsafe { MARKED_LISTS.get(&head.list) }.is_some_and(|since| *since <= until) {
        let _ = MARKED_LISTS.remove(&head.list);
    }
}

/// Keeps a record until it is known whether anybody wants it.
#[inline(always)]
pub(crate) fn hold(record: &Record) {
    let head = record.head();
    let key = HeldKey {
        list: head.list,
        kind: u32::from(head.kind),
        first: u32::from(head.first),
    };
    if HELD_RECORDS.insert(&key, record, 0).is_err() {
        ring::count(Counter::HeldFull);
    }
}

/// Whether the current task is, whose name this is.
#[inline(always)]
fn is_wanted(comm: &[u8; 16]) -> bool {
    if FILTER_BY_PID.load() == 1 {
        let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        // SAFETY: only the presence of the entry counts.
        if unsafe { WANTED_PIDS.get(&pid) }.is_none() {
            return false;
        }
    }
    // SAFETY: likewise.
    if FILTER_BY_COMM.load() == 1 && unsafe { WANTED_COMMS.get(comm) }.is_none() {
        return false;
    }
    if FILTER_BY_CGROUP.load() == 1 {
        let wanted =
            u64::from(FILTER_CGROUP_HIGH.load()) << 32 | u64::from(FILTER_CGROUP_LOW.load());
        return is_below(wanted) != 0;
    }
    true
}

/// Whether the current task is in this cgroup or one below it. A global function, verified once for
/// all who ask.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_below(cgroup: u64) -> u64 {
    u64::from(Task::current().is_below(cgroup))
}

#[inline(always)]
fn is_marked(list: u64) -> bool {
    // SAFETY: only the presence of the entry counts.
    unsafe { MARKED_LISTS.get(&list) }.is_some()
}

#[inline(always)]
fn mark(head: &Head) {
    if MARKED_LISTS.insert(&head.list, &head.t_ns, 0).is_err() {
        ring::count(Counter::MarkedFull);
    }
}

/// From now on this list is wanted, with what was kept of its sender.
#[inline(always)]
fn take_up(head: &Head) {
    release(head);
    mark(head);
}

/// Most records of one kind that a list has.
const RUNS_MAX: u64 = LIST_MAX.div_ceil(FILES_PER_RECORD) as u64;

/// Reports what was held of this list, and of the one that it was duplicated from.
#[inline(always)]
fn release(head: &Head) {
    let key = HeldKey {
        list: head.list,
        kind: RecordKind::ListQueued as u32,
        first: 0,
    };
    // What a sender that looked too late has left is not of the list that is read now.
    // SAFETY: whoever takes the list apart is alone with it.
    let left = unsafe { HELD_RECORDS.get(&key) }.is_some_and(|held| {
        let held = held.head();
        held.count != head.count || (held.skb != 0 && held.skb != head.skb)
    });
    take_all(head.list, !left);
}

/// Forgets it.
#[inline(always)]
fn forget(list: u64) {
    take_all(list, false);
}

/// The list that `list` was duplicated from (up to 6.9), or itself.
#[inline(always)]
fn origin(list: u64) -> u64 {
    let key = HeldKey {
        list,
        kind: RecordKind::ListAttached as u32,
        first: 0,
    };
    // SAFETY: the entry stays while the list does.
    match unsafe { HELD_RECORDS.get(&key) } {
        Some(held) if held.head().origin != 0 => held.head().origin,
        _ => list,
    }
}

#[inline(always)]
fn take_all(list: u64, report: bool) {
    if SEEN_BEFORE_QUEUE.load() == 1 {
        let origin = origin(list);
        take_run(origin, RecordKind::ListCopied, report);
        take_run(list, RecordKind::ListAttached, report);
    }
    take_one(list, RecordKind::SocketNamed as u64, 0, u64::from(report));
    take_run(list, RecordKind::ListQueued, report);
}

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
        ring::submit_held(held, Counter::QueueLost);
    }
    let head = held.head();
    let more = head.first + head.files < head.total;
    let _ = HELD_RECORDS.remove(&key);
    u64::from(more)
}

/// A wanted process's children are wanted from their first instruction.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn filter_fork(ctx: RawTracePointContext) -> i32 {
    let child: u64 = ctx.arg(1);
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    let pid = kernel::task_pid(child);
    // SAFETY: only the presence of the entry counts.
    if pid != parent
        && unsafe { WANTED_PIDS.get(&parent) }.is_some()
        && WANTED_PIDS.insert(&pid, &1, 0).is_err()
    {
        ring::count(Counter::WantedFull);
    }
    0
}

/// The last of a process is gone, and its number may be another's.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub(crate) fn filter_free(ctx: RawTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    let pid = kernel::task_pid(task);
    // A process's first thread is freed last.
    if pid == kernel::task_tid(task) {
        let _ = WANTED_PIDS.remove(&pid);
    }
    0
}
