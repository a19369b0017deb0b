//! Ends of messages that nobody receives, or not as it seems: receives that fail and leave them, reads,
//! splices, closed sockets, garbage, processes that die in the middle.

use std::{mem, os::fd::RawFd, ptr};

use nix::{errno::Errno, sys::socket::SockType, unistd::getpid};

use super::{
    Play,
    fault::{PAGE, Pages, Watch},
    letter::{Letter, address_len},
    plays,
    stage::{
        Call, KINDS, Pair, Played, await_byte, check, child, close, dup, file, files, join, pidfd,
        pipe, read_data, send_data,
    },
    truth::{Due, Sent},
};

pub(super) const PLAYS: &[Play] = plays![
    receive_fails_and_the_message_stays,
    failed_receive_then_a_failed_send,
    failed_receive_then_another_thread_takes,
    read_and_spliced,
    received_without_a_control_buffer,
    received_without_data,
    sent_without_data,
    sent_with_an_urgent_byte,
    receiver_closed_with_a_full_queue,
    receiver_ended_with_a_full_queue,
    listener_closed_before_it_accepted,
    peer_changed_with_a_full_queue,
    only_in_flight_to_each_other,
    process_ends_in_the_middle_of_a_receive,
];

/// A receive whose data has no place to go: EFAULT.
fn receive_into_nowhere(socket: RawFd) {
    let letter = Letter::room(4);
    letter.set_data(ptr::without_provenance_mut(8), 1);
    assert!(letter.receive(socket, libc::MSG_DONTWAIT).is_err());
}

/// From a stream it can be received afterwards; a datagram is gone.
fn receive_fails_and_the_message_stays() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        pair.send(file);
        receive_into_nowhere(pair.receiver);
        let letter = Letter::room(4);
        match letter.receive(pair.receiver, libc::MSG_DONTWAIT) {
            Ok(_) => Sent::under(file).delivered(letter.numbers()[0]),
            Err(_) => Sent::under(file).ended("discarded", &["receive-failed", "efault"]),
        }
    }
    Ok(())
}

/// What the failed receive has left behind is not the end of what this thread does next: getting a
/// descriptor in another way, and a send that fails, or one that does not.
fn failed_receive_then_a_failed_send() -> Played {
    for turn in 0..4 {
        let (pair, other) = (Pair::stream(), Pair::stream());
        let (one, two) = (file(), file());
        pair.send(one);
        receive_into_nowhere(pair.receiver);
        if turn & 1 != 0 {
            get_again(two);
        }
        if turn & 2 != 0 {
            close(other.receiver);
            assert!(Letter::with(&[two]).send(other.sender).is_err());
            Sent::under(two).failed("epipe");
        } else {
            Sent::under(two).delivered(other.pass(two));
        }
        Sent::under(one).delivered(pair.take()[0]);
    }
    Ok(())
}

/// By `pidfd_getfd` from this process itself.
pub(super) fn get_again(fd: RawFd) {
    let this = pidfd(getpid());
    // SAFETY: it makes a new number.
    let again = unsafe { libc::syscall(libc::SYS_pidfd_getfd, this, fd, 0) };
    assert!(again >= 0);
}

fn failed_receive_then_another_thread_takes() -> Played {
    for turn in 0..3 {
        let (pair, one, two) = (Pair::stream(), file(), file());
        pair.send(one);
        pair.send(two);
        receive_into_nowhere(pair.receiver);
        match turn {
            1 => {
                let letter = Letter::room(4);
                letter.set_data(ptr::without_provenance_mut(8), 1);
                assert!(letter.receive(pair.receiver, libc::MSG_PEEK).is_err());
            }
            2 => get_again(two),
            _ => {}
        }
        let came = Call::begin(move || pair.take()[0]).end();
        Sent::under(one).delivered(came);
        Sent::under(two).delivered(pair.take()[0]);
    }
    Ok(())
}

/// Moves what is there into a pipe.
pub(super) fn splice(socket: RawFd) {
    let (_, writer) = pipe();
    let nowhere = ptr::null_mut();
    // SAFETY: null is for offsets that neither has.
    let moved = unsafe { libc::splice(socket, nowhere, writer, nowhere, 1, 0) };
    assert_eq!(moved, 1);
}

fn read_and_spliced() -> Played {
    let (pair, one, two, three) = (Pair::stream(), file(), file(), file());
    pair.send(one);
    splice(pair.receiver);
    Sent::under(one).ended("discarded", &["splice"]);
    pair.send(two);
    read_data(pair.receiver, 0).expect("it comes");
    Sent::under(two)
        .due(Due::Fate)
        .ended("discarded", &["plain-read"]);
    pair.send(three);
    await_byte(pair.receiver);
    Sent::under(three)
        .due(Due::Fate)
        .ended("discarded", &["plain-read"]);
    Ok(())
}

fn received_without_a_control_buffer() -> Played {
    for kind in KINDS {
        let (pair, one, two) = (Pair::of(kind), file(), file());
        for (fd, batch) in [(one, false), (two, true)] {
            pair.send(fd);
            let letter = Letter::room(0);
            let came = if batch {
                letter.receive_by_recvmmsg(pair.receiver)
            } else {
                letter.receive(pair.receiver, 0)
            };
            assert_eq!(came, Ok(1));
            Sent::under(fd).ended("truncated|discarded", &["no-control-room", "plain-read"]);
        }
    }
    Ok(())
}

/// A receive of no data takes the descriptors; of a stream, only if it does.
fn received_without_data() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        pair.send(file);
        let letter = Letter::room(4);
        letter.set_data(ptr::null_mut(), 0);
        letter.receive(pair.receiver, 0).expect("it is there");
        let mut came = letter.numbers();
        if came.is_empty() {
            came = pair.take();
        }
        Sent::under(file).delivered(came[0]);
    }
    Ok(())
}

/// A datagram without data carries its descriptors; a stream sends nothing, and says nothing.
fn sent_without_data() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        assert_eq!(Letter::with(&[file]).empty().send(pair.sender), Ok(0));
        if kind == SockType::Stream {
            Sent::under(file).ended("discarded", &["zero-length"]);
        } else {
            Sent::under(file).delivered(pair.take()[0]);
        }
    }
    Ok(())
}

/// Its descriptors do not come with the byte, and are gone when the stream goes on.
fn sent_with_an_urgent_byte() -> Played {
    let (pair, file) = (Pair::stream(), file());
    send_with_an_urgent_byte(pair, file);
    Ok(())
}

pub(super) fn send_with_an_urgent_byte(pair: Pair, file: RawFd) {
    if let Err(error) = Letter::with(&[file]).send_with(pair.sender, libc::MSG_OOB) {
        // Unix sockets know urgent data since 5.15.
        assert_eq!(error, Errno::EOPNOTSUPP);
        Sent::under(file).failed("eopnotsupp");
        return;
    }
    read_data(pair.receiver, libc::MSG_OOB).expect("it is there");
    send_data(pair.sender, b"z", 0).expect("there is room");
    read_data(pair.receiver, 0).expect("it is there");
    Sent::under(file).ended("discarded", &["oob"]);
}

fn receiver_closed_with_a_full_queue() -> Played {
    for kind in KINDS {
        let pair = Pair::of(kind);
        let list = files(3);
        list.iter().for_each(|fd| pair.send(*fd));
        close(pair.receiver);
        for fd in list {
            let sent = Sent::under(fd).due(Due::Fate);
            sent.ended("discarded", &["receiver-closed"]);
        }
    }
    Ok(())
}

fn receiver_ended_with_a_full_queue() -> Played {
    for kind in KINDS {
        let file = file();
        let process = child(|| Pair::of(kind).send(file));
        join(process);
        let sent = Sent::under(file).by(process.as_raw());
        sent.ended("discarded", &["receiver-closed"]);
    }
    Ok(())
}

/// An abstract address that nobody else has.
pub(super) fn address(name: &str) -> &'static libc::sockaddr_un {
    // SAFETY: any bytes are an address.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let name = format!("play-{}-{name}", getpid());
    for (to, from) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Box::leak(Box::new(address))
}

pub(super) fn socket(kind: SockType) -> RawFd {
    // SAFETY: it makes a new number.
    check(unsafe { libc::socket(libc::AF_UNIX, kind as i32, 0) }).expect("there are sockets")
}

type WithAddress =
    unsafe extern "C" fn(RawFd, *const libc::sockaddr, libc::socklen_t) -> libc::c_int;

fn call_with(call: WithAddress, socket: RawFd, address: &libc::sockaddr_un) -> nix::Result<i32> {
    // SAFETY: the address is one.
    check(unsafe { call(socket, ptr::from_ref(address).cast(), address_len(address)) })
}

pub(super) fn bind(socket: RawFd, to: &libc::sockaddr_un) {
    call_with(libc::bind, socket, to).expect("it is free");
}

pub(super) fn connect(socket: RawFd, to: &libc::sockaddr_un) {
    call_with(libc::connect, socket, to).expect("it is there");
}

pub(super) fn listen(socket: RawFd) {
    // SAFETY: it only marks the socket.
    check(unsafe { libc::listen(socket, 5) }).expect("it is bound");
}

fn listener_closed_before_it_accepted() -> Played {
    let (listener, sender, file) = (socket(SockType::Stream), socket(SockType::Stream), file());
    let address = address("listener");
    bind(listener, address);
    listen(listener);
    connect(sender, address);
    Letter::with(&[file]).send(sender).expect("it has a queue");
    close(listener);
    let sent = Sent::under(file).due(Due::Fate);
    sent.ended("discarded", &["listener-closed"]);
    Ok(())
}

/// A datagram socket that connects to another peer forgets what came before.
fn peer_changed_with_a_full_queue() -> Played {
    let (one, two, receiver, file) = (
        socket(SockType::Datagram),
        socket(SockType::Datagram),
        socket(SockType::Datagram),
        file(),
    );
    let addresses = ["one", "two", "receiver"].map(address);
    for (socket, address) in [one, two, receiver].into_iter().zip(addresses) {
        bind(socket, address);
    }
    connect(one, addresses[2]);
    connect(receiver, addresses[0]);
    Letter::with(&[file]).send(one).expect("it has a queue");
    connect(receiver, addresses[1]);
    let sent = Sent::under(file).due(Due::Fate);
    sent.ended("discarded", &["reconnect"]);
    Ok(())
}

/// Two sockets hold each other, and a pipe's end that shows when they are collected.
fn only_in_flight_to_each_other() -> Played {
    let (pair, (reader, writer)) = (Pair::stream(), pipe());
    let list = [writer, pair.sender, pair.receiver];
    let sent = list.map(|fd| Sent::under(fd).due(Due::Fate));
    pair.send_all(&list);
    list.into_iter().for_each(close);
    // Another pass has the kernel look for garbage.
    let other = Pair::stream();
    let spare = dup(other.sender);
    Sent::under(spare).delivered(other.pass(spare));
    close(other.sender);
    close(other.receiver);
    await_byte(reader);
    for sent in sent {
        sent.ended("collected", &["garbage-collector"]);
    }
    Ok(())
}

fn end_by_signal() {
    // SAFETY: it ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// One that does nothing.
fn become_another_program() {
    use std::os::unix::process::CommandExt as _;
    let mut program = std::process::Command::new("/proc/self/exe");
    program.arg("--list").env_remove(super::PLAYS);
    let error = program.stdout(std::process::Stdio::null()).exec();
    panic!("cannot become another program: {error}");
}

/// By itself, by a signal, and by another program: the receive has taken its message, and will never
/// write the number.
fn process_ends_in_the_middle_of_a_receive() -> Played {
    for end in [|| (), end_by_signal, become_another_program] {
        let (pair, list) = (Pair::stream(), files(2));
        let sent: Vec<Sent> = list.iter().map(|fd| Sent::under(*fd)).collect();
        Watch::on(Pages::new(1).at(0), 1)?;
        pair.send_all(&list);
        let process = child(|| {
            let pages = Pages::new(2);
            pages.touch(0);
            let watch = Watch::on(pages.at(PAGE), 1).expect("there was one before");
            let letter = Letter::room(0);
            letter.set_control_at(pages.at(PAGE - 16), 24);
            let _receiving = Call::begin(move || letter.receive(pair.receiver, 0));
            watch.wait();
            end();
        });
        join(process);
        for sent in sent {
            sent.ended("truncated|discarded|refused", &["efault", "receive-failed"]);
        }
        let next = file();
        Sent::under(next).delivered(pair.pass(next));
    }
    Ok(())
}
