//! The originals of a message: what the kernel says of the sender's descriptors right before they
//! are sent, and duplicates of them to compare with later.

use std::{io, os::fd::OwnedFd};

use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::{kernel::sys::open_process, model::Snapshot};

/// Why a descriptor of another process cannot be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// The process is gone.
    #[error("cannot open process {pid}")]
    Process {
        /// The process.
        pid: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The descriptor is closed, or the process may not be looked at.
    #[error("cannot duplicate descriptor {fd} of process {pid}")]
    Descriptor {
        /// The process.
        pid: u32,
        /// The descriptor.
        fd: i32,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The sender's descriptors at the moment of sending.
#[derive(Debug, Default)]
pub struct Originals {
    pointers: Vec<Option<u64>>,
    held: Vec<OwnedFd>,
}

impl Originals {
    /// Notes what `snapshot` says of the descriptors `fds` of process `pid`.
    #[must_use]
    pub fn seen(pid: u32, fds: &[i32], snapshot: &Snapshot) -> Self {
        let pointers = fds
            .iter()
            .map(|fd| snapshot.get(&(pid, *fd)).map(|file| file.ptr))
            .collect();
        Self {
            pointers,
            held: Vec::new(),
        }
    }

    /// Duplicates the descriptors too (`pidfd_getfd`), so that the original is still there to
    /// compare with when the sender has closed its own.
    ///
    /// # Errors
    /// [`HoldError::Process`] if the process is gone, [`HoldError::Descriptor`] if it may not be looked
    /// at or has closed the descriptor.
    pub fn hold(&mut self, pid: u32, fds: &[i32]) -> Result<(), HoldError> {
        let process = open_process(pid).map_err(|source| HoldError::Process { pid, source })?;
        for fd in fds {
            let copy = pidfd_getfd(&process, *fd, PidfdGetfdFlags::empty());
            self.held.push(copy.map_err(|errno| HoldError::Descriptor {
                pid,
                fd: *fd,
                source: errno.into(),
            })?);
        }
        Ok(())
    }

    /// Address of file `index`, as `iter/task_file` gave it.
    #[must_use]
    pub fn pointer(&self, index: usize) -> Option<u64> {
        self.pointers.get(index).copied().flatten()
    }

    /// Every duplicate that is held, by file.
    pub fn all_held(&self) -> impl Iterator<Item = &OwnedFd> {
        self.held.iter()
    }

    /// The duplicate of file `index`, if one is held.
    #[must_use]
    pub fn held(&self, index: usize) -> Option<&OwnedFd> {
        self.held.get(index)
    }
}
