//! Sends that fail, each with its errno; and those that seem to, and are restarted.

use std::{ffi::CStr, ptr};

use fdtrace::passing::set_option;
use nix::{
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
        socket::SockType,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, getpid},
};

use super::{
    Play,
    ends::{address, bind, socket},
    letter::Letter,
    plays,
    stage::{
        KINDS, Pair, Played, child, close, file, files, go_to_new_folder, join, open,
        wait_until_blocked,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    data_cannot_be_read,
    part_of_the_data_cannot_be_read,
    queue_is_full,
    queue_stays_full_for_a_time,
    interrupted_by_a_signal,
    killed_in_a_full_queue,
    receiver_is_gone,
    receiver_reads_no_more,
    receiver_takes_no_descriptors,
    not_connected,
    number_is_not_open,
    address_is_not_there,
    address_is_no_socket,
    address_has_another_type,
    name_is_no_folder,
    too_much_for_a_datagram,
    more_than_may_be_sent,
    more_data_than_fits,
    restarted_after_signals,
    stopped_and_continued,
];

/// Sends it, and tells that it failed with this errno.
fn fail(letter: Letter, socket: i32, flags: i32, fd: i32, cause: &str) {
    let result = letter.send_with(socket, flags);
    let errno = result.expect_err("it cannot be sent");
    let same = format!("{errno:?}").to_lowercase() == cause;
    assert!(
        same || ["passrights", "too-many-fds"].contains(&cause),
        "{errno}"
    );
    Sent::under(fd).failed(cause);
}

const NOWHERE: *mut libc::c_void = ptr::without_provenance_mut(8);

fn data_cannot_be_read() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        let letter = Letter::with(&[file]);
        letter.set_data(NOWHERE, 10);
        fail(letter, pair.sender, 0, file, "efault");
    }
    Ok(())
}

/// Two places for data, of which the kernel cannot read the second.
fn half_readable(first: usize) -> &'static [libc::iovec] {
    let iovecs = vec![
        libc::iovec {
            iov_base: Vec::leak(vec![0_u8; first]).as_mut_ptr().cast(),
            iov_len: first,
        },
        libc::iovec {
            iov_base: NOWHERE,
            iov_len: 30_000,
        },
    ];
    Vec::leak(iovecs)
}

/// Of a stream, what comes before may have been sent with all descriptors.
fn part_of_the_data_cannot_be_read() -> Played {
    for kind in KINDS {
        for first in [1, 60_000] {
            let (pair, file) = (Pair::of(kind), file());
            let letter = Letter::with(&[file]);
            letter.set_iovecs(half_readable(first));
            match letter.send(pair.sender) {
                Ok(_) => Sent::under(file).delivered(pair.take()[0]),
                Err(_) => Sent::under(file).failed("efault"),
            }
        }
    }
    Ok(())
}

fn queue_is_full() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        pair.fill();
        fail(
            Letter::with(&[file]),
            pair.sender,
            libc::MSG_DONTWAIT,
            file,
            "eagain",
        );
    }
    Ok(())
}

fn queue_stays_full_for_a_time() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        pair.fill();
        let time = libc::timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        };
        // SAFETY: the kernel reads the time within its size.
        unsafe {
            let (at, len) = ((&raw const time).cast(), size_of_val(&time) as u32);
            libc::setsockopt(pair.sender, libc::SOL_SOCKET, libc::SO_SNDTIMEO, at, len);
        }
        fail(Letter::with(&[file]), pair.sender, 0, file, "eagain");
    }
    Ok(())
}

extern "C" fn do_nothing(_: i32) {}

fn handle_signals(flags: SaFlags) {
    let action = SigAction::new(SigHandler::Handler(do_nothing), flags, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("it can be handled");
}

/// Signals this process each time that it sleeps in a send.
fn interrupt(process: Pid, times: usize) {
    for _ in 0..times {
        wait_until_blocked(process.as_raw(), libc::SYS_sendmsg);
        kill(process, Signal::SIGUSR1).expect("it is there");
    }
}

/// What the call returned is made EINTR when the signal is handled, which may be after all hooks.
fn interrupted_by_a_signal() -> Played {
    handle_signals(SaFlags::empty());
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        pair.fill();
        let this = getpid();
        let other = child(|| interrupt(this, 1));
        let result = Letter::with(&[file]).send(pair.sender);
        assert_eq!(result, Err(nix::errno::Errno::EINTR));
        Sent::under(file).ended("failed", &["eintr"]);
        join(other);
    }
    Ok(())
}

/// Nobody ever sees what the call returned.
fn killed_in_a_full_queue() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        pair.fill();
        let sender = child(|| pair.send(file));
        wait_until_blocked(sender.as_raw(), libc::SYS_sendmsg);
        kill(sender, Signal::SIGKILL).expect("it is there");
        join(sender);
        Sent::under(file).by(sender.as_raw()).ended("failed", &[]);
    }
    Ok(())
}

fn receiver_is_gone() -> Played {
    for (kind, cause) in KINDS.into_iter().zip(["epipe", "econnrefused", "epipe"]) {
        let (pair, file) = (Pair::of(kind), file());
        close(pair.receiver);
        fail(Letter::with(&[file]), pair.sender, 0, file, cause);
    }
    Ok(())
}

fn receiver_reads_no_more() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        // SAFETY: it is a socket.
        unsafe { libc::shutdown(pair.receiver, libc::SHUT_RD) };
        fail(Letter::with(&[file]), pair.sender, 0, file, "epipe");
    }
    Ok(())
}

fn receiver_takes_no_descriptors() -> Played {
    const SO_PASSRIGHTS: i32 = 83;
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        if let Err(errno) = set_option(pair.receiver, SO_PASSRIGHTS, 0) {
            return Err(format!("SO_PASSRIGHTS: {errno}"));
        }
        fail(Letter::with(&[file]), pair.sender, 0, file, "passrights");
    }
    Ok(())
}

fn not_connected() -> Played {
    for kind in KINDS {
        let file = file();
        fail(Letter::with(&[file]), socket(kind), 0, file, "enotconn");
    }
    Ok(())
}

/// The files before it in the list have been taken, and are given back.
fn number_is_not_open() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        fail(Letter::with(&[file, 9999]), pair.sender, 0, file, "ebadf");
        // The number may be told too, as that of no file.
        let missing = Sent::of(0, None, 9999).optional();
        missing.ended("failed", &["ebadf"]);
    }
    Ok(())
}

/// Where a path is, or is not.
fn at_path(path: &CStr) -> &'static libc::sockaddr_un {
    let address: *mut libc::sockaddr_un = Box::leak(Box::new(*address("")));
    // SAFETY: the path is short, and the address is this function's own.
    unsafe {
        (*address).sun_path = [0; 108];
        for (to, from) in (*address).sun_path.iter_mut().zip(path.to_bytes()) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        &*address
    }
}

fn send_to(address: &'static libc::sockaddr_un, cause: &str) {
    let file = file();
    let letter = Letter::with(&[file]);
    letter.set_address(address);
    fail(letter, socket(SockType::Datagram), 0, file, cause);
}

fn address_is_not_there() -> Played {
    send_to(at_path(c"./none"), "enoent");
    send_to(address("none"), "econnrefused");
    Ok(())
}

fn address_is_no_socket() -> Played {
    go_to_new_folder();
    open("plain", libc::O_RDWR);
    send_to(at_path(c"./plain"), "econnrefused");
    Ok(())
}

fn address_has_another_type() -> Played {
    go_to_new_folder();
    bind(socket(SockType::Stream), at_path(c"./stream"));
    send_to(at_path(c"./stream"), "eprototype");
    Ok(())
}

/// Errnos of paths are as many as there are.
fn name_is_no_folder() -> Played {
    go_to_new_folder();
    open("plain", libc::O_RDWR);
    send_to(at_path(c"./plain/x"), "enotdir");
    std::os::unix::fs::symlink("loop", "loop").expect("it is not there");
    send_to(at_path(c"./loop"), "eloop");
    Ok(())
}

fn too_much_for_a_datagram() -> Played {
    for kind in [SockType::Datagram, SockType::SeqPacket] {
        let (pair, file) = (Pair::of(kind), file());
        let letter = Letter::with(&[file]);
        let data = Vec::leak(vec![0_u8; 4_000_000]);
        letter.set_data(data.as_mut_ptr().cast(), data.len());
        fail(letter, pair.sender, 0, file, "emsgsize");
    }
    Ok(())
}

/// 254 of one file, of which the trace need not tell each.
fn more_than_may_be_sent() -> Played {
    for kind in KINDS {
        let (pair, file) = (Pair::of(kind), file());
        let result = Letter::with(&[file; 254]).send(pair.sender);
        assert_eq!(result, Err(nix::errno::Errno::EINVAL));
        for _ in 0..254 {
            Sent::under(file)
                .optional()
                .ended("failed", &["too-many-fds"]);
        }
    }
    Ok(())
}

/// What was sent has the descriptors, though the call did not send all.
fn more_data_than_fits() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let letter = Letter::with(&[file]);
    let data = Vec::leak(vec![0_u8; 3_000_000]);
    letter.set_data(data.as_mut_ptr().cast(), data.len());
    let sent = letter.send_with(pair.sender, libc::MSG_DONTWAIT);
    assert!(sent.is_ok_and(|sent| sent < data.len()));
    Sent::under(file).delivered(pair.take()[0]);
    Ok(())
}

/// Sends from a full queue, while `disturb` has this process for as long as it likes.
fn send_disturbed(disturb: impl Fn(Pid)) {
    for kind in KINDS {
        let (pair, list) = (Pair::of(kind), files(2));
        pair.fill();
        let this = getpid();
        let sent: Vec<Sent> = list.iter().map(|fd| Sent::under(*fd)).collect();
        let receiver = child(|| {
            disturb(this);
            for (sent, came) in sent.into_iter().zip(pair.take()) {
                sent.delivered(came);
            }
        });
        pair.send_all(&list);
        join(receiver);
    }
}

/// One send, that the kernel begins again after each of five signals: one transfer.
fn restarted_after_signals() -> Played {
    handle_signals(SaFlags::SA_RESTART);
    send_disturbed(|process| interrupt(process, 5));
    Ok(())
}

fn stopped_and_continued() -> Played {
    send_disturbed(|process| {
        wait_until_blocked(process.as_raw(), libc::SYS_sendmsg);
        kill(process, Signal::SIGSTOP).expect("it is there");
        super::stage::wait_until("it has stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            stat.is_ok_and(|stat| stat.contains(") T "))
        });
        kill(process, Signal::SIGCONT).expect("it is there");
    });
    // Whoever started this play is told of neither.
    assert!(waitpid(None, Some(WaitPidFlag::WNOHANG)).is_err());
    Ok(())
}
