//! Where data goes: stdout, or a file that appears whole or not at all.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

/// A place for data.
pub enum Output {
    /// Standard output; styles are stripped where it is no terminal.
    Stdout(anstream::Stdout),
    /// A file that can be read while it is being written.
    Stream(anstream::StripStream<File>),
    /// A file beside the one asked for, until [`Output::finish`] puts it in place.
    File {
        /// What is written to.
        out: anstream::StripStream<File>,
        /// Its name, until it has its own; dropped before that, the file is gone.
        named: NamedTempFile,
        /// What it will be.
        path: PathBuf,
    },
}

impl Output {
    /// Opens the file of this name, or stdout if there is none.
    ///
    /// # Errors
    /// If the file's folder cannot be written to.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Stdout(anstream::stdout()));
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let unwritable = || format!("cannot write {}", path.display());
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory)).with_context(unwritable);
        }
        let file = NamedTempFile::new_in(folder)
            // Without the temporary name, which means nothing to the user.
            .map_err(|error| io::Error::from(error.kind()))
            .with_context(unwritable)?;
        let out = file.as_file().try_clone().with_context(unwritable)?;
        Ok(Self::File {
            out: anstream::StripStream::new(out),
            named: file,
            path: path.to_owned(),
        })
    }

    /// The same for what goes on for long: the file is there at once, and grows.
    ///
    /// # Errors
    /// If the file cannot be written to.
    pub fn stream(path: Option<&Path>) -> Result<Self> {
        match path {
            None => Self::open(None),
            Some(path) => File::create(path)
                .map(|file| Self::Stream(anstream::StripStream::new(file)))
                .with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// Columns of the terminal that this goes to, if it is one.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Stdout(_) => terminal_size::terminal_size_of(io::stdout())
                .map(|(terminal_size::Width(columns), _)| usize::from(columns)),
            Self::Stream(_) | Self::File { .. } => None,
        }
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// What writing and renaming say.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush()?,
            Self::Stream(mut out) => out.flush()?,
            Self::File { named, path, .. } => {
                // Temporary files are the owner's alone; a report is an ordinary file.
                set_ordinary_mode(&named)
                    .and_then(|()| Ok(named.persist(&path)?))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn set_ordinary_mode(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mask = {
        let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        nix::sys::stat::umask(mask);
        mask.bits()
    };
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o666 & !mask))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Stream(out) => out.write(bytes),
            Self::File { out, .. } => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Stream(out) => out.flush(),
            Self::File { out, .. } => out.flush(),
        }
    }
}
