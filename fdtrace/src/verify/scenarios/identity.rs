//! Identity: what comes out is what went in, under a new number.

use std::{
    fs,
    io::Write as _,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{MsgFlags, SockType},
    unistd::{Whence, lseek},
};

use super::scenarios;
use crate::model::Hop;
use crate::verify::stage::{Baton, Stage, expect_content, is_cloexec, rewind};

scenarios! { Identity:
    "stream-one-fd" |stage| one_fd(stage, SockType::Stream),
        "one descriptor over a stream socket";
    "dgram-one-fd" |stage| one_fd(stage, SockType::Datagram),
        "one descriptor over a datagram socket";
    "seqpacket-one-fd" |stage| one_fd(stage, SockType::SeqPacket),
        "one descriptor over a seqpacket socket";
    "child-to-parent-file" child_to_parent_file,
        "a child opens a file, passes it up and closes it; the parent reads it";
    "unrelated-path" unrelated_path,
        "two processes that share nothing meet at a socket's path";
    "unrelated-abstract" unrelated_abstract,
        "two processes that share nothing meet at an abstract name";
    "two-fds" |stage| several_fds(stage, 2),
        "two descriptors keep their order";
    "three-fds" |stage| several_fds(stage, 3),
        "three descriptors keep their order";
    "max-fds" |stage| several_fds(stage, 253),
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

fn one_fd(stage: &Stage, kind: SockType) -> Result<()> {
    let (sender, receiver) = stage.socketpair(kind)?;
    let sent = Baton::new()?;
    let role = stage.role("receiver", || {
        sent.wait()?;
        let received = stage.receive("m", &receiver, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    let file = stage.file(CONTENT)?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    stage.in_flight(&receiver, 1)?;
    stage.undisturbed("m")?;
    sent.pass()?;
    role.done()
}

fn child_to_parent_file(stage: &Stage) -> Result<()> {
    let (parent, child) = stage.socketpair(SockType::Datagram)?;
    // Once with a duplicate held by the verifier, once with nobody but the message to keep the
    // file alive.
    for (name, alone) in [("witnessed", false), ("alone", true)] {
        let role = stage.role("child", || {
            let file = stage.file(CONTENT)?;
            let message = stage.send(name, &child);
            let message = if alone { message.unheld() } else { message };
            message.fds(&[file.as_raw_fd()])
        })?;
        role.done()?;
        stage.in_flight(&parent, 1)?;
        if alone {
            stage.refs(name, Hop::Dequeue, 1)?;
        }
        let received = stage.receive(name, &parent, 1)?;
        expect_content(&received.fds[0], CONTENT)?;
    }
    Ok(())
}

fn unrelated_path(stage: &Stage) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let address = SocketAddr::from_pathname(dir.path().join("meet"))?;
    unrelated(stage, &address)
}

fn unrelated_abstract(stage: &Stage) -> Result<()> {
    let name = format!("fdtrace-verify-{}", std::process::id());
    unrelated(stage, &SocketAddr::from_abstract_name(name)?)
}

fn unrelated(stage: &Stage, address: &SocketAddr) -> Result<()> {
    let listening = Baton::new()?;
    let receiver = stage.role("listener", || {
        let listener = UnixListener::bind_addr(address)?;
        listening.pass()?;
        let (connection, _) = listener.accept()?;
        let received = stage.receive("m", &connection, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    let sender = stage.role("connector", || {
        listening.wait()?;
        let connection = UnixStream::connect_addr(address)?;
        let file = stage.file(CONTENT)?;
        stage.send("m", &connection).fds(&[file.as_raw_fd()])
    })?;
    sender.done()?;
    receiver.done()
}

fn several_fds(stage: &Stage, count: usize) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let sent = Baton::new()?;
    let role = stage.role("receiver", || {
        sent.wait()?;
        let received = stage.receive("m", &receiver, count)?;
        for (index, fd) in received.fds.iter().enumerate() {
            expect_content(fd, &index.to_string())?;
        }
        Ok(())
    })?;
    let files = (0..count)
        .map(|index| stage.file(&index.to_string()))
        .collect::<Result<Vec<_>>>()?;
    let fds: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    stage.send("m", &sender).fds(&fds)?;
    stage.in_flight(&receiver, count as u64)?;
    sent.pass()?;
    role.done()
}

fn same_fd_twice(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let role = stage.role("receiver", || {
        let received = stage.receive("m", &receiver, 2)?;
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
    let file = stage.file(CONTENT)?;
    stage
        .send("m", &sender)
        .fds(&[file.as_raw_fd(), file.as_raw_fd()])?;
    role.done()
}

fn sender_keeps(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let (received, written) = (Baton::new()?, Baton::new()?);
    let mut file = stage.file(CONTENT)?;
    let own_number = file.as_raw_fd();
    let role = stage.role("receiver", || {
        let message = stage.receive("m", &receiver, 1)?;
        ensure!(
            message.fds[0].as_raw_fd() != own_number,
            "it came under the sender's number"
        );
        received.pass()?;
        written.wait()?;
        expect_content(&message.fds[0], "what the sender wrote since")
    })?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    received.wait()?;
    rewind(&file)?;
    file.write_all(b"what the sender wrote since")?;
    written.pass()?;
    role.done()
}

fn sender_closes_first(stage: &Stage) -> Result<()> {
    closed_first(stage, false)
}

fn sender_socket_closed_first(stage: &Stage) -> Result<()> {
    closed_first(stage, true)
}

fn closed_first(stage: &Stage, socket_too: bool) -> Result<()> {
    for (name, alone) in [("witnessed", false), ("alone", true)] {
        let (sender, receiver) = stage.socketpair(SockType::Stream)?;
        let closed = Baton::new()?;
        let role = stage.role("receiver", || {
            closed.wait()?;
            let received = stage.receive(name, &receiver, 1)?;
            expect_content(&received.fds[0], CONTENT)
        })?;
        // Made after the fork, so the receiver inherits no copy.
        let file = stage.file(CONTENT)?;
        let message = stage.send(name, &sender);
        let message = if alone { message.unheld() } else { message };
        message.fds(&[file.as_raw_fd()])?;
        drop(file);
        if socket_too {
            drop(sender);
        }
        if alone {
            stage.refs(name, Hop::Dequeue, 1)?;
        }
        stage.in_flight(&receiver, 1)?;
        closed.pass()?;
        role.done()?;
    }
    Ok(())
}

fn two_messages(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let sent = Baton::new()?;
    let role = stage.role("receiver", || {
        sent.wait()?;
        for name in ["first", "second"] {
            // Their lengths differ, so neither can be mistaken for the other.
            let received = stage.receive(name, &receiver, 1)?;
            expect_content(&received.fds[0], name)?;
        }
        Ok(())
    })?;
    for name in ["first", "second"] {
        let file = stage.file(name)?;
        stage.send(name, &sender).fds(&[file.as_raw_fd()])?;
    }
    stage.in_flight(&receiver, 2)?;
    sent.pass()?;
    role.done()
}

fn two_cmsgs_merge(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let role = stage.role("receiver", || {
        let received = stage.receive("m", &receiver, 3)?;
        for (fd, content) in received.fds.iter().zip(["a", "b", "c"]) {
            expect_content(fd, content)?;
        }
        Ok(())
    })?;
    let files = ["a", "b", "c"].map(|content| stage.file(content));
    let [a, b, c] = files;
    let (a, b, c) = (a?, b?, c?);
    let (first, second) = ([a.as_raw_fd()], [b.as_raw_fd(), c.as_raw_fd()]);
    stage.send("m", &sender).parts(&[&first, &second])?;
    role.done()
}

fn shared_offset(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let (sought, moved) = (Baton::new()?, Baton::new()?);
    let role = stage.role("receiver", || {
        let received = stage.receive("m", &receiver, 1)?;
        sought.wait()?;
        let fd = &received.fds[0];
        ensure!(
            lseek(fd, 0, Whence::SeekCur)? == 5,
            "the sender's seek did not show"
        );
        let mut read = [0; 3];
        nix::unistd::read(fd, &mut read)?;
        moved.pass()
    })?;
    let file = stage.file(CONTENT)?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    // The receiver may be at its checkpoint, where the verifier moves the offset and puts it
    // back; seeking before that is over would be undone.
    stage.settle()?;
    lseek(&file, 5, Whence::SeekSet)?;
    sought.pass()?;
    moved.wait()?;
    ensure!(
        lseek(&file, 0, Whence::SeekCur)? == 8,
        "the receiver's read did not show"
    );
    role.done()
}

fn relay(stage: &Stage) -> Result<()> {
    let (a, b_in) = stage.socketpair(SockType::Stream)?;
    let (b_out, c) = stage.socketpair(SockType::Stream)?;
    let relay = stage.role("relay", || {
        let received = stage.receive("a-to-b", &b_in, 1)?;
        stage
            .send("b-to-c", &b_out)
            .fds(&[received.fds[0].as_raw_fd()])
    })?;
    let last = stage.role("last", || {
        let received = stage.receive("b-to-c", &c, 1)?;
        expect_content(&received.fds[0], CONTENT)
    })?;
    let file = stage.file(CONTENT)?;
    stage.send("a-to-b", &a).fds(&[file.as_raw_fd()])?;
    relay.done()?;
    last.done()
}

fn concurrent_receive(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let blocked = Baton::new()?;
    let role = stage.role("receiver", || {
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let receiver = &receiver;
            let thread = scope.spawn(move || {
                tell.send(nix::unistd::gettid())?;
                let received = stage.receive("m", receiver, 1)?;
                expect_content(&received.fds[0], CONTENT)
            });
            let tid = told.recv()?;
            wait_until_in_recvmsg(tid)?;
            blocked.pass()?;
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the receiving thread panicked"))?
        })
    })?;
    let file = stage.file(CONTENT)?;
    blocked.wait()?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    role.done()
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

fn pid_namespace(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let role = stage.role("gate", || {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWPID) {
            return stage.skip(&format!("a pid namespace cannot be made here: {errno}"));
        }
        let inner = stage.role("receiver", || {
            ensure!(
                std::process::id() == 1,
                "the receiver is not alone in its namespace"
            );
            let received = stage.receive("m", &receiver, 1)?;
            expect_content(&received.fds[0], CONTENT)
        })?;
        inner.done()
    })?;
    let file = stage.file(CONTENT)?;
    stage.send("m", &sender).fds(&[file.as_raw_fd()])?;
    role.done()
}

fn libuv_handle(stage: &Stage) -> Result<()> {
    let (sender, receiver) = stage.socketpair(SockType::Stream)?;
    let role = stage.role("receiver", || {
        let received = stage.receive_with("handle", &receiver, 1, MsgFlags::MSG_CMSG_CLOEXEC)?;
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
    stage
        .send("handle", &sender)
        .data(b"1")
        .fds(&[handle.as_raw_fd()])?;
    role.done()
}
