//! Calls that take the bytes and have no place for the descriptors.

use std::os::fd::AsRawFd as _;

use anyhow::{Result, ensure};
use nix::sys::socket::{MsgFlags, SockType};

use super::{TYPES, exchange, expect_nothing, queue_watched, send_watched};
use crate::{
    model::{Cause, Fate},
    verify::{
        runner::{Runner, expect_content},
        scenarios::scenarios,
        ways::sockmap::Sockmap,
    },
};

scenarios! { Framing:
    "plain-read-discards" plain_read_discards,
        "read and recv take the data, and the descriptor is gone without a word";
    "splice-discards" splice_discards,
        "so it is when the data is spliced into a pipe";
    "sockmap-discards" sockmap_discards,
        "and when a sockmap's verdict takes it off the queue, in the sender's task", needs "a sockmap with a verdict";
    "zero-length-send" zero_length_send,
        "no data, no list on a stream; other types deliver it";
    "zero-length-receive" zero_length_receive,
        "a receive without room for data takes the list and leaves a stream's data";
}

fn plain_read_discards(runner: &Runner) -> Result<()> {
    for (kind_name, kind) in TYPES {
        for call in ["read", "recv"] {
            let name = &format!("{kind_name}-{call}");
            runner.fate(name, 0..1, Fate::Discarded, Some(Cause::PlainRead))?;
            exchange(
                runner,
                kind,
                |sender, receiver| queue_watched(runner, name, sender, receiver),
                |receiver| {
                    let message = runner.receiving(name, receiver);
                    let data = match call {
                        "read" => message.read()?,
                        _ => message.recv()?,
                    };
                    ensure!(data == b"data", "{name} gave {data:?}");
                    expect_nothing(receiver)
                },
            )?;
        }
    }
    Ok(())
}

fn splice_discards(runner: &Runner) -> Result<()> {
    runner.fate("m", 0..1, Fate::Discarded, Some(Cause::Splice))?;
    exchange(
        runner,
        SockType::Stream,
        |sender, receiver| queue_watched(runner, "m", sender, receiver),
        |receiver| {
            let (out, into) = nix::unistd::pipe()?;
            let moved = runner.receiving("m", receiver).splice(&into)?;
            ensure!(moved == 4, "{moved} bytes were spliced");
            let mut data = [0; 4];
            nix::unistd::read(out, &mut data)?;
            ensure!(data == *b"data", "the pipe has {data:?}");
            expect_nothing(receiver)
        },
    )
}

fn sockmap_discards(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let sockmap = match Sockmap::around(&receiver) {
        Ok(sockmap) => sockmap,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            return runner.skip(&format!(
                "a sockmap cannot be given a program here (CAP_NET_ADMIN): {error}"
            ));
        }
        Err(error) => {
            return runner.skip(&format!(
                "this kernel has no sockmap that takes a Unix socket to a verdict: {error}"
            ));
        }
    };
    runner.fate("m", 0..1, Fate::Discarded, Some(Cause::Sockmap))?;
    let watch = send_watched(runner, "m", &sender, b"data")?;
    // Gone before anybody has read anything.
    watch.released()?;
    let actor = runner.actor("receiver", || {
        let received = runner.receiving("m", &receiver).take()?;
        ensure!(received.data == b"data", "{:?} came", received.data);
        ensure!(received.slots.is_empty(), "a descriptor came");
        Ok(())
    })?;
    actor.done()?;
    drop((sockmap, receiver));
    // Out of the map, everything is as ever.
    let file = runner.file(super::CONTENT)?;
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    runner.send("outside", &sender).fds(&[file.as_raw_fd()])?;
    let received = runner.receive("outside", &receiver, 1)?;
    expect_content(&received.fds[0], super::CONTENT)
}

fn zero_length_send(runner: &Runner) -> Result<()> {
    for (name, kind) in TYPES {
        let dropped = kind == SockType::Stream;
        if dropped {
            runner.fate(name, 0..1, Fate::Discarded, Some(Cause::ZeroLength))?;
        }
        exchange(
            runner,
            kind,
            |sender, receiver| {
                let watch = send_watched(runner, name, sender, b"")?;
                runner.in_flight(receiver, u64::from(!dropped))?;
                if dropped {
                    watch.released()?;
                }
                Ok(vec![watch])
            },
            |receiver| {
                if !dropped {
                    let received = runner.receive_with(name, receiver, 1, MsgFlags::empty())?;
                    ensure!(received.data.is_empty(), "{name} came with data");
                }
                expect_nothing(receiver)
            },
        )?;
    }
    Ok(())
}

fn zero_length_receive(runner: &Runner) -> Result<()> {
    for (name, kind) in TYPES {
        exchange(
            runner,
            kind,
            |sender, receiver| queue_watched(runner, name, sender, receiver),
            |receiver| {
                let received = runner.receiving(name, receiver).data(0).take()?;
                ensure!(received.data.is_empty(), "data without room for it");
                ensure!(received.fds.len() == 1, "{name}: no descriptor came");
                if kind == SockType::Stream {
                    let rest = runner.receiving(name, receiver).take()?;
                    ensure!(rest.data == b"data", "{:?} was left", rest.data);
                    ensure!(rest.slots.is_empty(), "the descriptor came twice");
                }
                expect_nothing(receiver)
            },
        )?;
    }
    Ok(())
}
