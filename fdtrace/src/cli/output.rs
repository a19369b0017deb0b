//! Where data goes: stdout, or a file that appears whole or not at all.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anstream::{AutoStream, ColorChoice, StripStream};
use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

/// A file without styles. What they leave comes in pieces, which must not be a system call each.
type Stripped = StripStream<Box<dyn Write>>;

/// A place for data.
pub enum Output {
    /// A terminal, or standard output that somebody wants styles on.
    Stdout(anstream::Stdout),
    /// A file that can be read while it is being written, or standard output.
    Stream {
        /// What styled text is written to.
        out: Stripped,
        /// The same file.
        file: File,
    },
    /// A file beside the one asked for, until [`Output::finish`] puts it in place.
    File {
        /// What styled text is written to.
        out: Stripped,
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
            return Self::standard();
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
        Ok(Self::File {
            out: stripped(file.as_file()).with_context(unwritable)?,
            named: file,
            path: path.to_owned(),
        })
    }

    /// The same for what goes on for long: the file is there at once, and grows.
    ///
    /// # Errors
    /// If the file cannot be written to.
    pub fn stream(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Self::standard();
        };
        File::create(path)
            .and_then(Self::growing)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn standard() -> Result<Self> {
        let stdout = io::stdout();
        if stdout.is_terminal() || AutoStream::choice(&stdout) != ColorChoice::Never {
            return Ok(Self::Stdout(anstream::stdout()));
        }
        let same = stdout.as_fd().try_clone_to_owned();
        same.and_then(|same| Self::growing(same.into()))
            .context("cannot write to stdout")
    }

    fn growing(file: File) -> io::Result<Self> {
        let out = stripped(&file)?;
        Ok(Self::Stream { out, file })
    }

    /// The same place for what has no styles: nobody looks for any in it.
    pub fn unstyled(&mut self) -> Box<dyn Write + '_> {
        match self {
            Self::Stdout(_) => Box::new(io::stdout()),
            Self::Stream { file, .. } => Box::new(file),
            Self::File { named, .. } => Box::new(named),
        }
    }

    /// Columns of the terminal that this goes to, if it is one.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Stdout(_) => terminal_size::terminal_size_of(io::stdout())
                .map(|(terminal_size::Width(columns), _)| usize::from(columns)),
            Self::Stream { .. } | Self::File { .. } => None,
        }
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// What writing and renaming say.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush()?,
            Self::Stream { mut out, .. } => out.flush()?,
            Self::File {
                mut out,
                named,
                path,
            } => {
                out.flush()?;
                // Temporary files are the owner's alone; a report is an ordinary file.
                set_ordinary_mode(&named)
                    .and_then(|()| Ok(named.persist(&path)?))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn stripped(file: &File) -> io::Result<Stripped> {
    let file = BufWriter::with_capacity(1 << 16, file.try_clone()?);
    Ok(Stripped::new(Box::new(file)))
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
            Self::Stream { out, .. } => out.write(bytes),
            Self::File { out, .. } => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Stream { out, .. } => out.flush(),
            Self::File { out, .. } => out.flush(),
        }
    }
}
