//! Sockets: they go on accepting, serving and receiving.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{SockType, getsockname},
    unistd::write,
};

use super::{CONTENT, expect_read, pass};
use crate::{model::FileKind, verify::runner::Runner};

pub(super) fn tcp_listener(runner: &Runner) -> Result<()> {
    let make = || Ok((TcpListener::bind("127.0.0.1:0")?.into(), ()));
    pass(runner, FileKind::Socket, make, |fd| {
        let listener = TcpListener::from(fd.try_clone()?);
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (connection, _) = listener.accept()?;
        client.write_all(CONTENT.as_bytes())?;
        expect_read(&connection.into(), CONTENT.as_bytes())
    })
}

pub(super) fn tcp_connection(runner: &Runner) -> Result<()> {
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

pub(super) fn udp(runner: &Runner) -> Result<()> {
    let make = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        UdpSocket::bind("127.0.0.1:0")?.send_to(CONTENT.as_bytes(), socket.local_addr()?)?;
        Ok((socket.into(), ()))
    };
    pass(runner, FileKind::Socket, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

pub(super) fn unix_socket(runner: &Runner) -> Result<()> {
    let make = || {
        let (one, other) = runner.socketpair(SockType::Stream)?;
        write(&one, CONTENT.as_bytes())?;
        Ok((other, one))
    };
    pass(runner, FileKind::Socket, make, |fd| {
        expect_read(fd, CONTENT.as_bytes())
    })
}

pub(super) fn socket_over_itself(runner: &Runner) -> Result<()> {
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
