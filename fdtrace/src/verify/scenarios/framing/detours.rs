//! Other calls than `sendmsg` and `recvmsg`.

use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Result, ensure};
use nix::sys::socket::SockType;

use super::{CONTENT, exchange, expect, expect_nothing, queue_watched};
use crate::{
    model::{Cause, Fate},
    verify::{
        runner::{Runner, expect_content, now_ns},
        scenarios::scenarios,
        ways::{
            batch,
            uring::{Caller, Ring},
        },
    },
};

scenarios! { Framing:
    "sendmmsg-recvmmsg" sendmmsg_recvmmsg,
        "three messages in one call, and out in one";
    "io-uring" io_uring,
        "sent and received by io_uring, in the caller's thread and in a worker of the kernel's", needs "io_uring";
    "compat-32" compat_32,
        "sent and received as a 32-bit process does it", needs "32-bit system calls";
}

fn sendmmsg_recvmmsg(runner: &Runner) -> Result<()> {
    const NAMES: [&str; 3] = ["first", "second", "third"];
    for kind in [SockType::Datagram, SockType::SeqPacket, SockType::Stream] {
        let names = NAMES.map(|name| format!("{kind:?}-{name}").to_lowercase());
        exchange(
            runner,
            kind,
            |sender, receiver| {
                let files = [
                    runner.file(&names[0])?,
                    runner.file(&names[1])?,
                    runner.file(&names[2])?,
                ];
                let fds = files.each_ref().map(|file| [file.as_raw_fd()]);
                let messages: Vec<(&str, &[RawFd])> = names
                    .iter()
                    .zip(&fds)
                    .map(|(name, fds)| (name.as_str(), &fds[..]))
                    .collect();
                runner.send_many(sender, &messages)?;
                runner.in_flight(receiver, 3)?;
                Ok(Vec::new())
            },
            |receiver| {
                let begin = now_ns()?;
                let received = batch::receive(receiver.as_raw_fd(), names.len())?;
                let span = (begin, now_ns()?);
                ensure!(received.len() == 3, "{} messages came", received.len());
                for (name, received) in names.iter().zip(&received) {
                    runner.receiving(name, receiver).came(received, span)?;
                    ensure!(
                        received.data == name.as_bytes(),
                        "{name} came with other data"
                    );
                    ensure!(
                        received.fds.len() == 1,
                        "{name} came without its descriptor"
                    );
                    expect_content(&received.fds[0], name)?;
                }
                expect_nothing(receiver)
            },
        )?;
    }
    Ok(())
}

fn io_uring(runner: &Runner) -> Result<()> {
    if let Err(error) = Ring::new() {
        return runner.skip(&format!("this kernel gives no io_uring: {error}"));
    }
    for (name, caller) in [("submitter", Caller::Submitter), ("worker", Caller::Worker)] {
        exchange(
            runner,
            SockType::Stream,
            |sender, receiver| {
                let file = runner.file(CONTENT)?;
                let fds = [file.as_raw_fd()];
                let mut ring = Ring::new()?;
                runner.send(name, sender).by(&fds, || {
                    ring.send(caller, sender.as_raw_fd(), name.as_bytes(), &fds)
                })?;
                runner.in_flight(receiver, 1)?;
                Ok(Vec::new())
            },
            |receiver| {
                let mut ring = Ring::new()?;
                let received = runner
                    .receiving(name, receiver)
                    .by(|| ring.receive(caller, receiver.as_raw_fd(), 1))?;
                expect(&received, name.as_bytes(), 1)?;
                expect_nothing(receiver)
            },
        )?;
        let name = &format!("{name}-data-alone");
        runner.fate(name, 0..1, Fate::Discarded, Some(Cause::PlainRead))?;
        exchange(
            runner,
            SockType::Stream,
            |sender, receiver| queue_watched(runner, name, sender, receiver),
            |receiver| {
                let mut ring = Ring::new()?;
                let data = runner
                    .receiving(name, receiver)
                    .data_by(|data| ring.receive_data(caller, receiver.as_raw_fd(), data))?;
                ensure!(data == b"data", "{name} gave {data:?}");
                expect_nothing(receiver)
            },
        )?;
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn compat_32(runner: &Runner) -> Result<()> {
    use nix::sys::socket::MsgFlags;

    use crate::{
        kernel::passing,
        verify::{
            runner::attempt,
            ways::compat::{self, Compat},
        },
    };

    if let Some(why) = attempt(compat::try_call)? {
        return runner.skip(&format!("this kernel takes no 32-bit system calls: {why}"));
    }
    for (name, from_32, to_32) in [
        ("32-to-64", true, false),
        ("64-to-32", false, true),
        ("32-to-32", true, true),
    ] {
        exchange(
            runner,
            SockType::Stream,
            |sender, receiver| {
                let files = [runner.file("first")?, runner.file("second")?];
                let fds = files.each_ref().map(AsRawFd::as_raw_fd);
                let message = runner.send(name, sender);
                if from_32 {
                    let mut compat = Compat::new()?;
                    message.by(&fds, || {
                        compat.send(sender.as_raw_fd(), name.as_bytes(), &fds)
                    })?;
                } else {
                    message.fds(&fds)?;
                }
                runner.in_flight(receiver, 2)?;
                Ok(Vec::new())
            },
            |receiver| {
                let mut compat = Compat::new()?;
                let received = runner.receiving(name, receiver).by(|| {
                    if to_32 {
                        compat.receive(receiver.as_raw_fd(), 2)
                    } else {
                        passing::receive(receiver.as_raw_fd(), 2, MsgFlags::empty())
                    }
                })?;
                ensure!(
                    received.data == name.as_bytes(),
                    "{name} came with other data"
                );
                ensure!(
                    received.fds.len() == 2,
                    "{name} came with {:?}",
                    received.slots
                );
                expect_content(&received.fds[0], "first")?;
                expect_content(&received.fds[1], "second")?;
                expect_nothing(receiver)
            },
        )?;
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn compat_32(runner: &Runner) -> Result<()> {
    runner.skip("on this architecture only a 32-bit program can make a 32-bit call")
}
