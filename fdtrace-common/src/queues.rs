//! What the kernel half finds in receive queues, byte for byte.
//!
//! A queue is read in pages. The program that reads one keeps its place in the page itself, so
//! that the next call goes on from there; whoever calls it only copies what is in between.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{descriptions::SocketAddresses, paths::PathHead, records::FileSeen};

/// Things in one page.
pub const PAGE_ITEMS: usize = 64;

/// Bytes of a path's names that are read.
pub const PATH_ROOM: u64 = 4096;

/// `QueuePage::state`: there is more, call again.
pub const PAGE_MORE: u32 = 0;
/// `QueuePage::state`: the queue's end was reached.
pub const PAGE_END: u32 = 1;
/// `QueuePage::state`: the queue changed meanwhile; nothing read so far may be relied on.
pub const PAGE_CHANGED: u32 = 2;
/// `QueuePage::state`: there is no such Unix socket (any more).
pub const PAGE_GONE: u32 = 3;

/// Namespaces in one page.
pub const NAMESPACES_ROOM: usize = 256;

/// Sockets in one page.
pub const SOCKETS_ROOM: usize = 512;

/// Chains of a table of Unix sockets (UNIX_HASH_SIZE: 256 for those with a name, and as many for
/// those without), from 2.6 to 7.3. No type tells.
pub const SOCKET_CHAINS: u32 = 512;

/// Who a socket's peer or a message's sender is, as far as the kernel noted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct Creds {
    /// Process id in the initial pid namespace, 0 if none was noted.
    pub pid: u32,
    /// 1 if a process of that id is still there and is the same.
    pub alive: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Group id likewise.
    pub gid: u32,
}

/// The name that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct BoundName {
    /// Bytes of `name` in use; 0 if it is not bound.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
    /// `sun_path`: a path, or a NUL and an abstract name.
    pub name: [u8; 112],
}

/// A Unix socket.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct SocketSeen {
    /// Address of the `sock`.
    pub sock: u64,
    /// Address of its file; 0 while it has none: not accepted yet, or closed.
    pub file: u64,
    /// References to that file.
    pub file_refs: i64,
    /// Inode number of the socket; 0 likewise.
    pub ino: u64,
    /// Address of the peer's `sock`, or 0.
    pub peer: u64,
    /// Inode number of the peer.
    pub peer_ino: u64,
    /// Who the peer was when the connection was made (SO_PEERCRED).
    pub peer_creds: Creds,
    /// The kernel's own count of descriptors in the queue, `scm_fds` in fdinfo.
    pub scm_fds: u32,
    /// Messages in the queue; of a listening socket, connections to accept.
    pub messages: u32,
    /// SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_SEQPACKET 5.
    pub kind: u16,
    /// 1 if it listens.
    pub listens: u16,
    /// Zero.
    pub reserved: u32,
    /// Its name.
    pub name: BoundName,
    /// Its peer's name.
    pub peer_name: BoundName,
}

/// A file in a message, or a connection that waits in a listening socket's queue.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct Queued {
    /// The file; all zero for a connection.
    pub file: FileSeen,
    /// Address of the file's inode.
    pub inode: u64,
    /// Address of the `scm_fp_list`; 0 for a connection.
    pub list: u64,
    /// Address of the skb.
    pub skb: u64,
    /// Address of the sender's `sock`.
    pub sender: u64,
    /// Inode number of the sender's socket; 0 once it is closed.
    pub sender_ino: u64,
    /// The Unix socket that the file is, or the one that waits to be accepted; or 0.
    pub sock: u64,
    /// Bytes in the queue in front of the message.
    pub bytes_before: u64,
    /// When the message was queued, CLOCK_REALTIME in nanoseconds; 0 unless the receiver asked
    /// for time stamps.
    pub stamped_ns: u64,
    /// Who sent the message, if either side asked for that.
    pub creds: Creds,
    /// Place of the message in the queue, from 0.
    pub message: u32,
    /// Place of the file in the message, from 0.
    pub index: u32,
    /// Files in the message.
    pub count: u32,
    /// Names that the inode has in its file system.
    pub links: u32,
    /// Address of the user for whom the kernel counts the message's files; 0 where it is not known.
    pub user: u64,
    /// How many files it counts for that user.
    pub user_in_flight: u64,
}

/// Part of a queue, and where the next part begins.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct QueuePage {
    /// The socket whose queue it is, as it was when this page was begun.
    pub socket: SocketSeen,
    /// `PAGE_*`.
    pub state: u32,
    /// Items in this page.
    pub len: u32,
    /// The message that is being read; the queue's own head before the first.
    pub skb: u64,
    /// What was before it in the queue.
    pub prev: u64,
    /// Its list.
    pub list: u64,
    /// Bytes in front of it.
    pub bytes_before: u64,
    /// Bytes of its own.
    pub bytes: u64,
    /// Its place, from 1.
    pub message: u32,
    /// Files in its list.
    pub count: u32,
    /// The next of them.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
    /// What was found.
    pub items: [Queued; PAGE_ITEMS],
}

/// Part of the list of network namespaces.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct NamespacesPage {
    /// `PAGE_*`.
    pub state: u32,
    /// Items in this page.
    pub len: u32,
    /// The namespace where the walk began, and ends.
    pub own: u64,
    /// What a namespace has that the list's head has not.
    pub operations: u64,
    /// Where the walk is.
    pub at: u64,
    /// Addresses of namespaces.
    pub items: [u64; NAMESPACES_ROOM],
}

/// Part of a table of Unix sockets.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct SocketsPage {
    /// `PAGE_*`.
    pub state: u32,
    /// Items in this page.
    pub len: u32,
    /// Address of the table.
    pub table: u64,
    /// The pointer that is to be followed next.
    pub link: u64,
    /// The one that led to the socket that has it; 0 at the beginning of a chain.
    pub before: u64,
    /// The chain.
    pub chain: u32,
    /// How often it was begun again.
    pub tries: u32,
    /// Chains that changed each time they were read.
    pub missed: u32,
    /// Zero.
    pub reserved: u32,
    /// Addresses of sockets with something in their queue.
    pub items: [u64; SOCKETS_ROOM],
}

/// One row of `iter/task`: for whom the kernel counts what a task sends.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct UserSeen {
    /// Address of the user; 0 where that is not known.
    pub user: u64,
    /// How many files it counts for that user.
    pub in_flight: u64,
}

/// A path, and if the file is a socket, what that is connected to.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct PathPage {
    /// What is known of it.
    pub head: PathHead,
    /// Of a socket; family 0 for another file.
    pub socket: SocketAddresses,
    /// The names, the last one first.
    pub names: [u8; PATH_ROOM as usize + crate::paths::NAME_ROOM],
}

/// One row of `iter/task_file`: a process that holds a Unix socket.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct HolderSeen {
    /// Address of the `sock`.
    pub sock: u64,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Descriptor number.
    pub fd: u32,
    /// Things in its receive queue.
    pub queued: u32,
    /// Zero.
    pub reserved: u32,
    /// The process's name, NUL-padded.
    pub comm: [u8; 16],
}
