//! The records in the ring buffer, byte for byte.
//!
//! A record is a [`Head`] followed by up to [`FILES_PER_RECORD`] [`FileSeen`]s, or by one
//! [`SocketName`]. A list of 253 files takes several records of one hop, told apart by
//! [`Head::first`]; they are complete one by one, so losing one loses only its own files.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// SCM_MAX_FD: the most files one message carries, on every kernel since 2.6.38.
pub const LIST_MAX: usize = 253;

/// Files in one full-size record. A record for a single file holds just that one.
pub const FILES_PER_RECORD: usize = 16;

/// Bytes of a [`FileSeen::name`].
pub const LABEL_LEN: usize = 16;

/// Words of the fd bitmap that a receive's window covers: 4096 descriptors from the lowest free.
pub const WINDOW_WORDS: usize = 64;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// A sender's list is in a receive queue.
    ListQueued = 1,
    /// A list's skb is being read by a receiver.
    ListDequeued = 2,
    /// The receive that read a list returned; its files are the descriptors that became open
    /// in the receiver's table meanwhile.
    ReceiveReturned = 3,
    /// An skb was freed with its list unread.
    ListDestroyed = 4,
    /// The name a socket is bound to; comes right before a `ListQueued` of that socket.
    SocketNamed = 5,
    /// The sender's numbers have become a list (`__scm_send` returned).
    ListCopied = 6,
    /// A list is on its skb. If it is a duplicate, `Head::origin` is the list it was made from.
    ListAttached = 7,
    /// A list was duplicated from `Head::origin`: by MSG_PEEK, or before 6.10 at `attach`.
    ListDuplicated = 8,
    /// A list has left its skb and is about to be installed.
    ListDetached = 9,
    /// A file of a list is about to get a number; `Head::first` is its place in the list.
    FileReceived = 10,
    /// A file of a list has got a number or was refused one (`Head::result`).
    FdInstalled = 11,
    /// The path of a file of the hop to come; see [`crate::descriptions`].
    PathDescribed = 20,
    /// The addresses of a socket likewise.
    SocketDescribed = 21,
    /// What separates a task from others.
    TaskDescribed = 22,
    /// A list's references are given back, after a receive or instead of a send.
    ListReleased = 12,
    /// A send returned whose list, if there was one, did not get into a queue, or failed. With
    /// `Head::origin` it is the send whose `ListCopied` has that time; without, it says itself
    /// which numbers were passed, and its files are what the sender's table holds at them.
    SendReturned = 13,
    /// The functions in which a list ends, innermost first; comes right before the `ListReleased`
    /// or `ListDestroyed` of that list, or a `ReceiveReturned` without new descriptors.
    Called = 14,
    /// A list that was in a queue when somebody looked through them all, as a trace began: who sent
    /// it is not known. Made by userspace, in the form of the others.
    ListFound = 15,
    /// A list that was in a queue when somebody looked through them all as the trace ended. Made by
    /// userspace likewise; where somebody looked because it had been there for long, `Head::result` is 1.
    /// Older recordings have it without files.
    ListFoundLast = 16,
    /// With a filter: a task that it wants sends on a socket, in a way of which cannot be read whether
    /// it passes descriptors.
    SenderWanted = 17,
    /// A sender's list is about to get into a receive queue: what a `ListCopied` and a `ListQueued` tell, in
    /// one record. `Head::origin` is when its numbers had become a list, and 0 if that went unseen; of then
    /// are the numbers, and what the sender's table held at them. The rest is of `Head::t_ns`.
    Sent = 23,
    /// A sender gives its list back, which was in no queue. Likewise but for the queue; [`Head::room`] is 1
    /// if it had no data, and [`Head::result`] if what its call returns is told by a `SendReturned`.
    Unsent = 24,
    /// A receiver gives back a list whose files it has installed: what `ListDetached`, `FdInstalled` and
    /// `ListReleased` tell, in one record. `Head::origin` is when it was detached, and `Head::location` how
    /// many files had their turn. Of each of these, [`FileSeen::slot`] is what the kernel installed and
    /// [`FileSeen::told`] the number, a refusal as a negative errno, or [`NOT_TOLD`].
    Received = 25,
    /// A send named descriptors on a socket that passes none: one of another family than Unix. Its files are
    /// what the sender's table holds at the numbers; the socket is described ahead of it, at
    /// [`SOCKET_ITSELF`].
    RightsIgnored = 26,
    /// A send has SCM_RIGHTS parts that name no descriptor, [`Head::count`] of them, and none that does.
    RightsEmpty = 27,
    /// What a failed send had to do with: a [`crate::refused::SendRefused`] ahead of its `SendReturned`.
    SendRefused = 28,
    /// All queues have been looked through as the trace ended: what was there has been told of by
    /// then. `Head::t_ns` is when that began, and `Head::result` 1 if every queue could be read.
    /// Made by userspace.
    QueuesRead = 18,
}

/// `Head::flags`: the receive asked with MSG_PEEK, so the list stays queued.
pub const FLAG_PEEK: u16 = 1;
/// `Head::flags`: the receiver's table grew past the window; some new numbers may be unseen.
pub const FLAG_WINDOW_SHORT: u16 = 1 << 1;
/// `Head::flags`: the list left the queue before or while this record was made. What it says of
/// the list is void; what it says of the sender's numbers and table (`fd`, `slot`) holds. It has no
/// files where the call was a `sendmmsg`: which of its messages that was is not known.
pub const FLAG_RACED: u16 = 1 << 2;
/// `Head::flags`: the skb is being destructed; a hook on its freeing may have told before. In `Unsent`, the list
/// was on one, and goes with it.
pub const FLAG_DESTRUCTED: u16 = 1 << 3;
/// `Head::flags`: other tasks use the receiver's table, and may have closed numbers meanwhile.
pub const FLAG_TABLE_SHARED: u16 = 1 << 4;
/// `Head::flags`: the socket that it was sent to takes messages from this sender, but no descriptors.
pub const FLAG_NO_RIGHTS: u16 = 1 << 7;

/// `Head::flags`: the receive that gives the list back installed files from it, and nothing saw
/// that begin.
pub const FLAG_INSTALLED_UNSEEN: u16 = 1 << 9;

/// `Head::flags`: the task passes the filter, if there is one; of a list that was found in a queue,
/// one that does holds the socket that it was sent to, or from.
pub const FLAG_WANTED: u16 = 1 << 8;

/// `Head::flags`: the receive asked for an out-of-band byte, which leaves the list on its skb.
pub const FLAG_OOB: u16 = 1 << 5;
/// `Head::flags`: the receiver's table has no number left below its limit (RLIMIT_NOFILE).
pub const FLAG_TABLE_FULL: u16 = 1 << 6;

/// `Head::flags`: the sending task has an io_uring. What it sends through that tells nothing if the
/// list has left the queue.
pub const FLAG_HAS_URING: u16 = 1 << 10;

/// `Head::flags`: in `ReceiveReturned`, the kernel's own message header was found. Then `location`
/// holds the bytes that are left of the control buffer, or [`NO_CONTROL`], and in its upper half
/// `msg_flags`; `room` is
/// how far what has been written ends behind a multiple of eight from its beginning, or
/// [`ROOM_UNKNOWN`].
pub const FLAG_CONTROL_SEEN: u16 = 1 << 11;

/// `Head::flags`: in `ReceiveReturned`, a number below the highest new one is free. The kernel
/// gives the lowest, so another task has closed it since, or that new one is its doing.
pub const FLAG_HOLE: u16 = 1 << 12;

/// [`Head::first`] of a description that is of the socket that was sent on, and of no file of the message.
pub const SOCKET_ITSELF: u16 = u16::MAX;

/// The bytes left of a control buffer where there is none.
pub const NO_CONTROL: u64 = u32::MAX as u64;

/// [`Head::room`] where that is not known.
pub const ROOM_UNKNOWN: u16 = u16::MAX;

/// `Head::flags`: with a filter, the first look of a wanted task on this socket. What others had sent
/// on it before was not told.
pub const FLAG_FIRST_SEEN: u16 = 1 << 14;

/// `Head::flags`: with a filter, another thread has found this list in its queue too, and taken it for
/// its own.
pub const FLAG_DISPUTED: u16 = 1 << 13;

/// `Head::flags`: the files of this record were described ahead of it, each in a record of its own,
/// but for pipes, whose number says it all. What is missing was lost.
pub const FLAG_DESCRIBED: u16 = 1 << 15;

/// `Head::flags`: in `ReceiveReturned`, where it is no [`FLAG_FIRST_SEEN`]: as the receive returned, the list was still on its skb: the data was not copied.
pub const FLAG_LEFT: u16 = 1 << 14;

/// Functions that a `Called` record names, at most.
pub const CALLERS_MAX: usize = 16;

/// A system call, as far as it matters to descriptors. Its number is another one on each architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Call {
    /// That was not read.
    Unread = -1,
    /// Another one than those below, or none.
    Other = 0,
    /// recvmsg: the control message is where programs find it in their memory.
    Recvmsg = 1,
    /// One that has no place for descriptors: read, readv, recvfrom.
    PlainRead = 2,
}

/// What every record starts with. Zero where a field does not apply to the kind.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct Head {
    /// CLOCK_MONOTONIC in nanoseconds, taken before anything else was read; in a `ListQueued` that
    /// is `FLAG_RACED` and has no list, after the queue was searched.
    pub t_ns: u64,
    /// When a record was last lost on this machine, seen from when this one was begun. Two
    /// records with the same value have no loss between them.
    pub epoch: u64,
    /// Address of the `scm_fp_list`.
    pub list: u64,
    /// Where this comes from: the address of the list that this one was duplicated from, or 0; in
    /// `ReceiveReturned`, the time of the `ListDequeued` that it belongs to; in a description, the
    /// address of the file.
    pub origin: u64,
    /// Address of the skb that carries the list.
    pub skb: u64,
    /// Address of the receiving `sock` (queued, returned) or 0.
    pub receiver_sock: u64,
    /// Address of the sending `sock`, read from the skb, or 0.
    pub sender_sock: u64,
    /// Inode number of the receiving socket; 0 before accept.
    pub receiver_ino: u64,
    /// Inode number of the sending socket; 0 once it is closed.
    pub sender_ino: u64,
    /// Kernel address of the code that freed the skb; in a look at the queue (`ListQueued` by
    /// tracepoint), when the looking thread began: CLOCK_MONOTONIC in nanoseconds; in `ReceiveReturned`, see
    /// [`FLAG_CONTROL_SEEN`].
    pub location: u64,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Thread id, in the initial pid namespace.
    pub tid: u32,
    /// CPU the program ran on.
    pub cpu: u32,
    /// The sender's number for the socket it sent on, or -1.
    pub socket_fd: i32,
    /// What the receive returned: bytes, or a negative errno.
    pub result: i32,
    /// The system call that the task is in: a [`Call`].
    pub call: i32,
    /// A [`RecordKind`].
    pub kind: u16,
    /// `FLAG_*` bits.
    pub flags: u16,
    /// Files in the whole list.
    pub count: u16,
    /// Index in the list of this record's first file.
    pub first: u16,
    /// Files that follow in this record.
    pub files: u16,
    /// Type of the receiving socket, or of the sending one: SOCK_STREAM 1, SOCK_DGRAM 2,
    /// SOCK_SEQPACKET 5.
    pub socket_type: u16,
    /// Files in all records of this hop together.
    pub total: u16,
    /// In `ListDetached`, how many descriptors the receiver's control buffer has room for; in
    /// `ReceiveReturned`, see [`FLAG_CONTROL_SEEN`], or [`ROOM_UNKNOWN`].
    pub room: u16,
    /// The task's name, NUL-padded.
    pub comm: [u8; 16],
}

/// One `struct file` as it was seen at a hop.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct FileSeen {
    /// Address of the file.
    pub file: u64,
    /// What the task's own table holds at `fd`; 0 where no number is known.
    pub slot: u64,
    /// The file's reference count.
    pub refs: i64,
    /// Inode number.
    pub ino: u64,
    /// Magic number of its file system (`s_magic`): tells pipes, sockets and memfds apart.
    pub magic: u64,
    /// Device of its file system, as the kernel encodes it (major << 20 | minor).
    pub dev: u32,
    /// Device that the inode stands for, likewise.
    pub rdev: u32,
    /// `f_flags`: the open flags.
    pub flags: u32,
    /// Descriptor number in the task's table, or -1.
    pub fd: i32,
    /// In `ReceiveReturned`: what the receiver's control message has at this record's position in
    /// the list, or [`NOT_TOLD`]: a number, or a refusal as a negative errno. It says nothing about
    /// *this* file.
    pub told: i32,
    /// `i_mode`: type and permissions.
    pub mode: u16,
    /// 1 if `fd` is close-on-exec; in `Received`, [`IN_PLACE`] of a refusal that the receiver was given
    /// instead of a number, so that the files after it had their turn.
    pub cloexec: u16,
    /// Address of its dentry; 0 where the hop does not look at it.
    pub dentry: u64,
    /// Address of the dentry's parent: the same if the file is in no directory.
    pub parent: u64,
    /// What its dentry is called, as far as it fits: its name in a directory or, outside of any,
    /// what the kernel calls it: `[eventfd]`, `memfd:…`. Ends with the first NUL.
    pub name: [u8; LABEL_LEN],
}

/// See [`FileSeen::cloexec`].
pub const IN_PLACE: u16 = 2;

/// [`FileSeen::told`] where the control message says nothing.
pub const NOT_TOLD: i32 = i32::MIN;

/// The functions in which something happens, innermost first.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct Callers {
    /// How many of the addresses are in use.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
    /// Return addresses, and whatever code of the programs' own lies before them.
    pub addresses: [u64; CALLERS_MAX],
}

/// The name a socket is bound to: a path, or an abstract name that starts with NUL.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct SocketName {
    /// Bytes of `name` in use.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
    /// `sun_path`.
    pub name: [u8; 112],
}

/// One row of the `iter/task_file` snapshot: a descriptor and the file behind it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct TaskFile {
    /// Address of the file.
    pub file: u64,
    /// The file's reference count.
    pub refs: i64,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Descriptor number.
    pub fd: u32,
}
