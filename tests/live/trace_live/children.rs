//! Children of these tests: they are this program again, with a job in a variable, and know
//! themselves what they pass under which numbers.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
};

use fdtrace::passing;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::MsgFlags,
};

use super::{crowds, sharing};

/// Messages of 250 descriptors that the flooding child passes.
pub(crate) const FLOOD: usize = 400;

/// Tells a child of these tests what to do; see [`a_child`].
const JOB: &str = "TRACE_LIVE_JOB";

/// What [`a_child`] is called among the tests of this program.
const A_CHILD: &str = "trace_live::children::a_child";

/// What a child of these tests does: it is this program again, with the job in a variable.
#[test]
fn a_child() {
    match env::var(JOB).as_deref() {
        // Receives what comes on its standard input until that ends; says each number.
        Ok(job @ ("receive" | "receive apart")) => {
            if job == "receive apart" {
                // In a mount namespace of its own, as another user; of this thread alone.
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
                const NOBODY: libc::uid_t = 65534;
                // SAFETY: takes numbers alone.
                let done = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
                assert_eq!(done, 0);
            }
            while let Ok(received) = passing::receive(0, 8, MsgFlags::empty())
                && !received.data.is_empty()
            {
                for fd in &received.fds {
                    println!("\nreceived {}", fd.as_raw_fd());
                }
                std::mem::forget(received.fds);
            }
        }
        // Peeks at the first message of its standard input before it receives that, and the second; the
        // third it reads.
        Ok("receive in each way") => {
            for flags in [MsgFlags::MSG_PEEK, MsgFlags::empty(), MsgFlags::empty()] {
                let received = passing::receive(0, 250, flags).unwrap();
                println!("\nreceived {}", received.fds.len());
            }
            assert_eq!(nix::unistd::read(std::io::stdin(), &mut [0]).unwrap(), 1);
            println!("\nreceived 0");
        }
        // Leaves what comes on its standard input unread, and is gone.
        Ok("leave") => {
            let input = std::io::stdin();
            let mut ready = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::NONE).unwrap();
        }
        // Sends its standard error over its standard input, twice, and is gone.
        Ok("send") => {
            for _ in 0..2 {
                passing::send(0, b"x", &[&[2]]).unwrap();
            }
        }
        // Sends files over its standard input by several threads; says each.
        Ok("send in turn") => {
            for _ in 0..3 {
                sharing::send_several();
                std::thread::spawn(sharing::send_several).join().unwrap();
            }
        }
        Ok("send at once") => std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(sharing::send_several);
            }
        }),
        // Likewise by one thread: others may have the same standard input.
        Ok("send alone") => sharing::send_several(),
        // Passes more to itself than a page of records holds, faster than anybody reads it.
        Ok("flood") => {
            let (a, b) = UnixStream::pair().unwrap();
            let fds = [0; 250];
            for _ in 0..FLOOD {
                passing::send(a.as_raw_fd(), b"x", &[&fds]).unwrap();
                let received = passing::receive(b.as_raw_fd(), 250, MsgFlags::empty()).unwrap();
                assert_eq!(received.fds.len(), 250);
            }
        }
        // Passes descriptors to itself.
        Ok("pass") => {
            let (a, b) = UnixStream::pair().unwrap();
            for _ in 0..20 {
                let fds = [a.as_raw_fd(), 0];
                passing::send(a.as_raw_fd(), b"x", &[&fds]).unwrap();
                let received = passing::receive(b.as_raw_fd(), 2, MsgFlags::empty()).unwrap();
                assert_eq!(received.fds.len(), 2);
            }
        }
        Ok("reuse") => crowds::reuse_a_number(),
        Ok("race") => crowds::send_under_the_name(c"fdt-race", 0),
        // Behind as many control messages as are not looked behind.
        Ok("race behind") => crowds::send_under_the_name(c"fdt-behind", 4),
        Ok("crowd") => crowds::crowd(),
        _ => {}
    }
}

pub(crate) fn child(job: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", A_CHILD, "--nocapture", "--test-threads=1"])
        .env(JOB, job);
    command
}

/// A child that receives from the other end of a socket.
pub(crate) struct ReceivingChild {
    pub(crate) child: Child,
    pub(crate) socket: UnixStream,
    pub(crate) said: BufReader<std::process::ChildStdout>,
}

impl ReceivingChild {
    pub(crate) fn start() -> Self {
        Self::start_with("receive")
    }

    /// A child with another job that receives too.
    pub(crate) fn start_with(job: &str) -> Self {
        let (socket, its) = UnixStream::pair().unwrap();
        Self::start_over(job, socket, its)
    }

    /// Likewise, with `its` end of this socket.
    pub(crate) fn start_over(job: &str, socket: UnixStream, its: UnixStream) -> Self {
        let mut child = child(job)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            socket,
            said,
        }
    }

    /// Sends it a descriptor; returns the number that it has there.
    pub(crate) fn send(&mut self, fd: i32) -> i64 {
        passing::send(self.socket.as_raw_fd(), b"x", &[&[fd]]).unwrap();
        self.received()
    }

    /// Waits for a descriptor; returns the number that it has there.
    pub(crate) fn received(&mut self) -> i64 {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some(number) = line.trim().strip_prefix("received ") {
                return number.parse().unwrap();
            }
        }
    }

    pub(crate) fn end(mut self) {
        drop(self.socket);
        assert!(self.child.wait().unwrap().success());
    }
}

/// What starts a child with this job.
pub(crate) fn command(job: &str) -> Vec<String> {
    let exe = env::current_exe().unwrap();
    let script = format!(
        "{JOB}={job} exec {} --exact {A_CHILD} --nocapture >&2",
        exe.display()
    );
    ["sh", "-c", &script].map(str::to_owned).into()
}

/// The passing child, started by a shell that is started by a shell.
pub(crate) fn grandchild() -> Vec<String> {
    let exe = env::current_exe().unwrap();
    let script = format!(
        "{JOB}=pass sh -c '{} --exact {A_CHILD} --nocapture >&2'",
        exe.display()
    );
    ["sh", "-c", &script].map(str::to_owned).into()
}

/// What a child sent over its end of a socket before it was gone: two messages of one file.
pub(crate) fn sent_by_one_that_is_gone(file: &fs::File) -> UnixStream {
    let (socket, its) = UnixStream::pair().unwrap();
    let sent = child("send")
        .stdin(Stdio::from(OwnedFd::from(its)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(file.try_clone().unwrap()))
        .status()
        .unwrap();
    assert!(sent.success());
    socket
}
