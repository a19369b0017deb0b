//! The letters that a story calls files by, in the order in which they were first seen.
//!
//! A file is known by its address and its inode together: an address alone is another's as soon as
//! its file is gone.

use super::NamedFile;
use crate::{
    explain::recorder::Still,
    report::Pointers,
    tracker::{FileIdentity, Transfer},
    verify::fact::Fact,
};

/// What stands for the letter of a file that was never seen.
pub(crate) const UNNAMED: &str = "?";

/// A file that was to be passed.
struct Known {
    ptr: u64,
    ino: u64,
    /// What the trace said of it, if it was under way.
    identity: Option<FileIdentity>,
}

pub(super) struct Names(Vec<Known>);

impl Names {
    /// Names what actors were about to send, and what was seen under way.
    pub(super) fn of_play<'a>(
        stills: &[Still],
        transfers: impl Iterator<Item = &'a &'a Transfer>,
    ) -> Self {
        let mut names = Self(Vec::new());
        for still in stills {
            let Fact::Sending { actor, fds, .. } = &still.fact else {
                continue;
            };
            let processes = || still.processes.iter().filter(|it| it.pid == actor.pid);
            for fd in fds {
                let mut rows = processes().flat_map(|process| &process.descriptors);
                let row = rows.find(|row| row.fd == *fd);
                if let Some((ptr, ino)) = row.and_then(|row| Some((row.file, row.ino?))) {
                    names.name(ptr, ino);
                }
            }
        }
        for transfer in transfers {
            let file = &transfer.file;
            if file.ptr == 0 {
                // The send failed before the file behind the number was seen, if there was any.
                continue;
            }
            names.name(file.ptr, file.ino).identity = Some(file.clone());
        }
        names
    }

    fn name(&mut self, ptr: u64, ino: u64) -> &mut Known {
        let known = self
            .0
            .iter()
            .position(|known| (known.ptr, known.ino) == (ptr, ino));
        let place = known.unwrap_or_else(|| {
            self.0.push(Known {
                ptr,
                ino,
                identity: None,
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    pub(super) fn of(&self, file: &FileIdentity) -> String {
        self.behind(file.ptr, Some(file.ino))
            .unwrap_or_else(|| UNNAMED.to_owned())
    }

    /// The file at this address, if its inode does not say otherwise.
    pub(super) fn behind(&self, file: u64, ino: Option<u64>) -> Option<String> {
        self.0
            .iter()
            .position(|known| known.ptr == file && ino.is_none_or(|ino| known.ino == ino))
            .map(letter)
    }

    pub(super) fn list(&self, pointers: &mut Pointers) -> Vec<NamedFile> {
        self.0
            .iter()
            .enumerate()
            .map(|(index, known)| NamedFile {
                name: letter(index),
                file: match &known.identity {
                    Some(file) => pointers.file(file),
                    None => pointers.show("file", known.ptr),
                },
                kind: known
                    .identity
                    .as_ref()
                    .map_or("unknown", FileIdentity::kind)
                    .to_owned(),
                ino: known.ino,
            })
            .collect()
    }
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
