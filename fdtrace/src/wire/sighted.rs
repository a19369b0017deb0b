//! What a record's head and files say, as the model has it.

use fdtrace_common::{
    descriptions::TaskDescribed,
    records::{FileSeen, Head, LABEL_LEN},
};

use super::comm;
use crate::model::{
    FileIdentity, Hop, HopSeen, Receiver, Sender, Socket, SocketType, Task, socket_name,
};

/// A file, as a hop saw it.
pub(crate) fn file(seen: &FileSeen) -> FileIdentity {
    FileIdentity {
        ptr: seen.file,
        ino: seen.ino,
        dev: seen.dev,
        rdev: seen.rdev,
        mode: seen.mode,
        flags: seen.flags,
        magic: seen.magic,
        label: label(seen),
    }
}

/// What the kernel calls a file that is in no directory, where the hop looked.
pub(crate) fn label(seen: &FileSeen) -> Option<[u8; LABEL_LEN]> {
    (seen.dentry != 0 && seen.dentry == seen.parent).then_some(seen.name)
}

/// Who sent, by the record of its send and that of the file.
pub(crate) fn sender(queued: &Head, file: Option<&FileSeen>) -> Sender {
    Sender {
        pid: queued.pid,
        tid: Some(queued.tid),
        comm: comm(queued),
        fd: file.map(|file| file.fd).filter(|fd| *fd >= 0),
        socket_fd: Some(queued.socket_fd).filter(|fd| *fd >= 0),
        t_ns: queued.t_ns,
    }
}

/// Who received, by the record of its receive; `install` is the new descriptor, and whether it was inferred.
pub(crate) fn receiver(returned: &Head, install: Option<(&FileSeen, bool)>) -> Receiver {
    Receiver {
        pid: returned.pid,
        tid: returned.tid,
        comm: comm(returned),
        fd: install.map(|(file, _)| file.fd),
        cloexec: install.map(|(file, _)| file.cloexec != 0),
        fd_inferred: install.is_some_and(|(_, inferred)| inferred),
    }
}

/// The sockets between them; `last` is the latest record of the message.
pub(crate) fn sockets(queued: Option<&Head>, last: &Head, name: Option<&[u8]>) -> Socket {
    let known = |ino: u64| Some(ino).filter(|ino| *ino != 0);
    Socket {
        kind: queued.and_then(|queued| SocketType::of(queued.socket_type)),
        path: name.map(socket_name),
        sender_ino: queued.and_then(|queued| known(queued.sender_ino)),
        receiver_ino: queued
            .and_then(|queued| known(queued.receiver_ino))
            .or(known(last.receiver_ino)),
    }
}

/// One file at one hop.
pub(crate) fn hop_seen(hop: Hop, head: &Head, file: &FileSeen) -> HopSeen {
    HopSeen {
        hop,
        t_ns: head.t_ns,
        cpu: head.cpu,
        pid: head.pid,
        tid: head.tid,
        comm: comm(head),
        file: file.file,
        skb: head.skb,
        list: head.list,
        sender_sock: head.sender_sock,
        receiver_sock: head.receiver_sock,
        refs: Some(file.refs),
    }
}

/// What separates a task from others.
pub(crate) fn task(seen: &TaskDescribed) -> Task {
    Task {
        user_ns: seen.user_ns,
        pid_ns: seen.pid_ns,
        mount_ns: seen.mount_ns,
        cgroup: seen.cgroup,
        uid: seen.uid,
    }
}
