//! Send errors: `sendmsg` says no, nothing is queued, and nothing stays referenced.
//!
//! After each failure a message follows on the same sockets and is received alone: a trace that
//! sees nothing at all cannot take that for the right answer, nor can a message that was queued in
//! spite of its error go unnoticed.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use anyhow::{Result, ensure};
use nix::{errno::Errno, sys::socket::SockType};

use super::scenarios;
use crate::{
    passing,
    verify::stage::{Stage, expect_content},
};

scenarios! { SendErrors:
    "short-cmsg" short_cmsg,
        "a control message shorter than its own header, or longer than its buffer: EINVAL";
    "zero-fds" zero_fds,
        "an empty SCM_RIGHTS is no list";
    "bad-cmsg-pointer" bad_cmsg_pointer,
        "a control buffer that is not there: EFAULT";
}

const CONTENT: &str = "what the sender wrote";

/// Sends a good message and receives it, and nothing before it.
fn pass_after(stage: &Stage, sender: &OwnedFd, receiver: &OwnedFd) -> Result<()> {
    stage.in_flight(receiver, 0)?;
    let file = stage.file(CONTENT)?;
    stage.send("after", sender).fds(&[file.as_raw_fd()])?;
    let received = stage.receive("after", receiver, 1)?;
    expect_content(&received.fds[0], CONTENT)
}

fn short_cmsg(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let (file, watch) = stage.watched()?;
    let rights = passing::rights(&[&[file.as_raw_fd()]]);
    // One byte less than a header; one byte more than the buffer.
    for (name, claimed) in [("short", passing::space(0) - 1), ("long", rights.len() + 1)] {
        let mut control = rights.clone();
        control[..size_of::<usize>()].copy_from_slice(&claimed.to_ne_bytes());
        stage
            .send(name, &sender)
            .unheld()
            .control_failing(&[], &control, Errno::EINVAL)?;
    }
    drop(file);
    watch.released()?;
    pass_after(stage, &sender, &receiver)
}

fn zero_fds(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    stage.send("none", &sender).fds(&[])?;
    stage.in_flight(&receiver, 0)?;
    let received = stage.receiving("none", &receiver).take()?;
    ensure!(received.data == b"none", "other data came");
    ensure!(
        received.slots.is_empty(),
        "an empty list brought descriptors"
    );
    pass_after(stage, &sender, &receiver)
}

fn bad_cmsg_pointer(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let data = *b"m";
    let buffer = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    stage
        .send("m", &sender)
        .failing_by(&[], Errno::EFAULT, || {
            // SAFETY: the kernel reads nothing through a pointer into the page at address zero,
            // which nobody maps; the other pointers are to what outlives the call.
            let sent = unsafe {
                let mut header: libc::msghdr = std::mem::zeroed();
                header.msg_iov = (&raw const buffer).cast_mut();
                header.msg_iovlen = 1;
                header.msg_control = std::ptr::without_provenance_mut(size_of::<u64>());
                header.msg_controllen = passing::space(size_of::<RawFd>());
                libc::sendmsg(sender.as_raw_fd(), &raw const header, 0)
            };
            Errno::result(sent)
        })?;
    pass_after(stage, &sender, &receiver)
}
