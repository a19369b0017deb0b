//! The ready file: how a script knows that everything is attached.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    CannotRun,
    place::{Place, write_name},
};

/// Where a script looks.
pub(super) struct ReadyFile {
    path: PathBuf,
    /// What is no regular file is open already, for a pipe may wait for its reader.
    through: Option<File>,
}

impl ReadyFile {
    /// Makes sure that nothing there says that this run is ready. `stdout_is_taken` by data.
    ///
    /// # Errors
    /// If something does, and cannot be removed.
    pub(super) fn prepare(path: &Path, stdout_is_taken: bool) -> Result<Self> {
        let name = write_name(Some(path));
        let mut through = None;
        if !is_replaceable(path) {
            through = match Place::find(path).with_context(|| format!("cannot write {name}"))? {
                Place::Stdout if stdout_is_taken => {
                    return Err(CannotRun {
                        what: "the ready file cannot be stdout, where the data goes".to_owned(),
                        hint: "name a file, or a descriptor such as /dev/fd/3",
                    }
                    .into());
                }
                Place::Stdout => None,
                Place::Through(file) => Some(file),
                Place::Replaced(_) => None,
            };
        } else if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot replace {name}"));
        }
        Ok(Self {
            path: path.to_owned(),
            through,
        })
    }

    /// Says that everything is attached: from now on the file is there, and whole.
    ///
    /// # Errors
    /// What writing says.
    pub(super) fn tell(self) -> Result<()> {
        let line = format!("{}\n", std::process::id());
        let told = match self.through {
            Some(mut file) => file.write_all(line.as_bytes()),
            None => match Place::find(&self.path) {
                Ok(Place::Stdout) => io::stdout().write_all(line.as_bytes()),
                Ok(Place::Through(mut file)) => file.write_all(line.as_bytes()),
                Ok(Place::Replaced(new)) => {
                    let mut file = new.file();
                    file.write_all(line.as_bytes()).and_then(|()| new.put())
                }
                Err(error) => Err(error),
            },
        };
        told.with_context(|| format!("cannot write {}", write_name(Some(&self.path))))
    }
}

/// Whether there is a regular file, a link to one or to nothing, or nothing at all.
fn is_replaceable(path: &Path) -> bool {
    if path == Path::new(super::place::DASH) {
        return false;
    }
    match fs::metadata(path) {
        // What this process has open keeps its name, whatever it is.
        Ok(found) => found.is_file() && !Place::is_own(path),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
