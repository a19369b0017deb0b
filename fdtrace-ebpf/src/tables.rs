//! What processes still have open of what was passed: an iterator that walks through all tables when
//! it is asked to, and a program that runs as a process ends.
//!
//! The iterator is attached to nothing. The other one is attached to `sched_process_exit`, where a
//! process has its table still; all but those that are asked about leave it at once.

use core::{ffi::c_void, slice::from_raw_parts};

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_seq_write},
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, PerCpuArray, RingBuf},
    programs::RawTracePointContext,
};
use fdtrace_common::tables::{
    ENDING_HEAD, ENDING_WORDS, EndWanted, EndingPart, NUMBERS_PER_WORD, OpenNumber, TableFilter,
    TableRow, file_bit, pid_bit,
};

use crate::{
    filter,
    kernel::{self, FdTable, File, Task},
    snapshot::Visit,
};

/// What the iterator is to tell.
#[map]
static TABLE_FILTER: Array<TableFilter> = Array::with_max_entries(1, 0);

/// Processes whose end is to be told. Its memory is taken at once: before 6.1 the kernel warns of programs
/// at tracepoints whose maps take theirs later.
#[map]
static ENDS_WANTED: HashMap<u32, EndWanted> = HashMap::with_max_entries(16384, 0);

/// What they had open.
#[map]
static ENDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Parts of tables that found no room there.
#[map]
static ENDS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Room to put a part together. The kernel does not run a program within itself on one CPU.
#[map]
static ENDING: PerCpuArray<EndingPart> = PerCpuArray::with_max_entries(1, 0);

/// Writes a [`TableRow`] for every number that is asked about.
///
/// # Safety
/// Called by the kernel with its own context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub(crate) unsafe extern "C" fn tables_row(visit: *const Visit) -> i32 {
    // SAFETY: the context is the kernel's; its pointers are null once the walk is over.
    unsafe {
        let (task, file) = ((*visit).task, (*visit).file);
        let Some(wanted) = TABLE_FILTER.get_ptr(0) else {
            return 0;
        };
        if task == 0 || file == 0 {
            return 0;
        }
        // The verifier lets nobody calculate with a pointer whose type it knows; a copy is a number.
        let mut address = 0;
        kernel::copy(&raw mut address, &file);
        let (word, place) = file_bit(address);
        let files = (*wanted).files.as_ptr().add(word).read_volatile() >> place;
        let (word, place) = pid_bit(kernel::task_pid(task));
        let pids = (*wanted).pids.as_ptr().add(word).read_volatile() >> place;
        if (files | pids) & 1 == 0 {
            return 0;
        }
        let mut row: TableRow = core::mem::zeroed();
        kernel::describe_owner(task, &raw mut row.owner);
        File(file).describe_number((*visit).fd, &raw mut row.number);
        bpf_seq_write(
            (*(*visit).meta).seq,
            (&raw const row).cast::<c_void>().cast_mut(),
            size_of::<TableRow>() as u32,
        );
    }
    0
}

/// Tells what a process has open as its last thread ends, which is before its table goes.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn tables_end(_ctx: RawTracePointContext) -> i32 {
    let task = Task::current();
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let is_wanted = ENDS_WANTED.get_ptr(&pid).is_some();
    if !(is_wanted || filter::is_of_wanted_process(task)) {
        return 0;
    }
    let is_last = task.live_threads() == 0;
    // Of a process that has one thread there is nothing to be remembered.
    if !(is_wanted || is_last && task.leader() == task.address()) {
        // If it is there by now, or there is no room, nothing else can be done.
        let _ = ENDS_WANTED.insert(&pid, &EndWanted::default(), 1 /* BPF_NOEXIST */);
    }
    note_table(task, pid);
    if !is_last {
        return 0;
    }
    let apart = is_apart(pid) != 0;
    let Some(part) = ENDING.get_ptr_mut(0) else {
        return 0;
    };
    let words = FdTable::of(task).words();
    // SAFETY: this CPU's own, see above; the helper takes nothing and always succeeds.
    unsafe {
        kernel::describe_owner(task.address(), &raw mut (*part).owner);
        (*part).t_ns = bpf_ktime_get_ns();
        (*part).all = 0;
        (*part).words = words;
        (*part).apart = u32::from(apart);
    }
    for word in 0..ENDING_WORDS {
        if word >= words {
            break;
        }
        tell_word(word);
    }
    // SAFETY: as above.
    unsafe {
        (*part).len = 0;
        submit(part);
    }
    0
}

/// Notes if a thread that ends has another table than the first thread of its process has, or had as it ended.
#[inline(always)]
fn note_table(task: Task, pid: u32) {
    let Some(wanted) = ENDS_WANTED.get_ptr_mut(&pid) else {
        return;
    };
    let leader = task.leader();
    // SAFETY: the slot is there while the program runs. Each member is written with one value alone.
    unsafe {
        if leader == task.address() {
            (&raw mut (*wanted).table).write_volatile(task.table());
            return;
        }
        let table = match kernel::task_table(leader) {
            0 => (&raw const (*wanted).table).read_volatile(),
            table => table,
        };
        if table != task.table() {
            (&raw mut (*wanted).apart).write_volatile(1);
        }
    }
}

/// Whether a thread of the current task's process had a table of its own, or may have had. A global function,
/// verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_apart(pid: u32) -> u64 {
    let task = Task::current();
    // Who has not come to this program has its table still, and is among the threads. Who is not there any
    // more, or has left its table, has noted which it had.
    if task.has_table_apart() {
        return 1;
    }
    match ENDS_WANTED.get_ptr(&pid) {
        // SAFETY: as above.
        Some(wanted) => unsafe { (&raw const (*wanted).apart).read_volatile() },
        // Nothing was noted: there was no other thread, or there was no room.
        None => u64::from(task.leader() != task.address()),
    }
}

/// Tells what is open in one word of the current task's table. A global function, verified once and
/// not for each word.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_word(word: u32) -> u64 {
    let open = FdTable::of(Task::current()).open_word(word);
    let Some(part) = ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own.
    unsafe { (*part).len = 0 };
    for place in 0..NUMBERS_PER_WORD as u32 {
        if open >> place & 1 != 0 {
            add_number(word * NUMBERS_PER_WORD as u32 + place);
        }
    }
    // SAFETY: as above.
    unsafe {
        if (*part).len != 0 {
            submit(part);
        }
    }
    0
}

/// Adds what a number of the current task stands for to the part. It keeps its place in the map, so that
/// the verifier need not follow what each number before it was.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_number(fd: u32) -> u64 {
    let file = FdTable::of(Task::current()).file(fd as i32);
    let Some(part) = ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own, and there is room for as many numbers as a word has.
    unsafe {
        let len = (&raw const (*part).len).read_volatile() as usize;
        // A number may be taken, and have no file yet.
        if file.0 == 0 || len >= NUMBERS_PER_WORD {
            return 0;
        }
        let number = (&raw mut (*part).numbers).cast::<OpenNumber>().add(len);
        file.describe_number(fd, number);
        (*part).len = len as u32 + 1;
        (*part).all += 1;
    }
    0
}

/// Hands a part over, with as many numbers as it has.
///
/// # Safety
/// The part is this CPU's own.
#[inline(always)]
unsafe fn submit(part: *mut EndingPart) {
    // SAFETY: the caller's promise; the part is as long as the bound.
    unsafe {
        let len = (&raw const (*part).len).read_volatile() as usize;
        let mut bytes = ENDING_HEAD + len * size_of::<OpenNumber>();
        if bytes > size_of::<EndingPart>() {
            bytes = size_of::<EndingPart>();
        }
        let bytes = from_raw_parts(part.cast::<u8>().cast_const(), bytes);
        if ENDS
            .output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP))
            .is_err()
            && let Some(lost) = ENDS_LOST.get_ptr_mut(0)
        {
            *lost += 1;
        }
    }
}
