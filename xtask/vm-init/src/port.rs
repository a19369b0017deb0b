//! The serial port to the host, as a plain pipe for bytes.
//!
//! The second port: the first is the kernel's console, and a message of the kernel's in the
//! middle of a command's output would spoil it. Where the first is of another kind, the second is the
//! first of its own.

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use nix::sys::termios::{self, SetArg};
use vm_init::Frame;

const PORT: &str = if cfg!(target_arch = "aarch64") {
    "/dev/ttyS0"
} else {
    "/dev/ttyS1"
};

/// May be written to from several threads, a frame at a time.
pub(crate) struct Port {
    file: File,
    writing: Mutex<()>,
}

impl Port {
    pub(crate) fn open() -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(PORT)
            .with_context(|| format!("cannot open {PORT}"))?;
        let mut settings =
            termios::tcgetattr(&file).with_context(|| format!("cannot read {PORT}'s settings"))?;
        // No echo, and no carriage return before each line feed.
        termios::cfmakeraw(&mut settings);
        // The speed stays: an emulated port has none.
        termios::tcsetattr(&file, SetArg::TCSANOW, &settings)
            .with_context(|| format!("cannot set {PORT} up"))?;
        Ok(Self {
            file,
            writing: Mutex::new(()),
        })
    }

    pub(crate) fn send(&self, frame: &Frame) -> Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.file)
            .write_all(&frame.encode())
            .with_context(|| format!("cannot write to {PORT}"))
    }

    /// What the host's user types.
    pub(crate) fn input(&self) -> Result<File> {
        self.file
            .try_clone()
            .with_context(|| format!("cannot read {PORT}"))
    }

    /// Waits until all has gone to the host.
    pub(crate) fn drain(&self) -> Result<()> {
        termios::tcdrain(&self.file).with_context(|| format!("cannot empty {PORT}"))
    }
}
