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
    verify::stage::{Baton, Stage, expect_content, is_cloexec},
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
fn cloexec(stage: &Stage, at_sender: bool, flags: MsgFlags) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let role = stage.role("receiver", || {
        let received = stage.receive_with("m", &receiver, 1, flags)?;
        let (found, asked) = (
            is_cloexec(&received.fds[0])?,
            flags.contains(MsgFlags::MSG_CMSG_CLOEXEC),
        );
        ensure!(found == asked, "close-on-exec is {found}, not {asked}");
        Ok(())
    })?;
    let file = stage.file(CONTENT)?;
    let of_number = if at_sender {
        FdFlag::FD_CLOEXEC
    } else {
        FdFlag::empty()
    };
    fcntl(&file, FcntlArg::F_SETFD(of_number))?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    role.done()
}

fn cloexec_not_inherited(stage: &Stage) -> Result<()> {
    cloexec(stage, true, MsgFlags::empty())
}

fn cmsg_cloexec(stage: &Stage) -> Result<()> {
    cloexec(stage, false, MsgFlags::MSG_CMSG_CLOEXEC)
}

fn peek(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let sent = Baton::new()?;
    let role = stage.role("receiver", || {
        sent.wait()?;
        let peeked = stage.receive_with("m", &receiver, 1, MsgFlags::MSG_PEEK)?;
        // It is still there.
        stage.in_flight(&receiver, 1)?;
        let received = stage.receive("m", &receiver, 1)?;
        let (first, second) = (&peeked.fds[0], &received.fds[0]);
        ensure!(
            first.as_raw_fd() != second.as_raw_fd(),
            "both came under one number"
        );
        expect_content(first, CONTENT)?;
        expect_content(second, CONTENT)
    })?;
    let file = stage.file(CONTENT)?;
    stage.fate("m", 0..1, Fate::Peeked, None)?;
    stage.fate("m", 0..1, Fate::Delivered, None)?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    stage.in_flight(&receiver, 1)?;
    sent.pass()?;
    role.done()
}
