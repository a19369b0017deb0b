//! An actor: sends and receives, and notes what it did.

use std::{
    io::{IoSlice, IoSliceMut, Write as _},
    os::fd::{AsRawFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
    sync::atomic::{AtomicU64, Ordering},
    thread::ScopedJoinHandle,
};

use fdtrace::passing;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag,
            SockType, cmsg_space, recvmmsg, sendmmsg, socketpair,
        },
        stat::fstat,
        wait::{WaitStatus, waitpid},
    },
    time::{ClockId, clock_gettime},
    unistd::{ForkResult, fork, getpid, gettid},
};

use crate::truth::{Call, Fact, Received, Sent};

/// Data of the message after which there are no more. It carries no descriptor.
const END: u64 = 0;

/// A file and what only it has.
pub(crate) struct Named {
    pub(crate) fd: OwnedFd,
    pub(crate) ino: u64,
}

impl Named {
    pub(crate) fn new() -> Self {
        let fd = memfd_create("adversary", MFdFlags::MFD_CLOEXEC).expect("there is memory");
        let ino = ino_of(fd.as_raw_fd());
        Self { fd, ino }
    }

    /// Another number of the same file.
    pub(crate) fn again(&self) -> Self {
        let fd = self.fd.try_clone().expect("there are numbers left");
        Self { fd, ino: self.ino }
    }
}

/// Moves it to the lowest free number from `least` on.
pub(crate) fn at_least(fd: &OwnedFd, least: RawFd) -> OwnedFd {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least)).expect("there are numbers left");
    // SAFETY: the number is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(number) }
}

pub(crate) fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("there are sockets")
}

fn ino_of(fd: RawFd) -> u64 {
    // SAFETY: it is open, and only borrowed for the call.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fstat(fd).expect("it is open").st_ino
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}

/// A number that no other message of this or any other process has.
fn new_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    (u64::from(getpid().as_raw().cast_unsigned()) << 32) | count
}

/// What a receive came to.
pub(crate) enum Came {
    /// A message with its new descriptors.
    Message(Vec<OwnedFd>),
    /// Nothing is there now.
    Nothing,
    /// No more will come.
    End,
}

/// One thread's share of the truth.
#[derive(Default)]
pub(crate) struct Actor {
    pub(crate) facts: Vec<Fact>,
    /// Whether to look at what came, while it is still open.
    blind: bool,
}

impl Actor {
    /// One who cannot look at what came, because others may have closed it by then.
    pub(crate) fn blind() -> Self {
        Self {
            blind: true,
            ..Self::default()
        }
    }

    /// Sends one message with `files`, and waits while the queue is full.
    pub(crate) fn send(&mut self, socket: &OwnedFd, files: &[&Named]) {
        self.try_send(socket, files).expect("somebody receives it");
    }

    /// Sends one message by `sendmmsg`; fdtrace distinguishes the messages of one by their files alone.
    pub(crate) fn send_by_sendmmsg(&mut self, socket: &OwnedFd, files: &[&Named]) {
        self.send_with(socket, files, |socket_fd, data, fds| {
            let space = vec![0_u8; cmsg_space::<RawFd>() * fds.len()];
            let mut headers: MultiHeaders<()> = MultiHeaders::preallocate(1, Some(space));
            let slices = [[IoSlice::new(data)]];
            let rights = [ControlMessage::ScmRights(fds)];
            let sent = sendmmsg(
                socket_fd,
                &mut headers,
                &slices,
                [None],
                rights,
                MsgFlags::empty(),
            )?;
            Ok(sent.count())
        })
        .expect("somebody receives it");
    }

    /// Sends one message to a receiver that may go away.
    pub(crate) fn try_send(&mut self, socket: &OwnedFd, files: &[&Named]) -> nix::Result<()> {
        self.send_with(socket, files, |socket_fd, data, fds| {
            passing::send(socket_fd, data, &[fds])
        })
    }

    fn send_with(
        &mut self,
        socket: &OwnedFd,
        files: &[&Named],
        send: impl Fn(RawFd, &[u8], &[RawFd]) -> nix::Result<usize>,
    ) -> nix::Result<()> {
        let id = new_id();
        let fds: Vec<RawFd> = files.iter().map(|file| file.fd.as_raw_fd()).collect();
        let socket_fd = socket.as_raw_fd();
        let from = now();
        loop {
            match send(socket_fd, &id.to_ne_bytes(), &fds) {
                // Too many are in flight; the receivers are at it.
                Err(Errno::ETOOMANYREFS | Errno::ENOBUFS) => std::thread::yield_now(),
                Err(errno) => return Err(errno),
                Ok(_) => break,
            }
        }
        let call = call(socket_fd, from);
        self.facts.push(Fact::Sent(Sent {
            id,
            call,
            fds,
            inos: files.iter().map(|file| file.ino).collect(),
        }));
        Ok(())
    }

    /// Receives one message with room for `room` descriptors.
    pub(crate) fn receive(&mut self, socket: &OwnedFd, room: usize, flags: MsgFlags) -> Came {
        let socket_fd = socket.as_raw_fd();
        let from = now();
        let message = match passing::receive(socket_fd, room, flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Came::Nothing,
            Err(errno) => panic!("cannot receive: {errno}"),
        };
        let mut came = self.note(socket_fd, from, &message.data, message.fds, flags);
        // A pidfd of the sender is no transfer, but its number may be another thread's by now, as
        // those of the files may: it is not dropped here, where a closed number ends the process.
        match (&mut came, message.pidfd) {
            (Came::Message(fds), Some(pidfd)) => fds.push(pidfd),
            (_, pidfd) => abandon(pidfd.into_iter().collect()),
        }
        came
    }

    fn note(
        &mut self,
        socket_fd: RawFd,
        from: u64,
        data: &[u8],
        fds: Vec<OwnedFd>,
        flags: MsgFlags,
    ) -> Came {
        let call = call(socket_fd, from);
        let Ok(id) = data.try_into().map(u64::from_ne_bytes) else {
            assert!(data.is_empty(), "{data:?}");
            return Came::End;
        };
        if id == END {
            return Came::End;
        }
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let inos = if self.blind {
            Vec::new()
        } else {
            numbers.iter().map(|fd| ino_of(*fd)).collect()
        };
        self.facts.push(Fact::Received(Received {
            id,
            call,
            fds: numbers,
            inos,
            peeked: flags.contains(MsgFlags::MSG_PEEK),
        }));
        Came::Message(fds)
    }

    /// Receives by `recvmmsg`, where fdtrace does not know the control message's address.
    pub(crate) fn receive_by_recvmmsg(
        &mut self,
        socket: &OwnedFd,
        room: usize,
        flags: MsgFlags,
    ) -> Came {
        let socket_fd = socket.as_raw_fd();
        let mut data = [0_u8; 8];
        let space = vec![0_u8; cmsg_space::<[RawFd; 256]>()];
        let mut headers: MultiHeaders<()> = MultiHeaders::preallocate(1, Some(space));
        assert!(room <= 256);
        let from = now();
        let mut slices = [[IoSliceMut::new(&mut data)]];
        let results = recvmmsg(socket_fd, &mut headers, slices.iter_mut(), flags, None);
        let message = results
            .expect("it can receive")
            .next()
            .expect("one message was asked for");
        let length = message.bytes;
        let fds: Vec<OwnedFd> = message
            .cmsgs()
            .expect("there was room")
            .filter_map(|cmsg| match cmsg {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            // SAFETY: they are new, and nobody else's as far as this process owns anything.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .collect();
        self.note(socket_fd, from, &data[..length], fds, flags)
    }

    /// Receives and closes until there are no more.
    pub(crate) fn receive_all(&mut self, socket: &OwnedFd, room: usize, flags: MsgFlags) {
        while !matches!(self.receive(socket, room, flags), Came::End) {}
    }
}

fn call(socket_fd: RawFd, from: u64) -> Call {
    Call {
        pid: getpid().as_raw().cast_unsigned(),
        tid: gettid().as_raw().cast_unsigned(),
        from,
        until: now(),
        socket_fd,
        socket_ino: ino_of(socket_fd),
    }
}

/// What several threads know together.
pub(crate) fn join_all(threads: Vec<ScopedJoinHandle<'_, Vec<Fact>>>) -> Vec<Fact> {
    threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("it plays its part"))
        .collect()
}

/// Tells one receiver that there are no more.
pub(crate) fn end(socket: &OwnedFd) {
    passing::send(socket.as_raw_fd(), &END.to_ne_bytes(), &[]).expect("somebody receives it");
}

/// A process of its own, with what it will say.
pub(crate) struct Child {
    pid: nix::unistd::Pid,
    facts: std::io::PipeReader,
}

/// Runs `act` in a process forked from this one, which has one thread at this moment.
pub(crate) fn in_child(act: impl FnOnce() -> Vec<Fact>) -> Child {
    let (facts, mut tell) = std::io::pipe().expect("there are pipes");
    // SAFETY: this process has one thread, so the child may do what it likes.
    match unsafe { fork() }.expect("there are processes") {
        ForkResult::Parent { child } => Child { pid: child, facts },
        ForkResult::Child => {
            drop(facts);
            let facts = act();
            let text = serde_json::to_vec(&facts).expect("facts can be written");
            let told = tell.write_all(&text);
            // SAFETY: ends this process and nothing else; what the parent had buffered is its own.
            unsafe { libc::_exit(i32::from(told.is_err())) }
        }
    }
}

impl Child {
    /// Waits for its end and takes over what it knows.
    pub(crate) fn join(self) -> Vec<Fact> {
        let facts = serde_json::from_reader(self.facts).expect("the child tells what it did");
        let status = waitpid(self.pid, None).expect("it is a child");
        assert_eq!(status, WaitStatus::Exited(self.pid, 0));
        facts
    }
}

/// Gives up a descriptor that another thread may close at any time.
pub(crate) fn abandon(fds: Vec<OwnedFd>) {
    fds.into_iter().for_each(|fd| {
        let _ = fd.into_raw_fd();
    });
}
