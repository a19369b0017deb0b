//! What fdtrace has room for: as many calls under way at once as use up a kernel's kretprobes,
//! threads that leave something behind, storms that lose records or overtake each other.
//!
//! By tracepoints and trampolines most of it is nothing special.

use std::{
    ptr,
    sync::{Arc, Barrier},
    thread,
};

use nix::{sys::socket::SockType, unistd::getpid};

use super::{
    Play,
    ends::{send_with_an_urgent_byte, socket, splice},
    fault::{PAGE, Pages, Watch},
    letter::{Letter, Slot},
    plays,
    stage::{
        Call, KINDS, Pair, Played, child, close, dup, file, files, join, limit_numbers, pidfd,
        read_data, send_data,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    passes_while_many_receives_stand_still,
    two_numbers_of_one_file_as_receives_go_on,
    two_files_as_receives_go_on,
    passes_while_many_datagrams_wait,
    passes_while_many_streams_wait,
    ends_while_many_streams_wait,
    ends_while_many_datagrams_wait,
    ends_of_streams,
    ends_of_datagrams,
    send_unseen_then_another_that_fails,
    receive_stands_still_while_thousands_fail,
    descriptor_given_by_a_supervisor,
    storm_of_all_ends,
    storm_across_processors,
    lists_of_one_file_against_urgent_threads,
];

/// More than a kernel has kretprobes for, with two processors.
const MANY: usize = 64;

/// Receives that stand still where their control message's number is written.
struct Held {
    watch: Watch,
    pages: Pages,
    receives: Vec<(i32, Call<nix::Result<usize>>)>,
}

impl Held {
    fn new() -> Result<Self, String> {
        let pages = Pages::new(2 * MANY);
        let watch = Watch::on(pages.at(0), 2 * MANY)?;
        let mut receives = Vec::new();
        for index in 0..MANY {
            let (pair, file) = (Pair::stream(), file());
            watch.release(pages.at(2 * index * PAGE));
            pair.send(file);
            let letter = Letter::room(0);
            letter.set_control_at(pages.at((2 * index + 1) * PAGE - 16), 24);
            let receive = Call::begin(move || letter.receive(pair.receiver, 0));
            watch.wait();
            receives.push((file, receive));
        }
        Ok(Self {
            watch,
            pages,
            receives,
        })
    }

    fn release(self) {
        for index in 0..MANY {
            self.watch.release(self.pages.at((2 * index + 1) * PAGE));
        }
        for (index, (file, receive)) in self.receives.into_iter().enumerate() {
            receive.end().expect("it comes");
            let number = Slot::of(self.pages.at((2 * index + 1) * PAGE)).get();
            Sent::under(file).delivered(number);
        }
    }
}

fn pass_list(list: &[i32]) {
    let pair = Pair::stream();
    pair.send_all(list);
    for (fd, came) in list.iter().zip(pair.take()) {
        Sent::under(*fd).delivered(came);
    }
}

fn passes_while_many_receives_stand_still() -> Played {
    let held = Held::new()?;
    (0..20).for_each(|_| pass_list(&files(5)));
    held.release();
    (0..5).for_each(|_| pass_list(&files(1)));
    Ok(())
}

/// A receive of two: its first number is written while the kretprobes are used up, and its second
/// when there are some again.
fn receive_as_others_go_on(list: [i32; 2]) -> Played {
    let held = Held::new()?;
    let (pair, pages) = (Pair::stream(), Pages::new(2));
    let watch = Watch::on(pages.at(0), 2)?;
    watch.release(pages.at(0));
    pair.send_all(&list);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 20), 24);
    let receiving = Call::begin(move || {
        letter.receive(pair.receiver, 0).expect("it comes");
        // What this thread does next.
        pass_list(&files(1));
    });
    watch.wait();
    held.release();
    watch.release(pages.at(PAGE));
    receiving.end();
    for (index, fd) in list.into_iter().enumerate() {
        Sent::under(fd).delivered(Slot::of(pages.at(PAGE - 4 + 4 * index)).get());
    }
    Ok(())
}

fn two_numbers_of_one_file_as_receives_go_on() -> Played {
    let file = file();
    receive_as_others_go_on([file, dup(file)])
}

fn two_files_as_receives_go_on() -> Played {
    receive_as_others_go_on([file(), file()])
}

/// Sends that wait in full queues.
struct Waiting(Vec<(Pair, i32, Call<()>)>);

impl Waiting {
    fn new(kind: SockType, count: usize) -> Self {
        let sends = (0..count).map(|_| {
            let (pair, file) = (Pair::of(kind), file());
            pair.fill();
            let send = Call::blocked_in(libc::SYS_sendmsg, move || pair.send(file));
            (pair, file, send)
        });
        Self(sends.collect())
    }

    fn release(self) {
        for (pair, file, send) in self.0 {
            Sent::under(file).delivered(pair.take()[0]);
            send.end();
        }
    }
}

/// Meanwhile others pass, and fail with and without descriptors.
fn pass_while_many_wait(kind: SockType, cause: &str) -> Played {
    let waiting = Waiting::new(kind, MANY);
    for _ in 0..6 {
        let (pair, broken) = (Pair::of(kind), Pair::of(kind));
        let (one, two, three) = (file(), file(), file());
        close(broken.receiver);
        pair.send(one);
        assert!(send_data(broken.sender, b"x", 0).is_err());
        assert!(Letter::with(&[two]).send(broken.sender).is_err());
        Sent::under(two).failed(cause);
        assert!(send_data(broken.sender, b"x", 0).is_err());
        Sent::under(one).delivered(pair.take()[0]);
        Sent::under(three).delivered(pair.pass(three));
    }
    waiting.release();
    (0..4).for_each(|_| pass_list(&files(1)));
    Ok(())
}

fn passes_while_many_datagrams_wait() -> Played {
    // The first send to a socket that is gone breaks the connection.
    pass_while_many_wait(SockType::Datagram, "enotconn")
}

fn passes_while_many_streams_wait() -> Played {
    pass_while_many_wait(SockType::Stream, "epipe")
}

/// Ends of every kind that this kind of socket has, by the thread that sent, while so many wait.
fn end_while_many_wait(kind: SockType, count: usize) -> Played {
    let waiting = Waiting::new(kind, count);
    for _ in 0..3 {
        if kind == SockType::Stream {
            end_streams();
        } else {
            let (pair, file) = (Pair::of(kind), file());
            pair.send(file);
            let letter = Letter::room(4);
            letter.set_data(ptr::without_provenance_mut(8), 1);
            assert!(letter.receive(pair.receiver, 0).is_err());
            Sent::under(file).ended("discarded", &["receive-failed", "efault"]);
        }
        let (pair, file) = (Pair::of(kind), file());
        pair.send(file);
        close(pair.receiver);
        Sent::under(file).ended("discarded", &["receiver-closed"]);
        pass_list(&files(1));
    }
    waiting.release();
    Ok(())
}

fn end_streams() {
    let (pair, one, two, three) = (Pair::stream(), file(), file(), file());
    pair.send(one);
    splice(pair.receiver);
    Sent::under(one).ended("discarded", &["splice"]);
    pair.send(two);
    read_data(pair.receiver, 0).expect("it is there");
    Sent::under(two).ended("discarded", &["plain-read"]);
    send_with_an_urgent_byte(pair, three);
}

fn ends_while_many_streams_wait() -> Played {
    end_while_many_wait(SockType::Stream, MANY)
}

fn ends_while_many_datagrams_wait() -> Played {
    end_while_many_wait(SockType::Datagram, MANY)
}

fn ends_of_streams() -> Played {
    end_while_many_wait(SockType::Stream, 0)
}

fn ends_of_datagrams() -> Played {
    end_while_many_wait(SockType::Datagram, 0)
}

/// Eight threads send while the kretprobes are used up, and do something else when there are some
/// again, which has to be taken for what it is.
fn send_unseen_then_another_that_fails() -> Played {
    for kind in [SockType::Datagram, SockType::Stream] {
        let waiting = Waiting::new(kind, MANY);
        let (sent, released) = (Arc::new(Barrier::new(9)), Arc::new(Barrier::new(9)));
        let threads: Vec<Call<()>> = (0..8)
            .map(|turn| {
                let (sent, released) = (Arc::clone(&sent), Arc::clone(&released));
                Call::begin(move || {
                    let (pair, broken) = (Pair::of(kind), Pair::of(kind));
                    let (one, two) = (file(), file());
                    close(broken.receiver);
                    pair.send(one);
                    sent.wait();
                    released.wait();
                    match turn % 4 {
                        0 | 1 => drop(send_data(broken.sender, b"x", 0)),
                        2 => {
                            let letter = Letter::with(&[two]);
                            assert!(letter.send(socket(kind)).is_err());
                            Sent::under(two).failed("enotconn");
                        }
                        _ => {
                            read_data(pair.receiver, 0).expect("it is there");
                            return Sent::under(one).ended("discarded", &["plain-read"]);
                        }
                    }
                    Sent::under(one).delivered(pair.take()[0]);
                })
            })
            .collect();
        sent.wait();
        waiting.release();
        released.wait();
        threads.into_iter().for_each(Call::end);
    }
    Ok(())
}

/// A receive stands still while thousands of threads end whose receive had failed.
fn receive_stands_still_while_thousands_fail() -> Played {
    let (pair, list) = (Pair::stream(), files(3));
    let (full, queued) = (Pair::stream(), file());
    let pages = Pages::new(2);
    let watch = Watch::on(pages.at(0), 2)?;
    watch.release(pages.at(0));
    full.send(queued);
    pair.send_all(&list);
    let letter = Letter::room(0);
    letter.set_control_at(pages.at(PAGE - 16), 28);
    let receiving = Call::begin(move || letter.receive(pair.receiver, 0));
    watch.wait();
    let failing = Letter::room(4);
    failing.set_data(ptr::without_provenance_mut(8), 1);
    for _ in 0..4500 {
        let thread = thread::Builder::new().stack_size(1 << 14);
        let fail = move || assert!(failing.receive(full.receiver, 0).is_err());
        let thread = thread.spawn(fail).expect("there are threads");
        thread.join().expect("it fails");
    }
    watch.release(pages.at(PAGE));
    receiving.end().expect("it comes");
    for (index, fd) in list.into_iter().enumerate() {
        Sent::under(fd).delivered(Slot::of(pages.at(PAGE + 4 * index)).get());
    }
    Sent::under(queued).delivered(full.take()[0]);
    Ok(())
}

/// A supervisor answers a thread's call with a descriptor (SECCOMP_ADDFD_FLAG_SEND), between a receive
/// that failed and a send that fails.
fn descriptor_given_by_a_supervisor() -> Played {
    let (listener, pair, one, two) = (Pair::stream(), Pair::stream(), file(), file());
    let supervised = child(|| {
        let notify = supervise_getppid();
        listener.send(notify);
        pair.send(one);
        let letter = Letter::room(4);
        letter.set_data(ptr::without_provenance_mut(8), 1);
        assert!(letter.receive(pair.receiver, 0).is_err());
        // SAFETY: it only asks, and the answer is a descriptor.
        assert!(unsafe { libc::getppid() } > 0);
        let broken = Pair::stream();
        close(broken.receiver);
        assert!(Letter::with(&[two]).send(broken.sender).is_err());
        Sent::under(two).failed("epipe");
        Sent::under(one).delivered(pair.take()[0]);
    });
    let notify = listener.take()[0];
    // Nobody else knows what number it had, and the file is the same.
    let passed = Sent::under(notify).by_anyone();
    passed.delivered(notify);
    give_descriptor(notify, two);
    join(supervised);
    Ok(())
}

/// Has the calls of `getppid` of this thread answered by who reads from here.
fn supervise_getppid() -> i32 {
    let statement = |code: u32, jump: [u8; 2], k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump[0],
        jf: jump[1],
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut filter = [
        statement(load, [0, 0], 0),
        statement(is, [0, 1], libc::SYS_getppid as u32),
        statement(libc::BPF_RET, [0, 0], libc::SECCOMP_RET_USER_NOTIF),
        statement(libc::BPF_RET, [0, 0], libc::SECCOMP_RET_ALLOW),
    ];
    let programme = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter.
    let notify = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        libc::syscall(libc::SYS_seccomp, mode, flags, &raw const programme)
    };
    super::stage::check(notify as i32).expect("there is seccomp")
}

nix::ioctl_readwrite!(notification_receive, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(notification_send, b'!', 1, libc::seccomp_notif_resp);
nix::ioctl_write_ptr!(notification_add_fd, b'!', 3, libc::seccomp_notif_addfd);

fn give_descriptor(notify: i32, fd: i32) {
    // SAFETY: any bytes are such structures, and the kernel fills them in or reads them.
    unsafe {
        let mut asked: libc::seccomp_notif = std::mem::zeroed();
        notification_receive(notify, &raw mut asked).expect("somebody asks");
        let mut add: libc::seccomp_notif_addfd = std::mem::zeroed();
        (add.id, add.srcfd) = (asked.id, fd.cast_unsigned());
        add.flags = libc::SECCOMP_ADDFD_FLAG_SEND as u32;
        if notification_add_fd(notify, &raw const add).is_err() {
            let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
            (answer.id, answer.val) = (asked.id, 1);
            notification_send(notify, &raw mut answer).expect("it waits");
        }
    }
}

/// Lists of up to twelve, of which each ends in one of six ways.
fn storm(turns: usize, kind: SockType, seed: usize) {
    let pair = Pair::of(kind);
    for turn in seed..seed + turns {
        let list = files(1 + turn * 7 % 12);
        let sent: Vec<Sent> = list.iter().map(|fd| Sent::under(*fd)).collect();
        pair.send_all(&list);
        let mut came = Vec::new();
        match turn % 6 {
            3 => {
                let letter = Letter::exactly(list.len() / 2);
                letter.receive(pair.receiver, 0).expect("it is there");
                came = letter.numbers();
            }
            4 => drop(read_data(pair.receiver, 0).expect("it is there")),
            5 => {
                let broken = Pair::stream();
                close(broken.receiver);
                assert!(Letter::with(&list).send(broken.sender).is_err());
                close(broken.sender);
                sent.iter()
                    .for_each(|sent| sent.clone().ended("failed", &["epipe"]));
                came = pair.take();
            }
            _ => came = pair.take(),
        }
        for (index, sent) in sent.into_iter().enumerate() {
            match came.get(index) {
                Some(number) => sent.delivered(*number),
                None if turn % 6 == 4 => sent.ended("discarded", &["plain-read"]),
                None => sent.ended("truncated|discarded", &["no-control-room"]),
            }
        }
        list.into_iter().chain(came).for_each(close);
    }
}

/// Lets this thread come before all that is not urgent, where it may.
fn be_urgent() {
    let urgent = libc::sched_param { sched_priority: 50 };
    // SAFETY: it is about this thread; where it may not, it stays what it is.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const urgent) };
}

fn storm_of_all_ends() -> Played {
    limit_numbers(4096);
    let threads: Vec<Call<()>> = (0..8)
        .map(|number| {
            Call::begin(move || {
                if number < 2 {
                    be_urgent();
                }
                storm(24, KINDS[number % 3], 5 * number);
            })
        })
        .collect();
    threads.into_iter().for_each(Call::end);
    Ok(())
}

fn run_on(processor: usize) {
    // SAFETY: it is about this thread alone.
    unsafe {
        let mut processors: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut processors);
        libc::sched_setaffinity(0, size_of_val(&processors), &raw const processors);
    }
}

/// Senders and receivers are processes on different processors; each list lives for one message.
fn storm_across_processors() -> Played {
    const MESSAGES: usize = 100;
    for turn in 0..2 {
        let pair = Pair::of(SockType::SeqPacket);
        let (reader, writer) = super::stage::pipe();
        let sender = child(|| {
            run_on(turn);
            for message in 0..MESSAGES {
                let list = files(1 + message % 8);
                let sent: Vec<Sent> = list.iter().map(|fd| Sent::under(*fd)).collect();
                let text = serde_json::to_string(&sent).expect("it can be written");
                let text = format!("{text:4000}");
                // SAFETY: the text is read within its length.
                unsafe { libc::write(writer, text.as_ptr().cast(), text.len()) };
                pair.send_all(&list);
                list.into_iter().for_each(close);
            }
        });
        run_on(1 - turn);
        for _ in 0..MESSAGES {
            let letter = Letter::room(8);
            letter.receive(pair.receiver, 0).expect("it comes");
            let came = letter.numbers();
            let mut text = vec![0_u8; 4000];
            // SAFETY: there is room; what is written in one piece is read so.
            unsafe { libc::read(reader, text.as_mut_ptr().cast(), text.len()) };
            let sent: Vec<Sent> = serde_json::from_slice(&text).expect("it was written so");
            for (sent, came) in sent.into_iter().zip(came) {
                sent.delivered(came);
                close(came);
            }
        }
        join(sender);
    }
    Ok(())
}

/// Lists of eight numbers of one file; urgent threads do the same on the same processor.
fn lists_of_one_file_against_urgent_threads() -> Played {
    limit_numbers(4096);
    assert!(pidfd(getpid()) > 0);
    let threads: Vec<Call<()>> = (0..6)
        .map(|number| {
            Call::begin(move || {
                if number < 3 {
                    be_urgent();
                }
                for _ in 0..20 {
                    let file = file();
                    let list: Vec<i32> = (0..8).map(|_| dup(file)).collect();
                    let pair = Pair::stream();
                    pair.send_all(&list);
                    let came = pair.take();
                    for (fd, came) in list.iter().zip(&came) {
                        Sent::under(*fd).delivered(*came);
                    }
                    let all = list.into_iter().chain(came);
                    all.chain([file, pair.sender, pair.receiver])
                        .for_each(close);
                    thread::yield_now();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Call::end);
    Ok(())
}
