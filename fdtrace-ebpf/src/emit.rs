//! From what a hop found to records: the head with the task's identity, and the files in runs
//! that fit a record.
//!
//! The files are written by a global function ([`write_files`]): the kernel verifies such a one by
//! itself, once, with whatever arguments, instead of following the caller into it for each of 253
//! files. What it works on waits in the program's [`Scratch`].

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::map,
    maps::PerCpuArray,
};
use fdtrace_common::{
    counters::Counter,
    records::{
        Call, FILES_PER_RECORD, FLAG_RACED, FileSeen, Head, LIST_MAX, NOT_TOLD, RecordKind,
        SocketName, WINDOW_WORDS,
    },
};

use crate::{
    control::Control,
    filter::{self, Stage, Way, held},
    kernel::{FdTable, File, List, Pointer, Room, Skb, Task},
    offsets::BY_SLOT,
    ring::{self, Held, Record},
};

/// Most records that one hop of one list takes.
const RECORDS_MAX: u32 = LIST_MAX.div_ceil(FILES_PER_RECORD) as u32;

/// Room for descriptor numbers: a full list may start anywhere in the first half.
pub(crate) const FDS_MAX: usize = 512;

/// How records wait until it is known whether anybody wants them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Wait {
    /// They do not.
    Not,
    /// In maps.
    InMaps,
    /// In the bucket of their list.
    InBucket,
}

/// What a program works on. It lives in a map and not on the stack because the verifier does not
/// track what is in a map: paths that differ only in what they noted here count as one.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) head: Head,
    /// What follows the head in a record.
    pub(crate) seen: [FileSeen; FILES_PER_RECORD],
    /// What follows a record that is [held](filter).
    user: u64,
    /// The files of the records under way.
    files: Files,
    /// The current task's descriptors, where the hop looks them up.
    table: FdTable,
    /// Descriptor numbers of the list's files, where the hop knows them.
    pub(crate) fds: [i32; FDS_MAX],
    /// The kernel's copy of a sender's control messages.
    pub(crate) control: Control,
    /// Numbers in the control message of a receive.
    pub(crate) told: [i32; FDS_MAX],
    /// Descriptors that are open after a receive.
    pub(crate) open: [u64; WINDOW_WORDS],
    /// Numbers found so far.
    pub(crate) found: u32,
    reserved: u32,
    pub(crate) room: Room,
    /// How the records under way are to be [held](filter).
    held: Wait,
    /// 1 if they are to say what the files' dentries are called.
    labelled: u32,
    /// The [`Counter`] of those that find no room.
    pub(crate) lost: u32,
    /// The [`Program`] whose scratch this is.
    program: u32,
    /// Records that were handed over.
    submitted: u32,
}

impl Wait {
    #[inline(always)]
    fn by(way: Way) -> Self {
        match way {
            Way::Hold => Self::InMaps,
            Way::Emit | Way::Drop => Self::Not,
        }
    }
}

impl Scratch {
    /// Keeps the table for [`Scratch::slot`].
    #[inline(always)]
    pub(crate) fn look_up_in(&mut self, table: FdTable) {
        // SAFETY: a plain field, volatile so that it is in the map from here on.
        unsafe { (&raw mut self.table).write_volatile(table) };
    }

    /// The [`Program`] whose scratch this is.
    #[inline(always)]
    pub(crate) fn program(&self) -> u32 {
        self.program
    }

    /// The file behind a number that the hop knows.
    #[inline(always)]
    pub(crate) fn file_of_number(&self, index: usize) -> File {
        self.slot(self.fds[index % FDS_MAX]).file
    }

    /// What the table holds at `fd`.
    #[inline(always)]
    pub(crate) fn slot(&self, fd: i32) -> Slot {
        // SAFETY: likewise.
        Slot::of(fd, &unsafe { (&raw const self.table).read_volatile() })
    }
}

/// The programs that emit records, each with a scratch of its own: where one can be preempted,
/// another may begin on that CPU before it ends. Of programs that no plan has together, such as an
/// fexit and the kretprobe for the same, there is one name.
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
    SendStream,
    SendDgram,
    Free,
    Seqpacket,
    Ignored,
}

impl Program {
    /// How many there are.
    pub(crate) const COUNT: u32 = Self::Ignored as u32 + 1;
}

/// One scratch per program and CPU is enough: the kernel does not run a program on a CPU where
/// it is already running, but skips that run and counts it.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(Program::COUNT, 0);

/// CLOCK_MONOTONIC in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn scratch(program: u32) -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(program)?;
    // SAFETY: the slot is this program's and this CPU's, see `SCRATCH`.
    Some(unsafe { &mut *scratch })
}

/// This program's scratch, its head holding the time and the current task and nothing else yet.
#[inline(always)]
pub(crate) fn begin(
    task: Task,
    program: Program,
    kind: RecordKind,
) -> Option<&'static mut Scratch> {
    let scratch = scratch(program as u32)?;
    scratch.program = program as u32;
    let head = &mut scratch.head;
    ring::clear_head(head);
    head.t_ns = now();
    // SAFETY: takes nothing and always succeeds.
    head.cpu = unsafe { bpf_get_smp_processor_id() };
    head.epoch = ring::epoch();
    head.pid = task.pid();
    head.tid = task.tid();
    head.socket_fd = -1;
    head.call = Call::Unread as i32;
    head.kind = kind as u16;
    // SAFETY: the field can be written.
    unsafe { task.copy_comm(&raw mut scratch.head.comm) };
    Some(scratch)
}

/// Writes in which functions the list of the scratch's head ends, as a record of its own ahead of
/// the one that it is for.
#[inline(always)]
pub(crate) fn callers(scratch: &mut Scratch, context: *const c_void) {
    if filter::way(&mut scratch.head, Stage::Receiving) == Way::Drop {
        return;
    }
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

/// The files of a hop's records: what is in a list, or behind numbers, or both.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Files {
    /// How many.
    pub(crate) total: u32,
    /// Of [`Scratch::fds`], how many are numbers in the current task's table.
    pub(crate) numbers: u32,
    /// Of [`Scratch::told`], how many belong here.
    pub(crate) told: u32,
    reserved: u32,
    /// The list that they are in; null where the files behind the numbers are meant.
    pub(crate) list: List,
    /// The file that is meant, where it is just one.
    file: File,
    /// If the list is not on this skb any more once they have been read, that was
    /// [too late](FLAG_RACED).
    pub(crate) skb: Skb,
}

impl Files {
    pub(crate) const NONE: Self = Self {
        total: 0,
        numbers: 0,
        told: 0,
        reserved: 0,
        list: List(0),
        file: File(0),
        skb: Skb(0),
    };

    /// All of a list, whose length the caller has read.
    #[inline(always)]
    pub(crate) fn of(list: List<impl Pointer>, total: u16) -> Self {
        Self {
            total: u32::from(total),
            list: List(list.0.address()),
            ..Self::NONE
        }
    }

    /// This one, whose number is the first one, if it has any.
    #[inline(always)]
    pub(crate) fn one(file: File<impl Pointer>, numbers: u32) -> Self {
        Self {
            total: 1,
            numbers,
            told: numbers,
            file: File(file.0.address()),
            ..Self::NONE
        }
    }

    /// Those that the first numbers stand for.
    #[inline(always)]
    pub(crate) fn behind(numbers: u32) -> Self {
        Self {
            total: numbers,
            numbers,
            ..Self::NONE
        }
    }
}

/// Writes `files` under the scratch's head. When the ring buffer is full, the rest of the list is
/// lost with the record, and counted.
#[inline(always)]
pub(crate) fn files(scratch: &mut Scratch, lost: Counter, files: Files) {
    let stage = Stage::of(lost);
    let way = filter::way(&mut scratch.head, stage);
    if way != Way::Drop {
        scratch.held = Wait::by(way);
        scratch.labelled = u32::from(is_first_sight(scratch.head.kind));
        scratch.lost = lost as u32;
        scratch.head.total = files.total as u16;
        // SAFETY: a plain field, volatile so that it is in the map when another function looks.
        unsafe { (&raw mut scratch.files).write_volatile(files) };
        let program = u64::from(scratch.program);
        let mut run = 0;
        while run < RECORDS_MAX {
            let first = run * FILES_PER_RECORD as u32;
            let is_lost = write_files(program, u64::from(first)) != 0;
            run += 1;
            if is_lost || run * FILES_PER_RECORD as u32 >= files.total {
                break;
            }
        }
    }
    filter::done(&scratch.head, way, stage);
}

/// Decides about the records of a whole message that the scratch's head is of. Says how that was decided, for
/// [`filter::done`].
#[inline(always)]
pub(crate) fn decide(scratch: &mut Scratch, stage: Stage) -> Way {
    let way = filter::way(&mut scratch.head, stage);
    scratch.held = match way {
        Way::Hold if held::begin(scratch.head.list, scratch.head.count) => Wait::InBucket,
        way => Wait::by(way),
    };
    way
}

/// Writes the record of so many files from `first` on that is in the scratch, of `total` in all, as was
/// [decided](decide). Returns 1 if that and what comes after it is lost, else 0.
#[inline(always)]
pub(crate) fn run(scratch: &mut Scratch, first: u64, count: u64, total: u64) -> u64 {
    scratch.head.files = count as u16;
    scratch.head.first = first as u16;
    let rest = total.saturating_sub(first) as u32;
    let records = rest.div_ceil(FILES_PER_RECORD as u32).max(1);
    let len = size_of::<Head>() as u64 + count * size_of::<FileSeen>() as u64;
    u64::from(!submit(scratch, len, records))
}

/// Writes runs of files by `write`, which takes the place of the first and says if the rest is lost.
#[inline(always)]
pub(crate) fn runs(total: u16, write: impl Fn(u64) -> u64) {
    let mut run = 0;
    while run < RECORDS_MAX {
        let is_lost = write(u64::from(run * FILES_PER_RECORD as u32)) != 0;
        run += 1;
        if is_lost || run * FILES_PER_RECORD as u32 >= u32::from(total) {
            break;
        }
    }
}

/// Whether a hop comes where nothing else may have told what its files are called. Elsewhere a
/// `queue` has come before it, or a `dequeue`.
#[inline(always)]
fn is_first_sight(kind: u16) -> bool {
    kind != RecordKind::ListCopied as u16
        && kind != RecordKind::ListAttached as u16
        && kind != RecordKind::ListDetached as u16
        && kind != RecordKind::FileReceived as u16
        && kind != RecordKind::FdInstalled as u16
        && kind != RecordKind::ReceiveReturned as u16
}

/// Writes the record whose first file has the index `first`. Returns 1 if that and what comes
/// after it is lost, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_files(program: u64, first: u64) -> u64 {
    let Some(scratch) = scratch(program as u32) else {
        return 1;
    };
    let rest = u64::from(scratch.files.total).saturating_sub(first);
    let mut count = 0;
    while count < FILES_PER_RECORD as u64 && count < rest {
        write_file(program, first + count, count);
        count += 1;
    }
    let files = &scratch.files;
    if files.skb.0 != 0 && files.skb.list() != files.list {
        scratch.head.flags |= FLAG_RACED;
    }
    scratch.head.files = count as u16;
    if first > 0 {
        scratch.head.first = first as u16;
    }
    let records = (rest as u32).div_ceil(FILES_PER_RECORD as u32).max(1);
    let len = size_of::<Head>() as u64 + count * size_of::<FileSeen>() as u64;
    u64::from(!submit(scratch, len, records))
}

/// Writes file `index` of all as file `place` of the record.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_file(program: u64, index: u64, place: u64) -> u64 {
    let Some(scratch) = scratch(program as u32) else {
        return 1;
    };
    let (index, place) = (index as usize, place as usize);
    let mut slot = Slot::UNKNOWN;
    if index < scratch.files.numbers as usize {
        slot = scratch.slot(scratch.fds[index % FDS_MAX]);
    }
    if index < scratch.files.told as usize {
        slot.told = scratch.told[index % FDS_MAX];
    }
    let files = &scratch.files;
    let file = if files.file.0 != 0 {
        files.file
    } else if files.list.0 != 0 {
        files.list.file(index)
    } else {
        slot.file
    };
    let seen = &raw mut scratch.seen[place % FILES_PER_RECORD];
    // SAFETY: that is within the scratch.
    unsafe {
        file.describe(seen, scratch.labelled == 1, &mut scratch.room);
        (*seen).slot = slot.file.0;
        (*seen).fd = slot.fd;
        (*seen).told = slot.told;
        (*seen).cloexec = slot.cloexec as u16;
    }
    0
}

/// Writes the name of a socket, which `fill` reads and measures, as a record of its own: as was
/// [decided](decide), where two records tell of a message.
#[inline(always)]
pub(crate) fn name(scratch: &mut Scratch, lost: Counter, fill: impl FnOnce(*mut u8, usize) -> u32) {
    const ROOM: usize = 108; // sun_path
    const { assert!(size_of::<SocketName>() <= size_of::<[FileSeen; FILES_PER_RECORD]>()) };
    if BY_SLOT.load() == 0 {
        scratch.held = Wait::by(filter::way(&mut scratch.head, Stage::Sending));
    }
    scratch.lost = lost as u32;
    let kind = scratch.head.kind;
    scratch.head.kind = RecordKind::SocketNamed as u16;
    let name = (&raw mut scratch.seen).cast::<SocketName>();
    // SAFETY: there is room for a name, and `fill` writes at most ROOM bytes.
    unsafe {
        let len = fill((&raw mut (*name).name).cast(), ROOM);
        (*name).len = len;
        (*name).reserved = 0;
    }
    submit(
        scratch,
        (size_of::<Head>() + size_of::<SocketName>()) as u64,
        1,
    );
    scratch.head.kind = kind;
}

/// Records after which a program looks how full the ring buffer is.
const LOOK_EVERY: u32 = 16;

/// Hands the scratch's head and what follows it, `len` bytes in all, to userspace or the filter.
/// Says whether there was room; if not, `records` are lost.
#[inline(always)]
fn submit(scratch: &mut Scratch, len: u64, records: u32) -> bool {
    if filter::is_on() {
        if scratch.held == Wait::InBucket {
            held::hold_in_bucket(&scratch.head);
            return true;
        }
        if scratch.held == Wait::InMaps && held::can_be(&scratch.head) {
            held::hold(scratch.program);
            return true;
        }
    }
    let record = &raw const *scratch;
    // SAFETY: the scratch begins as a record does, and what is changed below lies behind that.
    let record = unsafe { &*record.cast::<Record>() };
    let lost = scratch.lost;
    scratch.submitted = scratch.submitted.wrapping_add(1);
    let is_filling_up = scratch.submitted % LOOK_EVERY == 0 && ring::is_filling_up();
    ring::submit(record, len, lost, records, is_filling_up)
}

const _: () = assert!(size_of::<Held>() == offset_of!(Scratch, files));
