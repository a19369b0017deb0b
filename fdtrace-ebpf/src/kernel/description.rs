//! What a file or a task is, for people: a socket's addresses, a task's namespaces.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_task};
use fdtrace_common::descriptions::{About, SocketAddresses, TaskDescribed};

use super::{File, Sock, follow, read, read_at, read_to, sock::copy_bound_name};
use crate::offsets::*;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;

impl File {
    #[inline(always)]
    pub(crate) fn is_socket(self) -> bool {
        self.magic() == 0x534f_434b // SOCKFS_MAGIC
    }

    #[inline(always)]
    pub(crate) fn is_pipe(self) -> bool {
        self.magic() == 0x5049_5045 // PIPEFS_MAGIC
    }

    /// Magic number of its file system.
    #[inline(always)]
    pub(super) fn magic(self) -> u64 {
        read(follow(self.inode(), &INODE__SB), &SUPER_BLOCK__MAGIC)
    }

    /// # Safety
    /// `about` can be written.
    #[inline(always)]
    pub(crate) unsafe fn write_about(self, about: *mut About) {
        let inode = self.inode();
        let sb: u64 = read(inode, &INODE__SB);
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            read_to(&raw mut (*about).ino, inode, &INODE__INO);
            read_to(&raw mut (*about).dev, sb, &SUPER_BLOCK__DEV);
            (*about).magic = read::<u64>(sb, &SUPER_BLOCK__MAGIC) as u32;
        }
    }

    /// Writes what this socket's file is connected to. The names are written only of a Unix socket;
    /// says whether it is one.
    ///
    /// # Safety
    /// `seen` can be written, and the file is a socket's.
    #[inline(always)]
    pub(crate) unsafe fn describe_socket(self, seen: *mut SocketAddresses) -> bool {
        let sock = self.sock();
        let family: u16 = read(sock.0, &SOCK__FAMILY);
        let state: u8 = read(sock.0, &SOCK__STATE);
        // SAFETY: the caller's promise; every read fits its field.
        unsafe {
            (*seen).family = family;
            (*seen).kind = sock.kind();
            (*seen).state = u32::from(state);
            (*seen).protocol = u32::from(read::<u16>(sock.0, &SOCK__PROTOCOL));
            (*seen).local_port = 0;
            (*seen).remote_port = 0;
            (*seen).local = [0; 16];
            (*seen).remote = [0; 16];
            if sock.is_unix() {
                copy_bound_name(sock.address(), &raw mut (*seen).name);
                let peer = Sock(read::<u64>(sock.0, &UNIX_SOCK__PEER));
                copy_bound_name(peer.address(), &raw mut (*seen).peer_name);
                return true;
            }
            if family == AF_VSOCK && VSOCK_SOCK__LOCAL_ADDR.load() != 0 {
                // `sockaddr_vm`: the family and two bytes that are reserved, the port, the CID.
                const PORT: u64 = 4;
                let local = sock.0 + u64::from(VSOCK_SOCK__LOCAL_ADDR.load()) + PORT;
                let remote = sock.0 + u64::from(VSOCK_SOCK__REMOTE_ADDR.load()) + PORT;
                (&raw mut (*seen).local)
                    .cast::<[u32; 2]>()
                    .write(read_at(local));
                (&raw mut (*seen).remote)
                    .cast::<[u32; 2]>()
                    .write(read_at(remote));
                return false;
            }
            if family != AF_INET && family != AF_INET6 {
                return false;
            }
            (*seen).local_port = read(sock.0, &SOCK__NUM);
            (*seen).remote_port = u16::from_be(read(sock.0, &SOCK__DPORT));
            if family == AF_INET6 && SOCK__V6_RCV_SADDR.load() != 0 {
                read_to(&raw mut (*seen).local, sock.0, &SOCK__V6_RCV_SADDR);
                read_to(&raw mut (*seen).remote, sock.0, &SOCK__V6_DADDR);
            } else {
                let local: [u8; 4] = read(sock.0, &SOCK__RCV_SADDR);
                let remote: [u8; 4] = read(sock.0, &SOCK__DADDR);
                (&raw mut (*seen).local).cast::<[u8; 4]>().write(local);
                (&raw mut (*seen).remote).cast::<[u8; 4]>().write(remote);
            }
        }
        false
    }
}

/// Writes what separates the current task from others.
///
/// # Safety
/// `seen` can be written.
#[inline(always)]
pub(crate) unsafe fn describe_current(seen: *mut TaskDescribed) {
    const POINTER: u64 = 8;
    // SAFETY: take nothing and always succeed.
    let (task, cgroup) = unsafe { (bpf_get_current_task(), bpf_get_current_cgroup_id()) };
    let cred: u64 = read(task, &TASK_STRUCT__CRED);
    let pid: u64 = read(task, &TASK_STRUCT__THREAD_PID);
    let level: u32 = read(pid, &PID__LEVEL);
    // A `struct upid` ends with the pointer to its namespace; there is one for each level.
    let upid_size = u64::from(UPID__NS.load()) + POINTER;
    let upid = pid + u64::from(PID__NUMBERS.load()) + u64::from(level) * upid_size;
    // SAFETY: the caller's promise; every read fits its field.
    unsafe {
        read_to(&raw mut (*seen).user_ns, cred, &CRED__USER_NS);
        read_to(&raw mut (*seen).uid, cred, &CRED__EUID);
        read_to(&raw mut (*seen).gid, cred, &CRED__EGID);
        (*seen).pid_ns = read_at(upid + u64::from(UPID__NS.load()));
        (*seen).cgroup = cgroup;
        (*seen).mount_ns = 0;
        if NSPROXY__MNT_NS.load() != 0 {
            let nsproxy: u64 = read(task, &TASK_STRUCT__NSPROXY);
            read_to(&raw mut (*seen).mount_ns, nsproxy, &NSPROXY__MNT_NS);
        }
    }
}
