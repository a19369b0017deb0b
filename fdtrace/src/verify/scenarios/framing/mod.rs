//! Framing: how a list is glued to the bytes it was sent with, and what takes the bytes without it.

mod detours;
mod discards;
mod glue;
mod oob;

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockType},
};

use super::Scenario;
use crate::{
    kernel::passing::{self, Received},
    verify::runner::{Runner, Semaphore, Watch, expect_content},
};

pub(super) const SCENARIOS: [&[Scenario]; 4] = [
    discards::SCENARIOS,
    glue::SCENARIOS,
    oob::SCENARIOS,
    detours::SCENARIOS,
];

const CONTENT: &str = "what the sender wrote";

const TYPES: [(&str, SockType); 3] = [
    ("stream", SockType::Stream),
    ("dgram", SockType::Datagram),
    ("seqpacket", SockType::SeqPacket),
];

/// A sender and a receiver on a pair of sockets. The receiver begins when all has been sent, and
/// when both are done nothing that was sent may be open any more.
fn exchange(
    runner: &Runner,
    kind: SockType,
    send: impl FnOnce(&OwnedFd, &OwnedFd) -> Result<Vec<Watch>>,
    receive: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<()> {
    let (sender, receiver) = runner.socketpair(kind)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        receive(&receiver)
    })?;
    let watches = send(&sender, &receiver)?;
    sent.post()?;
    actor.done()?;
    watches.iter().try_for_each(Watch::released)
}

/// Sends `data` with a file that nobody else holds.
fn send_watched(runner: &Runner, name: &str, sender: &OwnedFd, data: &[u8]) -> Result<Watch> {
    let (file, watch) = runner.watched()?;
    let message = runner.send(name, sender).unheld().data(data);
    message.fds(&[file.as_raw_fd()])?;
    Ok(watch)
}

/// Queues data with a file that nobody else holds, and has it counted there.
fn queue_watched(
    runner: &Runner,
    name: &str,
    sender: &OwnedFd,
    receiver: &OwnedFd,
) -> Result<Vec<Watch>> {
    let watch = send_watched(runner, name, sender, b"data")?;
    runner.in_flight(receiver, 1)?;
    watch.is_held()?;
    Ok(vec![watch])
}

/// Makes sure that this data came, with `fds` descriptors of files that hold [`CONTENT`].
fn expect(received: &Received, data: &[u8], fds: usize) -> Result<()> {
    ensure!(
        received.data == data,
        "{:?} came instead of {:?}",
        String::from_utf8_lossy(&received.data),
        String::from_utf8_lossy(data)
    );
    ensure!(
        received.fds.len() == fds,
        "{} descriptors came instead of {fds}",
        received.fds.len()
    );
    received
        .fds
        .iter()
        .try_for_each(|fd| expect_content(fd, CONTENT))
}

/// Makes sure that nothing more is queued.
fn expect_nothing(receiver: &OwnedFd) -> Result<()> {
    let more = passing::receive(receiver.as_raw_fd(), 1, MsgFlags::MSG_DONTWAIT);
    ensure!(
        more.as_ref().err() == Some(&Errno::EAGAIN),
        "after everything there was {more:?}"
    );
    Ok(())
}
