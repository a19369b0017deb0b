//! Send errors: `sendmsg` says no, nothing is queued, and nothing stays referenced.
//!
//! After each failure a message follows on the same sockets and is received alone: a trace that
//! sees nothing at all cannot take that for the right answer, nor can a message that was queued in
//! spite of its error go unnoticed.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, setrlimit},
        socket::{MsgFlags, SockType, send},
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::scenarios;
use crate::{
    kernel::passing,
    model::{Cause, Fate},
    verify::{
        runner::{Runner, Semaphore, attempt, die_with_parent_still, expect_content},
        ways::header,
    },
};

scenarios! { SendErrors:
    "bad-fd" bad_fd,
        "a number that stands for nothing: EBADF";
    "bad-fd-in-middle" bad_fd_in_middle,
        "one bad number among good ones: EBADF, and what was copied is put back";
    "short-cmsg" short_cmsg,
        "a control message shorter than its own header, or longer than its buffer: EINVAL";
    "zero-fds" zero_fds,
        "an empty SCM_RIGHTS is no list";
    "too-many-fds" too_many_fds,
        "254 descriptors in one control message: EINVAL";
    "too-many-fds-two-cmsgs" too_many_fds_two_cmsgs,
        "more than 253 descriptors in two control messages: EINVAL";
    "bad-cmsg-pointer" bad_cmsg_pointer,
        "a control buffer that is not there: EFAULT";
    "peer-gone" peer_gone,
        "the receiving socket is closed: EPIPE, and ECONNREFUSED of a datagram socket";
    "queue-full" queue_full,
        "the queue is full and the sender does not wait: EAGAIN";
    "too-many-in-flight" too_many_in_flight,
        "an unprivileged sender with more in flight than RLIMIT_NOFILE: ETOOMANYREFS", needs "a user id of its own";
    "peer-connected-elsewhere" peer_connected_elsewhere,
        "a datagram to a socket that is connected to somebody else: EPERM";
    "passrights-off" passrights_off,
        "a receiver that takes no descriptors (SO_PASSRIGHTS is 0): EPERM", needs "SO_PASSRIGHTS";
    "passrights-off-embryo" passrights_off_embryo,
        "a connection that is not accepted yet has its listener's SO_PASSRIGHTS", needs "SO_PASSRIGHTS";
    "passrights-cleared-later" passrights_cleared_later,
        "SO_PASSRIGHTS is cleared while a message is queued, which is delivered all the same", needs "SO_PASSRIGHTS";
}

const CONTENT: &str = "what the sender wrote";

/// Sends a good message and receives it, and nothing before it.
fn pass_after(runner: &Runner, sender: &OwnedFd, receiver: &OwnedFd) -> Result<()> {
    runner.in_flight(receiver, 0)?;
    let file = runner.file(CONTENT)?;
    runner.send("after", sender).fds(&[file.as_raw_fd()])?;
    let received = runner.receive("after", receiver, 1)?;
    expect_content(&received.fds[0], CONTENT)
}

/// A number that was a descriptor a moment ago.
fn closed_number() -> Result<RawFd> {
    let file = File::open("/dev/null")?;
    Ok(file.as_raw_fd())
}

fn bad_fd(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    for (name, number) in [("closed", closed_number()?), ("negative", -1)] {
        runner
            .send(name, &sender)
            .unheld()
            .failing(&[&[number]], Errno::EBADF)?;
    }
    pass_after(runner, &sender, &receiver)
}

fn bad_fd_in_middle(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let ((first, first_watch), (last, last_watch)) = (runner.watched()?, runner.watched()?);
    let fds = [first.as_raw_fd(), -1, last.as_raw_fd()];
    runner
        .send("m", &sender)
        .unheld()
        .failing(&[&fds], Errno::EBADF)?;
    drop((first, last));
    first_watch.released()?;
    last_watch.released()?;
    pass_after(runner, &sender, &receiver)
}

fn short_cmsg(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let (file, watch) = runner.watched()?;
    let rights = passing::rights(&[&[file.as_raw_fd()]]);
    // One byte less than a header; one byte more than the buffer.
    for (name, claimed) in [("short", passing::space(0) - 1), ("long", rights.len() + 1)] {
        let mut control = rights.clone();
        control[..size_of::<usize>()].copy_from_slice(&claimed.to_ne_bytes());
        runner
            .send(name, &sender)
            .unheld()
            .control_failing(&[], &control, Errno::EINVAL)?;
    }
    drop(file);
    watch.released()?;
    pass_after(runner, &sender, &receiver)
}

fn zero_fds(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    runner.send("none", &sender).fds(&[])?;
    runner.in_flight(&receiver, 0)?;
    let received = runner.receiving("none", &receiver).take()?;
    ensure!(received.data == b"none", "other data came");
    ensure!(
        received.slots.is_empty(),
        "an empty list brought descriptors"
    );
    pass_after(runner, &sender, &receiver)
}

fn too_many_fds(runner: &Runner) -> Result<()> {
    too_many(runner, &[254])
}

fn too_many_fds_two_cmsgs(runner: &Runner) -> Result<()> {
    too_many(runner, &[200, 54])
}

/// Sends one file as often as the parts say, which is too often.
fn too_many(runner: &Runner, parts: &[usize]) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let (file, watch) = runner.watched()?;
    let fds = vec![file.as_raw_fd(); parts.iter().sum()];
    let mut rest = &fds[..];
    let mut lists = Vec::new();
    for part in parts {
        let (list, others) = rest.split_at(*part);
        lists.push(list);
        rest = others;
    }
    runner
        .send("m", &sender)
        .unheld()
        .failing(&lists, Errno::EINVAL)?;
    runner.fate("m", 0..fds.len(), Fate::Failed, Some(Cause::TooManyFds))?;
    drop(file);
    watch.released()?;
    pass_after(runner, &sender, &receiver)
}

fn bad_cmsg_pointer(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    runner
        .send("m", &sender)
        .failing_by(&[], Errno::EFAULT, || {
            header::send_from_nowhere(sender.as_raw_fd(), b"m")
        })?;
    pass_after(runner, &sender, &receiver)
}

fn peer_gone(runner: &Runner) -> Result<()> {
    for (name, kind, errno) in [
        ("stream", SockType::Stream, Errno::EPIPE),
        ("seqpacket", SockType::SeqPacket, Errno::EPIPE),
        ("dgram", SockType::Datagram, Errno::ECONNREFUSED),
    ] {
        let (sender, receiver) = runner.socketpair(kind)?;
        drop(receiver);
        let (file, watch) = runner.watched()?;
        runner
            .send(name, &sender)
            .unheld()
            .flags(MsgFlags::MSG_NOSIGNAL)
            .failing(&[&[file.as_raw_fd()]], errno)?;
        drop(file);
        watch.released()?;
    }
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    pass_after(runner, &sender, &receiver)
}

fn queue_full(runner: &Runner) -> Result<()> {
    for (name, kind) in [
        ("stream", SockType::Stream),
        ("seqpacket", SockType::SeqPacket),
        ("dgram", SockType::Datagram),
    ] {
        let (sender, receiver) = runner.socketpair(kind)?;
        let fill = || send(sender.as_raw_fd(), &[0; 1024], MsgFlags::MSG_DONTWAIT);
        let full = std::iter::repeat_with(fill).find_map(Result::err);
        ensure!(
            full == Some(Errno::EAGAIN),
            "filling the queue gave {full:?}"
        );
        let (file, watch) = runner.watched()?;
        runner
            .send(name, &sender)
            .unheld()
            .flags(MsgFlags::MSG_DONTWAIT)
            .failing(&[&[file.as_raw_fd()]], Errno::EAGAIN)?;
        drop(file);
        watch.released()?;
        runner.in_flight(&receiver, 0)?;
    }
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    pass_after(runner, &sender, &receiver)
}

/// What the sender's RLIMIT_NOFILE is. What it may have in flight is as much, and one list more.
const IN_FLIGHT: usize = 8;

fn too_many_in_flight(runner: &Runner) -> Result<()> {
    // What is in flight is counted by user, so this one is to have nothing else.
    let nobody = FIRST_UNUSED_ID + std::process::id();
    if let Some(why) = attempt(|| become_user(nobody))? {
        return runner.skip(&format!(
            "no user id of one's own can be had here (CAP_SETUID, CAP_SETGID): {why}"
        ));
    }
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let (refused, room) = (Semaphore::new()?, Semaphore::new()?);
    let (file, watch) = runner.watched()?;
    let fd = file.as_raw_fd();
    let actor = runner.actor("sender", || {
        become_user(nobody)?;
        die_with_parent_still()?;
        setrlimit(Resource::RLIMIT_NOFILE, IN_FLIGHT as u64, IN_FLIGHT as u64)?;
        // The kernel looks before it adds the list: the first message exceeds the limit, and the
        // second feels it.
        let list = [fd; IN_FLIGHT + 1];
        runner.send("exceeding", &sender).unheld().fds(&list)?;
        runner
            .send("refused", &sender)
            .unheld()
            .failing(&[&[fd]], Errno::ETOOMANYREFS)?;
        refused.post()?;
        room.wait()?;
        runner.send("again", &sender).unheld().fds(&[fd])
    })?;
    drop(file);
    refused.wait()?;
    runner.in_flight(&receiver, IN_FLIGHT as u64 + 1)?;
    runner.receive("exceeding", &receiver, IN_FLIGHT + 1)?;
    room.post()?;
    actor.done()?;
    runner.receive("again", &receiver, 1)?;
    watch.released()
}

/// Above all ids that are handed out, and below those that the kernel reserves.
const FIRST_UNUSED_ID: u32 = 0x7000_0000;

/// Takes on a user id, and loses with root's the privileges that lift the limit.
fn become_user(id: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

fn peer_connected_elsewhere(runner: &Runner) -> Result<()> {
    let name = |end: &str| {
        let name = format!("fdtrace-verify-{}-{end}", std::process::id());
        SocketAddr::from_abstract_name(name)
    };
    let (here, elsewhere) = (name("here")?, name("elsewhere")?);
    let receiver = UnixDatagram::bind_addr(&here)?;
    let connected = UnixDatagram::unbound()?;
    connected.connect_addr(&here)?;
    // Only now does the receiver choose whom it hears.
    let other = UnixDatagram::bind_addr(&elsewhere)?;
    receiver.connect_addr(&elsewhere)?;
    other.connect_addr(&here)?;
    refuse_as(runner, "m", &connected.into(), Cause::Errno(libc::EPERM))?;
    pass_after(runner, &other.into(), &receiver.into())
}

const SO_PASSRIGHTS: libc::c_int = 83;

/// Sets SO_PASSRIGHTS; says false where the kernel does not know it.
fn set_passrights(runner: &Runner, socket: RawFd, on: bool) -> Result<bool> {
    match passing::set_option(socket, SO_PASSRIGHTS, i32::from(on)) {
        Ok(()) => Ok(true),
        Err(Errno::ENOPROTOOPT) => {
            runner.skip("this kernel has no SO_PASSRIGHTS (Linux 6.16)")?;
            Ok(false)
        }
        Err(errno) => Err(errno).context("cannot set SO_PASSRIGHTS"),
    }
}

fn passrights_off(runner: &Runner) -> Result<()> {
    for (name, kind) in [
        ("stream", SockType::Stream),
        ("seqpacket", SockType::SeqPacket),
        ("dgram", SockType::Datagram),
    ] {
        let (sender, receiver) = runner.socketpair(kind)?;
        if !set_passrights(runner, receiver.as_raw_fd(), false)? {
            return Ok(());
        }
        refuse(runner, name, &sender)?;
        runner.in_flight(&receiver, 0)?;
    }
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    set_passrights(runner, receiver.as_raw_fd(), false)?;
    set_passrights(runner, receiver.as_raw_fd(), true)?;
    pass_after(runner, &sender, &receiver)
}

/// Sends a descriptor to a socket that takes none.
fn refuse(runner: &Runner, name: &str, sender: &OwnedFd) -> Result<()> {
    refuse_as(runner, name, sender, Cause::Passrights)
}

/// Sends a descriptor, which fails with EPERM for this cause.
fn refuse_as(runner: &Runner, name: &str, sender: &OwnedFd, cause: Cause) -> Result<()> {
    let (file, watch) = runner.watched()?;
    runner
        .send(name, sender)
        .unheld()
        .failing(&[&[file.as_raw_fd()]], Errno::EPERM)?;
    runner.fate(name, 0..1, Fate::Failed, Some(cause))?;
    drop(file);
    watch.released()
}

fn passrights_off_embryo(runner: &Runner) -> Result<()> {
    let name = format!("fdtrace-verify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    if !set_passrights(runner, listener.as_raw_fd(), false)? {
        return Ok(());
    }
    let sender: OwnedFd = UnixStream::connect_addr(&address)?.into();
    refuse(runner, "before-accept", &sender)?;
    let receiver: OwnedFd = listener.accept()?.0.into();
    refuse(runner, "after-accept", &sender)?;
    set_passrights(runner, receiver.as_raw_fd(), true)?;
    pass_after(runner, &sender, &receiver)
}

fn passrights_cleared_later(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    if !set_passrights(runner, receiver.as_raw_fd(), true)? {
        return Ok(());
    }
    let file = runner.file(CONTENT)?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    runner.in_flight(&receiver, 1)?;
    set_passrights(runner, receiver.as_raw_fd(), false)?;
    let received = runner.receive("m", &receiver, 1)?;
    expect_content(&received.fds[0], CONTENT)?;
    refuse(runner, "later", &sender)
}
