//! From what a hop found to records: the head with the task's identity, and the files in runs
//! that fit a record.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::map,
    maps::PerCpuArray,
};
use fdtrace_common::{
    counters::Counter,
    records::{FILES_PER_RECORD, Head, LIST_MAX, NOT_TOLD, RecordKind, WINDOW_WORDS},
};

use crate::{
    filter::{self, Stage, Way},
    kernel::{FdTable, File, Pointer, Task},
    ring::{self, Pending},
};

/// Most records that one hop of one list takes.
const RECORDS_MAX: usize = LIST_MAX.div_ceil(FILES_PER_RECORD);

/// Room for descriptor numbers: a full list may start anywhere in the first half.
pub(crate) const FDS_MAX: usize = 512;

/// What a program works on. It lives in a map and not on the stack because the verifier does not
/// track what is in a map: paths that differ only in what they noted here count as one.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) head: Head,
    /// The current task's descriptors, where the hop looks them up.
    table: FdTable,
    /// Descriptor numbers of the list's files, where the hop knows them.
    pub(crate) fds: [i32; FDS_MAX],
    /// Numbers in the control message of a receive.
    pub(crate) told: [i32; FDS_MAX],
    /// Descriptors that are open after a receive.
    pub(crate) open: [u64; WINDOW_WORDS],
    /// A cursor over bits of `open`: word, bits left in it, numbers found so far.
    pub(crate) word: u32,
    pub(crate) found: u32,
    pub(crate) bits: u64,
    /// 1 if the records under way are to be [held](filter).
    pub(crate) held: u32,
    pub(crate) reserved: u32,
}

impl Scratch {
    /// Keeps the table for [`Scratch::slot`].
    #[inline(always)]
    pub(crate) fn look_up_in(&mut self, table: FdTable) {
        // SAFETY: a plain field, volatile so that it is in the map from here on.
        unsafe { (&raw mut self.table).write_volatile(table) };
    }

    /// What the table holds at `fd`.
    #[inline(always)]
    pub(crate) fn slot(&self, fd: i32) -> Slot {
        // SAFETY: likewise.
        Slot::of(fd, &unsafe { (&raw const self.table).read_volatile() })
    }
}

/// The programs that emit records, each with a scratch of its own.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Program {
    Copy,
    Attach,
    Duplicate,
    Detach,
    Receive,
    Release,
    Destruct,
    Queue,
    Dequeue,
    Install,
    EndKfree,
    EndConsume,
    Send,
    Free,
}

/// One scratch per program and CPU is enough: the kernel does not run a program on a CPU where
/// it is already running, but skips that run and counts it.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(Program::Free as u32 + 1, 0);

/// CLOCK_MONOTONIC in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { bpf_ktime_get_ns() }
}

/// This program's scratch, its head holding the time and the current task and nothing else yet.
#[inline(always)]
pub(crate) fn begin(
    task: Task,
    program: Program,
    kind: RecordKind,
) -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(program as u32)?;
    // SAFETY: the slot is this program's and this CPU's, see `SCRATCH`.
    let scratch = unsafe { &mut *scratch };
    scratch.head = Head {
        t_ns: now(),
        epoch: ring::epoch(),
        list: 0,
        origin: 0,
        skb: 0,
        receiver_sock: 0,
        sender_sock: 0,
        receiver_ino: 0,
        sender_ino: 0,
        location: 0,
        pid: task.pid(),
        tid: task.tid(),
        // SAFETY: takes nothing and always succeeds.
        cpu: unsafe { bpf_get_smp_processor_id() },
        socket_fd: -1,
        result: 0,
        syscall: -1,
        kind: kind as u16,
        flags: 0,
        count: 0,
        first: 0,
        files: 0,
        socket_type: 0,
        total: 0,
        room: 0,
        comm: [0; 16],
    };
    // SAFETY: the field can be written.
    unsafe { task.copy_comm(&raw mut scratch.head.comm) };
    Some(scratch)
}

/// Writes in which functions the list of the scratch's head ends, as a record of its own ahead of
/// the one that it is for.
#[inline(always)]
pub(crate) fn callers(scratch: &mut Scratch, context: *const c_void) {
    let kind = scratch.head.kind;
    scratch.head.kind = RecordKind::Called as u16;
    ring::submit_callers(&mut scratch.head, Counter::EndLost, context);
    scratch.head.kind = kind;
}

/// A descriptor number and what the current task's table holds there.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) fd: i32,
    pub(crate) file: File,
    pub(crate) cloexec: u32,
    /// See [`fdtrace_common::records::FileSeen::told`].
    pub(crate) told: i32,
}

impl Slot {
    /// No number is known at this hop.
    pub(crate) const UNKNOWN: Self = Self {
        fd: -1,
        file: File(0),
        cloexec: 0,
        told: NOT_TOLD,
    };

    #[inline(always)]
    fn of(fd: i32, table: &FdTable) -> Self {
        Self {
            fd,
            file: table.file(fd),
            cloexec: table.cloexec(fd),
            told: NOT_TOLD,
        }
    }
}

/// Writes `total` files under the scratch's head, asking `file_at` for each by its index.
///
/// `flags_after` is asked once a record's files have been read, for what only then is known.
/// When the ring buffer is full, the rest of the list is lost with the record, and counted.
#[inline(always)]
pub(crate) fn files<P: Pointer>(
    scratch: &mut Scratch,
    total: u32,
    lost: Counter,
    file_at: impl Fn(&Scratch, usize) -> (File<P>, Slot),
    flags_after: impl Fn() -> u16,
) {
    let stage = Stage::of(lost);
    let way = filter::way(&mut scratch.head, stage);
    if way != Way::Drop {
        scratch.held = u32::from(way == Way::Hold);
        write_files(scratch, total, lost, file_at, flags_after);
    }
    filter::done(&scratch.head, way, stage);
}

#[inline(always)]
fn write_files<P: Pointer>(
    scratch: &mut Scratch,
    total: u32,
    lost: Counter,
    file_at: impl Fn(&Scratch, usize) -> (File<P>, Slot),
    flags_after: impl Fn() -> u16,
) {
    scratch.head.total = total as u16;
    // Most messages carry one descriptor: a record of their own size keeps the ring small.
    if total <= 1 {
        let Some(mut record) = Pending::<1>::reserve(lost, 1) else {
            return;
        };
        if total == 1 {
            let (file, slot) = file_at(scratch, 0);
            record.put_file(0, file, slot, true);
        }
        scratch.head.files = total as u16;
        record.submit(&scratch.head, flags_after(), scratch.held);
        return;
    }
    // Once on each side is enough, and the other hops' loops stay short.
    let labelled = matches!(lost, Counter::QueueLost | Counter::DequeueLost);
    for run in 0..RECORDS_MAX {
        let first = run * FILES_PER_RECORD;
        if first >= total as usize {
            return;
        }
        let rest = (total - first as u32).div_ceil(FILES_PER_RECORD as u32);
        let Some(mut record) = Pending::<FILES_PER_RECORD>::reserve(lost, rest) else {
            return;
        };
        scratch.head.first = first as u16;
        for index in 0..FILES_PER_RECORD {
            if first + index >= total as usize {
                // Returning from here spares the verifier every later run on this path.
                scratch.head.files = index as u16;
                record.submit(&scratch.head, flags_after(), scratch.held);
                return;
            }
            let (file, slot) = file_at(scratch, first + index);
            record.put_file(index, file, slot, labelled);
        }
        scratch.head.files = FILES_PER_RECORD as u16;
        record.submit(&scratch.head, flags_after(), scratch.held);
    }
}
