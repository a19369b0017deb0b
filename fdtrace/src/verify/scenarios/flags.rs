//! Flags: what a call can ask of the descriptors it receives.

use std::os::fd::AsRawFd as _;

use anyhow::{Result, ensure};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{MsgFlags, SockType},
};

use super::scenarios;
use crate::{
    model::Fate,
    verify::runner::{Runner, Semaphore, expect_content, is_cloexec},
};

scenarios! { Flags:
    "cloexec-not-inherited" cloexec_not_inherited,
        "close-on-exec belongs to a number and not to the file: it does not come along";
    "cmsg-cloexec" cmsg_cloexec,
        "MSG_CMSG_CLOEXEC: what arrives is close-on-exec, whatever it was";
    "peek" peek,
        "MSG_PEEK installs a duplicate and leaves the message, which is delivered after";
}

const CONTENT: &str = "what the sender wrote";

/// Passes a file whose number at the sender is close-on-exec or not; the receiver's must be as
/// its own call asked.
fn cloexec(runner: &Runner, at_sender: bool, flags: MsgFlags) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive_with("m", &receiver, 1, flags)?;
        let (found, asked) = (
            is_cloexec(&received.fds[0])?,
            flags.contains(MsgFlags::MSG_CMSG_CLOEXEC),
        );
        ensure!(found == asked, "close-on-exec is {found}, not {asked}");
        Ok(())
    })?;
    let file = runner.file(CONTENT)?;
    let of_number = if at_sender {
        FdFlag::FD_CLOEXEC
    } else {
        FdFlag::empty()
    };
    fcntl(&file, FcntlArg::F_SETFD(of_number))?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    actor.done()
}

fn cloexec_not_inherited(runner: &Runner) -> Result<()> {
    cloexec(runner, true, MsgFlags::empty())
}

fn cmsg_cloexec(runner: &Runner) -> Result<()> {
    cloexec(runner, false, MsgFlags::MSG_CMSG_CLOEXEC)
}

fn peek(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        let peeked = runner.receive_with("m", &receiver, 1, MsgFlags::MSG_PEEK)?;
        // It is still there.
        runner.in_flight(&receiver, 1)?;
        let received = runner.receive("m", &receiver, 1)?;
        let (first, second) = (&peeked.fds[0], &received.fds[0]);
        ensure!(
            first.as_raw_fd() != second.as_raw_fd(),
            "both came under one number"
        );
        expect_content(first, CONTENT)?;
        expect_content(second, CONTENT)
    })?;
    let file = runner.file(CONTENT)?;
    runner.fate("m", 0..1, Fate::Peeked, None)?;
    runner.fate("m", 0..1, Fate::Delivered, None)?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    runner.in_flight(&receiver, 1)?;
    sent.post()?;
    actor.done()
}
