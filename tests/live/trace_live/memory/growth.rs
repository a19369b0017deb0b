//! Tables that grow while descriptors are passed.

use super::*;

/// Passes one file again and again until the table has grown twice.
fn grow(mut receive: impl FnMut(&OwnedFd, &mut Message)) -> Vec<Passed> {
    let (sender, receiver) = pair(SockType::Stream);
    let file = file();
    let mut passed = Vec::new();
    loop {
        passing::send(sender.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
        let mut control = [0_u64; 4];
        let mut message = Message::new(control.as_mut_ptr().cast(), passing::space(4));
        receive(&receiver, &mut message);
        let received = (control[2] & u64::from(u32::MAX)) as RawFd;
        passed.push((file.as_raw_fd(), Some(received)));
        if received > 260 {
            return passed;
        }
    }
}

#[test]
fn numbers_are_right_while_the_receivers_table_grows() {
    let _turn = take_turn!(tracing);
    expect_numbers(|| grow(|socket, message| assert_eq!(message.receive(socket), 1)));
    expect_numbers(|| {
        grow(|socket, message| {
            let mut batch = libc::mmsghdr {
                msg_hdr: message.header,
                msg_len: 0,
            };
            // SAFETY: the header's pointers are the message's.
            let received = unsafe {
                libc::recvmmsg(socket.as_raw_fd(), &raw mut batch, 1, 0, ptr::null_mut())
            };
            assert_eq!(received, 1);
        })
    });
}

#[test]
fn numbers_are_right_while_the_table_of_an_io_uring_grows() {
    let _turn = take_turn!(tracing);
    if IoUring::new(2).is_err() {
        return;
    }
    let (passed, traced) = play(|| {
        let mut ring = IoUring::new(2).unwrap();
        grow(|socket, message| {
            let entry =
                opcode::RecvMsg::new(types::Fd(socket.as_raw_fd()), &raw mut message.header);
            // SAFETY: the message outlives the call, which waits for the completion.
            unsafe { ring.submission().push(&entry.build()) }.unwrap();
            ring.submit_and_wait(1).unwrap();
            assert_eq!(ring.completion().next().unwrap().result(), 1);
        })
    });
    let seen = traced.iter().map(|transfer| {
        assert_eq!(transfer["fate"], "delivered", "{transfer}");
        number(&transfer["receiver"])
    });
    let received = passed.iter().map(|(_, received)| *received);
    assert!(seen.eq(received), "{traced:?}");
    // The sender's may be unknown, where io_uring might have sent instead.
    for transfer in &traced {
        let sent = number(&transfer["sender"]);
        assert!(sent.is_none_or(|fd| fd == passed[0].0), "{transfer}");
    }
}
