//! The only module that dereferences memory the programs do not own: the kernel's, and that of
//! the task they run in.
//!
//! Every kernel object is an address with a type; its methods name the C members they read. A
//! read that faults yields zero, as the helper leaves it: an object that cannot be read looks
//! like a null pointer, and callers test for zero where it matters.

pub(crate) mod path;

use core::mem::MaybeUninit;

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task,
        generated::{
            bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
        },
    },
};
use fdtrace_common::{
    queues::{BoundName, Creds, SocketSeen},
    records::{FileSeen, WINDOW_WORDS},
};

use crate::offsets::*;

const AF_UNIX: u16 = 1;

/// Reads a `T` at `base + offset`; all zero when the address is not mapped.
#[inline(always)]
fn read<T: Copy>(base: u64, offset: &Global<u32>) -> T {
    read_at(base + u64::from(offset.load()))
}

/// Reads a `T` for which all-zero bytes are a value, as they are for every type used here.
#[inline(always)]
fn read_at<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper takes any address; it fills the whole value, with zeros if that is bad.
    // Not asking which it was keeps the verifier from following every read down two paths.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// Reads a `T` at `base + offset` into `to`.
///
/// # Safety
/// `to` can be written.
#[inline(always)]
unsafe fn read_to<T: Copy>(to: *mut T, base: u64, offset: &Global<u32>) {
    let address = base + u64::from(offset.load());
    // SAFETY: the caller's promise, and as in `read_at`.
    unsafe { bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, address as *const _) };
}

/// Reads a `T` of the current task's user memory, likewise.
#[inline(always)]
pub(crate) fn read_user<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read_at`.
    unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// Reads a `T` of the kernel's memory that is laid out like user memory, such as its copy of a
/// control message.
#[inline(always)]
pub(crate) fn read_copied<T: Copy>(address: u64) -> T {
    read_at(address)
}

/// Copies `len` bytes of the kernel's memory, which must fit at `to`.
///
/// # Safety
/// `to` has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_from_kernel(to: *mut u8, len: u32, address: u64) {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_kernel(to.cast(), len, address as *const _) };
}

/// Copies a value between two of the programs' own maps in one helper call, where the compiler
/// would emit a byte-wise loop for the verifier to walk each time.
///
/// # Safety
/// `to` can be written.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy>(to: *mut T, from: &T) {
    // SAFETY: the caller's promise; `from` is readable, so the copy cannot fail.
    unsafe {
        bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, (from as *const T).cast());
    }
}

/// Copies `len` bytes of the current task's user memory, which must fit at `to`.
///
/// # Safety
/// `to` has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_from_user(to: *mut u8, len: u32, address: u64) {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_user(to.cast(), len, address as *const _) };
}

/// A `struct sk_buff *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skb(pub(crate) u64);

impl Skb {
    /// The socket that sent this skb, while the skb is charged to it.
    #[inline(always)]
    pub(crate) fn sock(self) -> Sock {
        Sock(read(self.0, &SK_BUFF__SK))
    }

    /// `UNIXCB(skb).fp`; only meaningful for skbs of Unix sockets.
    #[inline(always)]
    pub(crate) fn list(self) -> List {
        List(read_at(
            self.0 + u64::from(SK_BUFF__CB.load()) + u64::from(UNIX_SKB_PARMS__FP.load()),
        ))
    }

    /// The neighbour towards the head of its queue.
    #[inline(always)]
    pub(crate) fn prev(self) -> Skb {
        Skb(read(self.0, &SK_BUFF__PREV))
    }

    /// The neighbour towards the tail. A queue's head has it in the same place.
    #[inline(always)]
    pub(crate) fn next(self) -> Skb {
        Skb(read(self.0, &SK_BUFF__NEXT))
    }

    /// Bytes that nobody has read yet; only of Unix sockets.
    #[inline(always)]
    pub(crate) fn unread(self) -> u64 {
        let len: u32 = read(self.0, &SK_BUFF__LEN);
        let consumed: u32 = read(self.control(), &UNIX_SKB_PARMS__CONSUMED);
        u64::from(len).wrapping_sub(u64::from(consumed))
    }

    /// Whether nobody has read any of it yet; only of Unix streams.
    #[inline(always)]
    pub(crate) fn is_untouched(self) -> bool {
        read::<u32>(self.control(), &UNIX_SKB_PARMS__CONSUMED) == 0
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
        self.0 + u64::from(SK_BUFF__CB.load())
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
pub(crate) struct Sock(pub(crate) u64);

impl Sock {
    #[inline(always)]
    pub(crate) fn is_unix(self) -> bool {
        self.0 != 0 && read::<u16>(self.0, &SOCK__FAMILY) == AF_UNIX
    }

    /// `sk_type`: SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    #[inline(always)]
    pub(crate) fn kind(self) -> u16 {
        read(self.0, &SOCK__TYPE)
    }

    /// The socket whose receive queue `queue` is.
    #[inline(always)]
    pub(crate) fn of_queue(queue: u64) -> Self {
        Self(queue - u64::from(SOCK__RECEIVE_QUEUE.load()))
    }

    /// The receive queue's head, which its circular list treats like an skb.
    #[inline(always)]
    pub(crate) fn queue_head(self) -> Skb {
        Skb(self.0 + u64::from(SOCK__RECEIVE_QUEUE.load()))
    }

    /// The skb queued last.
    #[inline(always)]
    pub(crate) fn queue_tail(self) -> Skb {
        Skb(read(self.queue_head().0, &SK_BUFF_HEAD__PREV))
    }

    /// Inode number of the socket's file; 0 while it has none (not accepted yet, or closed).
    #[inline(always)]
    pub(crate) fn ino(self) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        let socket: u64 = read(self.0, &SOCK__SOCKET);
        if socket == 0 {
            return 0;
        }
        // struct socket_alloc holds the socket and its inode side by side.
        let alloc = socket - u64::from(SOCKET_ALLOC__SOCKET.load());
        read(alloc, &SOCKET_ALLOC__INODE__INO)
    }

    /// Things in the receive queue.
    #[inline(always)]
    pub(crate) fn queued(self) -> u32 {
        read(self.queue_head().0, &SK_BUFF_HEAD__QLEN)
    }

    /// Writes what a Unix socket looks like at this moment.
    ///
    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, seen: *mut SocketSeen) {
        const TCP_LISTEN: u8 = 10;
        let socket: u64 = read(self.0, &SOCK__SOCKET);
        let file = File(if socket == 0 {
            0
        } else {
            read(socket, &SOCKET__FILE)
        });
        let peer = Sock(read(self.0, &UNIX_SOCK__PEER));
        let state: u8 = read(self.0, &SOCK__STATE);
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            (*seen).sock = self.0;
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

    /// The `struct unix_address *` that the socket is bound to, or 0.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        read(self.0, &UNIX_SOCK__ADDR)
    }
}

/// Copies `sun_path` of a `struct unix_address` to `name`; returns its length in bytes.
#[inline(always)]
pub(crate) fn copy_socket_name(address: u64, name: *mut u8, room: usize) -> u32 {
    const FAMILY_BYTES: u32 = 2; // sun_family comes before sun_path
    let len: u32 = read(address, &UNIX_ADDRESS__LEN);
    let len = len.saturating_sub(FAMILY_BYTES);
    let len = if len as usize > room {
        room as u32
    } else {
        len
    };
    let from = address + u64::from(UNIX_ADDRESS__NAME.load()) + u64::from(FAMILY_BYTES);
    // SAFETY: `name` has `room` bytes, and no more than that is copied.
    unsafe { bpf_probe_read_kernel(name.cast(), len, from as *const _) };
    len
}

/// # Safety
/// `name` can be written.
#[inline(always)]
unsafe fn copy_bound_name(address: u64, name: *mut BoundName) {
    const SUN_PATH: usize = 108;
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
pub(crate) struct List(pub(crate) u64);

impl List {
    #[inline(always)]
    pub(crate) fn count(self) -> u16 {
        read(self.0, &SCM_FP_LIST__COUNT)
    }

    #[inline(always)]
    pub(crate) fn file(self, index: usize) -> File {
        File(read_at(
            self.0 + u64::from(SCM_FP_LIST__FP.load()) + (index as u64) * 8,
        ))
    }
}

/// A `struct scm_cookie *`: what one call of `sendmsg` or `recvmsg` carries beside its data.
#[derive(Clone, Copy)]
pub(crate) struct Cookie(pub(crate) u64);

impl Cookie {
    #[inline(always)]
    pub(crate) fn list(self) -> List {
        List(read(self.0, &SCM_COOKIE__FP))
    }
}

/// A `struct msghdr *` whose control messages the kernel has copied to its own memory.
#[derive(Clone, Copy)]
pub(crate) struct Msghdr(pub(crate) u64);

impl Msghdr {
    /// Address and length of the control messages.
    #[inline(always)]
    pub(crate) fn control(self) -> (u64, u64) {
        (
            read(self.0, &MSGHDR__CONTROL),
            read(self.0, &MSGHDR__CONTROLLEN),
        )
    }
}

/// The `sock` of a `struct socket *`.
#[inline(always)]
pub(crate) fn sock_of(socket: u64) -> Sock {
    Sock(read(socket, &SOCKET__SK))
}

/// A `struct file *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct File(pub(crate) u64);

impl File {
    /// Writes what the file looks like at this moment, straight into a record.
    ///
    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, seen: *mut FileSeen) {
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            (*seen).file = self.0;
            (*seen).refs = self.refs();
            read_to(&raw mut (*seen).flags, self.0, &FILE__FLAGS);
            let inode: u64 = read(self.0, &FILE__INODE);
            read_to(&raw mut (*seen).ino, inode, &INODE__INO);
            read_to(&raw mut (*seen).rdev, inode, &INODE__RDEV);
            read_to(&raw mut (*seen).mode, inode, &INODE__MODE);
            let sb: u64 = read(inode, &INODE__SB);
            read_to(&raw mut (*seen).dev, sb, &SUPER_BLOCK__DEV);
            read_to(&raw mut (*seen).magic, sb, &SUPER_BLOCK__MAGIC);
        }
    }

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
        let inode: u64 = read(self.0, &FILE__INODE);
        read(inode, &INODE__NLINK)
    }

    /// The `sock` behind the file if that is a Unix socket, or a null one. A socket's place in a
    /// directory, opened with O_PATH, is none: its inode is of another file system.
    #[inline(always)]
    pub(crate) fn unix_sock(self) -> Sock {
        const SOCKFS_MAGIC: u64 = 0x534f_434b;
        let inode: u64 = read(self.0, &FILE__INODE);
        let sb: u64 = read(inode, &INODE__SB);
        if read::<u64>(sb, &SUPER_BLOCK__MAGIC) != SOCKFS_MAGIC {
            return Sock(0);
        }
        let sock = self.sock();
        if sock.is_unix() { sock } else { Sock(0) }
    }

    /// The `sock` behind a socket's file. The caller knows that it is a socket.
    #[inline(always)]
    fn sock(self) -> Sock {
        let socket: u64 = read(self.0, &FILE__PRIVATE_DATA);
        Sock(read(socket, &SOCKET__SK))
    }
}

/// The current task's descriptor table, as it is at this moment.
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
    pub(crate) fn current() -> Self {
        // SAFETY: takes nothing and always succeeds.
        let task = unsafe { bpf_get_current_task() };
        let files: u64 = read(task, &TASK_STRUCT__FILES);
        let fdt: u64 = read(files, &FILES_STRUCT__FDT);
        Self {
            files: read(fdt, &FDTABLE__FD),
            open: read(fdt, &FDTABLE__OPEN_FDS),
            cloexec: read(fdt, &FDTABLE__CLOSE_ON_EXEC),
            max: read(fdt, &FDTABLE__MAX_FDS),
            next: read(files, &FILES_STRUCT__NEXT_FD),
            users: read(files, &FILES_STRUCT__COUNT),
        }
    }

    /// All ones for a number that the table has room for, zero for any other.
    ///
    /// Arithmetic, because a comparison is a branch, and the verifier would follow both ways for
    /// each of 253 descriptors. A negative number is a large unsigned one.
    #[inline(always)]
    fn inside(&self, fd: i32) -> u64 {
        ((i64::from(fd as u32) - i64::from(self.max)) >> 63) as u64
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

/// The registers with which the current task entered its system call.
#[derive(Clone, Copy)]
pub(crate) struct SyscallRegs(u64);

impl SyscallRegs {
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the task is the current one, so its stack and registers exist.
        Self(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64)
    }

    /// The system call's number; 0 in workers that never entered one.
    #[inline(always)]
    pub(crate) fn number(self) -> i32 {
        read::<i64>(self.0, &PT_REGS__ORIG_AX) as i32
    }

    #[inline(always)]
    pub(crate) fn first(self) -> u64 {
        read(self.0, &PT_REGS__DI)
    }

    #[inline(always)]
    pub(crate) fn second(self) -> u64 {
        read(self.0, &PT_REGS__SI)
    }

    #[inline(always)]
    pub(crate) fn third(self) -> u64 {
        read(self.0, &PT_REGS__DX)
    }

    /// The first argument of a call that was made as a 32-bit process makes it.
    #[inline(always)]
    pub(crate) fn compat_first(self) -> u32 {
        read::<u64>(self.0, &PT_REGS__BX) as u32
    }

    #[inline(always)]
    pub(crate) fn compat_second(self) -> u32 {
        read::<u64>(self.0, &PT_REGS__CX) as u32
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

/// The name of such a task.
#[inline(always)]
pub(crate) fn task_comm(task: u64) -> [u8; 16] {
    read(task, &TASK_STRUCT__COMM)
}
