//! Where data goes: stdout, or a file that appears whole or not at all, or what is no file and is
//! written to as it stands.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::AsFd as _,
    path::Path,
};

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context as _, Result};

use super::place::{Place, Replaced, write_name};

/// A file without styles, and whatever else begins with an escape: no name has one
/// ([`sanitize`](crate::report::sanitize)). What is left comes in pieces, which must not be a system call
/// each.
struct Stripped {
    file: BufWriter<File>,
    /// What was written last ends within a style.
    in_style: bool,
}

impl Stripped {
    fn new(file: File) -> Self {
        Self {
            file: BufWriter::with_capacity(1 << 16, file),
            in_style: false,
        }
    }
}

impl Write for Stripped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mark = if self.in_style { b'm' } else { b'\x1b' };
            let found = memchr::memchr(mark, rest);
            let (piece, behind) = rest.split_at(found.unwrap_or(rest.len()));
            if !self.in_style {
                self.file.write_all(piece)?;
            }
            self.in_style ^= found.is_some();
            rest = behind.get(1..).unwrap_or_default();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A place for data. Its errors say its name.
pub struct Output {
    name: String,
    /// Standard output, however it was asked for.
    is_stdout: bool,
    sink: Sink,
}

enum Sink {
    /// A terminal, or standard output that somebody wants styles on.
    Styled(anstream::Stdout),
    /// A file that can be read while it is being written, or standard output.
    Through {
        /// What styled text is written to.
        out: Stripped,
        /// The same file.
        file: File,
    },
    /// A file beside the one asked for, until [`Output::finish`] puts it in place.
    Replaced {
        /// What styled text is written to.
        out: Stripped,
        /// The same file.
        new: Replaced,
    },
}

impl Output {
    /// Opens the file of this name, or stdout if there is none.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let place = find(path)?;
        Self::at(place, path)
    }

    /// Opens a place that goes by this name.
    pub(super) fn at(place: Place, path: Option<&Path>) -> Result<Self> {
        let name = write_name(path);
        let is_stdout = matches!(place, Place::Stdout);
        let sink = match place {
            Place::Stdout => Sink::stdout(),
            Place::Through(file) => Sink::through(file),
            Place::Replaced(new) => stripped(new.file()).map(|out| Sink::Replaced { out, new }),
        };
        Ok(Self {
            sink: sink.with_context(|| format!("cannot write {name}"))?,
            name,
            is_stdout,
        })
    }

    /// Whether this is standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        self.is_stdout
    }

    /// The same place for what has no styles: nobody looks for any in it.
    pub fn unstyled(&mut self) -> impl Write + '_ {
        Unstyled(self)
    }

    /// Whether nobody sees styles that are written to it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !matches!(self.sink, Sink::Styled(_))
    }

    /// Columns of the terminal that this goes to, if it is one.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        match &self.sink {
            Sink::Styled(_) => terminal_size::terminal_size_of(io::stdout())
                .map(|(terminal_size::Width(columns), _)| usize::from(columns)),
            Sink::Through { .. } | Sink::Replaced { .. } => None,
        }
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// What writing and renaming say.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        if let Sink::Replaced { new, .. } = self.sink {
            new.put()
                .with_context(|| format!("cannot write {}", self.name))?;
        }
        Ok(())
    }

    fn named<T>(&self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| {
            let kind = error.kind();
            io::Error::new(kind, format!("cannot write {}: {error}", self.name))
        })
    }
}

/// Where this name leads, or stdout if there is none.
///
/// # Errors
/// If it cannot be written there.
pub(super) fn find(path: Option<&Path>) -> Result<Place> {
    match path {
        Some(path) => {
            Place::find(path).with_context(|| format!("cannot write {}", write_name(Some(path))))
        }
        None => Ok(Place::Stdout),
    }
}

impl Sink {
    fn stdout() -> io::Result<Self> {
        let stdout = io::stdout();
        if stdout.is_terminal() || AutoStream::choice(&stdout) != ColorChoice::Never {
            return Ok(Self::Styled(anstream::stdout()));
        }
        Self::through(stdout.as_fd().try_clone_to_owned()?.into())
    }

    fn through(file: File) -> io::Result<Self> {
        let out = stripped(&file)?;
        Ok(Self::Through { out, file })
    }

    fn styled(&mut self) -> &mut dyn Write {
        match self {
            Self::Styled(out) => out,
            Self::Through { out, .. } | Self::Replaced { out, .. } => out,
        }
    }
}

fn stripped(file: &File) -> io::Result<Stripped> {
    Ok(Stripped::new(file.try_clone()?))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.styled().write(bytes);
        self.named(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.sink.styled().flush();
        self.named(flushed)
    }
}

struct Unstyled<'a>(&'a mut Output);

impl Write for Unstyled<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.0.sink {
            Sink::Styled(_) => io::stdout().write(bytes),
            Sink::Through { file, .. } => (&*file).write(bytes),
            Sink::Replaced { new, .. } => new.file().write(bytes),
        };
        self.0.named(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &self.0.sink {
            Sink::Styled(_) => io::stdout().flush(),
            Sink::Through { .. } | Sink::Replaced { .. } => Ok(()),
        };
        self.0.named(flushed)
    }
}
