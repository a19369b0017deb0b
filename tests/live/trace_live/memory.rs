//! User memory that misleads: pages that nobody has touched, buffers that cannot be written, numbers
//! that change while a call sleeps. And tables that grow. Each play is a process of its own with
//! one thread, unless it says otherwise, and writes down what it passed under which numbers.

mod growth;

use std::{
    fs,
    io::{Read as _, Write as _},
    mem,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    ptr, thread,
};

use fdtrace::passing;
use fdtrace_testkit::{take_turn, turn::wait_until};
use io_uring::{IoUring, opcode, types};
use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, dup, fork},
};
use serde_json::Value;

use super::tracing::{Tracing, lines, transfers};

const NAME: &std::ffi::CStr = c"fd-memory";
const PAGE: usize = 4096;
/// `struct cmsghdr`.
const HEADER: usize = 16;

/// A passed descriptor: the sender's number, and the receiver's if it got one.
type Passed = (RawFd, Option<RawFd>);

/// Plays in a process of its own, and gives what that passed and the transfers that were traced.
fn play(scene: impl FnOnce() -> Vec<Passed>) -> (Vec<Passed>, Vec<Value>) {
    let tracing = Tracing::start(&[
        "trace",
        "--format",
        "json",
        "--comm",
        NAME.to_str().unwrap(),
    ]);
    let (mut ours, mut its) = UnixStream::pair().unwrap();
    // SAFETY: glibc makes its allocator usable in the child, which needs no lock of another thread.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // SAFETY: the name is a C string.
            unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
            for (sent, received) in scene() {
                writeln!(its, "{sent} {}", received.unwrap_or(-1)).unwrap();
            }
            // SAFETY: nothing of the parent's is to be run here.
            unsafe { libc::_exit(0) }
        }
    };
    drop(its);
    let mut told = String::new();
    ours.read_to_string(&mut told).unwrap();
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
    let run = tracing.stop();
    assert_eq!(run.code, Some(0), "{run:?}");
    let passed = told.lines().map(|line| {
        let (sent, received) = line.split_once(' ').unwrap();
        let received: RawFd = received.parse().unwrap();
        (sent.parse().unwrap(), Some(received).filter(|fd| *fd >= 0))
    });
    let traced = lines(&run.stdout);
    let traced = transfers(&traced).into_iter().cloned().collect();
    (passed.collect(), traced)
}

fn number(value: &Value) -> Option<RawFd> {
    value["fd"].as_i64().map(|fd| fd as RawFd)
}

/// Both numbers of each transfer are those that were passed.
fn expect_numbers(scene: impl FnOnce() -> Vec<Passed>) {
    let (mut passed, traced) = play(scene);
    let mut seen: Vec<Passed> = traced
        .iter()
        .map(|transfer| {
            assert_eq!(transfer["fate"], "delivered", "{transfer}");
            let sent = number(&transfer["sender"]).unwrap_or(-1);
            (sent, number(&transfer["receiver"]))
        })
        .collect();
    passed.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, passed);
}

fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::empty()).unwrap()
}

fn file() -> OwnedFd {
    memfd_create(NAME, MFdFlags::empty()).unwrap()
}

/// A message with room for one byte.
struct Message {
    byte: u8,
    buffer: libc::iovec,
    header: libc::msghdr,
}

impl Message {
    fn new(control: *mut u8, len: usize) -> Box<Self> {
        // SAFETY: zeroes are an empty header.
        let header = unsafe { mem::zeroed() };
        let buffer = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 1,
        };
        let mut message = Box::new(Self {
            byte: b'x',
            buffer,
            header,
        });
        message.buffer.iov_base = (&raw mut message.byte).cast();
        message.header.msg_iov = &raw mut message.buffer;
        message.header.msg_iovlen = 1;
        message.header.msg_control = control.cast();
        message.header.msg_controllen = len;
        message
    }

    fn receive(&mut self, socket: &OwnedFd) -> isize {
        // SAFETY: the header's pointers are this message's, or what the test is about.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut self.header, 0) }
    }
}

/// Two pages, of which the caller changes one.
fn pages() -> *mut u8 {
    // SAFETY: anonymous memory of its own.
    let pages = unsafe {
        libc::mmap(
            ptr::null_mut(),
            2 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(pages, libc::MAP_FAILED);
    pages.cast()
}

fn read_only(page: *mut u8) {
    // SAFETY: the page is of `pages`.
    let result = unsafe { libc::mprotect(page.cast(), PAGE, libc::PROT_READ) };
    assert_eq!(result, 0);
}

/// Passes `count` files to a control buffer that begins at `control`.
fn pass_to(control: *mut u8, len: usize, count: usize) -> (Vec<RawFd>, Box<Message>) {
    let (sender, receiver) = pair(SockType::SeqPacket);
    let files: Vec<OwnedFd> = (0..count).map(|_| file()).collect();
    let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    passing::send(sender.as_raw_fd(), b"x", &[&numbers]).unwrap();
    let mut message = Message::new(control, len);
    assert_eq!(message.receive(&receiver), 1);
    mem::forget(files);
    (numbers, message)
}

#[test]
fn a_control_buffer_on_a_page_that_nobody_has_touched_delivers() {
    let _turn = take_turn!(tracing);
    expect_numbers(|| {
        let pages = pages();
        let control = pages.wrapping_add(PAGE - HEADER - 4);
        let (sent, _) = pass_to(control, 64, 1);
        // SAFETY: the kernel has written the number there.
        let received = unsafe { control.add(HEADER).cast::<RawFd>().read_unaligned() };
        vec![(sent[0], Some(received))]
    });
}

#[test]
fn a_header_that_cannot_be_written_does_not_hide_what_was_installed() {
    let _turn = take_turn!(tracing);
    expect_numbers(|| {
        let pages = pages();
        read_only(pages);
        let numbers = pages.wrapping_add(PAGE);
        let (sent, _) = pass_to(numbers.wrapping_sub(HEADER), passing::space(4), 1);
        // SAFETY: the kernel has written the number there.
        let received = unsafe { numbers.cast::<RawFd>().read() };
        vec![(sent[0], Some(received))]
    });
}

#[test]
fn a_number_that_cannot_be_written_is_not_blamed_on_a_security_module() {
    let _turn = take_turn!(tracing);
    for writable in 0..3 {
        let (passed, traced) = play(|| {
            let pages = pages();
            let end = pages.wrapping_add(PAGE);
            read_only(end);
            let control = end.wrapping_sub(HEADER + 4 * writable);
            let (sent, _) = pass_to(control, passing::space(12), 3);
            let received = (0..writable).map(|index| {
                // SAFETY: the kernel has written so many.
                Some(unsafe {
                    control
                        .add(HEADER + 4 * index)
                        .cast::<RawFd>()
                        .read_unaligned()
                })
            });
            let received = received.chain([None; 3]);
            sent.into_iter().zip(received).collect()
        });
        assert_eq!(traced.len(), 3);
        for (transfer, (sent, received)) in traced.iter().zip(passed) {
            assert_eq!(number(&transfer["sender"]), Some(sent));
            assert_eq!(number(&transfer["receiver"]), received, "{transfer}");
            let fate = if received.is_some() {
                "delivered"
            } else {
                "truncated"
            };
            assert_eq!(transfer["fate"], fate, "{transfer}");
            let cause = &transfer["cause"];
            assert!(cause.is_null() || cause == "efault", "{transfer}");
        }
    }
}

#[test]
fn every_message_of_a_long_batch_has_its_own_number() {
    let _turn = take_turn!(tracing);
    expect_numbers(|| {
        const MESSAGES: usize = 40;
        let (sender, receiver) = pair(SockType::Stream);
        let file = file();
        // One file under every one of these numbers.
        let numbers: Vec<RawFd> = (0..MESSAGES)
            .map(|_| {
                let number = dup(&file).unwrap();
                let fd = number.as_raw_fd();
                mem::forget(number);
                fd
            })
            .collect();
        let mut controls: Vec<Vec<u8>> = numbers
            .iter()
            .map(|fd| passing::rights(&[&[*fd]]))
            .collect();
        let messages: Vec<Box<Message>> = controls
            .iter_mut()
            .map(|control| Message::new(control.as_mut_ptr(), control.len()))
            .collect();
        let mut batch: Vec<libc::mmsghdr> = messages
            .iter()
            .map(|message| libc::mmsghdr {
                msg_hdr: message.header,
                msg_len: 0,
            })
            .collect();
        // SAFETY: the headers' pointers are the messages'.
        let sent =
            unsafe { libc::sendmmsg(sender.as_raw_fd(), batch.as_mut_ptr(), MESSAGES as u32, 0) };
        assert_eq!(sent, MESSAGES as i32);
        let received = numbers.iter().map(|sent| {
            let message = passing::receive(receiver.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
            let number = message.fds[0].as_raw_fd();
            mem::forget(message);
            (*sent, Some(number))
        });
        received.collect()
    });
}

#[test]
fn numbers_in_the_last_of_many_control_messages_are_read() {
    let _turn = take_turn!(tracing);
    expect_numbers(|| {
        let (sender, receiver) = pair(SockType::Stream);
        let files: Vec<OwnedFd> = (0..9).map(|_| file()).collect();
        let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let parts: Vec<&[RawFd]> = numbers.chunks(1).collect();
        passing::send(sender.as_raw_fd(), b"x", &parts).unwrap();
        let message = passing::receive(receiver.as_raw_fd(), 9, MsgFlags::empty()).unwrap();
        let received = message.slots.iter().map(|fd| Some(*fd));
        numbers.iter().copied().zip(received).collect()
    });
}

/// Waits until this thread sleeps in a system call.
fn wait_for_sleep(tid: i32) {
    let stat = format!("/proc/self/task/{tid}/syscall");
    wait_until("it sleeps", || {
        fs::read_to_string(&stat).is_ok_and(|call| call.starts_with("46 "))
    });
}

#[test]
fn a_number_that_is_changed_while_its_send_sleeps_is_not_taken_for_the_one_that_was_sent() {
    let _turn = take_turn!(tracing);
    let (passed, traced) = play(|| {
        let (sender, receiver) = pair(SockType::Datagram);
        let file = file();
        let other = dup(&file).unwrap();
        let sent = file.as_raw_fd();
        let socket = sender.as_raw_fd();
        let mut full = 0;
        while passing::send_with(socket, b"f", &[], MsgFlags::MSG_DONTWAIT).is_ok() {
            full += 1;
        }
        let mut control = passing::rights(&[&[sent]]);
        let place = control.as_mut_ptr() as usize;
        let (tell, tid) = std::sync::mpsc::channel();
        let blocked = thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let message = Message::new(place as *mut u8, passing::space(4));
            // SAFETY: the control message outlives the thread.
            unsafe { libc::sendmsg(socket, &raw const message.header, 0) }
        });
        wait_for_sleep(tid.recv().unwrap());
        control[HEADER..HEADER + 4].copy_from_slice(&other.as_raw_fd().to_ne_bytes());
        for _ in 0..full {
            passing::receive(receiver.as_raw_fd(), 0, MsgFlags::empty()).unwrap();
        }
        assert_eq!(blocked.join().unwrap(), 1);
        let message = passing::receive(receiver.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
        vec![(sent, Some(message.fds[0].as_raw_fd()))]
    });
    let [transfer] = &traced[..] else {
        panic!("{traced:?}");
    };
    let (sent, received) = passed[0];
    let seen = number(&transfer["sender"]);
    assert!(seen.is_none_or(|fd| fd == sent), "{transfer}");
    let seen = number(&transfer["receiver"]);
    assert!(seen.is_none_or(|fd| Some(fd) == received), "{transfer}");
}

#[test]
fn what_an_io_uring_receives_within_another_call_is_not_judged_by_that_call() {
    let _turn = take_turn!(tracing);
    if IoUring::new(2).is_err() {
        return;
    }
    let (passed, traced) = play(|| {
        let (sender, receiver) = pair(SockType::Stream);
        let (other_sender, other) = pair(SockType::Stream);
        let file = file();
        let mut ring = IoUring::new(2).unwrap();
        let mut control = [0_u64; 4];
        let mut message = Message::new(control.as_mut_ptr().cast(), passing::space(4));
        let entry = opcode::RecvMsg::new(types::Fd(receiver.as_raw_fd()), &raw mut message.header);
        // SAFETY: the message outlives the request, which is waited for.
        unsafe { ring.submission().push(&entry.build()) }.unwrap();
        ring.submit().unwrap();
        let tid = nix::unistd::gettid().as_raw();
        let sent = file.as_raw_fd();
        let its = thread::spawn(move || {
            let stat = format!("/proc/self/task/{tid}/syscall");
            wait_until("it sleeps", || {
                fs::read_to_string(&stat).is_ok_and(|call| call.starts_with("47 "))
            });
            passing::send(sender.as_raw_fd(), b"x", &[&[sent]]).unwrap();
            // Not before the request is done: the other call ends with this.
            wait_until("it was received", || {
                let mut left = 0;
                // SAFETY: the kernel writes an int.
                unsafe { libc::ioctl(sender.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
                left == 0
            });
            passing::send(other_sender.as_raw_fd(), b"y", &[]).unwrap();
        });
        // Without a place for descriptors.
        let mut outer = Message::new(ptr::null_mut(), 0);
        assert_eq!(outer.receive(&other), 1);
        its.join().unwrap();
        ring.submit_and_wait(1).unwrap();
        let received = (control[2] & u64::from(u32::MAX)) as RawFd;
        vec![(sent, Some(received))]
    });
    let [transfer] = &traced[..] else {
        panic!("{traced:?}");
    };
    let fate = &transfer["fate"];
    assert!(fate == "delivered" || fate == "unknown", "{transfer}");
    let (sent, received) = passed[0];
    let seen = number(&transfer["sender"]);
    assert!(seen.is_none_or(|fd| fd == sent), "{transfer}");
    let seen = number(&transfer["receiver"]);
    assert!(seen.is_none_or(|fd| Some(fd) == received), "{transfer}");
}
