//! The letters that a story calls files by, in the order in which they were first seen.
//!
//! A file is known by its address, its inode and that one's birth: an address is another file's as
//! soon as its file is gone, and so is the number of an inode. The trace has no births, so what it
//! saw is the file that was last about to be sent by then.

use super::NamedFile;
use crate::{
    explain::recorder::{Checkpoint, Descriptor},
    model::{FileIdentity, FileKind, Pointers, Transfer},
    verify::fact::Fact,
    witness::Birth,
};

/// What stands for the letter of a file that was never seen.
pub(crate) const UNNAMED: &str = "?";

/// A file that was to be passed.
struct Known {
    ptr: u64,
    ino: u64,
    /// What distinguishes its inode from earlier ones of that number, where the file system has that.
    birth: Option<Birth>,
    /// When it was first seen.
    since_ns: u64,
    /// What the trace said of it, if it was under way.
    identity: Option<FileIdentity>,
}

pub(super) struct Names(Vec<Known>);

impl Names {
    /// Names what actors were about to send, and what was seen under way.
    pub(super) fn of_play<'a>(
        checkpoints: &[Checkpoint],
        transfers: impl Iterator<Item = &'a &'a Transfer>,
    ) -> Self {
        let mut names = Self(Vec::new());
        for checkpoint in checkpoints {
            let Fact::Sending { actor, fds, .. } = &checkpoint.fact else {
                continue;
            };
            let processes = || checkpoint.processes.iter().filter(|it| it.pid == actor.pid);
            for fd in fds {
                let mut rows = processes().flat_map(|process| &process.descriptors);
                if let Some(row) = rows.find(|row| row.fd == *fd) {
                    names.note(row, checkpoint.t_ns);
                }
            }
        }
        for transfer in transfers {
            let file = &transfer.file;
            if file.ptr == 0 {
                // The send failed before the file behind the number was seen, if there was any.
                continue;
            }
            let place = names.place(transfer).unwrap_or_else(|| {
                names.0.push(Known {
                    ptr: file.ptr,
                    ino: file.ino,
                    birth: None,
                    since_ns: sent_ns(transfer),
                    identity: None,
                });
                names.0.len() - 1
            });
            names.0[place].identity = Some(*file);
        }
        names
    }

    fn note(&mut self, row: &Descriptor, since_ns: u64) {
        let (ptr, birth) = (row.file, &row.birth);
        let Some(ino) = row.ino else {
            return;
        };
        let is_it = |known: &Known| (known.ptr, known.ino, &known.birth) == (ptr, ino, birth);
        if !self.0.iter().any(is_it) {
            self.0.push(Known {
                ptr,
                ino,
                birth: birth.clone(),
                since_ns,
                identity: None,
            });
        }
    }

    fn place(&self, transfer: &Transfer) -> Option<usize> {
        let (file, t_ns) = (&transfer.file, sent_ns(transfer));
        self.0.iter().rposition(|known| {
            (known.ptr, known.ino) == (file.ptr, file.ino) && known.since_ns <= t_ns
        })
    }

    /// The file of a transfer.
    pub(super) fn of(&self, transfer: &Transfer) -> String {
        self.place(transfer).map_or(UNNAMED.to_owned(), letter)
    }

    /// The file behind a descriptor, unless what /proc shows says otherwise.
    pub(super) fn behind(&self, row: &Descriptor, t_ns: u64) -> Option<String> {
        let agrees = |known: &Known| {
            known.ptr == row.file
                && row.ino.is_none_or(|ino| known.ino == ino)
                && match (&known.birth, &row.birth) {
                    (Some(known), Some(row)) => known == row,
                    _ => known.since_ns <= t_ns,
                }
        };
        self.0.iter().rposition(agrees).map(letter)
    }

    pub(super) fn list(&self, pointers: &mut Pointers) -> Vec<NamedFile> {
        self.0
            .iter()
            .enumerate()
            .map(|(index, known)| NamedFile {
                name: letter(index),
                file: match &known.identity {
                    Some(file) => pointers.file(file).to_string(),
                    None => pointers.show("file", known.ptr).to_string(),
                },
                kind: known
                    .identity
                    .as_ref()
                    .map_or(FileKind::Unknown, FileIdentity::kind)
                    .to_string(),
                ino: known.ino,
            })
            .collect()
    }
}

/// When a transfer's message was sent, as far as anybody saw.
fn sent_ns(transfer: &Transfer) -> u64 {
    let sender = transfer.sender.as_ref().map(|sender| sender.t_ns);
    let hop = transfer.hops.first().map(|seen| seen.t_ns);
    sender.or(hop).unwrap_or(u64::MAX)
}

/// A, B, …, Z, A2, B2, …
fn letter(index: usize) -> String {
    const LETTERS: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let letter = char::from(LETTERS[index % LETTERS.len()]);
    match index / LETTERS.len() {
        0 => letter.to_string(),
        round => format!("{letter}{}", round + 1),
    }
}
