//! What events say, as the model has it.

use fdtrace_common::{descriptions::TaskDescribed, records::FileSeen};

use smol_str::SmolStr;

use super::event::{Ends, List, Sight, Skb, Sock, Stamp};
use crate::model::{FileDescription, FileIdentity, Hop, HopSeen, Receiver, Sender, Socket, Task};

/// A file, as a hop saw it. What the kernel calls one that is in no directory is known where the hop
/// looked.
pub(super) fn file(seen: &FileSeen) -> FileIdentity {
    FileIdentity {
        ptr: seen.file,
        ino: seen.ino,
        dev: seen.dev,
        rdev: seen.rdev,
        mode: seen.mode,
        flags: seen.flags,
        magic: seen.magic,
        label: (seen.dentry != 0 && seen.dentry == seen.parent).then_some(seen.name),
    }
}

/// Who sent, by the event of its send and the file in it.
pub(crate) fn sender(sent: &Stamp, file: Option<&Sight>) -> Sender {
    Sender {
        pid: sent.by.pid,
        tid: Some(sent.by.tid),
        comm: sent.by.name(),
        fd: file.and_then(|file| file.fd),
        socket_fd: sent.socket_fd,
        t_ns: sent.at.ns,
    }
}

/// Who received, by the event of its receive; `install` is the new descriptor, and whether it was
/// inferred.
pub(crate) fn receiver(returned: &Stamp, install: Option<(&Sight, bool)>) -> Receiver {
    Receiver {
        pid: returned.by.pid,
        tid: returned.by.tid,
        comm: returned.by.name(),
        fd: install.and_then(|(file, _)| file.fd),
        cloexec: install.map(|(file, _)| file.cloexec),
        fd_inferred: install.is_some_and(|(_, inferred)| inferred),
    }
}

/// The sockets between them, as its send and its latest event show them.
pub(crate) fn sockets(
    sent: Option<&Ends>,
    last: &Ends,
    name: Option<&str>,
    other: Option<&FileDescription>,
) -> Socket {
    Socket {
        other: other.map(FileDescription::to_string),
        kind: sent.and_then(|sent| sent.kind),
        path: name.map(str::to_owned),
        sender_ino: sent.and_then(|sent| sent.sender_ino),
        receiver_ino: sent
            .and_then(|sent| sent.receiver_ino)
            .or(last.receiver_ino),
    }
}

/// One file at one hop, by a task of this name.
pub(crate) fn hop_seen(hop: Hop, stamp: &Stamp, comm: SmolStr, file: &Sight) -> HopSeen {
    let ends = &stamp.ends;
    HopSeen {
        hop,
        t_ns: stamp.at.ns,
        cpu: stamp.at.cpu,
        pid: stamp.by.pid,
        tid: stamp.by.tid,
        comm,
        file: file.file.ptr,
        skb: stamp.skb.map_or(0, Skb::address),
        list: stamp.list.map_or(0, List::address),
        sender_sock: ends.sender.map_or(0, Sock::address),
        receiver_sock: ends.receiver.map_or(0, Sock::address),
        refs: file.refs,
    }
}

/// What separates a task from others.
pub(super) fn task(seen: &TaskDescribed) -> Task {
    Task {
        user_ns: seen.user_ns,
        pid_ns: seen.pid_ns,
        mount_ns: seen.mount_ns,
        cgroup: seen.cgroup,
        uid: seen.uid,
    }
}
