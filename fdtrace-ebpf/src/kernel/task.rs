//! The current task: who it is, its descriptor table, and the registers of its system call.

use aya_ebpf::{
    Global,
    helpers::generated::{
        bpf_get_current_comm, bpf_get_current_task, bpf_get_current_task_btf,
        bpf_probe_read_kernel, bpf_task_pt_regs,
    },
};
use fdtrace_common::{
    arch::{Arch, Calls, IO_URING_ENTER, place},
    records::{Call, WINDOW_WORDS},
};

use super::{
    File, Sock,
    pointer::{Pointer, Typed, can_cast, follow, read, read_at, read_words},
    task_table,
};
use crate::offsets::*;

/// How many system calls have no place for descriptors.
const READING: u32 = Arch::X86_64.calls().reading.len() as u32;

/// TASK_COMM_LEN.
const COMM_LEN: usize = 16;

/// The task that a program runs in.
#[derive(Clone, Copy)]
pub(crate) struct Task(u64);

impl Task {
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: both take nothing and always succeed.
        Self(unsafe {
            if Self::is_typed() {
                bpf_get_current_task_btf() as u64
            } else {
                bpf_get_current_task()
            }
        })
    }

    /// Whether the verifier knows what a task is. A constant to it, so it follows one way only.
    #[inline(always)]
    fn is_typed() -> bool {
        HAS_TASK_PT_REGS.load() == 1
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: &Global<u32>) -> T {
        if Self::is_typed() {
            read(Typed(self.0), offset)
        } else {
            read(self.0, offset)
        }
    }

    /// Its process id, in the initial pid namespace.
    #[inline(always)]
    pub(crate) fn pid(self) -> u32 {
        self.read(&TASK_STRUCT__TGID)
    }

    /// Its thread id, likewise.
    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        self.read(&TASK_STRUCT__PID)
    }

    /// When it began: CLOCK_MONOTONIC in nanoseconds.
    #[inline(always)]
    pub(crate) fn start_ns(self) -> u64 {
        self.read(&TASK_STRUCT__START_TIME)
    }

    /// What the threads of its process share, see [`super::task_shared`].
    #[inline(always)]
    pub(crate) fn shared(self) -> u64 {
        self.read(&TASK_STRUCT__SIGNAL)
    }

    /// How many descriptors it may have: its soft RLIMIT_NOFILE.
    #[inline(always)]
    pub(crate) fn descriptor_limit(self) -> u64 {
        const RLIMIT_NOFILE: u64 = 7;
        const RLIMIT_BYTES: u64 = 16; // struct rlimit: rlim_cur, rlim_max
        let signal: u64 = self.read(&TASK_STRUCT__SIGNAL);
        let limits = signal + u64::from(SIGNAL_STRUCT__RLIM.load());
        read_at(limits + RLIMIT_NOFILE * RLIMIT_BYTES)
    }

    /// Threads of its process that have not begun to end.
    #[inline(always)]
    pub(crate) fn live_threads(self) -> u32 {
        let signal: u64 = self.read(&TASK_STRUCT__SIGNAL);
        read_at(signal + u64::from(SIGNAL_STRUCT__LIVE.load()))
    }

    /// Where its descriptor table is; 0 once it has left that, as it ends.
    #[inline(always)]
    pub(crate) fn table(self) -> u64 {
        self.read(&TASK_STRUCT__FILES)
    }

    /// The first thread of its process, as long as any is left.
    #[inline(always)]
    pub(crate) fn leader(self) -> u64 {
        self.read(&TASK_STRUCT__GROUP_LEADER)
    }

    /// Whether a thread of its process has another table than it has; also where that cannot be told.
    #[inline(always)]
    pub(crate) fn has_table_apart(self) -> bool {
        /// Threads that are looked at.
        const THREADS_MAX: u32 = 256;
        if SIGNAL_STRUCT__THREAD_HEAD.load() == 0 || TASK_STRUCT__THREAD_NODE.load() == 0 {
            return true;
        }
        let own = self.table();
        let signal: u64 = self.read(&TASK_STRUCT__SIGNAL);
        let head = signal + u64::from(SIGNAL_STRUCT__THREAD_HEAD.load());
        let mut node: u64 = read_at(head);
        for _ in 0..THREADS_MAX {
            if node == head {
                return false;
            }
            let thread = node.wrapping_sub(u64::from(TASK_STRUCT__THREAD_NODE.load()));
            let table = task_table(thread);
            if node == 0 || (table != 0 && table != own) {
                return true;
            }
            node = read_at(node);
        }
        true
    }

    /// Its address.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0
    }

    /// Whether it has set up an io_uring, or entered one.
    #[inline(always)]
    pub(crate) fn has_uring(self) -> bool {
        TASK_STRUCT__IO_URING.load() != 0 && self.read::<u64>(&TASK_STRUCT__IO_URING) != 0
    }

    /// Whether it is in the cgroup (version 2) of this id, or in one below.
    ///
    /// There is a helper for that, which tracing programs may call since 5.15 only.
    #[inline(always)]
    pub(crate) fn is_below(self, cgroup: u64) -> bool {
        if Self::is_typed() {
            is_below(Typed(self.0), cgroup)
        } else {
            is_below(self.0, cgroup)
        }
    }

    /// Writes its name, NUL-padded.
    ///
    /// # Safety
    /// `comm` can be written, and this is the current task.
    #[inline(always)]
    pub(crate) unsafe fn copy_comm(self, comm: *mut [u8; COMM_LEN]) {
        // SAFETY: the caller's promise.
        unsafe {
            if can_cast() {
                let first = self.0 + u64::from(TASK_STRUCT__COMM.load());
                read_words(comm.cast(), COMM_LEN / 8, first);
            } else if Self::is_typed() {
                let first = u64::from(TASK_STRUCT__COMM.load());
                for index in 0..COMM_LEN {
                    let byte = Typed(self.0).read(first + index as u64);
                    comm.cast::<u8>().add(index).write(byte);
                }
            } else {
                // An error, which cannot happen with a task and this length, leaves zeros.
                bpf_get_current_comm(comm.cast(), COMM_LEN as u32);
            }
        }
    }
}

#[inline(always)]
fn is_below(task: impl Pointer, id: u64) -> bool {
    /// Deeper than hierarchies get.
    const LEVELS: usize = 32;
    if TASK_STRUCT__CGROUPS.load() == 0 {
        return false;
    }
    let set = follow(task, &TASK_STRUCT__CGROUPS);
    if set.is_null() {
        return false;
    }
    let mut cgroup = follow(set, &CSS_SET__DFL_CGRP);
    for _ in 0..LEVELS {
        if cgroup.is_null() {
            break;
        }
        if read::<u64>(follow(cgroup, &CGROUP__KN), &KERNFS_NODE__ID) == id {
            return true;
        }
        let parent = follow(cgroup, &CGROUP__SELF__PARENT);
        if parent.is_null() {
            break;
        }
        cgroup = follow(parent, &CGROUP_SUBSYS_STATE__CGROUP);
    }
    false
}

/// A task's descriptor table, as it is at this moment.
#[derive(Clone, Copy)]
pub(crate) struct FdTable {
    files: u64,
    open: u64,
    cloexec: u64,
    /// Descriptors the table has room for.
    max: u32,
    /// The kernel's lower bound for the lowest free descriptor.
    pub(crate) next: u32,
    /// Tasks that have this table.
    pub(crate) users: u32,
}

impl FdTable {
    #[inline(always)]
    pub(crate) fn of(task: Task) -> Self {
        if Task::is_typed() {
            Self::behind(Typed(task.0))
        } else {
            Self::behind(task.0)
        }
    }

    #[inline(always)]
    fn behind(task: impl Pointer) -> Self {
        let mut table = Self {
            files: 0,
            open: 0,
            cloexec: 0,
            max: 0,
            next: 0,
            users: 0,
        };
        let files = follow(task, &TASK_STRUCT__FILES);
        if files.is_null() {
            return table;
        }
        table.next = read(files, &FILES_STRUCT__NEXT_FD);
        table.users = read(files, &FILES_STRUCT__COUNT);
        let fdt = follow(files, &FILES_STRUCT__FDT);
        if fdt.is_null() {
            return table;
        }
        table.files = read(fdt, &FDTABLE__FD);
        table.open = read(fdt, &FDTABLE__OPEN_FDS);
        table.cloexec = read(fdt, &FDTABLE__CLOSE_ON_EXEC);
        table.max = read(fdt, &FDTABLE__MAX_FDS);
        table
    }

    /// All ones for a number that the table has room for, zero for any other.
    ///
    /// Arithmetic, because a comparison is a branch, and the verifier would follow both ways for
    /// each of 253 descriptors. A negative number is a large unsigned one.
    #[inline(always)]
    fn inside(&self, fd: i32) -> u64 {
        ((i64::from(fd as u32) - i64::from(self.max)) >> 63) as u64
    }

    /// Whether `fd` is the number that was given away last: the search for the next free one goes on behind it.
    #[inline(always)]
    pub(crate) fn gave_last(&self, fd: i32) -> bool {
        self.next == (fd as u32).wrapping_add(1)
    }

    /// The file at `fd`, or a null file.
    #[inline(always)]
    pub(crate) fn file(&self, fd: i32) -> File {
        let address = self.files + u64::from(fd as u32) * 8;
        File(read_at(address & self.inside(fd)))
    }

    #[inline(always)]
    pub(crate) fn sock(&self, fd: i32) -> Sock {
        let file = self.file(fd);
        if file.0 == 0 { Sock(0) } else { file.sock() }
    }

    /// 1 if `fd` is close-on-exec.
    #[inline(always)]
    pub(crate) fn cloexec(&self, fd: i32) -> u32 {
        let fd_bits = u64::from(fd as u32);
        let address = self.cloexec + fd_bits / 64 * 8;
        let word: u64 = read_at(address & self.inside(fd));
        (word >> (fd_bits % 64)) as u32 & 1
    }

    /// Words of its open-descriptor bitmap.
    #[inline(always)]
    pub(crate) fn words(&self) -> u32 {
        self.max / 64
    }

    /// Which of the 64 numbers from `64 * word` on are open; none past its end.
    #[inline(always)]
    pub(crate) fn open_word(&self, word: u32) -> u64 {
        if word >= self.words() {
            return 0;
        }
        read_at(self.open + u64::from(word) * 8)
    }

    /// Copies the open-descriptor bitmap from word `base` on; words past the table stay as they
    /// are. Returns how many words it copied, and how many lie past the window.
    #[inline(always)]
    pub(crate) fn copy_open_words(&self, base: u32, words: *mut u64) -> (u32, u32) {
        const WINDOW_BYTES: u32 = (WINDOW_WORDS * 8) as u32;
        let table_bytes = self.max / 8;
        let skip = base * 8;
        if table_bytes <= skip {
            return (0, 0);
        }
        let rest = table_bytes - skip;
        let len = if rest > WINDOW_BYTES {
            WINDOW_BYTES
        } else {
            rest
        };
        // SAFETY: `words` has WINDOW_WORDS words, and no more than that is copied.
        unsafe {
            bpf_probe_read_kernel(words.cast(), len, (self.open + u64::from(skip)) as *const _);
        }
        (len / 8, (rest - len) / 8)
    }
}

/// The registers with which a task entered its system call. Only where HAS_TASK_PT_REGS is 1.
#[derive(Clone, Copy)]
pub(crate) struct SyscallRegs(Typed);

impl SyscallRegs {
    #[inline(always)]
    pub(crate) fn of(task: Task) -> Self {
        // SAFETY: the task is the current one, so its stack and registers exist.
        Self(Typed(unsafe { bpf_task_pt_regs(task.0 as *mut _) } as u64))
    }

    /// Where they are: on top of the task's kernel stack.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0.0
    }

    #[inline(always)]
    pub(crate) fn number(self) -> CallNumber {
        CallNumber(read(self.0, &PT_REGS__NUMBER))
    }

    #[inline(always)]
    pub(crate) fn first(self) -> u64 {
        read(self.0, &PT_REGS__FIRST)
    }

    #[inline(always)]
    pub(crate) fn second(self) -> u64 {
        read(self.0, &PT_REGS__SECOND)
    }

    #[inline(always)]
    pub(crate) fn third(self) -> u64 {
        read(self.0, &PT_REGS__THIRD)
    }

    /// The first argument of a call that was made as a 32-bit process makes it.
    #[inline(always)]
    pub(crate) fn compat_first(self) -> u32 {
        read::<u64>(self.0, &PT_REGS__COMPAT_FIRST) as u32
    }
}

/// The number of a system call, which stands for another one on each architecture; 0 in workers that
/// never entered one.
#[derive(Clone, Copy)]
pub(crate) struct CallNumber(i32);

impl CallNumber {
    /// Its place among the calls that send messages; how many there are if it is none of them.
    #[inline(always)]
    pub(crate) fn sending(self) -> u32 {
        self.place(|calls| calls.sending)
    }

    /// Likewise among those that receive them.
    #[inline(always)]
    pub(crate) fn receiving(self) -> u32 {
        self.place(|calls| calls.receiving)
    }

    /// Whether what runs may be a request of an io_uring.
    #[inline(always)]
    pub(crate) fn may_be_uring(self) -> bool {
        const NONE: i32 = 0;
        self.0 == IO_URING_ENTER || self.0 == NONE
    }

    /// What it is called for.
    #[inline(always)]
    pub(crate) fn call(self) -> Call {
        let recvmsg = |calls: Calls| [calls.receiving[place::RECVMSG as usize]];
        if self.0 < 0 {
            Call::Unread
        } else if self.place(recvmsg) == 0 {
            Call::Recvmsg
        } else if self.place(|calls| calls.reading) < READING {
            Call::PlainRead
        } else {
            Call::Other
        }
    }

    #[inline(always)]
    fn place<const N: usize>(self, calls: impl Fn(Calls) -> [i32; N]) -> u32 {
        let place = |calls: [i32; N]| {
            let mut found = N as u32;
            for (place, call) in calls.into_iter().enumerate() {
                if self.0 == call {
                    found = place as u32;
                }
            }
            found
        };
        // The verifier knows which, and drops the other.
        if ARCH.load() == Arch::X86_64 as u32 {
            place(calls(Arch::X86_64.calls()))
        } else {
            place(calls(Arch::Aarch64.calls()))
        }
    }
}
