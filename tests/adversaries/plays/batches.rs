//! Messages that are many, long, or not as `sendmsg` of one list makes them: several control
//! messages, `sendmmsg`, full lists, 32-bit calls.

use fdtrace::passing::{credentials, rights, set_option};
use nix::unistd::getpid;

use super::{
    Play, compat,
    letter::{Letter, send_batch},
    plays,
    stage::{
        KINDS, Pair, Played, close, dup, dup2, file, file_at, files, limit_numbers, open_there,
        pidfd, send_data,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    credentials_before_the_descriptor,
    a_control_message_for_each_descriptor,
    the_receiver_gets_more_than_descriptors,
    twenty_four_messages_of_two_files,
    duplicate_beyond_the_sixteenth_message,
    duplicate_behind_credentials_in_a_batch,
    descriptors_of_all_kinds,
    receive_ends_at_the_second_list,
    one_file_twice_with_room_for_one,
    full_lists_at_once,
    full_lists_against_the_limit,
    calls_of_thirty_two_bits,
    receives_of_thirty_two_bits,
];

/// Credentials of this process, `count` times, and then the descriptor.
fn behind_credentials(count: usize, fd: i32) -> Letter {
    // SAFETY: they only ask.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let pid = getpid().as_raw();
    let one = credentials(&libc::ucred { pid, uid, gid });
    let mut control = one.repeat(count);
    control.extend(rights(&[&[fd]]));
    Letter::with_control(&control)
}

fn credentials_before_the_descriptor() -> Played {
    for count in 0..8 {
        let (pair, file) = (Pair::stream(), file());
        let letter = behind_credentials(count, file);
        letter.send(pair.sender).expect("somebody receives it");
        Sent::under(file).delivered(pair.take()[0]);
    }
    Ok(())
}

fn a_control_message_for_each_descriptor() -> Played {
    for count in 1..10 {
        let (pair, list) = (Pair::stream(), files(count));
        let parts: Vec<&[i32]> = list.chunks(1).collect();
        let letter = Letter::with_control(&rights(&parts));
        letter.send(pair.sender).expect("somebody receives it");
        for (fd, came) in list.iter().zip(pair.take()) {
            Sent::under(*fd).delivered(came);
        }
    }
    Ok(())
}

/// Credentials, a pidfd, a label and the time come before the descriptors, where there are such.
fn the_receiver_gets_more_than_descriptors() -> Played {
    const SO_PASSPIDFD: i32 = 76;
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        let options = [libc::SO_PASSCRED, SO_PASSPIDFD, libc::SO_TIMESTAMP];
        for option in options.into_iter().chain([libc::SO_PASSSEC]) {
            // A kernel that has no such option sends no such message.
            let _ = set_option(pair.receiver, option, 1);
        }
        pair.send(file);
        Sent::under(file).delivered(pair.take()[0]);
    }
    Ok(())
}

/// Sends these by one `sendmmsg`, and receives them one by one.
fn send_by_sendmmsg(list: &[i32]) {
    let pair = Pair::of(nix::sys::socket::SockType::SeqPacket);
    let letters: Vec<Letter> = list.iter().map(|fd| Letter::with(&[*fd])).collect();
    send_batch(pair.sender, &letters);
    for fd in list {
        Sent::under(*fd).delivered(pair.take()[0]);
    }
}

fn twenty_four_messages_of_two_files() -> Played {
    let (one, two) = (file(), file());
    let list: Vec<i32> = (0..24)
        .map(|at| dup(if at < 12 { one } else { two }))
        .collect();
    send_by_sendmmsg(&list);
    Ok(())
}

/// The 19th message has the first one's file, under another number.
fn duplicate_beyond_the_sixteenth_message() -> Played {
    let mut list = files(20);
    list[18] = dup(list[0]);
    send_by_sendmmsg(&list);
    Ok(())
}

/// Two messages of one file; of one, the descriptors are the second control message.
fn duplicate_behind_credentials_in_a_batch() -> Played {
    let (pair, file) = (Pair::of(KINDS[2]), file());
    let other = dup(file);
    send_batch(
        pair.sender,
        &[Letter::with(&[file]), behind_credentials(1, other)],
    );
    Sent::under(file).delivered(pair.take()[0]);
    Sent::under(other).delivered(pair.take()[0]);
    Ok(())
}

fn descriptors_of_all_kinds() -> Played {
    let pair = Pair::stream();
    let list = [
        open_there("/proc/self/exe", libc::O_PATH),
        pair.sender,
        pair.receiver,
        pidfd(getpid()),
    ];
    pair.send_all(&list);
    for (fd, came) in list.into_iter().zip(pair.take()) {
        Sent::under(fd).delivered(came);
    }
    Ok(())
}

/// A receive that waits for all data ends where the next list begins.
fn receive_ends_at_the_second_list() -> Played {
    let (pair, one, two) = (Pair::stream(), file(), file());
    send_data(pair.sender, b"aaa", 0).expect("there is room");
    pair.send(one);
    pair.send(two);
    let letter = Letter::room(4);
    letter
        .receive(pair.receiver, libc::MSG_WAITALL)
        .expect("it comes");
    Sent::under(one).delivered(letter.numbers()[0]);
    Sent::under(two).delivered(pair.take()[0]);
    Ok(())
}

fn one_file_twice_with_room_for_one() -> Played {
    for same in [true, false] {
        let (pair, one, two) = (Pair::stream(), file(), file());
        let second = if same { one } else { two };
        pair.send_all(&[one, second]);
        let letter = Letter::exactly(1);
        letter.receive_by_recvmmsg(pair.receiver).expect("it comes");
        Sent::under(one).delivered(letter.numbers()[0]);
        Sent::under(second).ended("truncated", &["no-control-room"]);
    }
    Ok(())
}

const FULL: usize = 253;

/// Other files under the same numbers, each time.
fn renew(list: &[i32]) {
    for fd in list {
        file_at(*fd);
    }
}

/// Receives all 253 and says so; those that found no number have `missing` as their cause.
fn take_full_list(pair: Pair, list: &[i32], missing: &str) {
    let sent: Vec<Sent> = list.iter().map(|fd| Sent::under(*fd)).collect();
    let letter = Letter::room(FULL);
    letter.receive(pair.receiver, 0).expect("it comes");
    limit_numbers(4096);
    let numbers = letter.numbers();
    for (index, sent) in sent.into_iter().enumerate() {
        match numbers.get(index) {
            Some(number) => sent.delivered(*number),
            None => sent.ended("truncated|refused", &[missing]),
        }
    }
    numbers.into_iter().for_each(close);
}

fn full_lists_at_once() -> Played {
    limit_numbers(4096);
    let (pair, list) = (Pair::stream(), files(FULL));
    for _ in 0..3 {
        renew(&list);
        pair.send_all(&list);
        take_full_list(pair, &list, "none is missing");
    }
    Ok(())
}

/// The receiver may have no number at all, ten, or twenty.
fn full_lists_against_the_limit() -> Played {
    limit_numbers(4096);
    let (pair, list) = (Pair::stream(), files(FULL));
    let above = *list.last().expect("it is full") as u64 + 1;
    for limit in [0, above + 10, above + 20] {
        renew(&list);
        pair.send_all(&list);
        limit_numbers(limit);
        take_full_list(pair, &list, "rlimit-nofile");
    }
    Ok(())
}

/// Each way of sending that a 32-bit process has, with one file that had another number before.
fn calls_of_thirty_two_bits() -> Played {
    compat::try_call()?;
    for way in compat::SENDS {
        let (pair, file) = (Pair::datagram(), file());
        let other = dup(file);
        pair.send(file);
        compat::send(way, pair.sender, other);
        pair.send(file);
        for fd in [file, other, file] {
            Sent::under(fd).delivered(pair.take()[0]);
        }
    }
    Ok(())
}

fn receives_of_thirty_two_bits() -> Played {
    compat::try_call()?;
    for way in compat::RECEIVES {
        let (pair, file) = (Pair::datagram(), file());
        pair.send(file);
        // Beside it, another number of the file becomes free and is taken.
        let spare = dup(file);
        dup2(pair.sender, spare);
        Sent::under(file).delivered(compat::receive(way, pair.receiver));
    }
    Ok(())
}
