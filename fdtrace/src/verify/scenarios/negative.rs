//! Negative controls: things that look like a passed descriptor and are not. Where nothing
//! passes, a real descriptor follows on a real socket, so that a tracer that sees nothing at all
//! cannot take that for the right answer.

use std::{
    fs::File,
    io::Write as _,
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    sys::socket::{MsgFlags, SockType},
    unistd::{Pid, dup2},
};
use rustix::thread::{MembarrierCommand, membarrier};

use super::scenarios;
use crate::{
    kernel::passing,
    model::{Cause, Fate},
    verify::runner::{Runner, expect_content},
};

scenarios! { NegativeControl:
    "reopened-path" reopened_path,
        "the same path opened afresh: same inode, another file object";
    "number-as-data" number_as_data,
        "a descriptor's number sent as bytes installs nothing";
    "pipe-cannot" pipe_cannot,
        "a pipe carries no descriptors: ENOTSOCK";
    "inet-carries-none" inet_carries_none,
        "SCM_RIGHTS on a TCP or UDP socket: sendmsg succeeds, nothing passes";
    "reused-number" reused_number,
        "a number that is reused while its file is in flight does not change what arrives";
    "reused-pointer" reused_pointer,
        "a file at the address of one that is gone is not taken for it";
}

const CONTENT: &str = "what the sender wrote";

/// Passes one descriptor the proper way.
fn pass_really(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let file = runner.file(CONTENT)?;
    runner.send("real", &sender).fds(&[file.as_raw_fd()])?;
    runner.receive("real", &receiver, 1)?;
    Ok(())
}

fn reopened_path(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let mut named = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    named.write_all(CONTENT.as_bytes())?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 1)?;
        let reopened = File::open(named.path())?;
        let inodes = (
            nix::sys::stat::fstat(&received.fds[0])?.st_ino,
            nix::sys::stat::fstat(&reopened)?.st_ino,
        );
        ensure!(inodes.0 == inodes.1, "the path leads to another inode");
        runner.mistakable(reopened.as_raw_fd(), "m", 0)
    })?;
    runner
        .send("m", &sender)
        .fds(&[named.as_file().as_raw_fd()])?;
    actor.done()
}

fn number_as_data(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let file = runner.file(CONTENT)?;
    let number = file.as_raw_fd();
    nix::sys::socket::send(sender.as_raw_fd(), &number.to_ne_bytes(), MsgFlags::empty())?;
    let received = passing::receive(receiver.as_raw_fd(), 1, MsgFlags::empty())?;
    ensure!(received.data == number.to_ne_bytes(), "other bytes came");
    ensure!(received.fds.is_empty(), "a descriptor came with the bytes");
    pass_really(runner)
}

fn pipe_cannot(runner: &Runner) -> Result<()> {
    let (_read, write) = nix::unistd::pipe()?;
    let file = runner.file(CONTENT)?;
    let sent = passing::send(write.as_raw_fd(), b"m", &[&[file.as_raw_fd()]]);
    ensure!(
        sent == Err(Errno::ENOTSOCK),
        "sendmsg on a pipe gave {sent:?}"
    );
    pass_really(runner)
}

fn inet_carries_none(runner: &Runner) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let tcp = TcpStream::connect(listener.local_addr()?)?;
    let (tcp_peer, _) = listener.accept()?;
    let udp_peer = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0"))?;
    let udp = UdpSocket::bind((udp_peer.local_addr()?.ip(), 0))?;
    udp.connect(udp_peer.local_addr()?)?;
    let pairs: [(&str, OwnedFd, OwnedFd); 2] = [
        ("tcp", tcp.into(), tcp_peer.into()),
        ("udp", udp.into(), udp_peer.into()),
    ];
    for (name, sender, receiver) in pairs {
        let ((first, first_watch), (last, last_watch)) = (runner.watched()?, runner.watched()?);
        let fds = [first.as_raw_fd(), last.as_raw_fd()];
        runner.send(name, &sender).unheld().fds(&fds)?;
        runner.fate(name, 0..2, Fate::Discarded, Some(Cause::NotUnix))?;
        // Nothing refers to them but the sender, and nothing comes.
        drop((first, last));
        first_watch.released()?;
        last_watch.released()?;
        let received = passing::receive(receiver.as_raw_fd(), 2, MsgFlags::empty())?;
        ensure!(received.data == name.as_bytes(), "other bytes came");
        ensure!(received.fds.is_empty(), "a descriptor came through {name}");
    }
    pass_really(runner)
}

fn reused_number(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let mut first = OwnedFd::from(runner.file("first")?);
    let second = runner.file("second")?;
    runner.send("m", &sender).fds(&[first.as_raw_fd()])?;
    // The number now stands for another file, while the first one is in the queue.
    dup2(&second, &mut first).context("dup2")?;
    let received = runner.receive("m", &receiver, 1)?;
    expect_content(&received.fds[0], "first")?;
    expect_content(&first, "second")?;
    runner.mistakable(first.as_raw_fd(), "m", 0)
}

/// An address usually comes back at the first try; other files may take it first.
const REUSE_TRIES: usize = 50;

/// Kernels before 6.7 free a file only after an RCU grace period: wait for one, and with it for
/// everything that was to be freed before.
fn wait_for_grace_period() {
    // Where it is missing, addresses come back a little later.
    let _ = membarrier(MembarrierCommand::Global);
}

fn reused_pointer(runner: &Runner) -> Result<()> {
    // A freed file's address goes to the next file of the same CPU.
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    for attempt in 0..REUSE_TRIES {
        let names = [format!("first-{attempt}"), format!("second-{attempt}")];
        for name in &names {
            // No duplicate is held, so the file is freed when both sides have closed it. A new
            // memfd is another inode, which distinguishes the two.
            let file = memfd(name)?;
            runner
                .send(name, &sender)
                .unheld()
                .fds(&[file.as_raw_fd()])?;
            drop(file);
            let received = runner.receive(name, &receiver, 1)?;
            if name == &names[1] {
                runner.mistakable(received.fds[0].as_raw_fd(), &names[0], 0)?;
            }
            drop(received);
            wait_for_grace_period();
        }
        if runner.address_reused(&names[0], &names[1])? {
            return Ok(());
        }
    }
    runner.skip(&format!("no address was reused in {REUSE_TRIES} tries"))
}

fn memfd(name: &str) -> Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?)
}
