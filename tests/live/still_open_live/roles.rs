//! Programs that do with descriptors what programs are known to do wrong. Each is this program again, with a
//! role in a variable, and two processes.

use std::{
    env, fs,
    os::{
        fd::{AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fdtrace::passing;
use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, unshare},
    sys::{
        memfd::{MFdFlags, memfd_create},
        resource::{Resource, setrlimit},
        socket::MsgFlags,
        stat::Mode,
    },
};

const ROLE: &str = "STILL_OPEN_ROLE";
const A_ROLE: &str = "still_open_live::roles::a_role";

/// What starts this role, as its two processes are called.
pub(super) fn command(role: &str) -> Vec<String> {
    let exe = env::current_exe().unwrap();
    let script = format!(
        "{ROLE}={role} exec {} --exact {A_ROLE} --nocapture --test-threads=1 >&2",
        exe.display()
    );
    ["sh", "-c", &script].map(str::to_owned).into()
}

/// Messages of each kind that `leak` is sent.
pub(super) const KEYMAPS: usize = 30;

#[test]
fn a_role() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    if let Some(receiver) = role.strip_suffix(" receiver") {
        call("receiver");
        receive(receiver);
        return;
    }
    call("sender");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut receiver = Command::new(env::current_exe().unwrap())
        .args(["--exact", A_ROLE, "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{role} receiver"))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    send(&role, &ours);
    drop(ours);
    receiver.wait().unwrap();
}

/// What this thread is called from now on, which does all there is to do.
fn call(name: &str) {
    fs::write("/proc/thread-self/comm", name).unwrap();
}

fn memfd(name: &str) -> OwnedFd {
    memfd_create(name, MFdFlags::MFD_CLOEXEC).unwrap()
}

fn give(socket: &UnixStream, data: &[u8], file: &OwnedFd) -> bool {
    passing::send(socket.as_raw_fd(), data, &[&[file.as_raw_fd()]]).is_ok()
}

fn send(role: &str, socket: &UnixStream) {
    match role {
        "leak" => {
            let keymap = memfd("keymap");
            for _ in 0..KEYMAPS {
                give(socket, b"k", &keymap);
                if !give(socket, b"t", &memfd("format-table")) {
                    break;
                }
            }
        }
        "sender-leak" => {
            for _ in 0..20 {
                let (one, other) = UnixStream::pair().unwrap();
                let other = OwnedFd::from(other);
                give(socket, b"x", &other);
                // What it has sent it never closes.
                std::mem::forget(other);
                drop(one);
            }
        }
        "user-drop" | "own-table" => {
            for name in ["a", "b", "c"] {
                give(socket, b"x", &memfd(name));
            }
        }
        "inherit" | "place" => {
            for _ in 0..5 {
                let (one, _) = UnixStream::pair().unwrap();
                give(socket, b"x", &one.into());
            }
        }
        other => panic!("there is no role {other}"),
    }
    if role == "sender-leak" {
        // Its end is not the receiver's.
        thread::sleep(Duration::from_millis(50));
    }
}

/// Closes a number, and has its place in `/proc` stand there instead.
fn put_place(file: OwnedFd) -> RawFd {
    let fd = file.as_raw_fd();
    let open = |fd| {
        let path = format!("/proc/self/fd/{fd}");
        nix::fcntl::open(path.as_str(), OFlag::O_PATH, Mode::empty()).unwrap()
    };
    let place = open(fd);
    // By now the sender has closed its own, and the address is free as soon as this one is.
    thread::sleep(Duration::from_millis(20));
    drop(file);
    let again = open(place.as_raw_fd()).into_raw_fd();
    assert_eq!(again, fd);
    again
}

fn receive(role: &str) {
    if role == "leak" {
        setrlimit(Resource::RLIMIT_NOFILE, 32, 32).unwrap();
    }
    if role == "own-table" {
        unshare(CloneFlags::CLONE_FILES).unwrap();
    }
    let mut kept = Vec::new();
    while let Ok(received) = passing::receive(0, 1, MsgFlags::empty())
        && !received.data.is_empty()
    {
        let closes = match role {
            "leak" => received.data == b"k",
            "inherit" | "own-table" => false,
            "place" => {
                kept.extend(received.fds.into_iter().map(put_place));
                continue;
            }
            _ => true,
        };
        match closes {
            true => drop(received.fds),
            false => kept.extend(received.fds.into_iter().map(OwnedFd::into_raw_fd)),
        }
    }
    if role == "own-table" {
        // The first thread has the other table.
        std::process::exit(0);
    }
    if role == "inherit" {
        // A child that is none of those who passed anything, for as long as somebody looks.
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_secs(3));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
