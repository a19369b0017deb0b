//! Failed send: what a failed send had to do with.

use schemars::JsonSchema;
use serde::Serialize;
use smol_str::SmolStr;

/// What a send that failed had to do with, as it was when the call returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailedSend {
    /// Address of the socket that it was to go to; 0 where that is not known.
    #[serde(skip)]
    pub receiver_sock: u64,
    /// Inode number of that socket; null where it is not known, before it is accepted, and once it is closed.
    pub receiver_ino: Option<u64>,
    /// What that is bound to, or the address that the message had of its own.
    pub path: Option<String>,
    /// Messages in the receiver's queue; null where the receiver is not known.
    pub queued: Option<u32>,
    /// Where more messages are queued than this, a datagram has to wait or is refused; null of a stream, and
    /// between two sockets that are connected to each other, which have no such limit.
    pub queue_limit: Option<u32>,
    /// Bytes of memory that the sending socket's messages take which nobody has read, wherever they were sent.
    pub unread: u32,
    /// A send has to wait or is refused where those are as many as this (SO_SNDBUF).
    pub unread_limit: u32,
    /// What the sender's user has in flight; null where the kernel does not show it.
    pub user: Option<UserInFlight>,
    /// Processes that held the receiving socket when this was told of, up to a second later; empty where that is
    /// not known.
    pub holders: Vec<HeldBy>,
}

/// What a user has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UserInFlight {
    /// User id, in the initial user namespace.
    pub uid: u32,
    /// Descriptors of all the user's processes that are in queues.
    pub files: u64,
    /// More than these, the sender's RLIMIT_NOFILE, and a send is refused that has no privilege.
    pub limit: u64,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeldBy {
    /// Process id.
    pub pid: u32,
    /// Its name.
    #[schemars(with = "String")]
    pub comm: SmolStr,
}
