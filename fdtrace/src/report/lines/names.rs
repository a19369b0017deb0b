//! Names: how files, sockets and groups of transfers are called on a line.

use std::fmt::Write as _;

use super::super::{
    groups::GroupBy,
    sanitize::{push_sanitized, sanitize},
};
use crate::model::{FileDescription, FileKind, Judged, Socket, SocketDescription, Transfer};

/// What a transfer is counted by in a table.
pub(super) fn group_name(by: GroupBy, judged: &Judged) -> String {
    let transfer = &judged.transfer;
    let sender = transfer.sender.as_ref();
    let sender = sender.map_or("?".to_owned(), |sender| sanitize(&sender.comm));
    match by {
        GroupBy::Pair => {
            let receiver = transfer.receiver();
            let receiver = receiver.map_or("nobody".to_owned(), |to| sanitize(&to.comm));
            format!("{sender} → {receiver}")
        }
        GroupBy::Program => sender,
        GroupBy::Socket => match (socket(&transfer.socket), transfer.socket.receiver_ino) {
            ((kind, name), Some(ino)) if name.is_empty() => format!("{kind} socket:[{ino}]"),
            (("", name), _) if name.is_empty() => "?".to_owned(),
            ((kind, name), _) => format!("{kind} {name}").trim().to_owned(),
        },
        GroupBy::File => file(transfer),
        GroupBy::Cause => match transfer.cause() {
            Some(cause) => format!("{}: {cause}", transfer.fate()),
            None => transfer.fate().to_string(),
        },
    }
}

/// What the file is; where that was not told, its kind, with device and inode, by which
/// `find -inum` and `lsof` know it.
pub(in crate::report) fn file(transfer: &Transfer) -> String {
    let mut name = String::new();
    push_file(&mut name, transfer);
    name
}

/// Appends that.
pub(super) fn push_file(name: &mut String, transfer: &Transfer) {
    let file = &transfer.file;
    // A string takes whatever is written.
    let _ = match (file.kind(), transfer.context.file.as_deref()) {
        (FileKind::Pipe, _) => write!(name, "pipe:[{}]", file.ino),
        (
            _,
            Some(FileDescription::Socket(SocketDescription::Unix {
                name: bound, peer, ..
            })),
        ) if bound.is_none() && peer.is_none() => {
            write!(name, "unix:[{}]", file.ino)
        }
        (_, Some(described)) => {
            push_sanitized(name, &described.text());
            Ok(())
        }
        (FileKind::Socket, None) => write!(name, "socket:[{}]", file.ino),
        (FileKind::Unknown, None) if file.ino == 0 => name.write_str("no file"),
        (kind, None) => write!(name, "{kind} {}/{}", file.device(), file.ino),
    };
}

/// Its type and its name.
fn socket(socket: &Socket) -> (&'static str, String) {
    let kind = socket.kind.map_or("", |kind| kind.name());
    (kind, socket.path.as_deref().map_or(String::new(), sanitize))
}
