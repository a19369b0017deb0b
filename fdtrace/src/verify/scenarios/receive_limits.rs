//! Receive limits: what a receiver has no room for, or may not have. The rest of the message
//! arrives, and MSG_CTRUNC is the only sign; the trace says which file it was, and why.

use std::{
    fs::{self, File, OpenOptions},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::fs::OpenOptionsExt as _,
    },
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{MsgFlags, SockType},
};

use super::scenarios;
use crate::{
    kernel::passing,
    model::{Cause, Fate},
    verify::{
        bpf::{MARK, Refusal},
        runner::{Runner, Semaphore, expect_content, whoami},
    },
};

scenarios! { ReceiveLimits:
    "no-control-buffer" |runner| room(runner, 1, None, 0),
        "no control buffer: the descriptor is dropped, MSG_CTRUNC";
    "header-only" |runner| room(runner, 1, Some(HEADER), 0),
        "a control buffer for a header and no descriptor: dropped, MSG_CTRUNC";
    "one-byte-short" |runner| room(runner, 1, Some(HEADER + FD - 1), 0),
        "a control buffer one byte too short for a descriptor: dropped, MSG_CTRUNC";
    "room-for-two-of-three" |runner| room(runner, 3, Some(HEADER + 2 * FD), 2),
        "room for two of three descriptors: the third is dropped, MSG_CTRUNC";
    "unaligned-one" |runner| room(runner, 1, Some(HEADER + FD), 1),
        "room for one descriptor and not for the padding behind it: it arrives";
    "unaligned-two" |runner| room(runner, 2, Some(HEADER + FD), 1),
        "the same for two descriptors: one arrives, MSG_CTRUNC";
    "rlimit-nofile" rlimit_nofile,
        "as many as RLIMIT_NOFILE allows arrive, then MSG_CTRUNC";
    "lsm-denied" lsm_denied,
        "a security module refuses one: it and what comes after it are dropped, MSG_CTRUNC",
        needs "the BPF security module";
    "lsm-denied-notrunc" lsm_denied_notrunc,
        "with SO_RIGHTS_NOTRUNC the refused one leaves its errno in its place, and the rest arrives",
        needs "the BPF security module", "SO_RIGHTS_NOTRUNC";
    "ctrunc-as-input" ctrunc_as_input,
        "MSG_CTRUNC as a flag of the call is ignored";
}

/// What an empty control message takes.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// What each descriptor takes.
const FD: usize = size_of::<RawFd>();

fn numbered_files(runner: &Runner, count: usize) -> Result<Vec<File>> {
    (0..count)
        .map(|index| runner.file(&index.to_string()))
        .collect()
}

fn numbers(files: &[File]) -> Vec<RawFd> {
    files.iter().map(AsRawFd::as_raw_fd).collect()
}

/// Sends `count` files to somebody who offers `control` bytes of room, of which `arrive` arrive.
fn room(runner: &Runner, count: usize, control: Option<usize>, arrive: usize) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        let incoming = runner.receiving("m", &receiver);
        let received = match control {
            Some(bytes) => incoming.control(bytes),
            None => incoming.no_control(),
        }
        .take()?;
        ensure!(received.data == b"m", "the data was cut too");
        expect_first(&received.fds, arrive)
    })?;
    let files = numbered_files(runner, count)?;
    runner.fate(
        "m",
        arrive..count,
        Fate::Truncated,
        Some(Cause::NoControlRoom),
    )?;
    runner.send("m", &sender).fds(&numbers(&files))?;
    runner.in_flight(&receiver, count as u64)?;
    sent.post()?;
    actor.done()
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

fn rlimit_nofile(runner: &Runner) -> Result<()> {
    const SENT: usize = 4;
    const ALLOWED: usize = 2;
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        allow_more_descriptors(ALLOWED)?;
        let received = runner.receiving("m", &receiver).take()?;
        expect_first(&received.fds, ALLOWED)
    })?;
    let files = numbered_files(runner, SENT)?;
    runner.fate(
        "m",
        ALLOWED..SENT,
        Fate::Truncated,
        Some(Cause::RlimitNofile),
    )?;
    runner.send("m", &sender).fds(&numbers(&files))?;
    actor.done()
}

/// Sets the limit of this process so that it can open `count` descriptors and no more. They take
/// the lowest free numbers, and the limit is one above the highest that is allowed.
fn allow_more_descriptors(count: usize) -> Result<()> {
    let some = File::open("/dev/null").context("cannot open /dev/null")?;
    let mut taken = vec![some];
    for _ in 0..count {
        taken.push(taken[0].try_clone()?);
    }
    let first_too_high = taken[count].as_raw_fd();
    drop(taken);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let soft = u64::try_from(first_too_high)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).context("cannot lower RLIMIT_NOFILE")
}

fn lsm_denied(runner: &Runner) -> Result<()> {
    denied(runner, false)
}

fn lsm_denied_notrunc(runner: &Runner) -> Result<()> {
    denied(runner, true)
}

/// Three files, of which the second is refused. Without `notrunc` the kernel stops there.
fn denied(runner: &Runner, notrunc: bool) -> Result<()> {
    if !security_modules().is_some_and(|list| list.split(',').any(|module| module == "bpf")) {
        return runner.skip("the BPF security module is not in force (lsm=…,bpf)");
    }
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    if notrunc && let Err(errno) = set_rights_notrunc(&receiver) {
        return runner.skip(&format!("this kernel has no SO_RIGHTS_NOTRUNC: {errno}"));
    }
    // Attached by the runner, for the one process that it is about; gone with it.
    let (ready, refused) = (Semaphore::new()?, Semaphore::new()?);
    let actor = runner.actor("receiver", || {
        // The program asks for the id that this process has for everybody.
        let refusal = match Refusal::begin(whoami()?.pid) {
            Ok(refusal) => refusal,
            Err(error) => {
                runner.skip(&format!("no program can refuse files here: {error:#}"))?;
                return refused.post().and_then(|()| ready.post());
            }
        };
        ready.post()?;
        let received = runner.receiving("m", &receiver).take()?;
        drop(refusal);
        if notrunc {
            ensure!(
                received.slots[1] == -libc::EACCES,
                "the refused one left {} in its place",
                received.slots[1]
            );
            ensure!(received.fds.len() == 2, "other descriptors came");
            expect_content(&received.fds[0], "0")?;
            expect_content(&received.fds[1], "2")
        } else {
            expect_first(&received.fds, 1)
        }
    })?;
    ready.wait()?;
    if refused.is_posted()? {
        return actor.done();
    }
    let files = [runner.file("0")?, marked_file()?, runner.file("2")?];
    runner.fate("m", 1..2, Fate::Refused, Some(Cause::Lsm))?;
    if !notrunc {
        runner.fate("m", 2..3, Fate::Truncated, Some(Cause::Lsm))?;
    }
    runner.send("m", &sender).fds(&numbers(&files))?;
    actor.done()
}

fn security_modules() -> Option<String> {
    fs::read_to_string("/sys/kernel/security/lsm").ok()
}

/// A file that the program refuses.
fn marked_file() -> Result<File> {
    let named = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(MARK)
        .open(named.path())
        .context("cannot open a marked file")?;
    Ok(file)
}

/// 7.3: a refused file leaves a negative errno in its place, and does not end the list.
fn set_rights_notrunc(socket: &impl AsFd) -> nix::Result<()> {
    const SO_RIGHTS_NOTRUNC: i32 = 85;
    passing::set_option(socket.as_fd().as_raw_fd(), SO_RIGHTS_NOTRUNC, 1)
}

fn ctrunc_as_input(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let flags = MsgFlags::MSG_CTRUNC;
        let received = runner.receive_with("m", &receiver, 1, flags)?;
        expect_first(&received.fds, 1)
    })?;
    let files = numbered_files(runner, 1)?;
    runner.send("m", &sender).fds(&numbers(&files))?;
    actor.done()
}
