//! What a walk through the queues reads, as the model has it.

use std::collections::HashMap;

use fdtrace_common::{
    descriptions::SocketAddresses,
    queues::{BoundName, Creds, HolderSeen, Queued, SocketSeen},
};

use super::sighted::file;
use crate::model::{
    FilePath, Holder, Identity, QueuedFile, SocketType, UnixSocket, lossless, socket_name,
};

fn known(ino: u64) -> Option<u64> {
    Some(ino).filter(|ino| *ino != 0)
}

fn bound(name: &BoundName) -> Option<String> {
    let len = usize::try_from(name.len).ok()?;
    name.name
        .get(..len)
        .filter(|name| !name.is_empty())
        .map(socket_name)
}

/// Sorts `rows`, in whatever order and however often the kernel gave them, by socket and process.
#[must_use]
pub fn holders<'a>(rows: impl IntoIterator<Item = &'a HolderSeen>) -> HashMap<u64, Vec<Holder>> {
    let mut sockets: HashMap<u64, Vec<Holder>> = HashMap::new();
    for row in rows {
        let holders = sockets.entry(row.sock).or_default();
        let at = match holders.iter().position(|holder| holder.pid == row.pid) {
            Some(at) => at,
            None => {
                let comm = row.comm.split(|byte| *byte == 0).next().unwrap_or_default();
                holders.push(Holder {
                    pid: row.pid,
                    comm: lossless::text(comm),
                    fds: Vec::new(),
                });
                holders.len() - 1
            }
        };
        // Before 5.11 the kernel lists a table once for each thread that shares it.
        if !holders[at].fds.contains(&row.fd) {
            holders[at].fds.push(row.fd);
        }
    }
    for holders in sockets.values_mut() {
        holders.sort_by_key(|holder| holder.pid);
    }
    sockets
}

fn identity(creds: &Creds) -> Option<Identity> {
    (creds.pid != 0).then_some(Identity {
        pid: creds.pid,
        alive: creds.alive != 0,
        uid: creds.uid,
        gid: creds.gid,
    })
}

/// A socket, as the kernel half saw it.
#[must_use]
pub fn unix_socket(seen: &SocketSeen) -> UnixSocket {
    UnixSocket {
        sock: seen.sock,
        file_refs: seen.file_refs,
        ino: known(seen.ino),
        peer: seen.peer,
        peer_ino: known(seen.peer_ino),
        peer_creds: identity(&seen.peer_creds),
        scm_fds: seen.scm_fds,
        kind: SocketType::of(seen.kind),
        listens: seen.listens != 0,
        name: bound(&seen.name),
        peer_name: bound(&seen.peer_name),
    }
}

/// A file in a queue, as the kernel half saw it; the path, or what a socket is connected to, is read apart.
#[must_use]
pub fn queued_file(
    seen: &Queued,
    path: Option<FilePath>,
    socket: Option<SocketAddresses>,
) -> QueuedFile {
    QueuedFile {
        file: file(&seen.file),
        inode: seen.inode,
        refs: seen.file.refs,
        links: seen.links,
        path,
        socket,
        list: seen.list,
        skb: seen.skb,
        sender_sock: seen.sender,
        sender_ino: known(seen.sender_ino),
        sender: identity(&seen.creds),
        message: seen.message,
        index: seen.index,
        count: seen.count,
        bytes_before: seen.bytes_before,
        stamped_ns: Some(seen.stamped_ns).filter(|stamp| *stamp != 0),
        sock: seen.sock,
    }
}
