//! Verdict: whether two descriptors are one file object.

use std::ops::Deref;

use super::{Earlier, Transfer, named};

named! { "kebab-case";
/// Whether two descriptors are one file object.
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
}

/// A transfer and what the trace says of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The transfer.
    pub transfer: Transfer,
    /// Whether it was the same file; `None` where nothing came out to compare.
    pub verdict: Option<Verdict>,
    /// By which transfers the same open file came here before.
    pub earlier: Earlier,
}

impl Deref for Judged {
    type Target = Transfer;

    fn deref(&self) -> &Transfer {
        &self.transfer
    }
}
