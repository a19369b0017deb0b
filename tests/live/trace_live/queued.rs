//! What stays in a queue, and whose it is then.

use std::{
    fs,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
};
use nix::sys::socket::MsgFlags;
use serde_json::Value;
use tempfile::TempDir;

use super::tracing::{Tracing, lines, transfers};

/// A process that has a socket and does nothing with it.
struct Holder(Child);

impl Holder {
    fn of(socket: UnixStream) -> Self {
        let mut sleep = Command::new("sleep");
        let sleep = sleep.arg("600").stdin(Stdio::from(OwnedFd::from(socket)));
        Self(sleep.spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What is recorded with this filter while `work` is done, and replayed: transfers of `file`.
fn traced(filter: [&str; 2], file: &fs::File, work: impl FnOnce()) -> Vec<Value> {
    let folder = TempDir::new().unwrap();
    let recording = folder.path().join("recording");
    let recording = recording.to_str().unwrap();
    let tracing = Tracing::start(&["record", recording, filter[0], filter[1]]);
    work();
    let recorded = tracing.stop();
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let replayed = run(&mut fdtrace(&["replay", "--format", "json", recording]));
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let ino = file.metadata().unwrap().ino().to_string();
    let lines = lines(&replayed.stdout);
    let all = transfers(&lines).into_iter();
    all.filter(|transfer| transfer["file"]["ino"] == ino)
        .cloned()
        .collect()
}

fn send(socket: &UnixStream, file: &fs::File) {
    passing::send(socket.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
}

fn create(folder: &Path) -> fs::File {
    fs::File::create(folder.join("left lying")).unwrap()
}

#[test]
fn what_nobody_reads_is_shown_to_whoever_holds_either_socket() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let file = create(folder.path());
    let bystander = Holder::of(UnixStream::pair().unwrap().0);
    // This process is not wanted but where it says so, and sends both messages.
    let this = std::process::id();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sender = Holder::of(ours.try_clone().unwrap());
    let receiver = Holder::of(theirs);
    send(&ours, &file);
    let before = 1;
    for (round, filter) in [
        ["--pid", &receiver.pid()],
        ["--pid", &sender.pid()],
        ["--comm", "sleep"],
    ]
    .into_iter()
    .enumerate()
    {
        let all = traced(filter, &file, || send(&ours, &file));
        assert_eq!(all.len(), before + round + 1, "{filter:?} {all:#?}");
        let (new, old): (Vec<&Value>, Vec<&Value>) = all
            .iter()
            .partition(|transfer| transfer["sender"] != Value::Null);
        for transfer in &all {
            assert_eq!(transfer["fate"], "queued", "{filter:?} {transfer}");
            assert_eq!(transfer["receiver"], Value::Null);
            let path = folder.path().join("left lying");
            assert_eq!(transfer["file"]["path"], path.to_str().unwrap());
            let before = transfer["marks"].to_string().contains("queued-before");
            assert_eq!(before, transfer["sender"].is_null(), "{transfer}");
        }
        assert_eq!((new.len(), old.len()), (1, before + round), "{all:#?}");
        assert_eq!(new[0]["sender"]["pid"], this);
        assert_eq!(new[0]["sender"]["fd"], file.as_raw_fd());
    }
    // Nobody else is told of it.
    let none = traced(["--pid", &bystander.pid()], &file, || send(&ours, &file));
    assert_eq!(none.len(), 0, "{none:#?}");
}

#[test]
fn what_a_holder_of_its_sending_socket_is_shown_is_followed_to_its_receiver() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let file = create(folder.path());
    let (ours, theirs) = UnixStream::pair().unwrap();
    send(&ours, &file);
    send(&ours, &file);
    let sender = Holder::of(ours);
    // The receiver, this process, is not wanted.
    let mut got = Vec::new();
    let all = traced(["--pid", &sender.pid()], &file, || {
        let received = passing::receive(theirs.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
        got.extend(received.fds);
    });
    let [received, left] = &all[..] else {
        panic!("{all:#?}");
    };
    assert_eq!(received["fate"], "delivered", "{received}");
    assert_eq!(received["receiver"]["pid"], std::process::id());
    assert_eq!(received["receiver"]["fd"], got[0].as_raw_fd());
    assert_eq!(left["fate"], "queued", "{left}");
}

#[test]
fn what_waits_to_be_accepted_is_shown_to_the_listener() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let file = create(folder.path());
    let name = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&name).unwrap();
    let connection = UnixStream::connect(&name).unwrap();
    let holder = Holder::of(UnixStream::from(OwnedFd::from(listener)));
    let all = traced(["--pid", &holder.pid()], &file, || send(&connection, &file));
    let [waiting] = &all[..] else {
        panic!("{all:#?}");
    };
    assert_eq!(waiting["fate"], "queued", "{waiting}");
    assert_eq!(waiting["sender"]["pid"], std::process::id());
}
