//! Streams have no boundaries, but lists do: which receive gets a list, and how much data with it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Result, ensure};
use nix::{
    sys::socket::{SockType, setsockopt, sockopt},
    unistd::write,
};

use super::{CONTENT, exchange, expect, expect_nothing, queue_watched};
use crate::{
    model::{Cause, Fate},
    verify::{runner::Runner, scenarios::scenarios},
};

scenarios! { Framing:
    "partial-read-then-recvmsg" partial_read_then_recvmsg,
        "the list goes with the first byte: read takes that, recvmsg comes too late";
    "partial-recvmsg" partial_recvmsg,
        "the list comes once, with the first byte, not with the rest";
    "data-before" data_before,
        "data sent before comes in the same receive as the list";
    "data-after" data_after,
        "a receive ends behind the data that came with a list";
    "two-lists-never-merge" two_lists_never_merge,
        "two lists take two receives, whatever room there is";
    "large-message" large_message,
        "a message of many skbs has its list on the first alone";
}

/// Sends a file that the verifier holds too.
fn send_file(runner: &Runner, name: &str, sender: &OwnedFd) -> Result<()> {
    let file = runner.file(CONTENT)?;
    runner.send(name, sender).fds(&[file.as_raw_fd()])
}

fn partial_read_then_recvmsg(runner: &Runner) -> Result<()> {
    runner.fate("m", 0..1, Fate::Discarded, Some(Cause::PlainRead))?;
    exchange(
        runner,
        SockType::Stream,
        |sender, receiver| queue_watched(runner, "m", sender, receiver),
        |receiver| {
            let first = runner.receiving("m", receiver).data(1).read()?;
            ensure!(first == b"d", "read gave {first:?}");
            expect(&runner.receiving("m", receiver).take()?, b"ata", 0)?;
            expect_nothing(receiver)
        },
    )
}

fn partial_recvmsg(runner: &Runner) -> Result<()> {
    exchange(
        runner,
        SockType::Stream,
        |sender, _| {
            let file = runner.file(CONTENT)?;
            let message = runner.send("m", sender).data(b"data");
            message.fds(&[file.as_raw_fd()])?;
            Ok(Vec::new())
        },
        |receiver| {
            expect(&runner.receiving("m", receiver).data(1).take()?, b"d", 1)?;
            expect(&runner.receiving("m", receiver).take()?, b"ata", 0)?;
            expect_nothing(receiver)
        },
    )
}

fn data_before(runner: &Runner) -> Result<()> {
    exchange(
        runner,
        SockType::Stream,
        |sender, _| {
            write(sender.as_fd(), b"before ")?;
            send_file(runner, "m", sender)?;
            Ok(Vec::new())
        },
        |receiver| {
            expect(&runner.receiving("m", receiver).take()?, b"before m", 1)?;
            expect_nothing(receiver)
        },
    )
}

fn data_after(runner: &Runner) -> Result<()> {
    exchange(
        runner,
        SockType::Stream,
        |sender, _| {
            send_file(runner, "m", sender)?;
            write(sender.as_fd(), b" after")?;
            Ok(Vec::new())
        },
        |receiver| {
            expect(&runner.receiving("m", receiver).take()?, b"m", 1)?;
            expect(&runner.receiving("m", receiver).take()?, b" after", 0)?;
            expect_nothing(receiver)
        },
    )
}

fn two_lists_never_merge(runner: &Runner) -> Result<()> {
    exchange(
        runner,
        SockType::Stream,
        |sender, receiver| {
            send_file(runner, "first", sender)?;
            send_file(runner, "second", sender)?;
            runner.in_flight(receiver, 2)?;
            Ok(Vec::new())
        },
        |receiver| {
            for name in ["first", "second"] {
                let received = runner.receiving(name, receiver).take()?;
                expect(&received, name.as_bytes(), 1)?;
            }
            expect_nothing(receiver)
        },
    )
}

/// More than fits into one skb, and no more than may wait in a queue that was enlarged for it.
const LARGE: usize = 150_000;

fn large_message(runner: &Runner) -> Result<()> {
    let data: Vec<u8> = (0..LARGE).map(|at| at as u8).collect();
    exchange(
        runner,
        SockType::Stream,
        |sender, receiver| {
            // The sender must not wait for the receiver.
            setsockopt(sender, sockopt::SndBuf, &(2 * LARGE))?;
            let file = runner.file(CONTENT)?;
            let message = runner.send("m", sender).data(&data);
            message.fds(&[file.as_raw_fd()])?;
            runner.in_flight(receiver, 1)?;
            Ok(Vec::new())
        },
        |receiver| {
            let first = runner.receiving("m", receiver).data(LARGE).take()?;
            ensure!(
                first.data.len() < LARGE,
                "all of it came in one skb: then this shows nothing"
            );
            expect(&first, &data[..first.data.len()], 1)?;
            let rest = runner.receiving("m", receiver).data(LARGE).take()?;
            expect(&rest, &data[first.data.len()..], 0)?;
            expect_nothing(receiver)
        },
    )
}
