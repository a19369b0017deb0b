//! Witnesses: independent ways to ask whether two descriptors are one file object.
//!
//! None of them uses the trace. Each asks the kernel another question through another door, so
//! that a mistake in one shows in the others.

mod balance;
mod birth;
mod fdinfo;
mod kcmp;
mod original;

use std::os::fd::AsFd as _;

use crate::model::{Snapshot, Verdict};

pub use balance::{Balance, Surplus};
pub use birth::Birth;
pub use fdinfo::queued_descriptors;
pub use original::{HoldError, Originals};

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The kernel's list of descriptors and files, through a BPF iterator.
    TaskFile,
    /// `kcmp(KCMP_FILE)` between the receiver's descriptor and a duplicate of the original.
    Kcmp,
    /// The original's offset is moved; the receiver's must move with it.
    Offset,
    /// The count of queued descriptors in the receiving socket's fdinfo.
    ScmFds,
}

impl Witness {
    /// The witness's name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskFile => "iter/task_file",
            Self::Kcmp => "kcmp",
            Self::Offset => "offset",
            Self::ScmFds => "scm_fds",
        }
    }
}

/// What one witness said of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// Who said it.
    pub witness: Witness,
    /// What it said.
    pub verdict: Verdict,
}

/// Asks every witness that applies whether descriptor `fd` of process `pid` is file `index` of
/// `originals`. `snapshot` was taken while that descriptor was open.
#[must_use]
pub fn compare(
    originals: &Originals,
    index: usize,
    pid: u32,
    fd: i32,
    snapshot: &Snapshot,
) -> Vec<Testimony> {
    let mut testimonies = Vec::new();
    let mut say = |witness, verdict| testimonies.push(Testimony { witness, verdict });
    let verdict = match (originals.pointer(index), snapshot.get(&(pid, fd))) {
        (Some(sent), Some(received)) if sent == received.ptr => Verdict::Same,
        (Some(_), Some(_)) => Verdict::Different,
        _ => Verdict::Unverified,
    };
    say(Witness::TaskFile, verdict);
    if let Some(original) = originals.held(index) {
        say(Witness::Kcmp, kcmp::compare(original.as_fd(), pid, fd));
        if let Some(verdict) = fdinfo::compare_offsets(original.as_fd(), pid, fd) {
            say(Witness::Offset, verdict);
        }
    }
    testimonies
}
