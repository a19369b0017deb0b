//! The only module that dereferences memory the programs do not own: the kernel's, and that of
//! the task they run in.
//!
//! Every kernel object is a pointer with a type; its methods name the C members they read. How they
//! read depends on how much the verifier knows of the pointer, see [`pointer`]. A read that faults
//! yields zero: an object that cannot be read looks like a null pointer, and callers test for zero
//! where it matters.

pub(crate) mod description;
pub(crate) mod namespace;
mod open;
pub(crate) mod path;
mod pointer;
mod registers;
mod task;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use fdtrace_common::{
    queues::{BoundName, Creds, SocketSeen},
    records::{FileSeen, LABEL_LEN, LIST_MAX},
    refused::SendRefused,
};

use self::pointer::{can_cast, cast, follow, read, read_at, read_to, read_words};
pub(crate) use self::{
    open::describe_owner,
    pointer::{
        Pointer, Room, Typed, copy, copy_from_kernel, copy_from_user, read_copied, read_user,
    },
    registers::Registers,
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

/// A `struct sock *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sock<P = u64>(pub(crate) P);

impl<P: Pointer> Sock<P> {
    #[inline(always)]
    pub(crate) fn is_unix(self) -> bool {
        !self.0.is_null() && read::<u16>(self.0, &SOCK__FAMILY) == AF_UNIX
    }

    /// `sk_type`: SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    #[inline(always)]
    pub(crate) fn kind(self) -> u16 {
        read(self.0, &SOCK__TYPE)
    }

    /// The errno with which a send on this SEQPACKET socket ends before it takes anything over, or 0.
    #[inline(always)]
    pub(crate) fn refuses_seqpacket(self) -> u32 {
        const TCP_ESTABLISHED: u8 = 1;
        const ENOTCONN: u32 = 107;
        let error: u32 = read(self.0, &SOCK__ERR);
        if error == 0 && read::<u8>(self.0, &SOCK__STATE) != TCP_ESTABLISHED {
            return ENOTCONN;
        }
        error
    }

    /// The receive queue's head, which its circular list treats like an skb.
    #[inline(always)]
    pub(crate) fn queue_head(self) -> Skb {
        Skb(self.0.address() + u64::from(SOCK__RECEIVE_QUEUE.load()))
    }

    /// The skb queued last.
    #[inline(always)]
    pub(crate) fn queue_tail(self) -> Skb<P> {
        let offset = u64::from(SOCK__RECEIVE_QUEUE.load()) + u64::from(SK_BUFF_HEAD__PREV.load());
        Skb(self.0.follow(offset))
    }

    /// The function that is called when something was queued.
    #[inline(always)]
    pub(crate) fn data_ready(self) -> u64 {
        read(self.0, &SOCK__DATA_READY)
    }

    /// Inode number of the socket's file; 0 while it has none (not accepted yet, or closed).
    #[inline(always)]
    pub(crate) fn ino(self) -> u64 {
        if self.0.is_null() {
            return 0;
        }
        let socket = follow(self.0, &SOCK__SOCKET);
        if socket.is_null() {
            return 0;
        }
        let file = follow(socket, &SOCKET__FILE);
        if file.is_null() {
            return 0;
        }
        read(follow(file, &FILE__INODE), &INODE__INO)
    }

    /// The socket's file; a null one while it has none.
    #[inline(always)]
    pub(crate) fn file(self) -> File {
        let socket: u64 = read(self.0, &SOCK__SOCKET);
        File(if socket == 0 {
            0
        } else {
            read(socket, &SOCKET__FILE)
        })
    }

    /// Whether the socket that it is connected to takes messages from it, but no descriptors.
    #[inline(always)]
    pub(crate) fn is_refused_rights(self) -> bool {
        if SOCK__SCM_RIGHTS_MASK.load() == 0 {
            return false;
        }
        let sock = self.0.address();
        let peer: u64 = read(sock, &UNIX_SOCK__PEER);
        if peer == 0 {
            return false;
        }
        // One that is connected to somebody else takes nothing at all from here.
        let its_peer: u64 = read(peer, &UNIX_SOCK__PEER);
        if its_peer != 0 && its_peer != sock {
            return false;
        }
        let flags: u8 = read(peer, &SOCK__SCM_RECV_FLAGS);
        u32::from(flags) & SOCK__SCM_RIGHTS_MASK.load() == 0
    }

    /// The Unix socket that it is connected to, or a null one.
    #[inline(always)]
    pub(crate) fn peer(self) -> Sock {
        Sock(read(self.0.address(), &UNIX_SOCK__PEER))
    }

    /// Things in the receive queue.
    #[inline(always)]
    pub(crate) fn queued(self) -> u32 {
        read(self.queue_head().0, &SK_BUFF_HEAD__QLEN)
    }

    /// Writes what a failed send on this Unix socket had to do with. With `elsewhere`, the address and length of
    /// one of its own, it was not to go to the socket that this one is connected to.
    ///
    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe_refusal(self, seen: *mut SendRefused, elsewhere: (u64, u32)) {
        let unread: u32 = read(self.0, &SOCK__WMEM_ALLOC);
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            // The count begins with one.
            (*seen).unread = unread.wrapping_sub(1);
            read_to(&raw mut (*seen).unread_limit, self.0, &SOCK__SNDBUF);
            (*seen).receiver_sock = 0;
            (*seen).receiver_ino = 0;
            (*seen).queued = 0;
            (*seen).queue_limit = 0;
            let name = &raw mut (*seen).name;
            (*name).reserved = 0;
            (*name).len = 0;
            let (at, len) = elsewhere;
            if len > 0 {
                let to = (&raw mut (*name).name).cast();
                (*name).len = copy_name(at + u64::from(FAMILY_BYTES), len, to, SUN_PATH);
                return;
            }
            let peer = self.peer();
            if peer.0 == 0 {
                return;
            }
            (*seen).receiver_sock = peer.0;
            (*seen).receiver_ino = peer.ino();
            (*seen).queued = peer.queued();
            read_to(&raw mut (*seen).queue_limit, peer.0, &SOCK__MAX_ACK_BACKLOG);
            copy_bound_name(peer.address(), name);
        }
    }

    /// Writes what a Unix socket looks like at this moment.
    ///
    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, seen: *mut SocketSeen) {
        const TCP_LISTEN: u8 = 10;
        let file = self.file();
        let peer = self.peer();
        let state: u8 = read(self.0, &SOCK__STATE);
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            (*seen).sock = self.0.address();
            (*seen).file = file.0;
            (*seen).file_refs = if file.0 == 0 { 0 } else { file.refs() };
            (*seen).ino = self.ino();
            (*seen).peer = peer.0;
            (*seen).peer_ino = peer.ino();
            let creds = &raw mut (*seen).peer_creds;
            describe_pid(read(self.0, &SOCK__PEER_PID), creds);
            let cred: u64 = read(self.0, &SOCK__PEER_CRED);
            read_to(&raw mut (*creds).uid, cred, &CRED__EUID);
            read_to(&raw mut (*creds).gid, cred, &CRED__EGID);
            read_to(&raw mut (*seen).scm_fds, self.0, &UNIX_SOCK__SCM_FDS);
            (*seen).messages = self.queued();
            (*seen).kind = self.kind();
            (*seen).listens = u16::from(state == TCP_LISTEN);
            (*seen).reserved = 0;
            copy_bound_name(self.address(), &raw mut (*seen).name);
            copy_bound_name(peer.address(), &raw mut (*seen).peer_name);
        }
    }

    /// The `struct unix_address *` that the socket is bound to, or 0. It lies beyond what the
    /// verifier takes for a `sock`.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        if self.0.is_null() {
            return 0;
        }
        read(self.0.address(), &UNIX_SOCK__ADDR)
    }
}

impl Sock {
    /// The socket whose receive queue `queue` is.
    #[inline(always)]
    pub(crate) fn of_queue(queue: impl Pointer) -> Self {
        Self(queue.address() - u64::from(SOCK__RECEIVE_QUEUE.load()))
    }
}

/// Copies `sun_path` of a `struct unix_address` to `name`; returns its length in bytes.
#[inline(always)]
pub(crate) fn copy_socket_name(address: u64, name: *mut u8, room: usize) -> u32 {
    let len: u32 = read(address, &UNIX_ADDRESS__LEN);
    let from = address + u64::from(UNIX_ADDRESS__NAME.load()) + u64::from(FAMILY_BYTES);
    copy_name(from, len, name, room)
}

/// Copies a name whose address, with its family, is `len` bytes long; returns the name's length.
#[inline(always)]
fn copy_name(from: u64, len: u32, name: *mut u8, room: usize) -> u32 {
    let len = len.saturating_sub(FAMILY_BYTES);
    let len = if len as usize > room {
        room as u32
    } else {
        len
    };
    // SAFETY: `name` has `room` bytes, and no more than that is copied.
    unsafe { bpf_probe_read_kernel(name.cast(), len, from as *const _) };
    len
}

/// `sun_family` comes before `sun_path`.
const FAMILY_BYTES: u32 = 2;
const SUN_PATH: usize = 108;

/// # Safety
/// `name` can be written.
#[inline(always)]
unsafe fn copy_bound_name(address: u64, name: *mut BoundName) {
    // SAFETY: the caller's promise, and there is room for a `sun_path`.
    unsafe {
        (*name).reserved = 0;
        (*name).len = if address == 0 {
            0
        } else {
            copy_socket_name(address, (&raw mut (*name).name).cast(), SUN_PATH)
        };
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

    /// `msg_flags`.
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

/// A `struct file *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct File<P = u64>(pub(crate) P);

impl File {
    /// Writes what the file looks like at this moment, straight into a record, and if `labelled`
    /// what its dentry is called and whether it is in a directory: that is for userspace to see
    /// from two addresses.
    ///
    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, seen: *mut FileSeen, labelled: bool, room: &mut Room) {
        // SAFETY: the caller's promise.
        unsafe {
            if can_cast() {
                self.describe_by_loads(seen, labelled);
            } else {
                self.describe_by_calls(seen, labelled, room);
            }
        }
    }

    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    unsafe fn describe_by_loads(self, seen: *mut FileSeen, labelled: bool) {
        let file = cast(self.0, &TYPE__FILE);
        // SAFETY: the caller's promise; every member fits its field.
        unsafe {
            (*seen).file = self.0;
            (*seen).refs = File(file).refs();
            read_to(&raw mut (*seen).flags, file, &FILE__FLAGS);
            let inode = cast(follow(file, &FILE__INODE).address(), &TYPE__INODE);
            read_to(&raw mut (*seen).ino, inode, &INODE__INO);
            read_to(&raw mut (*seen).rdev, inode, &INODE__RDEV);
            read_to(&raw mut (*seen).mode, inode, &INODE__MODE);
            let sb = cast(follow(inode, &INODE__SB).address(), &TYPE__SUPER_BLOCK);
            read_to(&raw mut (*seen).dev, sb, &SUPER_BLOCK__DEV);
            read_to(&raw mut (*seen).magic, sb, &SUPER_BLOCK__MAGIC);
            if !labelled {
                leave_out_label(seen);
                return;
            }
            let dentry = follow(file, &FILE__DENTRY);
            (*seen).dentry = dentry.address();
            let dentry = cast(dentry.address(), &TYPE__DENTRY);
            (*seen).parent = follow(dentry, &DENTRY__PARENT).address();
            let name = follow(dentry, &DENTRY__NAME__NAME).address();
            read_words((&raw mut (*seen).name).cast(), LABEL_LEN / 8, name);
        }
    }

    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    unsafe fn describe_by_calls(self, seen: *mut FileSeen, labelled: bool, room: &mut Room) {
        let file = room.fetch::<FILE_WORDS>(self.0, &TYPE__FILE);
        let refs: i64 = file.member(&FILE__REFS);
        let (inode, dentry): (u64, u64) = (file.member(&FILE__INODE), file.member(&FILE__DENTRY));
        // SAFETY: the caller's promise; every member fits its field.
        unsafe {
            (*seen).file = self.0;
            (*seen).refs = refs.wrapping_add(i64::from(FILE_REFS_BIAS.load()));
            (*seen).flags = file.member(&FILE__FLAGS);
            let inode = room.fetch::<INODE_WORDS>(inode, &TYPE__INODE);
            (*seen).ino = inode.member(&INODE__INO);
            (*seen).rdev = inode.member(&INODE__RDEV);
            (*seen).mode = inode.member(&INODE__MODE);
            let sb = inode.member(&INODE__SB);
            let sb = room.fetch::<SUPER_BLOCK_WORDS>(sb, &TYPE__SUPER_BLOCK);
            (*seen).dev = sb.member(&SUPER_BLOCK__DEV);
            (*seen).magic = sb.member(&SUPER_BLOCK__MAGIC);
            let name = (&raw mut (*seen).name).cast::<u8>();
            if labelled {
                (*seen).dentry = dentry;
                let dentry = room.fetch::<DENTRY_WORDS>(dentry, &TYPE__DENTRY);
                (*seen).parent = dentry.member(&DENTRY__PARENT);
                copy_from_kernel(name, LABEL_LEN as u32, dentry.member(&DENTRY__NAME__NAME));
            } else {
                leave_out_label(seen);
            }
        }
    }
}

/// # Safety
/// `seen` can be written.
#[inline(always)]
unsafe fn leave_out_label(seen: *mut FileSeen) {
    // SAFETY: the caller's promise. Volatile: the compiler would call a function that goes byte by byte.
    unsafe {
        (&raw mut (*seen).dentry).write_volatile(0);
        (&raw mut (*seen).parent).write_volatile(0);
        let name = (&raw mut (*seen).name).cast::<u64>();
        for word in 0..LABEL_LEN / size_of::<u64>() {
            name.add(word).write_volatile(0);
        }
    }
}

/// How much of an object is read at once, in words: what is wanted lies within on the kernels that
/// were looked at, and no object of its kind is smaller.
const FILE_WORDS: usize = 23;
const INODE_WORDS: usize = 10;
const SUPER_BLOCK_WORDS: usize = 13;
const DENTRY_WORDS: usize = 8;

impl<P: Pointer> File<P> {
    /// The reference count as `file_count()` would give it. It may change right after.
    #[inline(always)]
    pub(crate) fn refs(self) -> i64 {
        read::<i64>(self.0, &FILE__REFS).wrapping_add(i64::from(FILE_REFS_BIAS.load()))
    }

    /// Address of its inode.
    #[inline(always)]
    pub(crate) fn inode(self) -> u64 {
        read(self.0, &FILE__INODE)
    }

    /// Names that its inode has.
    #[inline(always)]
    pub(crate) fn links(self) -> u32 {
        read(follow(self.0, &FILE__INODE), &INODE__NLINK)
    }

    /// The `sock` behind the file if that is a Unix socket, or a null one. A socket's place in a
    /// directory, opened with O_PATH, is none: its inode is of another file system.
    #[inline(always)]
    pub(crate) fn unix_sock(self) -> Sock {
        const SOCKFS_MAGIC: u64 = 0x534f_434b;
        let sb = follow(follow(self.0, &FILE__INODE), &INODE__SB);
        if read::<u64>(sb, &SUPER_BLOCK__MAGIC) != SOCKFS_MAGIC {
            return Sock(0);
        }
        let sock = self.sock();
        if sock.is_unix() { sock } else { Sock(0) }
    }

    /// The `sock` behind a socket's file. The caller knows that it is a socket.
    #[inline(always)]
    pub(crate) fn sock(self) -> Sock {
        let socket: u64 = read(self.0, &FILE__PRIVATE_DATA);
        Sock(read(socket, &SOCKET__SK))
    }
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
