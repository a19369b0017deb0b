//! Receive limits: what a receiver has no room for, or may not have. The rest of the message
//! arrives, and MSG_CTRUNC is all that it is told; the trace says which file it was, and why.

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use anyhow::{Result, ensure};
use nix::sys::socket::{MsgFlags, SockType};

use super::scenarios;
use crate::{
    tracker::{Cause, Fate},
    verify::stage::{Baton, Stage, expect_content},
};

scenarios! { ReceiveLimits:
    "no-control-buffer" |stage| room(stage, 1, None, 0),
        "no control buffer: the descriptor is dropped, MSG_CTRUNC";
    "header-only" |stage| room(stage, 1, Some(HEADER), 0),
        "a control buffer for a header and no descriptor: dropped, MSG_CTRUNC";
    "one-byte-short" |stage| room(stage, 1, Some(HEADER + FD - 1), 0),
        "a control buffer one byte too short for a descriptor: dropped, MSG_CTRUNC";
    "room-for-two-of-three" |stage| room(stage, 3, Some(HEADER + 2 * FD), 2),
        "room for two of three descriptors: the third is dropped, MSG_CTRUNC";
    "unaligned-one" |stage| room(stage, 1, Some(HEADER + FD), 1),
        "room for one descriptor and not for the padding behind it: it arrives";
    "unaligned-two" |stage| room(stage, 2, Some(HEADER + FD), 1),
        "the same for two descriptors: one arrives, MSG_CTRUNC";
    "ctrunc-as-input" ctrunc_as_input,
        "MSG_CTRUNC as a flag of the call is ignored";
}

/// What an empty control message takes.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// What each descriptor takes.
const FD: usize = size_of::<RawFd>();

fn numbered_files(stage: &Stage, count: usize) -> Result<Vec<File>> {
    (0..count)
        .map(|index| stage.file(&index.to_string()))
        .collect()
}

fn numbers(files: &[File]) -> Vec<RawFd> {
    files.iter().map(AsRawFd::as_raw_fd).collect()
}

/// Sends `count` files to somebody who offers `control` bytes of room, of which `arrive` arrive.
fn room(stage: &Stage, count: usize, control: Option<usize>, arrive: usize) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let sent = Baton::new()?;
    let role = stage.role("receiver", || {
        sent.wait()?;
        let incoming = stage.receiving("m", &receiver);
        let received = match control {
            Some(bytes) => incoming.control(bytes),
            None => incoming.no_control(),
        }
        .take()?;
        ensure!(received.data == b"m", "the data was cut too");
        expect_first(&received.fds, arrive)
    })?;
    let files = numbered_files(stage, count)?;
    stage.fate(
        "m",
        arrive..count,
        Fate::Truncated,
        Some(Cause::NoControlRoom),
    )?;
    stage.send("m", &sender).fds(&numbers(&files))?;
    stage.in_flight(&receiver, count as u64)?;
    sent.pass()?;
    role.done()
}

/// The first `count` of the numbered files have arrived and no other.
fn expect_first(fds: &[OwnedFd], count: usize) -> Result<()> {
    ensure!(
        fds.len() == count,
        "{} descriptors came instead of {count}",
        fds.len()
    );
    for (index, fd) in fds.iter().enumerate() {
        expect_content(fd, &index.to_string())?;
    }
    Ok(())
}

fn ctrunc_as_input(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let role = stage.role("receiver", || {
        let flags = MsgFlags::MSG_CTRUNC;
        let received = stage.receive_with("m", &receiver, 1, flags)?;
        expect_first(&received.fds, 1)
    })?;
    let files = numbered_files(stage, 1)?;
    stage.send("m", &sender).fds(&numbers(&files))?;
    role.done()
}
