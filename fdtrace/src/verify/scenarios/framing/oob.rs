//! Out-of-band bytes. A list travels with the first byte of its message, and where the message is
//! one byte, that byte is the one out of band: whoever takes it leaves the list behind.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockType, send, setsockopt, sockopt},
    unistd::write,
};

use super::{CONTENT, exchange, expect_nothing};
use crate::{
    model::{Cause, Fate},
    verify::{
        runner::{Runner, Watch, expect_content},
        scenarios::scenarios,
    },
};

scenarios! { Framing:
    "oob" oob,
        "the list stays behind an out-of-band byte, and goes when the stream goes on", needs "MSG_OOB on Unix sockets";
    "oob-inline" oob_inline,
        "with SO_OOBINLINE the byte is data like other data, and brings its list", needs "MSG_OOB on Unix sockets";
}

/// Says that a kernel without out-of-band bytes on Unix sockets lacks them.
fn is_missing(runner: &Runner) -> Result<bool> {
    let (sender, _receiver) = runner.socketpair(SockType::Stream)?;
    let missing = send(sender.as_raw_fd(), b"x", MsgFlags::MSG_OOB) == Err(Errno::EOPNOTSUPP);
    if missing {
        runner.skip("this kernel's Unix sockets have no MSG_OOB")?;
    }
    Ok(missing)
}

fn send_urgent(runner: &Runner, name: &str, sender: &OwnedFd, data: &[u8]) -> Result<Watch> {
    let (file, watch) = runner.watched()?;
    let message = runner.send(name, sender).unheld().data(data);
    message.flags(MsgFlags::MSG_OOB).fds(&[file.as_raw_fd()])?;
    Ok(watch)
}

fn oob(runner: &Runner) -> Result<()> {
    if is_missing(runner)? {
        return Ok(());
    }
    for name in ["taken", "passed-over"] {
        runner.fate(name, 0..1, Fate::Discarded, Some(Cause::Oob))?;
        exchange(
            runner,
            SockType::Stream,
            |sender, receiver| {
                let watch = send_urgent(runner, name, sender, b"x")?;
                runner.in_flight(receiver, 1)?;
                watch.is_held()?;
                Ok(vec![watch])
            },
            |receiver| {
                if name == "taken" {
                    let urgent = runner.receiving(name, receiver).flags(MsgFlags::MSG_OOB);
                    let received = urgent.take()?;
                    ensure!(received.data == b"x", "{:?} came", received.data);
                    ensure!(received.slots.is_empty(), "the list came with the byte");
                }
                // Looking for more is what makes the kernel let go of it.
                expect_nothing(receiver)
            },
        )?;
    }
    exchange(
        runner,
        SockType::Stream,
        |sender, _| Ok(vec![send_urgent(runner, "two-bytes", sender, b"ab")?]),
        |receiver| {
            let first = runner.receiving("two-bytes", receiver).take()?;
            ensure!(first.data == b"a", "{:?} came first", first.data);
            ensure!(first.fds.len() == 1, "the first byte came without the list");
            let urgent = runner
                .receiving("two-bytes", receiver)
                .flags(MsgFlags::MSG_OOB);
            let second = urgent.take()?;
            ensure!(second.data == b"b", "{:?} was urgent", second.data);
            ensure!(second.slots.is_empty(), "the list came twice");
            expect_nothing(receiver)
        },
    )
}

fn oob_inline(runner: &Runner) -> Result<()> {
    if is_missing(runner)? {
        return Ok(());
    }
    exchange(
        runner,
        SockType::Stream,
        |sender, receiver| {
            setsockopt(receiver, sockopt::OobInline, &true)?;
            write(sender.as_fd(), b"before")?;
            let file = runner.file(CONTENT)?;
            let message = runner.send("m", sender).data(b"x").flags(MsgFlags::MSG_OOB);
            message.fds(&[file.as_raw_fd()])?;
            write(sender.as_fd(), b"after")?;
            runner.in_flight(receiver, 1)?;
            Ok(Vec::new())
        },
        |receiver| {
            // The mark ends a receive before it, and the list one behind it.
            for (data, fds) in [(&b"before"[..], 0), (b"x", 1), (b"after", 0)] {
                let received = runner.receiving("m", receiver).take()?;
                ensure!(received.data == data, "{:?} came", received.data);
                ensure!(received.fds.len() == fds, "{:?} came", received.slots);
                let files = &received.fds;
                files
                    .iter()
                    .try_for_each(|fd| expect_content(fd, CONTENT))?;
            }
            expect_nothing(receiver)
        },
    )
}
