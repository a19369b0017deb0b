//! Queue: what lies in receive queues at one moment, and who holds the sockets.

use std::collections::HashMap;

use fdtrace_common::descriptions::SocketAddresses;

use serde::{Deserialize, Serialize};

use super::{FileDescription, FileIdentity, FilePath, SocketType};

/// What one walk found.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Every socket that had anything in its queue, in the order in which it was come upon.
    pub queues: Vec<Queue>,
    /// Who holds which Unix socket, by the address of its `sock`.
    pub holders: HashMap<u64, Vec<Holder>>,
    /// How many files the kernel itself counts as in flight, for all users that have a process or have
    /// sent what was found; `None` where it does not tell, or the counts changed meanwhile.
    pub counted_by_user: Option<u64>,
    /// What could not be read.
    pub gaps: Gaps,
}

/// What a walk could not read, or did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Sockets whose queue changed each time it was read.
    pub restless: u64,
    /// Sockets with longer queues than are read.
    pub long_queues: u64,
    /// Files that were not read because there were so many.
    pub too_many_files: u64,
    /// Network namespaces of which not all sockets could be listed, because they changed each time.
    pub namespaces: u64,
    /// Sockets could not be listed at all: one that no process holds is seen only if it is itself in
    /// the queue of one that is.
    pub unlisted: bool,
}

impl Gaps {
    /// Whether there is any: then there may be more in flight than was found.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// In words; `None` if there is none.
    #[must_use]
    pub fn described(&self) -> Option<String> {
        let mut parts: Vec<String> = [
            (self.restless, "queue kept changing", "queues kept changing"),
            (
                self.long_queues,
                "queue was too long",
                "queues were too long",
            ),
            (
                self.too_many_files,
                "queue held too many files",
                "queues held too many files",
            ),
            (
                self.namespaces,
                "network namespace kept changing",
                "network namespaces kept changing",
            ),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
        .collect();
        if self.unlisted {
            parts.push("the kernel does not show the sockets that no process holds".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// A socket's receive queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Whose it is.
    pub socket: UnixSocket,
    /// Files in messages, in the order of the queue.
    pub files: Vec<QueuedFile>,
    /// Of a listening socket: addresses of the `sock`s that wait to be accepted.
    pub connections: Vec<u64>,
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Address of the `sock`.
    pub sock: u64,
    /// References to its file; 0 while it has none.
    pub file_refs: i64,
    /// Inode number; `None` while it has no file, because it is not accepted yet.
    pub ino: Option<u64>,
    /// Address of the peer's `sock`, or 0.
    pub peer: u64,
    /// The peer's inode number.
    pub peer_ino: Option<u64>,
    /// Who the peer was when the connection was made.
    pub peer_creds: Option<Identity>,
    /// The kernel's own count of descriptors in the queue.
    pub scm_fds: u32,
    /// Its type.
    pub kind: Option<SocketType>,
    /// Whether it listens.
    pub listens: bool,
    /// The name that it is bound to: a path, or `@` and an abstract name.
    pub name: Option<String>,
    /// Likewise its peer.
    pub peer_name: Option<String>,
}

/// A process with its user and group, as the kernel noted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Whether that process is still there.
    pub alive: bool,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Group id likewise.
    pub gid: u32,
}

/// One file in a message that nobody has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedFile {
    /// The file.
    pub file: FileIdentity,
    /// Address of its inode.
    pub inode: u64,
    /// References to it.
    pub refs: i64,
    /// Names that its inode has.
    pub links: u32,
    /// Where it is; `None` if that could not be read for certain.
    pub path: Option<FilePath>,
    /// What it is connected to if it is a socket.
    pub socket: Option<SocketAddresses>,
    /// Address of the `scm_fp_list`.
    pub list: u64,
    /// Address of the skb.
    pub skb: u64,
    /// Address of the `sock` that it was sent on.
    pub sender_sock: u64,
    /// That socket's inode number; `None` once it is closed.
    pub sender_ino: Option<u64>,
    /// Who sent it; `None` unless either side had asked for credentials (SO_PASSCRED).
    pub sender: Option<Identity>,
    /// Place of the message in the queue, from 0.
    pub message: u32,
    /// Place in the message, from 0.
    pub index: u32,
    /// Files in the message.
    pub count: u32,
    /// Bytes in the queue in front of the message.
    pub bytes_before: u64,
    /// When it was queued, CLOCK_REALTIME in nanoseconds; `None` unless the receiver asked for
    /// time stamps (SO_TIMESTAMP).
    pub stamped_ns: Option<u64>,
    /// Address of its `sock` if it is a Unix socket, or 0.
    pub sock: u64,
}

/// A process that has a socket in its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// Numbers that it has there.
    pub fds: Vec<u32>,
}

impl QueuedFile {
    /// Whether the file is nowhere but in open descriptions any more: its name was unlinked.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.unlinked)
    }
}

/// Why somebody looked through all queues while a trace was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// The trace began.
    First,
    /// Something had been queued for long.
    Meanwhile,
    /// The trace ended.
    Last,
}

/// What a look through all queues tells a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueFact {
    /// A message, or some of its files, lies in a queue.
    Lies(QueuedPart),
    /// As the trace ended, all queues have been looked through: what was there has been told by then.
    LookedThrough {
        /// When that began: CLOCK_MONOTONIC, nanoseconds.
        t_ns: u64,
        /// Every queue could be read.
        every: bool,
    },
}

/// A message in a queue, or some of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedPart {
    /// Why somebody looked.
    pub occasion: Occasion,
    /// When that look began: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// The filter wants it.
    pub wanted: bool,
    /// Address of its list.
    pub list: u64,
    /// Address of its skb.
    pub skb: u64,
    /// Address of the socket that it was sent on, or 0.
    pub sender_sock: u64,
    /// Address of the socket that it was sent to.
    pub receiver_sock: u64,
    /// Inode number of the one that it was sent on.
    pub sender_ino: Option<u64>,
    /// Inode number of the one that it was sent to.
    pub receiver_ino: Option<u64>,
    /// What kind they are.
    pub kind: Option<SocketType>,
    /// What the receiving socket is bound to, or else its peer.
    pub socket_name: Option<String>,
    /// Files in the whole message.
    pub count: u16,
    /// Place of the first of these files.
    pub first: u16,
    /// The files of this part.
    pub files: Vec<FoundFile>,
}

/// A file of a message in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    /// The file.
    pub file: FileIdentity,
    /// Its reference count.
    pub refs: i64,
    /// What it is, where that was read.
    pub description: Option<FileDescription>,
}
