//! Why a transfer ended as it did, where the kernel goes another way than the call that was made.

use std::{
    fs,
    io::{IoSlice, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::{
            fs::{MetadataExt as _, symlink},
            net::{UnixDatagram, UnixStream},
            thread::JoinHandleExt as _,
        },
    },
    process,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::channel,
    },
    thread,
};

use fdtrace::passing::{self, Room};
use fdtrace_testkit::{command::skip, take_turn, turn::wait_until};
use io_uring::{IoUring, opcode, types};
use nix::{
    errno::Errno,
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
        socket::{
            AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
            socketpair,
        },
    },
    unistd::gettid,
};
use serde_json::Value;

use super::tracing::{Tracing, lines, transfers};

/// A file that nobody else has.
fn create() -> fs::File {
    memfd_create("cause", MFdFlags::MFD_CLOEXEC).unwrap().into()
}

/// What became of each of these files while `work` was done: fate, cause or why there is none, and
/// marks, in order of message.
fn ends(file: &fs::File, work: impl FnOnce()) -> Vec<String> {
    let pid = process::id().to_string();
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid]);
    work();
    let run = tracing.stop();
    assert_eq!(run.code, Some(0), "{run:?}");
    let ino = file.metadata().unwrap().ino().to_string();
    let lines = lines(&run.stdout);
    let ours = transfers(&lines).into_iter();
    ours.filter(|transfer| transfer["file"]["ino"] == ino)
        .map(end)
        .collect()
}

fn end(transfer: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let cause = match &transfer["cause"] {
        Value::Null => word(&transfer["cause_missing"]),
        cause => word(cause),
    };
    let peek = transfer["marks"].to_string().contains("\"peek\"");
    let mark = if peek { " by a peek" } else { "" };
    format!("{} ({cause}){mark}", word(&transfer["fate"]))
}

/// Takes everything out of a queue.
fn drain(socket: RawFd) -> usize {
    let mut files = 0;
    while let Ok(received) = passing::receive(socket, 4, MsgFlags::MSG_DONTWAIT) {
        files += received.fds.len();
    }
    files
}

fn fill(socket: &UnixDatagram) {
    socket.set_nonblocking(true).unwrap();
    while socket.send(b"f").is_ok() {}
    socket.set_nonblocking(false).unwrap();
}

#[test]
fn a_failed_send_has_its_errno_whatever_that_is() {
    let _turn = take_turn!(tracing);
    let folder = tempfile::TempDir::new().unwrap();
    let (regular, circle) = (folder.path().join("file"), folder.path().join("circle"));
    fs::write(&regular, "").unwrap();
    symlink(&circle, &circle).unwrap();
    let file = create();
    let ended = ends(&file, || {
        let sender = UnixDatagram::unbound().unwrap();
        for (path, errno) in [
            (regular.join("x"), Errno::ENOTDIR),
            (circle, Errno::ELOOP),
            (folder.path().join("nobody"), Errno::ENOENT),
        ] {
            let rights = [file.as_raw_fd()];
            let sent = sendmsg(
                sender.as_raw_fd(),
                &[IoSlice::new(b"x")],
                &[ControlMessage::ScmRights(&rights)],
                MsgFlags::empty(),
                Some(&UnixAddr::new(&path).unwrap()),
            );
            assert_eq!(sent, Err(errno));
        }
    });
    assert_eq!(
        ended,
        ["failed (enotdir)", "failed (eloop)", "failed (enoent)"]
    );
}

#[test]
fn a_seqpacket_send_that_fails_at_once_is_told() {
    let _turn = take_turn!(tracing);
    let file = create();
    let ended = ends(&file, || {
        let lonely = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        let rights: &[&[RawFd]] = &[&[file.as_raw_fd()]];
        let sent = passing::send(lonely.as_raw_fd(), b"x", rights);
        assert_eq!(sent, Err(Errno::ENOTCONN));
        // Its peer is gone, with something unread.
        let (sender, receiver) = pair(SockType::SeqPacket);
        passing::send(sender.as_raw_fd(), b"x", &[]).unwrap();
        drop(receiver);
        let sent = passing::send(sender.as_raw_fd(), b"x", rights);
        assert_eq!(sent, Err(Errno::ECONNRESET));
        let sent = passing::send(sender.as_raw_fd(), b"x", rights);
        assert_eq!(sent, Err(Errno::EPIPE));
    });
    let expected = ["failed (enotconn)", "failed (econnreset)", "failed (epipe)"];
    assert_eq!(ended, expected);
}

fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handle(_: i32) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// Whether this thread of ours sleeps in `sendmsg`.
fn is_sending(tid: i32) -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/task/{tid}/{name}")).unwrap();
    let sends = read("syscall").starts_with(&format!("{} ", libc::SYS_sendmsg));
    sends && read("stat").rsplit(") ").next().unwrap().starts_with('S')
}

/// A thread sends where there is no room, and gets `count` signals as it waits.
fn interrupted(file: &fs::File, flags: SaFlags, count: u32) {
    let action = SigAction::new(SigHandler::Handler(handle), flags, SigSet::empty());
    // SAFETY: the handler does nothing but count.
    let before = unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    fill(&sender);
    let (tell, told) = channel();
    let fd = file.as_raw_fd();
    let thread = thread::spawn(move || {
        tell.send(gettid().as_raw()).unwrap();
        passing::send(sender.as_raw_fd(), b"x", &[&[fd]])
    });
    let tid = told.recv().unwrap();
    for _ in 0..count {
        wait_until("it waits for room", || is_sending(tid));
        let handled = HANDLED.load(Ordering::SeqCst);
        // SAFETY: the thread has not been joined.
        let told = unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
        assert_eq!(told, 0);
        wait_until("it is interrupted", || {
            HANDLED.load(Ordering::SeqCst) > handled
        });
    }
    let restarts = flags.contains(SaFlags::SA_RESTART);
    if restarts {
        wait_until("it waits again", || is_sending(tid));
        let mut files = 0;
        while files == 0 {
            files = passing::receive(receiver.as_raw_fd(), 4, MsgFlags::empty())
                .unwrap()
                .fds
                .len();
        }
    }
    let sent = thread.join().unwrap();
    assert_eq!(sent, if restarts { Ok(1) } else { Err(Errno::EINTR) });
    // SAFETY: what was there before is there again.
    unsafe { sigaction(Signal::SIGUSR1, &before) }.unwrap();
}

#[test]
fn a_send_that_is_restarted_after_signals_is_one_and_one_that_is_not_has_failed() {
    let _turn = take_turn!(tracing);
    let file = create();
    let ended = ends(&file, || interrupted(&file, SaFlags::SA_RESTART, 3));
    assert_eq!(ended, ["delivered (none)"]);
    let ended = ends(&file, || interrupted(&file, SaFlags::empty(), 1));
    assert_eq!(ended, ["failed (interrupted)"]);
}

#[test]
fn what_io_uring_sends_once_there_is_room_has_not_failed_before() {
    let test = "what_io_uring_sends_once_there_is_room_has_not_failed_before";
    let _turn = take_turn!(tracing);
    let mut ring = match IoUring::new(2) {
        Ok(ring) => ring,
        Err(error) => return skip(test, &format!("no io_uring: {error}")),
    };
    let file = create();
    let ended = ends(&file, || {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        fill(&sender);
        let mut control = passing::rights(&[&[file.as_raw_fd()]]);
        let mut data = *b"x";
        let mut parts = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        // SAFETY: all-zero is a header without anything.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        (header.msg_iov, header.msg_iovlen) = (&raw mut parts, 1);
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        let to = types::Fd(sender.as_raw_fd());
        let entry = opcode::SendMsg::new(to, &raw const header).build();
        // SAFETY: what it points to outlives the completion.
        unsafe { ring.submission().push(&entry) }.unwrap();
        ring.submit().unwrap();
        assert!(ring.completion().next().is_none(), "there is no room");
        let mut files = 0;
        while files == 0 {
            files += drain(receiver.as_raw_fd());
            // Its second try is made as this thread enters the kernel.
            ring.submit().unwrap();
        }
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().next().unwrap().result(), 1);
    });
    assert_eq!(ended, ["delivered (none)"]);
}

#[test]
fn what_was_spliced_away_is_not_told_of_as_still_queued() {
    let _turn = take_turn!(tracing);
    let (gone, stays) = (create(), create());
    let inodes = [&gone, &stays].map(|file| file.metadata().unwrap().ino().to_string());
    let pid = process::id().to_string();
    let tracing = Tracing::start(&[
        "trace",
        "--format",
        "json",
        "--stuck-after",
        "0.3",
        "--pid",
        &pid,
    ]);
    let (sender, receiver) = UnixStream::pair().unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    passing::send(sender.as_raw_fd(), b"x", &[&[gone.as_raw_fd()]]).unwrap();
    let (from, to) = (receiver.as_raw_fd(), writer.as_raw_fd());
    let nowhere = std::ptr::null_mut();
    // SAFETY: takes numbers, and no offsets.
    let moved = unsafe { libc::splice(from, nowhere, to, nowhere, 1, 0) };
    assert_eq!(moved, 1);
    passing::send(sender.as_raw_fd(), b"x", &[&[stays.as_raw_fd()]]).unwrap();
    wait_until("the other is told of", || {
        tracing.read("stdout").contains("still-queued")
    });
    let run = tracing.stop();
    drop((reader, receiver));
    let lines = lines(&run.stdout);
    let of = |ino: &str| -> Vec<String> {
        let all = transfers(&lines).into_iter();
        all.filter(|transfer| transfer["file"]["ino"] == ino)
            .map(|transfer| transfer["fate"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of(&inodes[1]), ["queued", "queued"]);
    // Where nothing shows a splice, its end is not known.
    let spliced = of(&inodes[0]);
    assert!(
        ["discarded", "unknown"].contains(&spliced[0].as_str()) && spliced.len() == 1,
        "{spliced:?}"
    );
}

/// Receives where no data can be put.
fn receive_nowhere(socket: RawFd) -> Errno {
    let mut control = [0_u64; 8];
    let mut parts = libc::iovec {
        iov_base: 8 as *mut _,
        iov_len: 1,
    };
    // SAFETY: all-zero is a header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut parts, 1);
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the kernel checks where it writes.
    let received = unsafe { libc::recvmsg(socket, &raw mut header, 0) };
    assert_eq!(received, -1);
    Errno::last()
}

#[test]
fn a_failed_receive_loses_a_datagram_and_leaves_a_streams_message() {
    let _turn = take_turn!(tracing);
    for (kind, left, expected) in [
        (SockType::Stream, 1, "delivered (none)"),
        (SockType::Datagram, 0, "discarded (receive-failed)"),
    ] {
        let file = create();
        let ended = ends(&file, || {
            let (sender, receiver) = pair(kind);
            let (sender, receiver) = (sender.as_raw_fd(), receiver.as_raw_fd());
            passing::send(sender, b"x", &[&[file.as_raw_fd()]]).unwrap();
            assert_eq!(receive_nowhere(receiver), Errno::EFAULT);
            assert_eq!(drain(receiver), left);
        });
        assert_eq!(ended, [expected], "{kind:?}");
    }
}

#[test]
fn a_stream_whose_data_does_not_fit_in_memory_keeps_what_came_with_it() {
    let _turn = take_turn!(tracing);
    let file = create();
    let ended = ends(&file, || {
        let (sender, mut receiver) = UnixStream::pair().unwrap();
        passing::send(sender.as_raw_fd(), b"a", &[]).unwrap();
        passing::send(sender.as_raw_fd(), b"b", &[&[file.as_raw_fd()]]).unwrap();
        let mut byte = [0_u8];
        let mut parts = [
            libc::iovec {
                iov_base: byte.as_mut_ptr().cast(),
                iov_len: 1,
            },
            libc::iovec {
                iov_base: 8 as *mut _,
                iov_len: 1,
            },
        ];
        // SAFETY: the kernel checks where it writes.
        let read = unsafe { libc::readv(receiver.as_raw_fd(), parts.as_mut_ptr(), 2) };
        assert_eq!((read, byte), (1, *b"a"));
        // Now it is taken by a call that has no place for it.
        receiver.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"b");
    });
    assert_eq!(ended, ["discarded (plain-read)"]);
}

#[test]
fn what_a_peek_has_no_room_for_is_told_and_arrives_all_the_same() {
    let _turn = take_turn!(tracing);
    let file = create();
    let ended = ends(&file, || {
        let (sender, receiver) = pair(SockType::SeqPacket);
        let fd = file.as_raw_fd();
        passing::send(sender.as_raw_fd(), b"x", &[&[fd, fd]]).unwrap();
        for (room, came) in [(None, 0), (Some(1), 1)] {
            let room = Room {
                control: room.map(|fds| passing::space(0) + fds * size_of::<RawFd>()),
                flags: MsgFlags::MSG_PEEK,
                ..Room::for_fds(0)
            };
            let peeked = passing::receive_into(receiver.as_raw_fd(), room).unwrap();
            assert_eq!((peeked.fds.len(), peeked.truncated), (came, true));
        }
        assert_eq!(drain(receiver.as_raw_fd()), 2);
    });
    let lost = "truncated (no-control-room) by a peek";
    let arrives = "delivered (none)";
    let peeked = "peeked (none)";
    assert_eq!(ended, [lost, lost, peeked, lost, arrives, arrives]);
}
