//! Files that actors pass: their offset, what they hold, and whether an exec closes them.

use std::os::fd::AsFd;

use anyhow::{Result, ensure};

/// Puts a file's offset back to 0.
///
/// # Errors
/// What `lseek` says.
pub fn rewind(file: &impl AsFd) -> Result<()> {
    nix::unistd::lseek(file, 0, nix::unistd::Whence::SeekSet)?;
    Ok(())
}

/// Reads a received file from its start and compares.
///
/// # Errors
/// What `pread` says, or if it holds something else.
pub fn expect_content(fd: &impl AsFd, expected: &str) -> Result<()> {
    let mut content = vec![0; expected.len() + 1];
    let len = nix::sys::uio::pread(fd, &mut content, 0)?;
    content.truncate(len);
    ensure!(
        content == expected.as_bytes(),
        "the file holds {:?} instead of {expected:?}",
        String::from_utf8_lossy(&content)
    );
    Ok(())
}

/// Whether a descriptor is close-on-exec.
///
/// # Errors
/// What `fcntl` says.
pub fn is_cloexec(fd: &impl AsFd) -> Result<bool> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let flags = FdFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFD)?);
    Ok(flags.contains(FdFlag::FD_CLOEXEC))
}
