//! Descriptions: what the files and tasks of a transfer are, told at the time, in records of their
//! own ahead of the transfer's.
//!
//! What was told lately on this CPU is not told again, so a hot path costs a look into a small
//! table. A name that was changed meanwhile is told anew after [`TELL_AGAIN_NS`].

use aya_ebpf::{macros::map, maps::PerCpuArray};
use fdtrace_common::{
    counters::Counter,
    descriptions::{DESCRIBED_ROOM, PathDescribed, SocketDescribed, TaskDescribed},
    records::{Head, RecordKind},
};

use crate::{
    emit::{self, Program},
    kernel::{self, File, List, description, description::NameKey, path},
    offsets::DESCRIBE,
    ring,
};

/// How long a description holds.
const TELL_AGAIN_NS: u64 = 1_000_000_000;

/// Files of a message that are looked at: each costs its receiver time.
const FILES_MAX: u64 = 64;

/// Names and mounts of one path.
const PATH_STEPS: usize = 24;

const FILE_SLOTS: u32 = 256;
const TASK_SLOTS: u32 = 64;

#[repr(C)]
struct ToldFile {
    key: NameKey,
    t_ns: u64,
}

#[repr(C)]
struct ToldTask {
    t_ns: u64,
    tid: u64,
}

/// Files that were described on this CPU, by a hash of their inode.
#[map]
static TOLD_FILES: PerCpuArray<ToldFile> = PerCpuArray::with_max_entries(FILE_SLOTS, 0);

/// Tasks likewise, by thread id.
#[map]
static TOLD_TASKS: PerCpuArray<ToldTask> = PerCpuArray::with_max_entries(TASK_SLOTS, 0);

#[repr(C)]
struct PathRecord {
    head: Head,
    described: PathDescribed,
}

#[repr(C)]
struct SocketRecord {
    head: Head,
    described: SocketDescribed,
}

#[repr(C)]
struct TaskRecord {
    head: Head,
    described: TaskDescribed,
}

/// Room to write records in.
#[repr(C)]
struct Work {
    path: PathRecord,
    socket: SocketRecord,
    task: TaskRecord,
}

/// Who describes: each has room of its own, as programs may interrupt each other.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Who {
    Queue,
    Dequeue,
    EndKfree,
    EndConsume,
}

#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(Who::EndConsume as u32 + 1, 0);

#[inline(always)]
fn work(who: Who) -> Option<&'static mut Work> {
    let work = WORK.get_ptr_mut(who as u32)?;
    // SAFETY: the slot is this program's and this CPU's.
    Some(unsafe { &mut *work })
}

#[inline(always)]
pub(crate) fn is_on() -> bool {
    DESCRIBE.load() == 1
}

/// Describes the current task, whose record `head` begins.
#[inline(always)]
pub(crate) fn task(who: Who, head: &Head) {
    if !is_on() {
        return;
    }
    let Some(told) = TOLD_TASKS.get_ptr_mut(head.tid % TASK_SLOTS) else {
        return;
    };
    // SAFETY: the slot is this CPU's; a program that interrupts may only make us tell it again.
    let told = unsafe { &mut *told };
    if told.tid == u64::from(head.tid) && head.t_ns - told.t_ns < TELL_AGAIN_NS {
        return;
    }
    told.tid = u64::from(head.tid);
    told.t_ns = head.t_ns;
    let Some(work) = work(who) else {
        return;
    };
    let record = &mut work.task;
    // SAFETY: they can be written.
    unsafe {
        kernel::copy(&raw mut record.head, head);
        description::describe_current(&raw mut record.described);
    }
    finish(&mut record.head, RecordKind::TaskDescribed);
    ring::submit_whole(&work.task, Counter::DescribeLost);
}

/// Describes the files of a list that is about to leave its queue. `program`'s head begins the
/// records.
#[inline(always)]
pub(crate) fn files(who: Who, program: Program, list: List, total: u16) {
    if !is_on() || list.0 == 0 {
        return;
    }
    for index in 0..FILES_MAX {
        if index >= u64::from(total) {
            break;
        }
        describe_file(who as u64, program as u64, list.0, index);
    }
}

/// Describes a file of a list, unless that was done lately. A global function, so that the kernel
/// verifies it once and not for each file.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn describe_file(who: u64, program: u64, list: u64, index: u64) -> u64 {
    let file = List(list).file(index as usize);
    let key = file.name_key();
    let Some(told) = told_file(key) else {
        return 0;
    };
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    let head = &scratch.head;
    if told.key == key && head.t_ns - told.t_ns < TELL_AGAIN_NS {
        return 0;
    }
    told.key = key;
    told.t_ns = head.t_ns;
    let Some(work) = WORK.get_ptr_mut(who as u32) else {
        return 0;
    };
    // SAFETY: the slot is this program's and this CPU's.
    let work = unsafe { &mut *work };
    if file.is_socket() {
        tell_socket(work, head, file);
    } else if !file.is_pipe() {
        // A pipe's inode number says it all.
        tell_path(work, head, file);
    }
    0
}

/// Where it is noted when this file was described.
#[inline(always)]
fn told_file(key: NameKey) -> Option<&'static mut ToldFile> {
    let slot = ((key.inode >> 6) ^ (key.inode >> 14)) as u32 % FILE_SLOTS;
    let told = TOLD_FILES.get_ptr_mut(slot)?;
    // SAFETY: as for tasks.
    Some(unsafe { &mut *told })
}

#[inline(always)]
fn tell_socket(work: &mut Work, head: &Head, file: File) {
    let record = &mut work.socket;
    // SAFETY: they can be written, and the file is a socket's.
    unsafe {
        kernel::copy(&raw mut record.head, head);
        file.describe_socket(&raw mut record.described);
    }
    finish(&mut record.head, RecordKind::SocketDescribed);
    ring::submit_whole(&work.socket, Counter::DescribeLost);
}

#[inline(always)]
fn tell_path(work: &mut Work, head: &Head, file: File) {
    let record = &mut work.path;
    // SAFETY: they can be written, and the names have the room.
    unsafe {
        kernel::copy(&raw mut record.head, head);
        file.write_about(&raw mut record.described.about);
        path::walk::<PATH_STEPS, DESCRIBED_ROOM>(
            file,
            &raw mut record.described.path,
            (&raw mut record.described.names).cast(),
        );
    }
    finish(&mut record.head, RecordKind::PathDescribed);
    ring::submit_whole(&work.path, Counter::DescribeLost);
}

#[inline(always)]
fn finish(head: &mut Head, kind: RecordKind) {
    head.kind = kind as u16;
    head.files = 0;
    head.total = 0;
}
