//! Processes that share nothing but a socket's name, or not even process ids.

use std::os::{
    fd::AsRawFd as _,
    linux::net::SocketAddrExt as _,
    unix::net::{SocketAddr, UnixListener, UnixStream},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::SockType,
};

use super::CONTENT;
use crate::verify::runner::{Runner, Semaphore, expect_content};

pub(super) fn unrelated_path(runner: &Runner) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let address = SocketAddr::from_pathname(dir.path().join("meet"))?;
    unrelated(runner, &address)
}

pub(super) fn unrelated_abstract(runner: &Runner) -> Result<()> {
    let name = format!("fdtrace-verify-{}", std::process::id());
    unrelated(runner, &SocketAddr::from_abstract_name(name)?)
}

fn unrelated(runner: &Runner, address: &SocketAddr) -> Result<()> {
    let listening = Semaphore::new()?;
    let receiver = runner.actor("listener", || {
        let listener = UnixListener::bind_addr(address)?;
        listening.post()?;
        let (connection, _) = listener.accept()?;
        let received = runner.receive("m", &connection, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    let sender = runner.actor("connector", || {
        listening.wait()?;
        let connection = UnixStream::connect_addr(address)?;
        let file = runner.file(CONTENT)?;
        runner.send("m", &connection).fds(&[file.as_raw_fd()])
    })?;
    sender.done()?;
    receiver.done()
}

pub(super) fn pid_namespace(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    // The next child is the first in it; this process stays where it is.
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWPID) {
        return runner.skip(&format!(
            "a pid namespace cannot be made here (CAP_SYS_ADMIN): {errno}"
        ));
    }
    let actor = runner.actor("receiver", || {
        ensure!(
            std::process::id() == 1,
            "the receiver is not alone in its namespace"
        );
        let received = runner.receive("m", &receiver, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    let file = runner.file(CONTENT)?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    actor.done()
}
