//! Object kinds: whatever has a descriptor can be passed, goes on working at the receiver, and is
//! called by its name in the trace. The one exception is io_uring.
//!
//! Each object is made after the receiver was forked, so that it can have come by the message
//! alone.

mod files;
mod handles;
mod sockets;

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Result, ensure};
use nix::{sys::socket::SockType, unistd::read};

use files::{device, directory, fifo, memfd, opath, pipe, regular, tty};
use handles::{bpf_map, epoll, eventfd, inotify, io_uring, pidfd, signalfd, timerfd};
use sockets::{socket_over_itself, tcp_connection, tcp_listener, udp, unix_socket};

use super::scenarios;
use crate::{model::FileKind, verify::runner::Runner};

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
