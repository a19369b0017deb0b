//! Object kinds: whatever has a descriptor can be passed, goes on working at the receiver, and is
//! called by its name in the trace. The one exception is io_uring.
//!
//! Each object is made after the receiver was forked, so that it can have come by the message
//! alone.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

use anyhow::{Context as _, Result, ensure};
use io_uring::IoUring;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl, open, openat},
    pty::openpty,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
        inotify::{AddWatchFlags, InitFlags, Inotify},
        signal::{SigSet, Signal, raise},
        signalfd::{SfdFlags, SignalFd},
        socket::{SockType, getsockname},
        stat::Mode,
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::{isatty, mkfifo, read, write},
};

use super::scenarios;
use crate::{
    kernel::{passing, sys::open_process},
    model::FileKind,
    verify::{
        bpf::ArrayMap,
        runner::{Runner, expect_content},
    },
};

scenarios! { ObjectKinds:
    "kind-regular" regular,
        "a regular file: its content can be read";
    "kind-directory" directory,
        "a directory: what is in it can be opened";
    "kind-opath" opath,
        "a file opened with O_PATH, which cannot be read and still names its file";
    "kind-pipe" pipe,
        "a pipe's read end";
    "kind-fifo" fifo,
        "a named pipe";
    "kind-tcp-listener" tcp_listener,
        "a listening TCP socket: the receiver accepts";
    "kind-tcp-connection" tcp_connection,
        "an accepted TCP connection: the receiver serves it";
    "kind-udp" udp,
        "a bound UDP socket: what was sent to it before arrives";
    "kind-unix-socket" unix_socket,
        "one end of a pair of Unix sockets";
    "kind-socket-over-itself" socket_over_itself,
        "a socket that comes out of its own queue";
    "kind-epoll" epoll,
        "an epoll instance: it goes on watching the sender's file";
    "kind-eventfd" eventfd,
        "an eventfd: its count";
    "kind-timerfd" timerfd,
        "a timerfd: it has expired meanwhile";
    "kind-signalfd" signalfd,
        "a signalfd: it reads the signals of whoever reads it";
    "kind-inotify" inotify,
        "an inotify instance: the event from before";
    "kind-memfd" memfd,
        "a memfd: a file that is nowhere else";
    "kind-pidfd" pidfd,
        "a pidfd: the sender's process, by a handle", needs "pidfds";
    "kind-tty" tty,
        "a terminal: what was typed arrives", needs "pseudo-terminals";
    "kind-device" device,
        "a character device";
    "kind-bpf-map" bpf_map,
        "a BPF map: its value";
    "kind-io-uring" io_uring,
        "an io_uring is refused with EINVAL", needs "io_uring";
}

const CONTENT: &str = "what the sender wrote";

/// Passes what `make` makes, and lets the receiver see that it `works`. What is made beside the
/// descriptor is kept until then.
fn pass<T>(
    runner: &Runner,
    kind: FileKind,
    make: impl FnOnce() -> Result<(OwnedFd, T)>,
    works: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 1)?;
        works(&received.fds[0])
    })?;
    let (fd, kept) = make()?;
    runner.kind("m", 0, kind)?;
    runner.send("m", &sender).fds(&[fd.as_raw_fd()])?;
    actor.done()?;
    drop(kept);
    Ok(())
}

fn expect_read(fd: &OwnedFd, expected: &[u8]) -> Result<()> {
    let mut bytes = vec![0; expected.len() + 1];
    let len = read(fd, &mut bytes)?;
    ensure!(
        &bytes[..len] == expected,
        "it reads {:?} instead of {expected:?}",
        &bytes[..len]
    );
    Ok(())
}

fn regular(runner: &Runner) -> Result<()> {
    let make = || Ok((runner.file(CONTENT)?.into(), ()));
    pass(runner, FileKind::Regular, make, |fd| {
        expect_content(fd, CONTENT)
    })
}

fn directory(runner: &Runner) -> Result<()> {
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

fn opath(runner: &Runner) -> Result<()> {
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

fn pipe(runner: &Runner) -> Result<()> {
    let make = || {
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        write(&into, CONTENT.as_bytes())?;
        Ok((out, into))
    };
    pass(runner, FileKind::Pipe, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

fn fifo(runner: &Runner) -> Result<()> {
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

fn tcp_listener(runner: &Runner) -> Result<()> {
    let make = || Ok((TcpListener::bind("127.0.0.1:0")?.into(), ()));
    pass(runner, FileKind::Socket, make, |fd| {
        let listener = TcpListener::from(fd.try_clone()?);
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (connection, _) = listener.accept()?;
        client.write_all(CONTENT.as_bytes())?;
        expect_read(&connection.into(), CONTENT.as_bytes())
    })
}

fn tcp_connection(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 1)?;
        expect_read(&received.fds[0], CONTENT.as_bytes())?;
        write(&received.fds[0], b"served")?;
        Ok(())
    })?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (connection, _) = listener.accept()?;
    client.write_all(CONTENT.as_bytes())?;
    runner.kind("m", 0, FileKind::Socket)?;
    runner.send("m", &sender).fds(&[connection.as_raw_fd()])?;
    drop(connection);
    let mut answer = [0; 6];
    client.read_exact(&mut answer)?;
    ensure!(&answer == b"served", "the client was told {answer:?}");
    actor.done()
}

fn udp(runner: &Runner) -> Result<()> {
    let make = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        UdpSocket::bind("127.0.0.1:0")?.send_to(CONTENT.as_bytes(), socket.local_addr()?)?;
        Ok((socket.into(), ()))
    };
    pass(runner, FileKind::Socket, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

fn unix_socket(runner: &Runner) -> Result<()> {
    let make = || {
        let (one, other) = runner.socketpair(SockType::Stream)?;
        write(&one, CONTENT.as_bytes())?;
        Ok((other, one))
    };
    pass(runner, FileKind::Socket, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

fn socket_over_itself(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    // Its queue holds a reference to itself, so as long as it is in nobody's table, only the
    // kernel's collector could free it; here both processes have it open.
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 1)?;
        let same = getsockname::<nix::sys::socket::UnixAddr>(received.fds[0].as_raw_fd())?;
        ensure!(same.path().is_none(), "it is another socket");
        let inode = |fd: &OwnedFd| Ok::<_, Errno>(nix::sys::stat::fstat(fd)?.st_ino);
        ensure!(
            inode(&received.fds[0])? == inode(&receiver)?,
            "what came is not the socket that it came through"
        );
        Ok(())
    })?;
    runner.kind("m", 0, FileKind::Socket)?;
    runner.send("m", &sender).fds(&[receiver.as_raw_fd()])?;
    actor.done()
}

fn epoll(runner: &Runner) -> Result<()> {
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

fn eventfd(runner: &Runner) -> Result<()> {
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

fn timerfd(runner: &Runner) -> Result<()> {
    let make = || {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        let once = Expiration::OneShot(TimeSpec::new(0, 1));
        timer.set(once, TimerSetTimeFlags::empty())?;
        Ok((timer.as_fd().try_clone_to_owned()?, ()))
    };
    pass(runner, FileKind::Timerfd, make, |fd| expect_number(fd, 1))
}

fn signalfd(runner: &Runner) -> Result<()> {
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

fn inotify(runner: &Runner) -> Result<()> {
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

fn memfd(runner: &Runner) -> Result<()> {
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

fn pidfd(runner: &Runner) -> Result<()> {
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

fn tty(runner: &Runner) -> Result<()> {
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

fn device(runner: &Runner) -> Result<()> {
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

fn bpf_map(runner: &Runner) -> Result<()> {
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

fn io_uring(runner: &Runner) -> Result<()> {
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
