//! Files that have a path or none: what was written to one is read from the other.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl, open, openat},
    pty::openpty,
    sys::stat::Mode,
    unistd::{isatty, mkfifo, read, write},
};

use super::{CONTENT, expect_read, pass};
use crate::{
    model::FileKind,
    verify::runner::{Runner, expect_content},
};

pub(super) fn regular(runner: &Runner) -> Result<()> {
    let make = || Ok((runner.file(CONTENT)?.into(), ()));
    pass(runner, FileKind::Regular, make, |fd| {
        expect_content(fd, CONTENT)
    })
}

pub(super) fn directory(runner: &Runner) -> Result<()> {
    let make = || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        fs::write(dir.path().join("entry"), CONTENT)?;
        Ok((File::open(dir.path())?.into(), dir))
    };
    pass(runner, FileKind::Directory, make, |fd| {
        let entry = openat(fd, "entry", OFlag::O_RDONLY, Mode::empty())?;
        expect_content(&entry, CONTENT)
    })
}

pub(super) fn opath(runner: &Runner) -> Result<()> {
    let make = || {
        let mut named = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        named.write_all(CONTENT.as_bytes())?;
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok((open(named.path(), flags, Mode::empty())?, named))
    };
    pass(runner, FileKind::Regular, make, |fd| {
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
        ensure!(flags.contains(OFlag::O_PATH), "it is open for more");
        let read = read(fd, &mut [0]);
        ensure!(read == Err(Errno::EBADF), "reading it gave {read:?}");
        let file = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        expect_content(&file, CONTENT)
    })
}

pub(super) fn pipe(runner: &Runner) -> Result<()> {
    let make = || {
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        write(&into, CONTENT.as_bytes())?;
        Ok((out, into))
    };
    pass(runner, FileKind::Pipe, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

pub(super) fn fifo(runner: &Runner) -> Result<()> {
    let make = || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // For both, so that opening waits for nobody.
        let fifo = OpenOptions::new().read(true).write(true).open(&path)?;
        write(&fifo, CONTENT.as_bytes())?;
        Ok((fifo.into(), dir))
    };
    pass(runner, FileKind::Fifo, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

pub(super) fn memfd(runner: &Runner) -> Result<()> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let make = || {
        let memfd = memfd_create("fdtrace", MFdFlags::MFD_CLOEXEC)?;
        write(&memfd, CONTENT.as_bytes())?;
        Ok((memfd, ()))
    };
    pass(runner, FileKind::Memfd, make, |fd| {
        expect_content(fd, CONTENT)
    })
}

pub(super) fn tty(runner: &Runner) -> Result<()> {
    if let Err(errno) = openpty(None, None) {
        return runner.skip(&format!("no pseudo-terminal can be had here: {errno}"));
    }
    let make = || {
        let terminal = openpty(None, None)?;
        write(&terminal.master, b"typed\n")?;
        Ok((terminal.slave, terminal.master))
    };
    pass(runner, FileKind::Tty, make, |fd| {
        ensure!(isatty(fd)?, "it is no terminal");
        expect_read(fd, b"typed\n")
    })
}

pub(super) fn device(runner: &Runner) -> Result<()> {
    let make = || {
        let zero = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_CLOEXEC)
            .open("/dev/zero")
            .context("cannot open /dev/zero")?;
        Ok((zero.into(), ()))
    };
    pass(runner, FileKind::CharDevice, make, |fd| {
        let mut bytes = [1; 4];
        ensure!(read(fd, &mut bytes)? == bytes.len(), "it reads short");
        ensure!(bytes == [0; 4], "it reads {bytes:?}");
        Ok(())
    })
}
