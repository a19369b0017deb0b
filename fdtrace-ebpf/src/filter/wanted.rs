//! Whom the filter wants: processes with their descendants, names, a cgroup.
//!
//! A process is known by the address of the structure that its threads share (`signal_struct`), and
//! not by its number. The number is another process's as soon as its parent has waited for it, and
//! that is before the kernel tells that its memory is freed. The structure lives until the last of
//! its tasks is freed, whoever of them has the process's number after an exec. So an entry can be
//! taken out late, after the last descriptors are closed, and still be nobody else's.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_seq_write},
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::RawTracePointContext,
};
use fdtrace_common::counters::Counter;

use crate::{
    kernel::{self, Task},
    offsets::{
        FILTER_BY_CGROUP, FILTER_BY_COMM, FILTER_BY_PID, FILTER_CGROUP_HIGH, FILTER_CGROUP_LOW,
    },
    ring,
    snapshot::Meta,
};

/// Wanted processes with their numbers, by the address of what their threads share. Theirs become
/// wanted as they are forked.
#[map]
static WANTED_PROCESSES: HashMap<u64, u32> = HashMap::with_max_entries(65536, 0);

/// Numbers that the user has named: of processes, or of one of their threads. Only
/// [`filter_begin`] looks here.
#[map]
static NAMED_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// Names of wanted tasks, NUL-padded.
#[map]
static WANTED_COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(64, 0);

/// Not zero while fdtrace passes descriptors to itself, to see what fires: nothing is passed over.
#[map]
static SELF_TEST: Array<u64> = Array::with_max_entries(1, 0);

#[inline(always)]
pub(crate) fn is_on() -> bool {
    FILTER_BY_PID.load() == 1 || FILTER_BY_COMM.load() == 1 || FILTER_BY_CGROUP.load() == 1
}

/// Whether everybody's are looked at now.
#[inline(always)]
pub(super) fn is_suspended() -> bool {
    // SAFETY: the slot lives as long as the map; volatile because userspace writes it.
    SELF_TEST
        .get_ptr(0)
        .is_some_and(|on| unsafe { on.read_volatile() } != 0)
}

/// Whether the current task is wanted, whose name this is.
#[inline(always)]
pub(super) fn is_wanted(comm: &[u8; 16]) -> bool {
    if FILTER_BY_PID.load() == 1 {
        let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        if !is_known(Task::current().shared(), pid) {
            return false;
        }
    }
    // SAFETY: only the presence of the entry counts.
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

/// Whether the current task is wanted, where its name is not at hand.
#[inline(always)]
pub(super) fn is_current_wanted(task: Task) -> bool {
    let mut comm = [0; 16];
    if FILTER_BY_COMM.load() == 1 {
        // SAFETY: it can be written, and the task is the current one.
        unsafe { task.copy_comm(&raw mut comm) };
    }
    is_wanted(&comm)
}

/// Whether the filter goes by processes, and wants the current task's.
#[inline(always)]
pub(crate) fn is_of_wanted_process(task: Task) -> bool {
    FILTER_BY_PID.load() == 1 && is_known(task.shared(), task.pid())
}

/// Whether the process with this number, whose threads share that structure, is noted.
#[inline(always)]
fn is_known(shared: u64, pid: u32) -> bool {
    // SAFETY: the entry is a number, and stays one whoever writes it.
    unsafe { WANTED_PROCESSES.get(&shared) }.is_some_and(|known| *known == pid)
}

/// Whether the current task is in this cgroup or one below it. A global function, verified once for
/// all who ask.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_below(cgroup: u64) -> u64 {
    u64::from(Task::current().is_below(cgroup))
}

/// Notes a process; says whether there was room.
#[inline(always)]
fn note(shared: u64, pid: u32) -> bool {
    let noted = WANTED_PROCESSES.insert(&shared, &pid, 0).is_ok();
    if !noted {
        ring::count(Counter::WantedFull);
    }
    noted
}

/// `struct bpf_iter__task`, whose members the kernel aligns to 8 bytes each.
#[repr(C)]
pub(crate) struct Visit {
    meta: *const Meta,
    task: u64,
}

/// Finds those who are wanted as the filter begins: who was named, and whose parent is wanted. It
/// writes the number of each process that it has found, and is run until it finds no more.
///
/// # Safety
/// Called by the kernel with its own context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) unsafe extern "C" fn filter_begin(visit: *const Visit) -> i32 {
    // SAFETY: the context is the kernel's; its pointers are null once the walk is over.
    let (meta, task) = unsafe { ((*visit).meta, (*visit).task) };
    if task == 0 {
        return 0;
    }
    let (shared, pid) = (kernel::task_shared(task), kernel::task_pid(task));
    if shared == 0 || is_known(shared, pid) {
        return 0;
    }
    let parent = kernel::task_parent(task);
    // SAFETY: only the presence of the entry counts.
    let is_named = unsafe { NAMED_PIDS.get(&kernel::task_tid(task)) }.is_some();
    if (is_named || is_known(kernel::task_shared(parent), kernel::task_pid(parent)))
        && note(shared, pid)
    {
        // SAFETY: as above; the number is readable.
        unsafe {
            bpf_seq_write(
                (*meta).seq,
                (&raw const pid).cast::<c_void>().cast_mut(),
                size_of::<u32>() as u32,
            );
        }
    }
    0
}

/// A wanted process's children are wanted from their first instruction.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn filter_fork(ctx: RawTracePointContext) -> i32 {
    let child: u64 = ctx.arg(1);
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    let pid = kernel::task_pid(child);
    if pid != parent && is_known(Task::current().shared(), parent) {
        note(kernel::task_shared(child), pid);
    }
    0
}

/// The last of a process is gone. Its number may have been another's for a while.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub(crate) fn filter_free(ctx: RawTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    // The thread that has the process's number ends last. Others may be freed after it, and have
    // done nothing any more.
    if kernel::task_pid(task) == kernel::task_tid(task) {
        let _ = WANTED_PROCESSES.remove(&kernel::task_shared(task));
    }
    0
}
