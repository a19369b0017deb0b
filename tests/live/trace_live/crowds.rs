//! Filters beside what they do not want: numbers of processes that come back, receivers that are
//! faster than a sender is looked at, and a crowd that fills whatever room there is.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Child, Stdio},
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
};
use nix::{errno::Errno, sys::socket::MsgFlags};
use serde_json::Value;

use super::{
    children::{ReceivingChild, child, command},
    tracing::{Tracing, lines, transfers},
};

/// Processes that have the same number, one after the other.
const LIVES: usize = 20;

/// Messages that are sent to a receiver which never sleeps.
const RACES: usize = 2000;

/// Messages that the crowd leaves in its queues.
const CROWD: usize = 20_001;

/// Passes a descriptor to itself in each of [`LIVES`] processes with one number.
pub(crate) fn reuse_a_number() {
    let mut number = 0;
    for _ in 0..LIVES {
        match fork_with_number(number) {
            0 => {
                pass_after_a_grace_period();
                // SAFETY: ends this process, of which there is nothing to clean up.
                unsafe { libc::_exit(0) }
            }
            child => {
                number = child;
                // SAFETY: there is such a child, and nobody asks for its status.
                let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                assert_eq!(waited, child);
            }
        }
    }
}

/// `fork` for a child with this process number, or with any if that is 0.
fn fork_with_number(number: libc::pid_t) -> libc::pid_t {
    // SAFETY: all-zero is a valid start.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    if number != 0 {
        arguments.set_tid = (&raw const number) as u64;
        arguments.set_tid_size = 1;
    }
    // SAFETY: without flags and a stack the child has a copy of everything.
    let child = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    child as libc::pid_t
}

/// The memory of a process is given back when nobody can look at it any more. That is what this
/// waits for, so that whatever forgets the one before has done so.
fn pass_after_a_grace_period() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    for _ in 0..3 {
        // SAFETY: takes numbers alone. Where there is no such call, nothing is waited for.
        unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    }
    let (a, b) = UnixStream::pair().unwrap();
    passing::send(a.as_raw_fd(), b"x", &[&[a.as_raw_fd()]]).unwrap();
    let received = passing::receive(b.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
    assert_eq!(received.fds.len(), 1);
}

/// Sends its standard error over its standard input, again and again: as its first control message,
/// or behind as many empty ones as `before`.
pub(crate) fn send_under_the_name(name: &std::ffi::CStr, before: usize) {
    nix::sys::prctl::set_name(name).unwrap();
    let fds: [RawFd; 1] = [2];
    let mut parts: Vec<&[RawFd]> = vec![&[]; before];
    parts.push(&fds);
    for _ in 0..RACES {
        passing::send(0, b"x", &parts).unwrap();
    }
}

/// Leaves messages in queues of its own until its standard input ends, as another user; and then one
/// where its standard error leads to, if that is a socket.
pub(crate) fn crowd() {
    const NOBODY: libc::uid_t = 65534;
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // It stays privileged, so that no limit of this machine is in its way.
    // SAFETY: both take numbers alone, and are of this thread alone.
    let done = unsafe {
        libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
        libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY)
    };
    assert_eq!(done, 0);
    let mut pairs = vec![UnixStream::pair().unwrap()];
    let mut left = CROWD;
    while left > 0 {
        let from = pairs.last().unwrap().0.as_raw_fd();
        let sent = passing::send_with(
            from,
            b"x",
            &passing::rights(&[&[0]]),
            MsgFlags::MSG_DONTWAIT,
        );
        match sent {
            Ok(_) => left -= 1,
            Err(Errno::EAGAIN) => pairs.push(UnixStream::pair().unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
    let _ = passing::send(2, b"x", &[&[0]]);
    println!("\ncrowded");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

#[test]
fn a_wanted_process_with_the_number_of_one_that_has_died_is_traced() {
    let _turn = take_turn!(tracing);
    let run = run(fdtrace(&["trace", "--format", "json", "--"]).args(command("reuse")));
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    assert_eq!(all.len(), LIVES, "{run:?}");
    let number = &all[0]["sender"]["pid"];
    for transfer in all {
        assert_eq!(&transfer["sender"]["pid"], number, "{transfer}");
        assert_eq!(&transfer["receiver"]["pid"], number, "{transfer}");
        assert_eq!(transfer["verdict"], "same", "{transfer}");
    }
}

#[test]
fn whatever_a_wanted_sender_passes_is_shown_however_fast_its_receiver_is() {
    let _turn = take_turn!(tracing);
    let file = fs::File::open("/dev/null").unwrap();
    for (job, name) in [("race", "fdt-race"), ("race behind", "fdt-behind")] {
        let tracing = Tracing::start(&["trace", "--format", "json", "--comm", name]);
        let (ours, its) = UnixStream::pair().unwrap();
        let mut sender = child(job)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(file.try_clone().unwrap()))
            .spawn()
            .unwrap();
        for _ in 0..RACES {
            receive_busily(&ours);
            // One that nobody wants, by and to this process.
            let (from, to) = UnixStream::pair().unwrap();
            passing::send(from.as_raw_fd(), b"x", &[&[0]]).unwrap();
            receive_busily(&to);
        }
        assert!(sender.wait().unwrap().success());
        let run = tracing.stop();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let lines = lines(&run.stdout);
        let all = transfers(&lines);
        let told = |what: &dyn Fn(&Value) -> bool| all.iter().filter(|it| what(it)).count();
        assert_eq!(all.len(), RACES, "{job}: {}", lines.last().unwrap());
        assert_eq!(told(&|it| it["fate"] == "delivered"), RACES);
        assert_eq!(
            told(&|it| it["receiver"]["pid"] == std::process::id()),
            RACES
        );
        // Whose sender is told is the wanted one's, under its number.
        let of_it = |it: &Value| it["sender"]["pid"] == sender.id() && it["sender"]["fd"] == 2;
        assert_eq!(
            told(&|it| it["sender"].is_null() || of_it(it)),
            RACES,
            "{job}"
        );
        assert_eq!(
            told(&|it| it["verdict"] == "same"),
            told(&|it| of_it(it) && it["verdict"] == "same"),
            "{job}"
        );
    }
}

fn receive_busily(socket: &UnixStream) {
    loop {
        match passing::receive(socket.as_raw_fd(), 1, MsgFlags::MSG_DONTWAIT) {
            Ok(received) => return assert_eq!(received.fds.len(), 1),
            Err(Errno::EAGAIN) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A child that crowds queues, and has done so.
struct Crowd(Child);

impl Crowd {
    fn gather(at_last: Stdio) -> Self {
        let mut child = child("crowd")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(at_last)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap() == "crowded"), "it has ended");
        Self(child)
    }

    fn disperse(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_crowd_takes_no_room_from_those_who_send_to_a_wanted_receiver() {
    let _turn = take_turn!(tracing);
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id().to_string();
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid]);
    let crowd = Crowd::gather(Stdio::inherit());
    let file = fs::File::open("/dev/null").unwrap();
    let numbers: Vec<i64> = (0..20).map(|_| receiver.send(file.as_raw_fd())).collect();
    let run = tracing.stop();
    crowd.disperse();
    receiver.end();
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    assert_eq!(all.len(), numbers.len(), "{run:?}");
    for (transfer, number) in all.into_iter().zip(numbers) {
        assert_eq!(transfer["sender"]["pid"], std::process::id(), "{transfer}");
        assert_eq!(transfer["sender"]["fd"], file.as_raw_fd(), "{transfer}");
        assert_eq!(transfer["receiver"]["fd"], number, "{transfer}");
        assert_eq!(transfer["verdict"], "same", "{transfer}");
    }
}

#[test]
fn what_is_not_kept_of_a_crowd_is_counted_once_it_is_wanted() {
    let _turn = take_turn!(tracing);
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id().to_string();
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid]);
    let socket = receiver.socket.try_clone().unwrap();
    let crowd = Crowd::gather(Stdio::from(OwnedFd::from(socket)));
    let crowd_pid = crowd.0.id();
    let number = receiver.received();
    let run = tracing.stop();
    crowd.disperse();
    receiver.end();
    let lines = lines(&run.stdout);
    let [transfer] = transfers(&lines)[..] else {
        panic!("{run:?}");
    };
    assert_eq!(transfer["receiver"]["fd"], number, "{transfer}");
    // Where two records tell of a message, the bucket of its list may be free whatever the crowd has.
    let hooks = lines[0]["plan"].as_array().unwrap();
    let has_buckets = hooks
        .iter()
        .any(|hook| hook["kind"] == "fentry" && hook["hop"] == "queue");
    let is_kept = has_buckets && run.code == Some(0);
    let filter_full = &lines.last().unwrap()["filter_full"];
    if is_kept {
        assert_eq!(filter_full, 0, "{run:?}");
        assert_eq!(transfer["sender"]["pid"], crowd_pid, "{transfer}");
        assert_eq!(transfer["verdict"], "same", "{transfer}");
    } else {
        assert_eq!(run.code, Some(3), "{run:?}");
        assert_eq!(filter_full, 1, "{run:?}");
        assert_eq!(transfer["sender"], Value::Null, "{transfer}");
        assert_ne!(transfer["verdict"], "same", "{transfer}");
    }
}
