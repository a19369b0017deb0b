//! Lifetime: what becomes of a queued list when a socket ends, and how long it can wait.

use std::os::{
    fd::{AsRawFd as _, OwnedFd},
    unix::net::UnixListener,
};

use anyhow::{Result, ensure};
use nix::{
    sys::socket::{self, AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr},
    unistd::pause,
};

use super::scenarios;
use crate::{
    kernel::passing,
    model::{Cause, Fate},
    verify::runner::{Runner, Semaphore, Watch, expect_content},
};

scenarios! { Lifetime:
    "receiver-closes" receiver_closes,
        "the receiving socket is closed, and what was queued there is gone";
    "listener-closes" listener_closes,
        "a listener is closed before it has accepted the connection";
    "peer-closed-still-delivers" peer_closed_still_delivers,
        "the sender's process has ended, and its message is still delivered";
    "shutdown-read-still-delivers" shutdown_read_still_delivers,
        "the receiver has shut down reading, and still gets what was queued";
    "embryo" embryo,
        "sent before the connection is accepted, delivered after";
    "dgram-reconnect-discards" dgram_reconnect_discards,
        "a datagram socket connects to another peer, and loses what the old one sent";
    "receiver-killed" receiver_killed,
        "the receiver is killed with descriptors in its queue";
    "chain-of-sockets" chain_of_sockets,
        "sockets in the queues of sockets, and a file in the last: all are reached";
    "still-queued" still_queued,
        "a queue outlives everybody who could read it: its list is neither gone nor delivered";
}

const CONTENT: &str = "what the sender wrote";

const TYPES: [(&str, SockType); 3] = [
    ("stream", SockType::Stream),
    ("dgram", SockType::Datagram),
    ("seqpacket", SockType::SeqPacket),
];

/// Sends a file that nobody else holds.
fn send_watched(runner: &Runner, name: &str, sender: &OwnedFd) -> Result<Watch> {
    let (file, watch) = runner.watched()?;
    let message = runner.send(name, sender).unheld();
    message.fds(&[file.as_raw_fd()])?;
    Ok(watch)
}

fn receiver_closes(runner: &Runner) -> Result<()> {
    for (name, kind) in TYPES {
        runner.fate(name, 0..1, Fate::Discarded, Some(Cause::ReceiverClosed))?;
        let (sender, receiver) = runner.socketpair(kind)?;
        let (sent, looked) = (&Semaphore::new()?, &Semaphore::new()?);
        // The actor's socket is the only one: the runner's own goes with the closure.
        let actor = runner.actor("receiver", move || {
            sent.wait()?;
            runner.in_flight(&receiver, 1)?;
            looked.post()?;
            drop(receiver);
            Ok(())
        })?;
        let watch = send_watched(runner, name, &sender)?;
        sent.post()?;
        looked.wait()?;
        watch.released()?;
        actor.done()?;
    }
    Ok(())
}

/// A listener at a name that nobody else uses.
fn listen(kind: SockType) -> Result<(OwnedFd, UnixAddr)> {
    let name = format!("fdtrace-verify-{}", std::process::id());
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    let listener = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    socket::bind(listener.as_raw_fd(), &address)?;
    socket::listen(&listener, Backlog::new(1)?)?;
    Ok((listener, address))
}

fn connect(kind: SockType, address: &UnixAddr) -> Result<OwnedFd> {
    let connection = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    socket::connect(connection.as_raw_fd(), address)?;
    Ok(connection)
}

fn listener_closes(runner: &Runner) -> Result<()> {
    for (name, kind) in [
        ("stream", SockType::Stream),
        ("seqpacket", SockType::SeqPacket),
    ] {
        runner.fate(name, 0..1, Fate::Discarded, Some(Cause::ListenerClosed))?;
        let (listener, address) = listen(kind)?;
        let sent = &Semaphore::new()?;
        let actor = runner.actor("listener", move || {
            sent.wait()?;
            drop(listener);
            Ok(())
        })?;
        let sender = connect(kind, &address)?;
        let watch = send_watched(runner, name, &sender)?;
        watch.is_held()?;
        sent.post()?;
        actor.done()?;
        watch.released()?;
    }
    Ok(())
}

fn peer_closed_still_delivers(runner: &Runner) -> Result<()> {
    for (name, kind) in TYPES {
        let (sender, receiver) = runner.socketpair(kind)?;
        let actor = runner.actor("sender", move || {
            let file = runner.file(CONTENT)?;
            runner.send(name, &sender).fds(&[file.as_raw_fd()])
        })?;
        actor.done()?;
        runner.in_flight(&receiver, 1)?;
        let received = runner.receive(name, &receiver, 1)?;
        expect_content(&received.fds[0], CONTENT)?;
    }
    Ok(())
}

fn shutdown_read_still_delivers(runner: &Runner) -> Result<()> {
    for (name, kind) in TYPES {
        let (sender, receiver) = runner.socketpair(kind)?;
        let sent = Semaphore::new()?;
        let actor = runner.actor("receiver", || {
            sent.wait()?;
            socket::shutdown(receiver.as_raw_fd(), Shutdown::Read)?;
            runner.in_flight(&receiver, 1)?;
            let received = runner.receive(name, &receiver, 1)?;
            expect_content(&received.fds[0], CONTENT)
        })?;
        let file = runner.file(CONTENT)?;
        runner.send(name, &sender).fds(&[file.as_raw_fd()])?;
        sent.post()?;
        actor.done()?;
    }
    Ok(())
}

fn embryo(runner: &Runner) -> Result<()> {
    for (name, kind) in [
        ("stream", SockType::Stream),
        ("seqpacket", SockType::SeqPacket),
    ] {
        let (listener, address) = listen(kind)?;
        let actor = runner.actor("sender", || {
            let connection = connect(kind, &address)?;
            let file = runner.file(CONTENT)?;
            runner.send(name, &connection).fds(&[file.as_raw_fd()])
        })?;
        actor.done()?;
        let receiver: OwnedFd = UnixListener::from(listener).accept()?.0.into();
        runner.in_flight(&receiver, 1)?;
        let received = runner.receive(name, &receiver, 1)?;
        expect_content(&received.fds[0], CONTENT)?;
    }
    Ok(())
}

fn dgram_reconnect_discards(runner: &Runner) -> Result<()> {
    runner.fate("m", 0..1, Fate::Discarded, Some(Cause::Reconnect))?;
    let (sender, receiver) = runner.socketpair(SockType::Datagram)?;
    let other = socket::socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let name = format!("fdtrace-verify-{}", std::process::id());
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    socket::bind(other.as_raw_fd(), &address)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        socket::connect(receiver.as_raw_fd(), &address)?;
        // The socket's own count of queued descriptors is no witness here: the purge leaves it.
        let left = passing::receive(receiver.as_raw_fd(), 1, MsgFlags::MSG_DONTWAIT);
        ensure!(
            left.as_ref().err() == Some(&nix::errno::Errno::EAGAIN),
            "after the reconnect there was {left:?}"
        );
        Ok(())
    })?;
    let watch = send_watched(runner, "m", &sender)?;
    runner.in_flight(&receiver, 1)?;
    watch.is_held()?;
    sent.post()?;
    actor.done()?;
    watch.released()
}

fn receiver_killed(runner: &Runner) -> Result<()> {
    for (name, kind) in TYPES {
        runner.fate(name, 0..1, Fate::Discarded, Some(Cause::ReceiverClosed))?;
        let (sender, receiver) = runner.socketpair(kind)?;
        let (sent, looked) = (&Semaphore::new()?, &Semaphore::new()?);
        let actor = runner.actor("receiver", move || {
            sent.wait()?;
            runner.in_flight(&receiver, 1)?;
            looked.post()?;
            loop {
                pause();
            }
        })?;
        let watch = send_watched(runner, name, &sender)?;
        sent.post()?;
        looked.wait()?;
        watch.is_held()?;
        actor.kill()?;
        watch.released()?;
    }
    Ok(())
}

/// More than any limit on nesting that there ever was.
const LINKS: usize = 10;

fn chain_of_sockets(runner: &Runner) -> Result<()> {
    let link = |depth: usize| format!("link-{depth}");
    let (outermost, last) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("sender", move || {
        let mut sender = outermost;
        for depth in 0..LINKS {
            let (next, inner) = runner.socketpair(SockType::Stream)?;
            let name = link(depth);
            runner.send(&name, &sender).fds(&[inner.as_raw_fd()])?;
            sender = next;
        }
        let file = runner.file(CONTENT)?;
        runner.send("file", &sender).fds(&[file.as_raw_fd()])
    })?;
    // Now the message is all that keeps each but the first.
    actor.done()?;
    let mut receiver = last;
    for depth in 0..LINKS {
        let mut received = runner.receive(&link(depth), &receiver, 1)?;
        if let Some(inner) = received.fds.pop() {
            receiver = inner;
        }
    }
    let received = runner.receive("file", &receiver, 1)?;
    expect_content(&received.fds[0], CONTENT)
}

fn still_queued(runner: &Runner) -> Result<()> {
    runner.fate("m", 0..1, Fate::Queued, None)?;
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let file = runner.file(CONTENT)?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    runner.in_flight(&receiver, 1)?;
    // The verifier holds what is sent, and with the socket its queue.
    let (outer, inner) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        runner.receive("socket", &inner, 1)?;
        Ok(())
    })?;
    runner.send("socket", &outer).fds(&[receiver.as_raw_fd()])?;
    actor.done()
}
