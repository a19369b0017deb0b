//! What can go wrong for a user of the library.

use std::{error::Error as _, fmt, io, path::PathBuf};

use super::AssertionError;
use crate::{
    recording::ReadError,
    watch::{LiveError, StartError, with_causes},
};

/// What can go wrong, from starting to an assertion that does not hold.
///
/// Its `Debug` is for people, with all causes and a hint, because that is what a test prints that
/// returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This process cannot watch this kernel.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Watching broke off.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// What was seen is not what was expected, or does not prove it.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// A recording cannot be read, or is damaged or breaks off.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// A recording cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some records are of kinds that this version does not know, and are missing from the result.
    #[error("{count} records are of kinds that this fdtrace does not know")]
    UnknownRecords {
        /// How many.
        count: u64,
    },
    /// A system call of fdtrace's own failed.
    #[error("cannot {action}")]
    System {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start(error) => error.hint(),
            _ => None,
        }
    }

    pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            action,
            source: source.into(),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Some(_) => f.write_str(&with_causes(self))?,
            None => fmt::Display::fmt(self, f)?,
        }
        match self.hint() {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
