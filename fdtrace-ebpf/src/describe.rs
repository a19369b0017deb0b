//! Descriptions: what the files and the task of a hop are, told at the time, in records of their own
//! ahead of the hop's.
//!
//! Each file of each message is described by itself. What an earlier message told would be cheaper,
//! and wrong: addresses and inode numbers are given out again, names change, sockets get connected.
//! A record costs less than looking up whether one is needed.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use fdtrace_common::{
    counters::Counter,
    descriptions::{
        DESCRIBED_ROOM, DescribedNames, PathDescribed, SocketAddresses, SocketDescribed,
        TaskDescribed,
    },
    records::{FLAG_DESCRIBED, Head, LIST_MAX, RecordKind, SOCKET_ITSELF},
    refused::SendRefused,
};

use crate::{
    emit::{self, Program, Scratch},
    kernel::{self, File, List, Room, description, path},
    offsets::DESCRIBE,
    ring,
};

/// How long the description of a task holds.
const TELL_AGAIN_NS: u64 = 1_000_000_000;

/// Names and mounts of one path.
const PATH_STEPS: usize = 64;

const TASK_SLOTS: u32 = 64;

#[repr(C)]
struct ToldTask {
    t_ns: u64,
    tid: u64,
}

/// Tasks that were described on this CPU, by thread id.
#[map]
static TOLD_TASKS: PerCpuArray<ToldTask> = PerCpuArray::with_max_entries(TASK_SLOTS, 0);

/// A record as it is put together. What describes a socket or a task takes the place of a path.
#[repr(C)]
struct Work {
    head: Head,
    path: PathDescribed,
    names: DescribedNames,
    room: Room,
}

const _: () = assert!(size_of::<SocketDescribed>() <= size_of::<DescribedNames>());
const _: () = assert!(size_of::<SendRefused>() <= size_of::<DescribedNames>());
const _: () = assert!(size_of::<TaskDescribed>() <= size_of::<DescribedNames>());

/// One for each program, as they may interrupt each other.
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(Program::COUNT, 0);

#[inline(always)]
fn work(program: u32) -> Option<&'static mut Work> {
    let work = WORK.get_ptr_mut(program)?;
    // SAFETY: the slot is this program's and this CPU's.
    Some(unsafe { &mut *work })
}

/// The program's work, its record beginning as `head` does.
#[inline(always)]
fn begin(program: u32, head: &Head) -> Option<&'static mut Work> {
    let work = work(program)?;
    // SAFETY: it can be written.
    unsafe { kernel::copy(&raw mut work.head, head) };
    work.head.files = 0;
    work.head.total = 0;
    Some(work)
}

#[inline(always)]
pub(crate) fn is_on() -> bool {
    DESCRIBE.load() == 1
}

/// Hands over the record, of which `len` bytes follow the head.
#[inline(always)]
fn submit(work: &mut Work, kind: RecordKind, len: usize) {
    work.head.kind = kind as u16;
    ring::submit_part(
        &raw const *work,
        size_of::<Head>() + len,
        Counter::DescribeLost,
    );
}

/// Describes the current task, which `scratch` is a record of.
#[inline(always)]
pub(crate) fn task(scratch: &Scratch) {
    if !is_on() {
        return;
    }
    let head = &scratch.head;
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
    let Some(work) = begin(scratch.program(), head) else {
        return;
    };
    // SAFETY: there is room for a task.
    unsafe { description::describe_current((&raw mut work.path).cast()) };
    submit(work, RecordKind::TaskDescribed, size_of::<TaskDescribed>());
}

/// Describes the files that `scratch` is about to be a record of: so many of the list in its head, or
/// without a list those behind its numbers.
#[inline(always)]
pub(crate) fn files(scratch: &mut Scratch, total: u32) {
    if !is_on() || begin(scratch.program(), &scratch.head).is_none() {
        return;
    }
    scratch.head.flags |= FLAG_DESCRIBED;
    describe_files(u64::from(scratch.program()), u64::from(total));
}

/// Describes so many of them. A global function, so that the verifier forgets where the loop was left: it
/// would go on with each number of files by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn describe_files(program: u64, total: u64) -> u64 {
    for index in 0..LIST_MAX as u64 {
        if index >= total {
            break;
        }
        describe_file(program, index);
    }
    0
}

/// Describes the socket with this file, on which what `scratch` is a record of was sent.
#[inline(always)]
pub(crate) fn socket(scratch: &Scratch, file: File) {
    if !is_on() || file.0 == 0 {
        return;
    }
    let Some(work) = begin(scratch.program(), &scratch.head) else {
        return;
    };
    work.head.first = SOCKET_ITSELF;
    work.head.origin = file.0;
    tell_socket(work, file);
}

/// Writes what `fill` says of the failed send that `scratch` is a record of.
#[inline(always)]
pub(crate) fn refused(scratch: &Scratch, fill: impl FnOnce(*mut SendRefused)) {
    let Some(work) = begin(scratch.program(), &scratch.head) else {
        return;
    };
    fill((&raw mut work.path).cast());
    submit(work, RecordKind::SendRefused, size_of::<SendRefused>());
}

/// Describes one file of the list in the head of `scratch`, ahead of the record that it is in.
#[inline(always)]
pub(crate) fn one(scratch: &mut Scratch, index: u64) {
    let program = scratch.program();
    let Some(work) = work(program) else {
        return;
    };
    let (told, head) = (&work.head, &scratch.head);
    // The first of a hop begins anew.
    if told.t_ns != head.t_ns || told.list != head.list || told.tid != head.tid {
        let _ = begin(program, head);
    }
    describe_file(u64::from(program), index);
}

/// Describes one of them. A global function, so that the kernel verifies it once and not for each
/// file.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn describe_file(program: u64, index: u64) -> u64 {
    let Some(work) = work(program as u32) else {
        return 0;
    };
    let list = List(work.head.list);
    let file = if list.0 != 0 {
        list.file(index as usize)
    } else {
        match emit::scratch(program as u32) {
            Some(scratch) => scratch.file_of_number(index as usize),
            None => File(0),
        }
    };
    work.head.first = index as u16;
    work.head.origin = file.0;
    if file.is_socket() {
        tell_socket(work, file);
    } else if file.0 != 0 && !file.is_pipe() {
        tell_path(work, file);
    }
    0
}

#[inline(always)]
fn tell_socket(work: &mut Work, file: File) {
    let described = (&raw mut work.path).cast::<SocketDescribed>();
    // SAFETY: there is room for a socket, and the file is one's.
    let is_unix = unsafe {
        file.write_about(&raw mut (*described).about);
        file.describe_socket(&raw mut (*described).addresses)
    };
    let mut len = size_of::<SocketDescribed>();
    if !is_unix {
        len -= size_of::<SocketAddresses>() - SocketAddresses::LEN_WITHOUT_NAMES;
    }
    submit(work, RecordKind::SocketDescribed, len);
}

#[inline(always)]
fn tell_path(work: &mut Work, file: File) {
    // SAFETY: they can be written, and the names have the room.
    unsafe {
        file.write_about(&raw mut work.path.about);
        path::walk::<PATH_STEPS, DESCRIBED_ROOM>(
            file,
            &raw mut work.path.path,
            (&raw mut work.names).cast(),
            &mut work.room,
        );
    }
    let len = size_of::<PathDescribed>() + work.path.path.len as usize;
    submit(work, RecordKind::PathDescribed, len);
}
