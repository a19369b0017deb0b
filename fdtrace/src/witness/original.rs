//! The originals of a message: what the kernel says of the sender's descriptors right before they
//! are sent, and duplicates of them to compare with later.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use crate::model::Snapshot;

/// Why a descriptor of another process cannot be held.
#[derive(Debug, thiserror::Error)]
#[error("cannot duplicate descriptor {fd} of process {pid}")]
pub struct HoldError {
    pid: u32,
    fd: i32,
    source: io::Error,
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
    /// If the process is gone or may not be looked at.
    pub fn hold(&mut self, pid: u32, fds: &[i32]) -> Result<(), HoldError> {
        // SAFETY: pidfd_open reads its arguments; what it returns is ours alone.
        let process =
            owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map_err(|source| {
                HoldError {
                    pid,
                    fd: -1,
                    source,
                }
            })?;
        for fd in fds {
            // SAFETY: likewise for pidfd_getfd.
            let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), *fd, 0) };
            let copy = owned(copy).map_err(|source| HoldError {
                pid,
                fd: *fd,
                source,
            })?;
            self.held.push(copy);
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

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(result).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this new descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
