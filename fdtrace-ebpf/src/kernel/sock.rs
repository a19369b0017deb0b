//! Sockets, and what Unix sockets are bound to.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use fdtrace_common::{
    queues::{BoundName, SocketSeen},
    refused::{NO_LIMIT, SendRefused},
};

use super::{
    AF_UNIX, File, Pointer, Skb, describe_pid,
    pointer::{follow, read, read_to},
};
use crate::offsets::*;

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
            // Two that are connected to each other are not asked how much is queued.
            (*seen).queue_limit = match peer.peer().0 == self.0.address() {
                true => NO_LIMIT,
                false => read(peer.0, &SOCK__MAX_ACK_BACKLOG),
            };
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
pub(super) unsafe fn copy_bound_name(address: u64, name: *mut BoundName) {
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
