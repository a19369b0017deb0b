//! What a failed send says beside its errno: where it was to go, and what it had to do with. A record of its
//! own ahead of the `SendReturned`.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::queues::BoundName;

/// See [`SendRefused::queue_limit`].
pub const NO_LIMIT: u32 = u32::MAX;

/// What the kernel went by when it refused a send, as it was when the call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct SendRefused {
    /// Address of the socket that the sender's is connected to; 0 if it is to none, or the message had an
    /// address of its own.
    pub receiver_sock: u64,
    /// Its inode number; 0 before accept, and once it is closed.
    pub receiver_ino: u64,
    /// Files that the kernel counts as in flight for the sender's user.
    pub in_flight: u64,
    /// How many of those the sender may have: its RLIMIT_NOFILE.
    pub in_flight_limit: u64,
    /// Messages in the receiver's queue.
    pub queued: u32,
    /// A datagram is refused where more are queued than that; [`NO_LIMIT`] between two that are connected to
    /// each other.
    pub queue_limit: u32,
    /// Bytes that the sender's socket has on their way.
    pub unread: u32,
    /// It sends no more where that is as much as this.
    pub unread_limit: u32,
    /// The sender's user, in the initial user namespace.
    pub uid: u32,
    /// 1 if the user's count was read.
    pub user_read: u16,
    /// Type of the sender's socket.
    pub kind: u16,
    /// What the receiver is bound to, or the address that the message had.
    pub name: BoundName,
}
