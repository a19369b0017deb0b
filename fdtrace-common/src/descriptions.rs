//! What the kernel half says of a file or a task beside the hops, byte for byte: each is a record
//! of its own, ahead of the hop's that it belongs to.
//!
//! A file's begins with a copy of that hop's head: the list, the time and the thread say which hop
//! it is, [`Head::first`](crate::records::Head::first) the file's place in the list, and
//! [`Head::origin`](crate::records::Head::origin) the file's address. It is as long as what it holds.

use core::mem::offset_of;

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    paths::{NAME_ROOM, PathHead},
    queues::BoundName,
};

/// Bytes of a path's names that are read for a description.
pub const DESCRIBED_ROOM: u64 = 1024;

/// What identifies the file's inode.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct About {
    /// Inode number.
    pub ino: u64,
    /// Device of its file system, kernel encoding.
    pub dev: u32,
    /// Magic number of its file system; all that are in use have 32 bits.
    pub magic: u32,
}

/// A file by its path, ahead of the names: the last one first, each ended by a NUL.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct PathDescribed {
    /// The file.
    pub about: About,
    /// What is known of the path beside its names.
    pub path: PathHead,
}

/// Room for the names of a [`PathDescribed`].
pub type DescribedNames = [u8; DESCRIBED_ROOM as usize + NAME_ROOM];

/// A socket by its addresses. The names are there only if it is a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct SocketAddresses {
    /// AF_UNIX 1, AF_INET 2, AF_INET6 10, or another.
    pub family: u16,
    /// SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_SEQPACKET 5.
    pub kind: u16,
    /// Port on this side.
    pub local_port: u16,
    /// Port on the other side; 0 if there is none.
    pub remote_port: u16,
    /// Address on this side: the first four bytes for AF_INET; for AF_VSOCK the port and the CID,
    /// four bytes each.
    pub local: [u8; 16],
    /// Address on the other side.
    pub remote: [u8; 16],
    /// TCP's state, which other sockets use likewise: 1 is connected, 10 listens.
    pub state: u32,
    /// `sk_protocol`: IPPROTO_TCP, NETLINK_ROUTE, BTPROTO_L2CAP, by family.
    pub protocol: u32,
    /// Of a Unix socket, the name that it is bound to.
    pub name: BoundName,
    /// Its peer's.
    pub peer_name: BoundName,
}

impl SocketAddresses {
    /// How long it is for other sockets than Unix ones.
    pub const LEN_WITHOUT_NAMES: usize = offset_of!(Self, name);
}

/// A socket.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct SocketDescribed {
    /// The socket's file.
    pub about: About,
    /// What it is connected to.
    pub addresses: SocketAddresses,
}

/// A task by what separates it from others. Addresses identify namespaces while they are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct TaskDescribed {
    /// Address of its user namespace.
    pub user_ns: u64,
    /// Address of its pid namespace.
    pub pid_ns: u64,
    /// Address of its mount namespace; 0 where that is not known.
    pub mount_ns: u64,
    /// Id of its cgroup of version 2.
    pub cgroup: u64,
    /// Effective user id, in the initial user namespace.
    pub uid: u32,
    /// Effective group id, likewise.
    pub gid: u32,
}
