//! What files are called: as `readlink /proc/self/fd/N` had it at the pass, and sockets by their
//! addresses then.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    thread,
};

use fdtrace::passing;
use fdtrace_common::records::LIST_MAX;
use fdtrace_testkit::{command::skip, take_turn};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        eventfd::EventFd,
        inotify::{InitFlags, Inotify},
        memfd::{MFdFlags, memfd_create},
        socket::MsgFlags,
    },
    unistd::pipe,
};
use serde_json::Value;
use tempfile::TempDir;

use super::tracing::{Tracing, lines, transfers};

/// A trace of what this process passes to itself, and what is true of it.
struct Play {
    tracing: Tracing,
    sender: UnixStream,
    receiver: UnixStream,
    truth: Vec<String>,
}

impl Play {
    fn start() -> Self {
        let pid = std::process::id().to_string();
        let (sender, receiver) = UnixStream::pair().unwrap();
        Self {
            tracing: Tracing::start(&["trace", "--format", "json", "--pid", &pid]),
            sender,
            receiver,
            truth: Vec::new(),
        }
    }

    /// Passes them in one message, and closes what comes out.
    fn pass(&mut self, fds: &[RawFd]) {
        let names: Vec<String> = fds.iter().map(|fd| readlink(*fd)).collect();
        self.pass_as(fds, names);
    }

    fn pass_as(&mut self, fds: &[RawFd], names: Vec<String>) {
        self.send_as(fds, names);
        let received = passing::receive(self.receiver.as_raw_fd(), fds.len(), MsgFlags::empty());
        assert_eq!(received.unwrap().fds.len(), fds.len());
    }

    fn send_as(&mut self, fds: &[RawFd], names: Vec<String>) {
        passing::send(self.sender.as_raw_fd(), b"x", &[fds]).unwrap();
        self.truth.extend(names);
    }

    /// Ends the trace, which has these names and no others.
    fn check(self) -> Vec<Value> {
        let run = self.tracing.stop();
        let lines = lines(&run.stdout);
        let transfers = transfers(&lines);
        let descriptions: Vec<&str> = transfers
            .iter()
            .map(|transfer| transfer["file"]["description"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(descriptions, self.truth, "{}", run.stderr);
        assert_eq!(lines.last().unwrap().get("undescribed"), None);
        transfers.into_iter().cloned().collect()
    }
}

fn readlink(fd: RawFd) -> String {
    // Of a thread that may be in a mount namespace of its own.
    let link = fs::read_link(format!("/proc/thread-self/fd/{fd}")).unwrap();
    link.to_str().unwrap().to_owned()
}

fn raw(fds: &[impl AsFd]) -> Vec<RawFd> {
    fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

#[test]
fn a_file_has_the_name_that_it_was_opened_by_and_has_now() {
    let _turn = take_turn!(tracing);
    let (_folder, at) = folder();
    let mut play = Play::start();
    // The file system gives the next one the same inode number.
    for spool in 0..10 {
        let path = at.join(format!("spool-{spool}"));
        let file = File::create(&path).unwrap();
        play.pass(&raw(&[&file]));
        drop(file);
        fs::remove_file(path).unwrap();
    }
    // One open file, under another name each time.
    fs::create_dir(at.join("below")).unwrap();
    let document = File::create(at.join("document.tmp")).unwrap();
    let mut pass = || play.pass(&raw(&[&document]));
    pass();
    fs::rename(at.join("document.tmp"), at.join("below/document")).unwrap();
    pass();
    fs::rename(at.join("below"), at.join("moved")).unwrap();
    pass();
    fs::remove_file(at.join("moved/document")).unwrap();
    pass();
    // Two links of one inode.
    let links = ["public", "secret"].map(|link| at.join(link));
    File::create(&links[0]).unwrap();
    fs::hard_link(&links[0], &links[1]).unwrap();
    let links = links.map(|link| File::open(link).unwrap());
    play.pass(&raw(&links));
    for link in links.iter().rev() {
        play.pass(&raw(&[link]));
    }
    let transfers = play.check();
    let deleted = transfers
        .iter()
        .filter(|transfer| transfer["file"]["deleted"] == true);
    assert_eq!(deleted.count(), 1, "{transfers:#?}");
}

#[test]
fn a_file_of_two_mounts_has_two_names() {
    let _turn = take_turn!(tracing);
    let (_folder, at) = folder();
    // A mount namespace is a thread's own.
    let ran = thread::spawn(move || {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let none: Option<&str> = None;
        let allowed = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, private, none))
            .is_ok();
        if !allowed {
            return false;
        }
        let mounts = ["one", "two"].map(|mount| at.join(mount));
        for mount in &mounts {
            fs::create_dir(mount).unwrap();
        }
        mount(Some(&mounts[0]), &mounts[1], none, MsFlags::MS_BIND, none).unwrap();
        let mut play = Play::start();
        let files = mounts.map(|mount| File::create(mount.join("file")).unwrap());
        play.pass(&raw(&files));
        for file in files.iter().rev() {
            play.pass(&raw(&[file]));
        }
        play.check();
        true
    });
    if !ran.join().unwrap() {
        skip("a_file_of_two_mounts_has_two_names", "no mount namespace");
    }
}

#[test]
fn what_is_in_no_tree_is_called_as_proc_calls_it() {
    let _turn = take_turn!(tracing);
    // SAFETY: these take plain numbers, and what they return is new and nobody else's.
    let new = |fd: i32| unsafe {
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: these take plain numbers, and what they return is new and nobody else's.
    let (epoll, timer, pidfd) = unsafe {
        (
            new(libc::epoll_create1(libc::EPOLL_CLOEXEC)),
            new(libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_CLOEXEC,
            )),
            new(libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) as i32),
        )
    };
    let (read, write) = pipe().unwrap();
    let mut fds = vec![
        OwnedFd::from(EventFd::new().unwrap()),
        timer,
        epoll,
        OwnedFd::from(Inotify::init(InitFlags::IN_CLOEXEC).unwrap()),
        pidfd,
        read,
        write,
        memfd_create("a memfd with a long name", MFdFlags::MFD_CLOEXEC).unwrap(),
    ];
    for namespace in ["net", "user", "mnt", "pid", "uts", "ipc", "cgroup"] {
        // A kernel may lack one.
        if let Ok(file) = File::open(format!("/proc/self/ns/{namespace}")) {
            fds.push(file.into());
        }
    }
    let mut play = Play::start();
    play.pass(&raw(&fds));
    for fd in fds.iter().rev() {
        play.pass(&raw(&[fd]));
    }
    play.check();
}

fn connection(protocol: &str, local: SocketAddr, remote: SocketAddr) -> Vec<String> {
    vec![format!("{protocol} {local} ↔ {remote}")]
}

#[test]
fn sockets_are_told_by_what_they_are_now() {
    let _turn = take_turn!(tracing);
    let (_folder, at) = folder();
    let mut play = Play::start();
    // SAFETY: takes plain numbers; the descriptor is new and nobody else's.
    let udp = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)) };
    play.pass_as(&raw(&[&udp]), vec!["udp 0.0.0.0:0".to_owned()]);
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = bound.local_addr().unwrap();
    play.pass_as(&raw(&[&bound]), vec![format!("udp {name}")]);
    bound.connect(name).unwrap();
    play.pass_as(&raw(&[&bound]), connection("udp", name, name));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap();
    let listening = vec![format!("tcp {name} listening")];
    play.pass_as(&raw(&[&listener]), listening);
    // Each connection at the address where the one before was.
    for _ in 0..200 {
        let client = TcpStream::connect(name).unwrap();
        let (server, peer) = listener.accept().unwrap();
        play.pass_as(&raw(&[&server]), connection("tcp", name, peer));
        drop((client, server));
    }
    // SAFETY: takes plain numbers; the descriptor is new and nobody else's.
    let netlink = unsafe {
        OwnedFd::from_raw_fd(libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_ROUTE,
        ))
    };
    play.pass_as(&raw(&[&netlink]), vec!["netlink route".to_owned()]);
    let path = at.join("listener");
    let listener = UnixListener::bind(&path).unwrap();
    let listening = vec![format!("unix {} listening", path.display())];
    play.pass_as(&raw(&[&listener]), listening);
    let client = UnixStream::connect(&path).unwrap();
    let connected = vec![format!("unix ↔ {}", path.display())];
    play.pass_as(&raw(&[&client]), connected);
    play.check();
}

#[test]
fn all_files_of_a_full_message_have_their_names() {
    let _turn = take_turn!(tracing);
    let (_folder, at) = folder();
    let files: Vec<File> = (0..LIST_MAX)
        .map(|file| File::create(at.join(format!("file {file}"))).unwrap())
        .collect();
    let mut play = Play::start();
    for _ in 0..2 {
        play.pass(&raw(&files));
    }
    play.check();
}

#[test]
fn what_nobody_received_has_a_name_too() {
    let _turn = take_turn!(tracing);
    let (_folder, at) = folder();
    let files: Vec<File> = (0..2)
        .map(|file| File::create(at.join(format!("file {file}"))).unwrap())
        .collect();
    let names: Vec<String> = raw(&files).into_iter().map(readlink).collect();
    let mut play = Play::start();
    // Closed unread.
    play.send_as(&raw(&files), names.clone());
    let (_, unread) = UnixStream::pair().unwrap();
    drop(std::mem::replace(&mut play.receiver, unread));
    // Not sent, as there is nobody any more.
    assert!(passing::send(play.sender.as_raw_fd(), b"x", &[&raw(&files)]).is_err());
    play.truth.extend(names.clone());
    // In its queue as the trace ends.
    let (sender, _receiver) = UnixStream::pair().unwrap();
    play.sender = sender;
    play.send_as(&raw(&files), names);
    let transfers = play.check();
    let fates: Vec<&str> = transfers
        .iter()
        .filter_map(|transfer| transfer["fate"].as_str())
        .collect();
    assert_eq!(
        fates,
        [
            "discarded",
            "discarded",
            "failed",
            "failed",
            "queued",
            "queued"
        ]
    );
}
