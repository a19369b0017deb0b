//! Identity: what comes out is what went in, under a new number.

mod strangers;

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::socket::{MsgFlags, SockType},
    unistd::{Whence, close, lseek},
};

use strangers::{pid_namespace, unrelated_abstract, unrelated_path};

use super::scenarios;
use crate::model::Hop;
use crate::verify::runner::{Runner, Semaphore, expect_content, is_cloexec, rewind};

scenarios! { Identity:
    "stream-one-fd" |runner| one_fd(runner, SockType::Stream),
        "one descriptor over a stream socket";
    "dgram-one-fd" |runner| one_fd(runner, SockType::Datagram),
        "one descriptor over a datagram socket";
    "seqpacket-one-fd" |runner| one_fd(runner, SockType::SeqPacket),
        "one descriptor over a seqpacket socket";
    "child-to-parent-file" child_to_parent_file,
        "a child opens a file, passes it up and closes it; the parent reads it";
    "unrelated-path" unrelated_path,
        "two processes that share nothing meet at a socket's path";
    "unrelated-abstract" unrelated_abstract,
        "two processes that share nothing meet at an abstract name";
    "two-fds" |runner| several_fds(runner, 2),
        "two descriptors keep their order";
    "three-fds" |runner| several_fds(runner, 3),
        "three descriptors keep their order";
    "max-fds" |runner| several_fds(runner, 253),
        "253 descriptors, the most that one message carries";
    "same-fd-twice" same_fd_twice,
        "one descriptor twice in a message: two numbers, one object";
    "sender-keeps" sender_keeps,
        "the sender goes on using what it sent";
    "sender-closes-first" sender_closes_first,
        "the sender has closed the descriptor before it is received";
    "sender-socket-closed-first" sender_socket_closed_first,
        "the sender has closed the descriptor and the socket before it is received";
    "two-messages" two_messages,
        "two messages, a descriptor each";
    "two-cmsgs-merge" two_cmsgs_merge,
        "two SCM_RIGHTS parts in one message arrive as one list, in order";
    "shared-offset" shared_offset,
        "seeking on one side moves the other";
    "relay" relay,
        "passed on by the receiver: two transfers, one object";
    "concurrent-receive" concurrent_receive,
        "received by a thread that was already blocked in recvmsg";
    "pid-namespace" pid_namespace,
        "received in another pid namespace", needs "a pid namespace of its own";
    "libuv-handle" libuv_handle,
        "one byte and one handle, received close-on-exec, as libuv does it";
}

const CONTENT: &str = "what the sender wrote";

fn one_fd(runner: &Runner, kind: SockType) -> Result<()> {
    let (sender, receiver) = runner.socketpair(kind)?;
    let sent = Semaphore::new()?;
    let sending_end = sender.as_raw_fd();
    let actor = runner.actor("receiver", || {
        // The end that it does not use: its number is free again, and the file gets another than it had.
        close(sending_end)?;
        sent.wait()?;
        let received = runner.receive("m", &receiver, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    // With a name, by which a reader knows it again.
    let dir = tempfile::Builder::new().prefix("fd-").tempdir();
    let dir = dir.context("cannot make a temporary directory")?;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.path().join("letter.txt"))?;
    file.write_all(CONTENT.as_bytes())?;
    rewind(&file)?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    runner.in_flight(&receiver, 1)?;
    runner.undisturbed("m")?;
    sent.post()?;
    actor.done()
}

fn child_to_parent_file(runner: &Runner) -> Result<()> {
    let (parent, child) = runner.socketpair(SockType::Datagram)?;
    // Once with a duplicate held by the verifier, once with nobody but the message to keep the
    // file alive.
    for (name, alone) in [("witnessed", false), ("alone", true)] {
        let actor = runner.actor("child", || {
            let file = runner.file(CONTENT)?;
            let message = runner.send(name, &child);
            let message = if alone { message.unheld() } else { message };
            message.fds(&[file.as_raw_fd()])
        })?;
        actor.done()?;
        runner.in_flight(&parent, 1)?;
        if alone {
            runner.refs(name, Hop::Dequeue, 1)?;
        }
        let received = runner.receive(name, &parent, 1)?;
        expect_content(&received.fds[0], CONTENT)?;
    }
    Ok(())
}

fn several_fds(runner: &Runner, count: usize) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        let received = runner.receive("m", &receiver, count)?;
        for (index, fd) in received.fds.iter().enumerate() {
            expect_content(fd, &index.to_string())?;
        }
        Ok(())
    })?;
    let files = (0..count)
        .map(|index| runner.file(&index.to_string()))
        .collect::<Result<Vec<_>>>()?;
    let fds: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    runner.send("m", &sender).fds(&fds)?;
    runner.in_flight(&receiver, count as u64)?;
    sent.post()?;
    actor.done()
}

fn same_fd_twice(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 2)?;
        let [first, second] = &received.fds[..] else {
            unreachable!("two were received");
        };
        ensure!(
            first.as_raw_fd() != second.as_raw_fd(),
            "both came under one number"
        );
        lseek(first, 4, Whence::SeekSet)?;
        ensure!(
            lseek(second, 0, Whence::SeekCur)? == 4,
            "the two numbers are two objects"
        );
        Ok(())
    })?;
    let file = runner.file(CONTENT)?;
    runner
        .send("m", &sender)
        .fds(&[file.as_raw_fd(), file.as_raw_fd()])?;
    actor.done()
}

fn sender_keeps(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let (received, written) = (Semaphore::new()?, Semaphore::new()?);
    let mut file = runner.file(CONTENT)?;
    let own_number = file.as_raw_fd();
    let actor = runner.actor("receiver", || {
        let message = runner.receive("m", &receiver, 1)?;
        ensure!(
            message.fds[0].as_raw_fd() != own_number,
            "it came under the sender's number"
        );
        received.post()?;
        written.wait()?;
        expect_content(&message.fds[0], "what the sender wrote since")
    })?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    received.wait()?;
    rewind(&file)?;
    file.write_all(b"what the sender wrote since")?;
    written.post()?;
    actor.done()
}

fn sender_closes_first(runner: &Runner) -> Result<()> {
    closed_first(runner, false)
}

fn sender_socket_closed_first(runner: &Runner) -> Result<()> {
    closed_first(runner, true)
}

fn closed_first(runner: &Runner, socket_too: bool) -> Result<()> {
    for (name, alone) in [("witnessed", false), ("alone", true)] {
        let (sender, receiver) = runner.socketpair(SockType::Stream)?;
        let closed = Semaphore::new()?;
        let actor = runner.actor("receiver", || {
            closed.wait()?;
            let received = runner.receive(name, &receiver, 1)?;
            expect_content(&received.fds[0], CONTENT)
        })?;
        // Made after the fork, so the receiver inherits no copy.
        let file = runner.file(CONTENT)?;
        let message = runner.send(name, &sender);
        let message = if alone { message.unheld() } else { message };
        message.fds(&[file.as_raw_fd()])?;
        drop(file);
        if socket_too {
            drop(sender);
        }
        if alone {
            runner.refs(name, Hop::Dequeue, 1)?;
        }
        runner.in_flight(&receiver, 1)?;
        closed.post()?;
        actor.done()?;
    }
    Ok(())
}

fn two_messages(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let sent = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        sent.wait()?;
        for name in ["first", "second"] {
            // Their lengths differ, so neither can be mistaken for the other.
            let received = runner.receive(name, &receiver, 1)?;
            expect_content(&received.fds[0], name)?;
        }
        Ok(())
    })?;
    for name in ["first", "second"] {
        let file = runner.file(name)?;
        runner.send(name, &sender).fds(&[file.as_raw_fd()])?;
    }
    runner.in_flight(&receiver, 2)?;
    sent.post()?;
    actor.done()
}

fn two_cmsgs_merge(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 3)?;
        for (fd, content) in received.fds.iter().zip(["a", "b", "c"]) {
            expect_content(fd, content)?;
        }
        Ok(())
    })?;
    let files = ["a", "b", "c"].map(|content| runner.file(content));
    let [a, b, c] = files;
    let (a, b, c) = (a?, b?, c?);
    let (first, second) = ([a.as_raw_fd()], [b.as_raw_fd(), c.as_raw_fd()]);
    runner.send("m", &sender).parts(&[&first, &second])?;
    actor.done()
}

fn shared_offset(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let (sought, moved) = (Semaphore::new()?, Semaphore::new()?);
    let actor = runner.actor("receiver", || {
        let received = runner.receive("m", &receiver, 1)?;
        sought.wait()?;
        let fd = &received.fds[0];
        ensure!(
            lseek(fd, 0, Whence::SeekCur)? == 5,
            "the sender's seek did not show"
        );
        let mut read = [0; 3];
        nix::unistd::read(fd, &mut read)?;
        moved.post()
    })?;
    let file = runner.file(CONTENT)?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    // The receiver may be at its checkpoint, where the verifier moves the offset and puts it
    // back; seeking before that is over would be undone.
    runner.settle()?;
    lseek(&file, 5, Whence::SeekSet)?;
    sought.post()?;
    moved.wait()?;
    ensure!(
        lseek(&file, 0, Whence::SeekCur)? == 8,
        "the receiver's read did not show"
    );
    actor.done()
}

fn relay(runner: &Runner) -> Result<()> {
    let (a, b_in) = runner.socketpair(SockType::Stream)?;
    let (b_out, c) = runner.socketpair(SockType::Stream)?;
    let relay = runner.actor("relay", || {
        let received = runner.receive("a-to-b", &b_in, 1)?;
        runner
            .send("b-to-c", &b_out)
            .fds(&[received.fds[0].as_raw_fd()])
    })?;
    let last = runner.actor("last", || {
        let received = runner.receive("b-to-c", &c, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    let file = runner.file(CONTENT)?;
    runner.send("a-to-b", &a).fds(&[file.as_raw_fd()])?;
    relay.done()?;
    last.done()
}

fn concurrent_receive(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let blocked = Semaphore::new()?;
    let actor = runner.actor("receiver", || {
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let receiver = &receiver;
            let thread = scope.spawn(move || {
                tell.send(nix::unistd::gettid())?;
                let received = runner.receive("m", receiver, 1)?;
                expect_content(&received.fds[0], CONTENT)
            });
            let tid = told.recv()?;
            wait_until_in_recvmsg(tid)?;
            blocked.post()?;
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the receiving thread panicked"))?
        })
    })?;
    let file = runner.file(CONTENT)?;
    blocked.wait()?;
    runner.send("m", &sender).fds(&[file.as_raw_fd()])?;
    actor.done()
}

/// Waits until a thread of this process is inside recvmsg, as `/proc` shows it.
fn wait_until_in_recvmsg(tid: nix::unistd::Pid) -> Result<()> {
    let path = format!("/proc/self/task/{tid}/syscall");
    let recvmsg = libc::SYS_recvmsg.to_string();
    loop {
        let line = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // "running" while it is not in a system call.
        if line.split(' ').next() == Some(recvmsg.as_str()) {
            return Ok(());
        }
        thread::yield_now();
    }
}

fn libuv_handle(runner: &Runner) -> Result<()> {
    let (sender, receiver) = runner.socketpair(SockType::Stream)?;
    let actor = runner.actor("receiver", || {
        let received = runner.receive_with("handle", &receiver, 1, MsgFlags::MSG_CMSG_CLOEXEC)?;
        ensure!(
            received.data == b"1",
            "the byte of data is {:?}",
            received.data
        );
        ensure!(
            is_cloexec(&received.fds[0])?,
            "the descriptor is not close-on-exec"
        );
        Ok(())
    })?;
    let handle: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0")?.into();
    runner
        .send("handle", &sender)
        .data(b"1")
        .fds(&[handle.as_raw_fd()])?;
    actor.done()
}
