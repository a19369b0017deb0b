//! Verdict: whether two descriptors are one file object.

use std::{fmt, ops::Deref};

use super::Transfer;

/// Whether two descriptors are one file object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The same file object.
    Same,
    /// Not the same file object.
    Different,
    /// Events were lost that the answer needs.
    Lost,
    /// This kernel did not let us look.
    Unverified,
}

impl Verdict {
    /// The verdict's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Lost => "lost",
            Self::Unverified => "unverified",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A transfer and what the trace says of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The transfer.
    pub transfer: Transfer,
    /// Whether it was the same file; `None` where nothing came out to compare.
    pub verdict: Option<Verdict>,
}

impl Deref for Judged {
    type Target = Transfer;

    fn deref(&self) -> &Transfer {
        &self.transfer
    }
}
