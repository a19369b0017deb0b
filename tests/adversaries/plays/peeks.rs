//! Peeks: what they show, what they have no room for, and what comes of the message afterwards.

use std::{ptr, thread};

use fdtrace::passing::set_option;
use nix::sys::socket::SockType;

use super::{
    Play,
    letter::Letter,
    plays,
    stage::{
        Call, Pair, Played, close, dup, file, files, inode_of, limit_numbers, link_of, read_data,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    peeked_and_taken,
    peeked_with_room_for_one_of_two,
    peeked_with_room_for_all_but_one,
    peeked_without_room,
    peeked_into_nowhere,
    peeked_and_read,
    peeked_from_an_offset,
    peeked_by_threads_while_others_take,
];

const BOTH: [SockType; 2] = [SockType::Stream, SockType::Datagram];

/// Looks at a message, and says what of `list` came.
fn peek(pair: Pair, list: &[i32], room: usize) {
    let letter = Letter::exactly(room);
    letter
        .receive(pair.receiver, libc::MSG_PEEK)
        .expect("it is there");
    let numbers = letter.numbers();
    for (index, fd) in list.iter().enumerate() {
        match numbers.get(index) {
            Some(number) => Sent::under(*fd).peeked(*number),
            // The kernel said MSG_CTRUNC.
            None => Sent::under(*fd).ended("truncated", &["no-control-room"]),
        }
    }
}

fn take(pair: Pair, list: &[i32]) {
    for (fd, came) in list.iter().zip(pair.take()) {
        Sent::under(*fd).delivered(came);
    }
}

fn one_file_twice() -> [i32; 2] {
    let file = file();
    [file, dup(file)]
}

fn peeked_and_taken() -> Played {
    for kind in BOTH {
        let (pair, list) = (Pair::of(kind), one_file_twice());
        pair.send_all(&list);
        peek(pair, &list, 4);
        peek(pair, &list, 4);
        take(pair, &list);
    }
    Ok(())
}

fn peeked_with_room_for_one_of_two() -> Played {
    for kind in BOTH {
        let (pair, list) = (Pair::of(kind), [file(), file()]);
        pair.send_all(&list);
        peek(pair, &list, 1);
        take(pair, &list);
    }
    Ok(())
}

fn peeked_with_room_for_all_but_one() -> Played {
    limit_numbers(4096);
    let (pair, list) = (Pair::stream(), files(253));
    pair.send_all(&list);
    peek(pair, &list, 252);
    take(pair, &list);
    Ok(())
}

/// A receive that has no place for descriptors loses none by a peek. Whether that is told is the
/// trace's affair; that they were taken is not so.
fn peeked_without_room() -> Played {
    for kind in BOTH {
        let (pair, file) = (Pair::of(kind), file());
        pair.send(file);
        Letter::room(0)
            .receive(pair.receiver, libc::MSG_PEEK)
            .expect("it is there");
        read_data(pair.receiver, libc::MSG_PEEK).expect("it is there");
        for _ in 0..2 {
            let causes = ["no-control-room", "plain-read"];
            Sent::under(file)
                .optional()
                .ended("truncated|discarded", &causes);
        }
        take(pair, &[file]);
    }
    Ok(())
}

/// The peek fails with EFAULT.
fn peeked_into_nowhere() -> Played {
    for kind in BOTH {
        let (pair, file) = (Pair::of(kind), file());
        pair.send(file);
        let letter = Letter::room(4);
        letter.set_data(ptr::without_provenance_mut(8), 1);
        assert!(letter.receive(pair.receiver, libc::MSG_PEEK).is_err());
        take(pair, &[file]);
    }
    Ok(())
}

fn peeked_and_read() -> Played {
    for kind in BOTH {
        let (pair, list) = (Pair::of(kind), one_file_twice());
        pair.send_all(&list);
        peek(pair, &list, 4);
        read_data(pair.receiver, 0).expect("it is there");
        for fd in list {
            Sent::under(fd).ended("discarded", &["plain-read"]);
        }
    }
    Ok(())
}

/// SO_PEEK_OFF moves on with each peek, so each shows another message.
fn peeked_from_an_offset() -> Played {
    let (pair, list) = (Pair::stream(), files(3));
    set_option(pair.receiver, libc::SO_PEEK_OFF, 0).expect("streams have one");
    list.iter().for_each(|fd| pair.send(*fd));
    for fd in &list {
        let letter = Letter::room(4);
        letter
            .receive(pair.receiver, libc::MSG_PEEK)
            .expect("it is there");
        Sent::under(*fd).peeked(letter.numbers()[0]);
    }
    list.iter().for_each(|fd| take(pair, &[*fd]));
    Ok(())
}

/// Two threads peek as fast as they can at what a third takes.
fn peeked_by_threads_while_others_take() -> Played {
    limit_numbers(20_000);
    let pair = Pair::of(SockType::SeqPacket);
    let (sender, list) = (pair.sender, files(100));
    let peek_all = move || {
        let (mut peeked, letter) = (Vec::new(), Letter::exactly(4));
        loop {
            letter.set_control_len(32);
            match letter.receive(pair.receiver, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
                // Nobody sends any more.
                Ok(0) => return peeked,
                Ok(_) => peeked.extend(letter.numbers()),
                Err(_) => thread::yield_now(),
            }
        }
    };
    let peeking = [Call::begin(peek_all), Call::begin(peek_all)];
    for fd in &list {
        pair.send(*fd);
        take(pair, &[*fd]);
    }
    close(sender);
    for came in peeking.into_iter().flat_map(Call::end) {
        let sent = list.iter().find(|fd| inode_of(**fd) == inode_of(came));
        let sent = *sent.expect("it is one of them");
        Sent::of(inode_of(came), link_of(came), sent).peeked(came);
    }
    Ok(())
}
