//! Credentials beside rights: other control messages of the same receive, which take their share
//! of the room, and one of which installs a descriptor that nobody sent.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::SockType,
    unistd::{getgid, getpid, getuid},
};

use super::scenarios;
use crate::{
    kernel::passing::{self, Received},
    model::{Cause, Fate},
    verify::runner::{Runner, Semaphore, expect_content},
};

scenarios! { Credentials:
    "creds-and-fd" creds_and_fd,
        "the sender's credentials and a descriptor in one message";
    "passcred-before" passcred_before,
        "SO_PASSCRED set before the send: credentials that nobody sent, and the descriptor";
    "passcred-after" passcred_after,
        "SO_PASSCRED set after the send: the descriptor, and credentials of nobody";
    "no-room-for-creds" no_room_for_creds,
        "credentials come first: without room for both the descriptor is dropped, MSG_CTRUNC";
    "pidfd-and-fd" pidfd_and_fd,
        "SO_PASSPIDFD: a pidfd is installed beside the descriptor, and is no transfer",
        needs "SO_PASSPIDFD";
}

const CONTENT: &str = "what the sender wrote";

/// Sends a file and its sender's credentials, if `explicit`, or just the file.
fn send(runner: &Runner, socket: &impl AsFd, explicit: bool) -> Result<()> {
    let file = runner.file(CONTENT)?;
    let fds = [file.as_raw_fd()];
    let mut control = Vec::new();
    if explicit {
        control.extend(passing::credentials(&own_credentials()));
    }
    control.extend(passing::rights(&[&fds]));
    runner.send("m", socket).control(&fds, &control)
}

fn own_credentials() -> libc::ucred {
    libc::ucred {
        pid: getpid().as_raw(),
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
    }
}

fn set_passcred(socket: &impl AsFd) -> Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    passing::set_option(socket, libc::SO_PASSCRED, 1).context("cannot set SO_PASSCRED")
}

/// Receives the message with room for everything, and checks the file.
fn receive(runner: &Runner, socket: &OwnedFd) -> Result<Received> {
    let received = runner.receiving("m", socket).take()?;
    ensure!(
        received.fds.len() == 1,
        "{} descriptors came instead of one",
        received.fds.len()
    );
    expect_content(&received.fds[0], CONTENT)?;
    Ok(received)
}

fn expect_credentials(received: &Received, expected: &libc::ucred) -> Result<()> {
    let found = received.credentials.context("no credentials came")?;
    ensure!(
        (found.pid, found.uid, found.gid) == (expected.pid, expected.uid, expected.gid),
        "the credentials are {found:?} instead of {expected:?}"
    );
    Ok(())
}

fn creds_and_fd(runner: &Runner) -> Result<()> {
    before(runner, true)
}

fn passcred_before(runner: &Runner) -> Result<()> {
    before(runner, false)
}

fn before(runner: &Runner, explicit: bool) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    set_passcred(&receiver)?;
    let expected = own_credentials();
    let actor = runner.actor("receiver", || {
        let received = receive(runner, &receiver)?;
        expect_credentials(&received, &expected)
    })?;
    send(runner, &sender, explicit)?;
    actor.done()
}

fn passcred_after(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        set_passcred(&receiver)?;
        let received = receive(runner, &receiver)?;
        // The kernel noted nobody, which it shows as process 0 and the overflow ids.
        let nobody = libc::ucred {
            pid: 0,
            uid: overflow_id("uid")?,
            gid: overflow_id("gid")?,
        };
        expect_credentials(&received, &nobody)
    })?;
    send(runner, &sender, false)?;
    sent.post()?;
    actor.done()
}

fn overflow_id(kind: &str) -> Result<u32> {
    let path = format!("/proc/sys/kernel/overflow{kind}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().parse()?)
}

fn no_room_for_creds(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    set_passcred(&receiver)?;
    let actor = runner.actor("receiver", || {
        // Enough for the descriptor alone: the credentials take it up and are cut off.
        let received = runner.receiving("m", &receiver).room_for(1).take()?;
        ensure!(received.fds.is_empty(), "a descriptor came");
        Ok(())
    })?;
    runner.fate("m", 0..1, Fate::Truncated, Some(Cause::NoControlRoom))?;
    send(runner, &sender, true)?;
    actor.done()
}

fn pidfd_and_fd(runner: &Runner) -> Result<()> {
    const SO_PASSPIDFD: i32 = 76;
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    match passing::set_option(receiver.as_raw_fd(), SO_PASSPIDFD, 1) {
        Ok(()) => {}
        Err(errno @ Errno::ENOPROTOOPT) => {
            return runner.skip(&format!("this kernel has no SO_PASSPIDFD: {errno}"));
        }
        Err(errno) => return Err(errno).context("cannot set SO_PASSPIDFD"),
    }
    let pid = getpid();
    let actor = runner.actor("receiver", || {
        let received = receive(runner, &receiver)?;
        let pidfd = received.pidfd.as_ref().context("no pidfd came")?;
        let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let info = std::fs::read_to_string(path)?;
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        ensure!(
            line.is_some_and(|line| line.trim() == pid.to_string()),
            "it is a handle of process {line:?} instead of {pid}"
        );
        Ok(())
    })?;
    send(runner, &sender, false)?;
    actor.done()
}
