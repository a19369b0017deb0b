//! What `fdtrace inflight` writes.

use schemars::JsonSchema;
use serde::Serialize;

use super::File;
use crate::model::{Digits, SocketType};

/// One file in a message that nobody has received.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlight<'a> {
    /// The file. Its `path` begins at the root of the mount namespace that it was opened in; null
    /// for what is in no tree, and where it could not be read for certain.
    pub file: File<'a>,
    /// Names that its inode has.
    pub links: u32,
    /// References to the file.
    pub refs: i64,
    /// Id of the mount that it was opened through, as in `/proc/self/mountinfo`.
    pub mount_id: Option<u32>,
    /// The socket in whose queue it is.
    pub socket: InFlightSocket,
    /// Processes that can receive it.
    pub receivers: Vec<InFlightReceiver>,
    /// Who sent it, from the message; null unless a socket asked for credentials (SO_PASSCRED).
    pub sender: Option<InFlightIdentity>,
    /// The socket that it was sent on.
    pub sender_socket: InFlightSenderSocket,
    /// Place of the message in the queue, from 0.
    pub position: u32,
    /// Bytes in the queue in front of the message.
    pub bytes_before: u64,
    /// Place in the message, from 0.
    pub index: u32,
    /// Files in the message.
    pub count: u32,
    /// How long the message has been there, nanoseconds; null where nothing is known.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub age_ns: Option<u64>,
    /// `timestamp`: from the kernel, because the receiver asked for time stamps. `watched`: since
    /// it was first seen, so it may be older. Null with `age_ns`.
    pub age_from: Option<String>,
    /// Nobody can receive it: only queues of sockets like it hold the socket. Whether the kernel's
    /// garbage collector takes it, and when, is not known.
    pub garbage: bool,
}

/// The socket in whose queue a file is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlightSocket {
    /// Type; null where it was not read.
    #[serde(rename = "type")]
    pub kind: Option<SocketType>,
    /// Inode number; null while it is not accepted.
    pub ino: Option<u64>,
    /// The path that it is bound to; `@` and an abstract name.
    pub path: Option<String>,
    /// The peer's inode number.
    pub peer_ino: Option<u64>,
    /// The path that the peer is bound to; `@` and an abstract name.
    pub peer_path: Option<String>,
    /// Who the peer was when the connection was made (SO_PEERCRED).
    pub peer: Option<InFlightIdentity>,
    /// It waits in its listener's queue to be accepted.
    pub unaccepted: bool,
    /// Inode numbers of the sockets in whose queues it is itself.
    pub inside: Vec<u64>,
    /// The kernel's own count of descriptors in its queue, as in `/proc/PID/fdinfo`.
    pub scm_fds: u32,
}

/// A process that can receive a file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlightReceiver {
    /// Process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The numbers that it has the socket at; empty if it must receive or accept the socket first.
    pub fds: Vec<u32>,
}

/// A process, its user and its group, as the kernel noted it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlightIdentity {
    /// Process.
    pub pid: u32,
    /// Its name; null where it is not known.
    pub comm: Option<String>,
    /// Whether it is still there.
    pub alive: bool,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Group id in the initial user namespace.
    pub gid: u32,
}

/// The socket that a message was sent on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlightSenderSocket {
    /// Inode number; null once it is closed.
    pub ino: Option<u64>,
    /// Processes that hold it.
    pub holders: Vec<InFlightReceiver>,
}

/// What one look at all queues came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlightSummary {
    /// Version of this contract.
    pub schema_version: u32,
    /// Wall-clock time, nanoseconds since 1970.
    pub wall_ns: Digits,
    /// Files that match.
    pub matched: u64,
    /// Sockets that these are in.
    pub sockets: u64,
    /// Files in flight, matching or not.
    pub files: u64,
    /// Whether that is all. If not, there may be more: `gaps`, `came` and the kernel's counts tell why.
    pub complete: bool,
    /// The kernel's own count for the same sockets.
    pub scm_fds: u64,
    /// How many files the kernel counts as in flight for all users that have a process or have sent a
    /// file that is listed, wherever the files are; null where it does not tell, or the count changed.
    pub counted_by_user: Option<u64>,
    /// Files that came between the two passes, and are not listed.
    pub came: u64,
    /// Files that went between the two passes, and are not listed.
    pub went: u64,
    /// Files that are listed without a path, because it was not the same in both passes.
    pub moved: u64,
    /// What could not be read.
    pub gaps: InFlightGaps,
    /// What fdtrace exits with, unless it goes on watching.
    pub exit_code: u8,
}

/// What could not be read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InFlightGaps {
    /// Sockets whose queue changed each time it was read.
    pub restless: u64,
    /// Sockets with longer queues than are read.
    pub long_queues: u64,
    /// Sockets that were not read because there were so many files.
    pub too_many_files: u64,
    /// Network namespaces of which not all sockets could be listed, because they changed each time.
    pub namespaces: u64,
    /// The kernel does not show where its sockets are (before 6.0, without CAP_SYSLOG): those that no
    /// process holds are seen only in the queues of others.
    pub no_iterator: bool,
}
