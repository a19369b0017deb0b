//! Handles of the kernel: what they wait for, count or stand for is the same.

use std::{
    ffi::CString,
    fs::{self, File},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use io_uring::IoUring;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
        inotify::{AddWatchFlags, InitFlags, Inotify},
        signal::{SigSet, Signal, raise},
        signalfd::{SfdFlags, SignalFd},
        socket::SockType,
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::read,
};

use super::pass;
use crate::{
    kernel::{passing, sys::open_process},
    model::FileKind,
    verify::{bpf::ArrayMap, runner::Runner},
};

pub(super) fn epoll(runner: &Runner) -> Result<()> {
    const TOKEN: u64 = 4711;
    let make = || {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let ready = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC)?;
        epoll.add(&ready, EpollEvent::new(EpollFlags::EPOLLIN, TOKEN))?;
        Ok((epoll.0, ready))
    };
    pass(runner, FileKind::Epoll, make, |fd| {
        let epoll = Epoll(fd.try_clone()?);
        let mut events = [EpollEvent::empty()];
        let ready = epoll.wait(&mut events, EpollTimeout::ZERO)?;
        ensure!(
            ready == 1 && events[0].data() == TOKEN,
            "the sender's file is not watched"
        );
        Ok(())
    })
}

pub(super) fn eventfd(runner: &Runner) -> Result<()> {
    const COUNT: u32 = 7;
    let make = || {
        let counter = EventFd::from_value_and_flags(COUNT, EfdFlags::EFD_CLOEXEC)?;
        Ok((OwnedFd::from(counter), ()))
    };
    pass(runner, FileKind::Eventfd, make, |fd| {
        expect_number(fd, u64::from(COUNT))
    })
}

fn expect_number(fd: &OwnedFd, expected: u64) -> Result<()> {
    let mut bytes = [0; 8];
    ensure!(read(fd, &mut bytes)? == bytes.len(), "it reads short");
    let number = u64::from_ne_bytes(bytes);
    ensure!(
        number == expected,
        "it reads {number} instead of {expected}"
    );
    Ok(())
}

pub(super) fn timerfd(runner: &Runner) -> Result<()> {
    let make = || {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        let once = Expiration::OneShot(TimeSpec::new(0, 1));
        timer.set(once, TimerSetTimeFlags::empty())?;
        Ok((timer.as_fd().try_clone_to_owned()?, ()))
    };
    pass(runner, FileKind::Timerfd, make, |fd| expect_number(fd, 1))
}

pub(super) fn signalfd(runner: &Runner) -> Result<()> {
    const SIGNAL: Signal = Signal::SIGUSR1;
    let mut blocked = SigSet::empty();
    blocked.add(SIGNAL);
    let make = || {
        let signals = SignalFd::with_flags(&blocked, SfdFlags::SFD_CLOEXEC)?;
        Ok((signals.as_fd().try_clone_to_owned()?, ()))
    };
    pass(runner, FileKind::Signalfd, make, |fd| {
        blocked.thread_block()?;
        raise(SIGNAL)?;
        // The signal's number comes first.
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        ensure!(read(fd, &mut info)? == info.len(), "it reads short");
        let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        ensure!(number == SIGNAL as i32, "it read signal {number}");
        Ok(())
    })
}

pub(super) fn inotify(runner: &Runner) -> Result<()> {
    let make = || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let watcher = Inotify::init(InitFlags::IN_CLOEXEC)?;
        watcher.add_watch(dir.path(), AddWatchFlags::IN_CREATE)?;
        File::create(dir.path().join("entry"))?;
        Ok((watcher.as_fd().try_clone_to_owned()?, dir))
    };
    pass(runner, FileKind::Inotify, make, |fd| {
        let mut event = [0; 256];
        let len = read(fd, &mut event)?;
        // The name comes last, padded with NULs.
        let name = event[..len].get(size_of::<libc::inotify_event>()..);
        ensure!(
            name.is_some_and(|name| name.starts_with(b"entry\0")),
            "the event is another one"
        );
        Ok(())
    })
}

pub(super) fn pidfd(runner: &Runner) -> Result<()> {
    let pid = nix::unistd::getpid();
    let opened = || open_process(std::process::id());
    if let Err(error) = opened() {
        return runner.skip(&format!("no pidfd can be had here: {error}"));
    }
    pass(
        runner,
        FileKind::Pidfd,
        || Ok((opened()?, ())),
        |fd| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
            let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
            ensure!(
                line.is_some_and(|line| line.trim() == pid.to_string()),
                "it is a handle of process {line:?} instead of {pid}"
            );
            Ok(())
        },
    )
}

pub(super) fn bpf_map(runner: &Runner) -> Result<()> {
    const VALUE: u64 = 0x0fd7_ace0;
    let make = || {
        let map = ArrayMap::new(&CString::new("fdtrace")?).context("cannot make a BPF map")?;
        map.set(VALUE)?;
        Ok((map.into(), ()))
    };
    pass(runner, FileKind::BpfMap, make, |fd| {
        let value = ArrayMap::from(fd.try_clone()?).get()?;
        ensure!(value == VALUE, "it holds {value:#x}");
        Ok(())
    })
}

pub(super) fn io_uring(runner: &Runner) -> Result<()> {
    let ring = match IoUring::new(1) {
        Ok(ring) => ring,
        Err(error) => return runner.skip(&format!("no io_uring can be had here: {error}")),
    };
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let fds = [ring.as_raw_fd()];
    let passed = runner.probe(|| {
        passing::send(sender.as_raw_fd(), b"m", &[&fds])?;
        // Nobody else shall find it.
        passing::receive(receiver.as_raw_fd(), 1, nix::sys::socket::MsgFlags::empty()).map(drop)
    })?;
    if passed.is_ok() {
        return runner.skip("this kernel still passes io_uring rings");
    }
    runner.kind("m", 0, FileKind::IoUring)?;
    runner.send("m", &sender).failing(&[&fds], Errno::EINVAL)
}
