//! io_uring: calls that end as task work inside another call of the thread, in workers of the
//! kernel's, or in no call at all.

use io_uring::{opcode, squeue::Flags, types};
use nix::unistd::{Pid, getpid};

use super::{
    Play,
    fault::{PAGE, Pages},
    letter::{Letter, Slot},
    plays,
    ring::{Ring, receive_entry, send_entry},
    stage::{
        KINDS, Pair, Played, child, close, dup, file, files, join, read_data, send_data,
        wait_until_blocked,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    received_inside_a_recvmsg_without_room,
    received_inside_a_recvmsg_with_room,
    received_inside_a_recv,
    received_inside_a_read,
    received_inside_a_sendmsg,
    sent_inside_a_sendmsg_of_the_same_file,
    sent_between_failing_sends_of_the_same_file,
    failed_inside_a_sendmsg,
    received_by_rings_that_take_none,
    sent_and_received_by_workers,
    sent_and_received_by_a_polling_thread,
    received_into_provided_buffers,
    forty_at_once,
];

/// This process waits in `call` for `outer`, and meanwhile its ring receives a file.
fn receive_inside(number: i64, call: impl FnOnce(Pair)) -> Played {
    let (pair, outer, file) = (Pair::stream(), Pair::stream(), file());
    let mut ring = Ring::new(8)?;
    let received = ring.notification();
    let this = getpid();
    let sender = child(|| {
        wait_until_blocked(this.as_raw(), number);
        pair.send(file);
        received.wait();
        send_data(outer.sender, b"yz", 0).expect("there is room");
    });
    let sent = Sent::under(file).by(sender.as_raw());
    close(file);
    let letter = Letter::room(4);
    ring.receive(letter, pair.receiver);
    call(outer);
    assert_eq!(ring.end(), 1);
    sent.delivered(letter.numbers()[0]);
    join(sender);
    Ok(())
}

fn received_inside_a_recvmsg_without_room() -> Played {
    receive_inside(libc::SYS_recvmsg, |outer| {
        Letter::room(0)
            .receive(outer.receiver, 0)
            .expect("it comes");
    })
}

fn received_inside_a_recvmsg_with_room() -> Played {
    receive_inside(libc::SYS_recvmsg, |outer| {
        Letter::room(4)
            .receive(outer.receiver, 0)
            .expect("it comes");
    })
}

fn received_inside_a_recv() -> Played {
    receive_inside(libc::SYS_recvfrom, |outer| {
        read_data(outer.receiver, 0).expect("it comes");
    })
}

fn received_inside_a_read() -> Played {
    receive_inside(libc::SYS_read, |outer| {
        super::stage::await_byte(outer.receiver);
    })
}

/// It waits for room instead.
fn received_inside_a_sendmsg() -> Played {
    let (pair, outer, file) = (Pair::stream(), Pair::stream(), file());
    outer.fill();
    let mut ring = Ring::new(8)?;
    let received = ring.notification();
    let this = getpid();
    let sender = child(|| {
        wait_until_blocked(this.as_raw(), libc::SYS_sendmsg);
        pair.send(file);
        received.wait();
        while read_data(outer.receiver, libc::MSG_DONTWAIT).is_ok() {}
    });
    let sent = Sent::under(file).by(sender.as_raw());
    close(file);
    let letter = Letter::room(4);
    ring.receive(letter, pair.receiver);
    Letter::with(&[])
        .send(outer.sender)
        .expect("there is room at last");
    assert_eq!(ring.end(), 1);
    sent.delivered(letter.numbers()[0]);
    join(sender);
    Ok(())
}

/// A child that receives two messages with descriptors, which say whether the ring sent them.
fn receive_two(pair: Pair, sent: [Sent; 2], after: impl FnOnce()) -> Pid {
    child(|| {
        after();
        let [by_call, by_ring] = sent;
        for _ in 0..2 {
            let (data, numbers) = pair.take_with_data();
            let sent = if data == b'u' { &by_ring } else { &by_call };
            sent.clone().delivered(numbers[0]);
        }
    })
}

/// A `sendmsg` waits for room, and so does a send by the ring, of the same file under another
/// number.
fn sent_inside_a_sendmsg_of_the_same_file() -> Played {
    let (pair, file) = (Pair::datagram(), file());
    let other = dup(file);
    pair.fill();
    let mut ring = Ring::new(8)?;
    ring.send(Letter::with(&[other]).saying(b'u'), pair.sender);
    let this = getpid();
    let sent = [Sent::under(file), Sent::under(other)];
    let receiver = receive_two(pair, sent, || {
        wait_until_blocked(this.as_raw(), libc::SYS_sendmsg);
    });
    let letter = Letter::with(&[file]).saying(b's');
    letter.send(pair.sender).expect("there is room at last");
    assert_eq!(ring.end(), 1);
    join(receiver);
    Ok(())
}

/// Sends that find no room fail one after the other, until one does not; the ring's comes between.
/// Nothing of the failed ones is a second transfer of the one that the ring made.
fn sent_between_failing_sends_of_the_same_file() -> Played {
    let (pair, file) = (Pair::datagram(), file());
    let other = dup(file);
    pair.fill();
    let mut ring = Ring::new(8)?;
    ring.send(Letter::with(&[other]).saying(b'u'), pair.sender);
    let (reader, writer) = super::stage::pipe();
    let sent = [Sent::under(file), Sent::under(other)];
    let receiver = receive_two(pair, sent, || super::stage::await_byte(reader));
    let letter = Letter::with(&[file]).saying(b's');
    let mut failed = 0;
    while letter.send_with(pair.sender, libc::MSG_DONTWAIT).is_err() {
        failed += 1;
        if failed == 3 {
            super::stage::give_byte(writer);
        }
    }
    for _ in 0..failed {
        Sent::under(file).ended("failed", &["eagain"]);
    }
    assert_eq!(ring.end(), 1);
    join(receiver);
    Ok(())
}

/// What fails is a send by the ring, which had no descriptors; the `sendmsg` around it goes on.
fn failed_inside_a_sendmsg() -> Played {
    let (pair, other, file) = (Pair::datagram(), Pair::stream(), file());
    pair.fill();
    other.fill();
    let mut ring = Ring::new(8)?;
    let failed = ring.notification();
    ring.send(Letter::with(&[]), other.sender);
    let this = getpid();
    let sent = Sent::under(file);
    let receiver = child(|| {
        close(other.sender);
        wait_until_blocked(this.as_raw(), libc::SYS_sendmsg);
        close(other.receiver);
        failed.wait();
        sent.delivered(pair.take()[0]);
    });
    close(other.receiver);
    pair.send(file);
    assert_eq!(ring.end(), -libc::EPIPE);
    join(receiver);
    Ok(())
}

/// By `recvmsg` without a control buffer, and by `recv`.
fn received_by_rings_that_take_none() -> Played {
    let mut ring = Ring::new(8)?;
    for flags in [Flags::empty(), Flags::ASYNC] {
        let (pair, one, two) = (Pair::stream(), file(), file());
        pair.send(one);
        ring.submit(&receive_entry(Letter::room(0), pair.receiver).flags(flags));
        assert_eq!(ring.end(), 1);
        Sent::under(one).ended("truncated|discarded", &["no-control-room", "plain-read"]);
        pair.send(two);
        let data = Pages::new(1).at(0);
        let entry = opcode::Recv::new(types::Fd(pair.receiver), data, 9).build();
        ring.submit(&entry.flags(flags));
        assert_eq!(ring.end(), 1);
        Sent::under(two).ended("discarded|truncated", &["plain-read"]);
    }
    Ok(())
}

fn sent_and_received_by_workers() -> Played {
    let mut ring = Ring::new(8)?;
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        let letter = Letter::room(4);
        ring.submit(&send_entry(Letter::with(&[file]), pair.sender).flags(Flags::ASYNC));
        assert_eq!(ring.end(), 1);
        ring.receive_by_worker(letter, pair.receiver);
        assert_eq!(ring.end(), 1);
        Sent::under(file).delivered(letter.numbers()[0]);
    }
    Ok(())
}

/// On sockets that are named by their places in the ring's own table.
fn sent_and_received_by_a_polling_thread() -> Played {
    let pair = Pair::stream();
    let mut ring = Ring::polled(8, &[pair.sender, pair.receiver])?;
    for _ in 0..5 {
        let (file, letter) = (file(), Letter::room(4));
        ring.submit(&send_entry(Letter::with(&[file]), 0).flags(Flags::FIXED_FILE));
        assert_eq!(ring.end(), 1);
        ring.submit(&receive_entry(letter, 1).flags(Flags::FIXED_FILE));
        assert_eq!(ring.end(), 1);
        Sent::under(file).delivered(letter.numbers()[0]);
    }
    Ok(())
}

/// One receive for all messages, with the control messages in buffers that the kernel chooses.
fn received_into_provided_buffers() -> Played {
    const COUNT: u16 = 8;
    let (pair, mut ring) = (Pair::stream(), Ring::new(8)?);
    let buffers = Pages::new(COUNT.into());
    let len = PAGE as i32;
    ring.submit(&opcode::ProvideBuffers::new(buffers.at(0), len, COUNT, 1, 0).build());
    assert_eq!(ring.end(), 0);
    let letter = Letter::room_of(32);
    ring.submit(&opcode::RecvMsgMulti::new(types::Fd(pair.receiver), letter.header(), 1).build());
    for _ in 0..4 {
        let file = file();
        pair.send(file);
        let (_, result, flags) = ring.end_of();
        if result == -libc::EINVAL {
            return Err("no receives of many messages".to_owned());
        }
        assert!(result > 0, "{result}");
        // Behind the header of 16 bytes and that of the control message.
        let number = buffers.at((flags >> 16) as usize * PAGE + 16 + 16);
        Sent::under(file).delivered(Slot::of(number).get());
    }
    Ok(())
}

/// Forty receives wait, some in workers, and forty sends come in any order.
fn forty_at_once() -> Played {
    let (pair, list) = (Pair::of(KINDS[2]), files(40));
    let mut ring = Ring::new(128)?;
    let letters: Vec<Letter> = list.iter().map(|_| Letter::room(4)).collect();
    let flags = |every: usize, at: usize| match at % every {
        0 => Flags::ASYNC,
        _ => Flags::empty(),
    };
    let each = || list.iter().zip(&letters).zip(0_u8..);
    let receives = each().map(|((_, letter), at)| {
        let entry = receive_entry(*letter, pair.receiver).flags(flags(3, at.into()));
        entry.user_data(u64::from(at))
    });
    ring.submit_all(&receives.collect::<Vec<_>>());
    let sends = each().map(|((fd, _), at)| {
        let entry = send_entry(Letter::with(&[*fd]).saying(at), pair.sender);
        entry.flags(flags(2, at.into())).user_data(u64::MAX)
    });
    ring.submit_all(&sends.collect::<Vec<_>>());
    for _ in 0..2 * list.len() {
        let (which, result, _) = ring.end_of();
        assert_eq!(result, 1);
        if let Some(letter) = letters.get(usize::try_from(which).unwrap_or(usize::MAX)) {
            let fd = list[usize::from(letter.data())];
            Sent::under(fd).delivered(letter.numbers()[0]);
        }
    }
    Ok(())
}
