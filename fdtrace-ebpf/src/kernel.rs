//! The only module that dereferences memory the programs do not own: the kernel's, and that of
//! the task they run in.
//!
//! Every kernel object is a pointer with a type; its methods name the C members they read. How they
//! read depends on how much the verifier knows of the pointer, see [`pointer`]. A read that faults
//! yields zero: an object that cannot be read looks like a null pointer, and callers test for zero
//! where it matters.

pub(crate) mod description;
mod file;
pub(crate) mod namespace;
mod open;
pub(crate) mod path;
mod pointer;
mod registers;
mod sock;
mod task;

use fdtrace_common::{queues::Creds, records::LIST_MAX};

use self::pointer::{follow, read, read_at, read_to};
pub(crate) use self::{
    file::File,
    open::describe_owner,
    pointer::{
        Pointer, Room, Typed, copy, copy_from_kernel, copy_from_user, read_copied, read_user,
    },
    registers::Registers,
    sock::{Sock, copy_socket_name},
    task::{FdTable, SyscallRegs, Task},
};
use crate::offsets::*;

const AF_UNIX: u16 = 1;

/// A `struct sk_buff *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skb<P = u64>(pub(crate) P);

impl<P: Pointer> Skb<P> {
    /// The socket that sent this skb, while the skb is charged to it.
    #[inline(always)]
    pub(crate) fn sock(self) -> Sock<P> {
        Sock(follow(self.0, &SK_BUFF__SK))
    }

    /// `UNIXCB(skb).fp`; only meaningful for skbs of Unix sockets.
    #[inline(always)]
    pub(crate) fn list(self) -> List {
        let offset = u64::from(SK_BUFF__CB.load()) + u64::from(UNIX_SKB_PARMS__FP.load());
        List(self.0.read_bytes(offset))
    }

    /// The neighbour towards the head of its queue.
    #[inline(always)]
    pub(crate) fn prev(self) -> Self {
        Self(follow(self.0, &SK_BUFF__PREV))
    }

    /// The neighbour towards the tail. A queue's head has it in the same place.
    #[inline(always)]
    pub(crate) fn next(self) -> Self {
        Self(follow(self.0, &SK_BUFF__NEXT))
    }

    /// Bytes that nobody has read yet; only of Unix sockets.
    #[inline(always)]
    pub(crate) fn unread(self) -> u64 {
        let len: u32 = read(self.0, &SK_BUFF__LEN);
        let consumed: u32 = read(self.control(), &UNIX_SKB_PARMS__CONSUMED);
        u64::from(len).wrapping_sub(u64::from(consumed))
    }

    /// Whether nobody has taken anything off it yet, nor it off its queue; only of Unix sockets, and of
    /// one that was in a queue. What was read of it before this was asked has not changed meanwhile.
    #[inline(always)]
    pub(crate) fn is_untouched(self) -> bool {
        // A stream's skb gives its list away while it is in the queue, and counts what was read before
        // that. Any other leaves its queue first.
        read::<u32>(self.control(), &UNIX_SKB_PARMS__CONSUMED) == 0 && !self.prev().0.is_null()
    }

    /// `skb->tstamp`.
    #[inline(always)]
    pub(crate) fn stamp(self) -> u64 {
        read(self.0, &SK_BUFF__TSTAMP)
    }

    /// Writes who sent it, as `UNIXCB` has it.
    ///
    /// # Safety
    /// `creds` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe_sender(self, creds: *mut Creds) {
        let control = self.control();
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            describe_pid(read(control, &UNIX_SKB_PARMS__PID), creds);
            read_to(&raw mut (*creds).uid, control, &UNIX_SKB_PARMS__UID);
            read_to(&raw mut (*creds).gid, control, &UNIX_SKB_PARMS__GID);
        }
    }

    #[inline(always)]
    fn control(self) -> u64 {
        self.0.address() + u64::from(SK_BUFF__CB.load())
    }
}

/// Writes the number of a `struct pid *` and whether any process still has it.
///
/// # Safety
/// `creds` can be written.
#[inline(always)]
unsafe fn describe_pid(pid: u64, creds: *mut Creds) {
    /// `PIDTYPE_TGID`: the list of what has this number as its process id is the second one.
    const PROCESSES: u64 = 8;
    let (mut number, mut first) = (0_u32, 0_u64);
    if pid != 0 {
        number = read_at(pid + u64::from(PID__NUMBERS.load()) + u64::from(UPID__NR.load()));
        first = read_at(pid + u64::from(PID__TASKS.load()) + PROCESSES);
    }
    // SAFETY: the caller's promise.
    unsafe {
        (*creds).pid = number;
        (*creds).alive = u32::from(first != 0);
    }
}

/// A `struct scm_fp_list *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct List<P = u64>(pub(crate) P);

impl<P: Pointer> List<P> {
    #[inline(always)]
    pub(crate) fn count(self) -> u16 {
        read(self.0, &SCM_FP_LIST__COUNT)
    }

    #[inline(always)]
    pub(crate) fn file(self, index: usize) -> File<P> {
        // No list is longer; the verifier, which cannot know, holds typed reads to the array.
        let index = if index < LIST_MAX {
            index
        } else {
            LIST_MAX - 1
        };
        let first = u64::from(SCM_FP_LIST__FP.load());
        File(self.0.follow(first + (index as u64) * 8))
    }
}

/// A `struct scm_cookie *`: what one call of `sendmsg` or `recvmsg` carries beside its data.
#[derive(Clone, Copy)]
pub(crate) struct Cookie<P>(pub(crate) P);

impl<P: Pointer> Cookie<P> {
    #[inline(always)]
    pub(crate) fn list(self) -> List<P> {
        List(follow(self.0, &SCM_COOKIE__FP))
    }
}

/// A `struct msghdr *` whose control messages the kernel has copied to its own memory.
#[derive(Clone, Copy)]
pub(crate) struct Msghdr<P>(pub(crate) P);

impl<P: Pointer> Msghdr<P> {
    /// Whether it has an address of its own to be sent to.
    #[inline(always)]
    pub(crate) fn is_addressed(self) -> bool {
        read::<u32>(self.0, &MSGHDR__NAMELEN) != 0
    }

    /// Address and length of the name: where it is sent to, or came from.
    #[inline(always)]
    pub(crate) fn name(self) -> (u64, u32) {
        (read(self.0, &MSGHDR__NAME), read(self.0, &MSGHDR__NAMELEN))
    }

    /// What the data's iterator begins with: its type and direction, which a sender's is never
    /// without.
    #[inline(always)]
    pub(crate) fn iter(self) -> u32 {
        read(self.0, &MSGHDR__ITER)
    }

    /// Whether no data goes with it, as long as nothing was taken from it.
    #[inline(always)]
    pub(crate) fn is_empty(self) -> bool {
        read::<u64>(self.0, &MSGHDR__ITER__COUNT) == 0
    }

    /// `msg_flags`.
    #[inline(always)]
    pub(crate) fn flags(self) -> u32 {
        read(self.0, &MSGHDR__FLAGS)
    }

    /// Address and length of the control messages.
    #[inline(always)]
    pub(crate) fn control(self) -> (u64, u64) {
        (
            read(self.0, &MSGHDR__CONTROL),
            read(self.0, &MSGHDR__CONTROLLEN),
        )
    }

    /// Descriptors that the receiver's control buffer still has room for.
    #[inline(always)]
    pub(crate) fn room(self) -> u16 {
        const MSG_CMSG_COMPAT: u32 = 1 << 31; // from a 32-bit task
        let compat = read::<u32>(self.0, &MSGHDR__FLAGS) & MSG_CMSG_COMPAT != 0;
        let header = if compat { 12 } else { 16 };
        let room = read::<u64>(self.0, &MSGHDR__CONTROLLEN).saturating_sub(header) / 4;
        // A list has no more files than that.
        room.min(LIST_MAX as u64) as u16
    }
}

/// The `sock` of a `struct socket *`.
#[inline(always)]
pub(crate) fn sock_of<P: Pointer>(socket: P) -> Sock<P> {
    Sock(follow(socket, &SOCKET__SK))
}

/// Thread id of a task.
#[inline(always)]
pub(crate) fn task_tid(task: u64) -> u32 {
    read(task, &TASK_STRUCT__PID)
}

/// Process id of a task.
#[inline(always)]
pub(crate) fn task_pid(task: u64) -> u32 {
    read(task, &TASK_STRUCT__TGID)
}

/// Where a task's descriptor table is; 0 once it has left that.
#[inline(always)]
pub(crate) fn task_table(task: u64) -> u64 {
    read(task, &TASK_STRUCT__FILES)
}

/// What the threads of a task's process share, and nobody else has until all of them are freed:
/// its `signal_struct`.
#[inline(always)]
pub(crate) fn task_shared(task: u64) -> u64 {
    read(task, &TASK_STRUCT__SIGNAL)
}

/// The task that forked it, or who has taken that one's place.
#[inline(always)]
pub(crate) fn task_parent(task: u64) -> u64 {
    read(task, &TASK_STRUCT__REAL_PARENT)
}

/// The name of such a task.
#[inline(always)]
pub(crate) fn task_comm(task: u64) -> [u8; 16] {
    read(task, &TASK_STRUCT__COMM)
}
