//! Names: how files, sockets, numbers and groups of transfers are called on a line.

use super::super::{groups::GroupBy, sanitize::sanitize};
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

/// Descriptors' numbers in at most so many columns: `4,5,6`, `4–19`, `3,✗×12`.
pub(super) fn numbers(numbers: &[String], width: usize) -> String {
    let mut runs: Vec<(&str, &str, usize)> = Vec::new();
    for text in numbers {
        if let Some((first, last, len)) = runs.last_mut() {
            let next = last.parse::<i64>().ok().map(|last| (last + 1).to_string());
            let goes_on = next.as_deref() == Some(text) && (*len == 1 || first != last);
            let same = text == first && first == last;
            if goes_on || same {
                (*last, *len) = (text, *len + 1);
                continue;
            }
        }
        runs.push((text, text, 1));
    }
    let runs = runs.into_iter().flat_map(|(first, last, len)| {
        // Fewer are shorter, or plainer, one by one.
        const SHORTEST: usize = 5;
        match (len < SHORTEST, first == last) {
            (true, true) => vec![first.to_owned(); len],
            (true, false) => {
                let first = first.parse::<i64>().unwrap_or_default();
                (first..)
                    .take(len)
                    .map(|number| number.to_string())
                    .collect()
            }
            (false, true) => vec![format!("{first}×{len}")],
            (false, false) => vec![format!("{first}–{last}")],
        }
    });
    let mut text = String::new();
    let mut runs = runs.peekable();
    while let Some(run) = runs.next() {
        let comma = if text.is_empty() { "" } else { "," };
        // What is left out must be said.
        let more = if runs.peek().is_some() {
            ",…".chars().count()
        } else {
            0
        };
        let len = text.chars().count() + comma.len() + run.chars().count() + more;
        if !text.is_empty() && len > width {
            return text + ",…";
        }
        text = text + comma + &run;
    }
    text
}

/// What the file is; where that was not told, its kind, with device and inode, by which
/// `find -inum` and `lsof` know it.
pub(in crate::report) fn file(transfer: &Transfer) -> String {
    let file = &transfer.file;
    let kind = file.kind();
    match (kind, transfer.context.file.as_deref()) {
        (FileKind::Pipe, _) => format!("pipe:[{}]", file.ino),
        (_, Some(FileDescription::Socket(SocketDescription::Unix { name, peer, .. })))
            if name.is_none() && peer.is_none() =>
        {
            format!("unix:[{}]", file.ino)
        }
        (_, Some(described)) => sanitize(&described.to_string()),
        (FileKind::Socket, None) => format!("socket:[{}]", file.ino),
        (FileKind::Unknown, None) if file.ino == 0 => "no file".to_owned(),
        (kind, None) => format!("{kind} {}/{}", file.device(), file.ino),
    }
}

/// Its type and its name.
pub(super) fn socket(socket: &Socket) -> (&'static str, String) {
    let kind = socket.kind.map_or("", |kind| kind.name());
    (kind, socket.path.as_deref().map_or(String::new(), sanitize))
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn runs_of_numbers_are_told_as_such() {
        for (list, told) in [
            ("4", "4"),
            ("4 5 6 7", "4,5,6,7"),
            ("3 5 ✗ ✗", "3,5,✗,✗"),
            ("4 5 6 7 8 12", "4–8,12"),
            ("3 ✗ ✗ ✗ ✗ ✗", "3,✗×5"),
            ("7 7 8 9", "7,7,8,9"),
            ("100 200 300 400", "100,200,…"),
            ("? 5", "?,5"),
        ] {
            let list: Vec<String> = list.split(' ').map(str::to_owned).collect();
            assert_eq!(numbers(&list, 12), told);
        }
    }
}
