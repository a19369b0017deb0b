//! Tables of descriptors that grow, are shared, are written by others at the same time, or belong to
//! a process with the number of another.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::socket::SockType,
    unistd::{Pid, getpid, gettid},
};

use super::{
    Play,
    letter::Letter,
    plays,
    ring::Ring,
    stage::{
        Call, Pair, Played, check, child, close, dup, dup2, file, file_at, files, inode_of,
        is_open, join, limit_numbers, link_of, relative, wait_until_blocked,
    },
    truth::{Due, Sent},
};

pub(super) const PLAYS: &[Play] = plays![
    table_grows_under_recvmsg,
    table_grows_under_recvmmsg,
    table_grows_under_a_ring,
    table_grows_under_lists_of_eight,
    table_grows_under_lists_of_eight_by_recvmmsg,
    holes_in_a_large_table,
    limit_reached_within_a_list,
    number_is_another_file_when_it_arrives,
    numbers_replaced_while_they_are_sent,
    numbers_closed_as_they_arrive,
    received_by_processes_that_share_the_table,
    received_by_one_that_has_left_the_table,
    sent_by_two_threads_at_once,
    sent_by_two_threads_in_turn,
    sent_and_received_when_the_first_thread_has_ended,
    received_by_another_program_of_the_process,
    received_after_a_thread_became_another_program,
    sent_by_processes_with_the_number_of_a_dead_one,
    sent_by_the_dead_and_by_the_new_owner_of_their_number,
];

type Receive = fn(&mut Ring, Letter, i32);

/// Receives the same files again and again, until the table has grown several times.
fn grow(list: usize, messages: usize, receive: Receive) -> Played {
    let pair = Pair::stream();
    let mut ring = Ring::new(8)?;
    let sent: Vec<i32> = (0..list as i32).map(|at| file_at(20 + at)).collect();
    for _ in 0..messages {
        pair.send_all(&sent);
        let letter = Letter::room(list + 1);
        receive(&mut ring, letter, pair.receiver);
        for (fd, came) in sent.iter().zip(letter.numbers()) {
            Sent::under(*fd).delivered(came);
        }
    }
    Ok(())
}

fn table_grows_under_recvmsg() -> Played {
    grow(1, 270, |_, letter, socket| {
        letter.receive(socket, 0).expect("it comes");
    })
}

fn table_grows_under_recvmmsg() -> Played {
    grow(1, 270, |_, letter, socket| {
        letter.receive_by_recvmmsg(socket).expect("it comes");
    })
}

fn table_grows_under_a_ring() -> Played {
    grow(1, 270, |ring, letter, socket| {
        ring.receive(letter, socket);
        assert_eq!(ring.end(), 1);
    })
}

fn table_grows_under_lists_of_eight() -> Played {
    grow(8, 34, |_, letter, socket| {
        letter.receive(socket, 0).expect("it comes");
    })
}

fn table_grows_under_lists_of_eight_by_recvmmsg() -> Played {
    grow(8, 34, |_, letter, socket| {
        letter.receive_by_recvmmsg(socket).expect("it comes");
    })
}

/// All numbers below 9000 are taken but for one, which is the first file's: the others come above.
fn holes_in_a_large_table() -> Played {
    const TOP: i32 = 9000;
    limit_numbers(10_000);
    let (pair, plain, list) = (Pair::stream(), file(), files(8));
    (0..TOP)
        .filter(|fd| !is_open(*fd))
        .for_each(|fd| dup2(plain, fd));
    for hole in [30, 4000, 8999, 64] {
        for fd in &list {
            file_at(*fd);
        }
        close(hole);
        pair.send_all(&list);
        let came = pair.take();
        assert_eq!(came[0], hole);
        for (fd, came) in list.iter().zip(&came) {
            Sent::under(*fd).delivered(*came);
        }
        came[1..].iter().copied().for_each(close);
        dup2(plain, hole);
    }
    Ok(())
}

fn limit_reached_within_a_list() -> Played {
    let (pair, list) = (Pair::stream(), files(4));
    pair.send_all(&list);
    let sent = list.iter().map(|fd| Sent::under(*fd)).collect::<Vec<_>>();
    let free: Vec<i32> = (0..).filter(|fd| !is_open(*fd)).take(2).collect();
    limit_numbers(free[1] as u64 + 1);
    let letter = Letter::room(9);
    letter.receive(pair.receiver, 0).expect("it comes");
    limit_numbers(1024);
    for (index, sent) in sent.into_iter().enumerate() {
        match free.get(index) {
            Some(number) => sent.delivered(*number),
            None => sent.ended("truncated|refused", &["rlimit-nofile"]),
        }
    }
    Ok(())
}

fn number_is_another_file_when_it_arrives() -> Played {
    let (pair, one) = (Pair::stream(), file());
    let sent = Sent::under(one);
    pair.send(one);
    file_at(one);
    sent.delivered(pair.take()[0]);
    Ok(())
}

/// Does `act` again and again until `body` is over.
fn meanwhile<T>(act: impl Fn() + Send + 'static, body: impl FnOnce() -> T) -> T {
    let ended = Arc::new(AtomicBool::new(false));
    let acting = Call::begin({
        let ended = Arc::clone(&ended);
        move || {
            while !ended.load(Ordering::Relaxed) {
                act();
            }
        }
    });
    let result = body();
    ended.store(true, Ordering::Relaxed);
    acting.end();
    result
}

/// Another thread puts one file and then the other under the number, as fast as it can.
fn numbers_replaced_while_they_are_sent() -> Played {
    let (pair, one, two) = (Pair::stream(), file(), file());
    let number = dup(one);
    let replace = move || {
        dup2(one, number);
        dup2(two, number);
    };
    meanwhile(replace, || {
        for _ in 0..500 {
            pair.send(number);
            let came = pair.take()[0];
            // Which of the two it was shows only now.
            Sent::of(inode_of(came), link_of(came), number).delivered(came);
            close(came);
        }
    });
    Ok(())
}

/// Another thread closes all that arrives, at once.
fn numbers_closed_as_they_arrive() -> Played {
    let pair = Pair::stream();
    (10..60).for_each(|fd| dup2(pair.sender, fd));
    let close_all = || {
        // SAFETY: nothing of the play's own is there.
        unsafe { libc::syscall(libc::SYS_close_range, 60, 4000, 0) };
    };
    meanwhile(close_all, || {
        let mut count = 0;
        while count < 200 {
            // SAFETY: it makes a new number, which may be closed before it is duplicated.
            unsafe {
                let new = libc::memfd_create(c"closed".as_ptr(), 0);
                if new < 0 || libc::dup2(new, 59) < 0 {
                    continue;
                }
            }
            let sent = Sent::of(inode_of(59), None, 59);
            pair.send(59);
            sent.delivered(pair.take()[0]);
            count += 1;
        }
    });
    Ok(())
}

/// Processes of their own with this one's table and, some of them, its memory; some find the message
/// there, and some wait for it.
fn received_by_processes_that_share_the_table() -> Played {
    for (flags, waits) in [
        (libc::CLONE_FILES, false),
        (libc::CLONE_FILES, true),
        (libc::CLONE_FILES | libc::CLONE_VM, false),
        (libc::CLONE_FILES | libc::CLONE_VM, true),
    ] {
        let (pair, file) = (Pair::stream(), file());
        let sent = Sent::under(file);
        if !waits {
            pair.send(file);
        }
        let receiver = relative(flags, move || sent.delivered(pair.take()[0]));
        if waits {
            wait_until_blocked(receiver.as_raw(), libc::SYS_recvmsg);
            pair.send(file);
        }
        join(receiver);
    }
    Ok(())
}

/// A thread with a table of its own, in which numbers are free that are taken in its process's.
fn received_by_one_that_has_left_the_table() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let sent = Sent::under(file);
    pair.send(file);
    let receiving = Call::begin(move || {
        // SAFETY: this thread alone is concerned.
        check(unsafe { libc::unshare(libc::CLONE_FILES) }).expect("it may leave");
        close(file);
        pair.take()[0]
    });
    sent.delivered(receiving.end());
    Ok(())
}

fn sent_by_two_threads_at_once() -> Played {
    let pair = Pair::stream();
    for _ in 0..10 {
        let files = [file(), file()];
        let spares = files.map(dup);
        let sending = files.map(|fd| Call::begin(move || pair.send(fd)));
        sending.into_iter().for_each(Call::end);
        for came in [pair.take()[0], pair.take()[0]] {
            let sent = files.into_iter().find(|fd| inode_of(*fd) == inode_of(came));
            Sent::under(sent.expect("it is one of them")).delivered(came);
            close(came);
        }
        files.into_iter().chain(spares).for_each(close);
    }
    Ok(())
}

/// Which thread it was may be in doubt; whose table it was, and the number in it, may not.
fn sent_by_two_threads_in_turn() -> Played {
    let pair = Pair::stream();
    let send = move || {
        let file = file();
        let spare = dup(file);
        let sent = Sent::under(file).due(Due::Sender);
        pair.send(file);
        close(file);
        close(spare);
        sent
    };
    for turn in 0..20 {
        let sent = if turn % 2 == 0 {
            send()
        } else {
            Call::begin(send).end()
        };
        sent.delivered(pair.take()[0]);
    }
    Ok(())
}

/// The first thread of the process is gone; its number is still the process's.
fn sent_and_received_when_the_first_thread_has_ended() -> Played {
    let pair = Pair::stream();
    let process = child(|| {
        let first = gettid().as_raw();
        Call::begin(move || {
            super::stage::wait_until("the first thread has ended", || {
                let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|it| it.starts_with('Z'))
            });
            let file = file();
            Sent::under(file).delivered(pair.pass(file));
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        });
        // SAFETY: ends this thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    join(process);
    Ok(())
}

/// Tells a program that this one becomes what to receive, and from where.
const RECEIVE: &str = "FDTRACE_PLAYS_RECEIVE";

/// If this is such a program, does what it is for.
pub(super) fn receive_if_asked() {
    let Ok(asked) = std::env::var(RECEIVE) else {
        return;
    };
    let (socket, sent) = asked.split_once(' ').expect("a socket, and what was sent");
    let receiver = socket.parse().expect("it is a number");
    let sent: Sent = serde_json::from_str(sent).expect("it was written so");
    let pair = Pair {
        sender: -1,
        receiver,
    };
    sent.delivered(pair.take()[0]);
    std::process::exit(0);
}

/// Becomes this program anew, which receives what is in the socket's queue.
fn become_receiver(pair: Pair, sent: &Sent) -> ! {
    use std::os::unix::process::CommandExt as _;
    let sent = serde_json::to_string(sent).expect("it can be written");
    let error = std::process::Command::new("/proc/self/exe")
        .env(RECEIVE, format!("{} {sent}", pair.receiver))
        .exec();
    panic!("cannot become another program: {error}");
}

fn received_by_another_program_of_the_process() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let sent = Sent::under(file);
    pair.send(file);
    become_receiver(pair, &sent)
}

/// It has the process's number from then on.
fn received_after_a_thread_became_another_program() -> Played {
    let (pair, file) = (Pair::stream(), file());
    let sent = Sent::under(file);
    pair.send(file);
    Call::begin(move || become_receiver(pair, &sent)).end()
}

/// A process with this number, if it is given and free.
fn child_with_number(wanted: Option<Pid>, act: impl FnOnce()) -> Result<Pid, String> {
    let number = wanted.map_or(0, Pid::as_raw);
    // SAFETY: as for fork; the arguments are read only.
    let pid = unsafe {
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.exit_signal = libc::SIGCHLD as u64;
        if wanted.is_some() {
            arguments.set_tid = (&raw const number) as u64;
            arguments.set_tid_size = 1;
        }
        let size = size_of::<libc::clone_args>();
        libc::syscall(libc::SYS_clone3, &raw const arguments, size)
    };
    match check(pid as i32) {
        Ok(0) => {
            act();
            // SAFETY: ends this process and nothing else.
            unsafe { libc::_exit(0) }
        }
        Ok(pid) => Ok(Pid::from_raw(pid)),
        Err(errno) => Err(format!("clone3 with a number: {errno}")),
    }
}

/// Waits until what the kernel frees later has been freed, or nearly so.
fn let_the_kernel_forget() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    for _ in 0..3 {
        // SAFETY: it only waits for every CPU.
        unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    }
}

/// Each process has the number of the one before, which has just died; every second one does nothing
/// before the dead one's memory is freed.
fn sent_by_processes_with_the_number_of_a_dead_one() -> Played {
    let mut number = None;
    for turn in 0..12 {
        let (pair, file) = (Pair::stream(), file());
        let process = child_with_number(number, || {
            if turn % 2 == 1 {
                let_the_kernel_forget();
            }
            Sent::under(file).delivered(pair.pass(file));
        })?;
        join(process);
        number = Some(process);
    }
    Ok(())
}

/// What the dead one sent is received while another process has its number, and sends too.
fn sent_by_the_dead_and_by_the_new_owner_of_their_number() -> Played {
    let mut number = None;
    for _ in 0..4 {
        let (pair, one, two) = (Pair::of(SockType::SeqPacket), file(), file());
        let first = child_with_number(number, || pair.send(one))?;
        join(first);
        let second = child_with_number(Some(first), || pair.send(two))?;
        for fd in [one, two] {
            let sent = Sent::under(fd).by(second.as_raw());
            sent.due(Due::Fate).delivered(pair.take()[0]);
        }
        join(second);
        number = Some(first);
    }
    assert_ne!(number, Some(getpid()));
    Ok(())
}
