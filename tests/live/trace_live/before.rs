//! What began before the trace did.

use std::{
    fs,
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
    turn::wait_until,
};
use nix::sys::socket::MsgFlags;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    children::{ReceivingChild, sent_by_one_that_is_gone},
    tracing::{Tracing, lines, transfers},
};

#[test]
fn what_was_queued_before_the_trace_is_shown_when_it_is_received() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("queued before");
    let file = fs::File::create(&path).unwrap();
    let socket = sent_by_one_that_is_gone(&file);
    let this = std::process::id();
    let pid = this.to_string();
    let recording = folder.path().join("recording");
    let recording = recording.to_str().unwrap();
    let tracing = Tracing::start(&["record", recording, "--pid", &pid]);
    let received = passing::receive(socket.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
    // The other one stays where it is, in this process's queue, and one that is sent now is not mistaken for it.
    let (a, b) = UnixStream::pair().unwrap();
    passing::send(a.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
    let now = passing::receive(b.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
    let recorded = tracing.stop();
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let run = run(&mut fdtrace(&["replay", "--format", "json", recording]));
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    let [before, after, left] = all[..] else {
        panic!("{run:?}");
    };
    assert_eq!(left["fate"], "queued", "{left}");
    assert_eq!(left["receiver"], Value::Null);
    for (transfer, fd) in [(before, &received.fds[0]), (after, &now.fds[0])] {
        assert_eq!(transfer["fate"], "delivered", "{transfer}");
        assert_eq!(transfer["file"]["path"], path.to_str().unwrap());
        assert_eq!(transfer["receiver"]["pid"], this);
        assert_eq!(transfer["receiver"]["fd"], fd.as_raw_fd());
    }
    let marks = |transfer: &Value| transfer["marks"].to_string();
    assert!(marks(before).contains("queued-before"), "{before}");
    assert_eq!(before["sender"], Value::Null);
    assert_eq!(before["queued_ns"], Value::Null);
    assert_eq!(before["socket"]["type"], "stream");
    assert_eq!(before["verdict"], "unverified");
    assert!(!marks(after).contains("queued-before"), "{after}");
    assert_eq!(after["sender"]["fd"], file.as_raw_fd());
    assert_eq!(after["verdict"], "same");
}

#[test]
fn what_was_queued_before_and_stays_so_is_told_of() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("stuck");
    let file = fs::File::create(&path).unwrap();
    let ino = file.metadata().unwrap().ino().to_string();
    let socket = sent_by_one_that_is_gone(&file);
    // Without a filter, as nobody does anything with it while it is watched.
    let tracing = Tracing::start(&[
        "trace",
        "--format",
        "json",
        "--kind",
        "regular",
        "--stuck-after",
        "0.1",
    ]);
    wait_until("it is told of", || {
        let told = tracing.read("stdout");
        // Others' files may lie in queues too.
        let its = told
            .lines()
            .filter(|line| line.contains(&*path.to_string_lossy()));
        its.filter(|line| line.contains("still-queued")).count() >= 2
    });
    let run = tracing.stop();
    drop(socket);
    let lines = lines(&run.stdout);
    let its = transfers(&lines).into_iter().filter(|transfer| {
        transfer["file"]["ino"] == ino && transfer["file"]["path"] == path.to_str().unwrap()
    });
    // Each as it became overdue, and again at the end.
    let its: Vec<&Value> = its.collect();
    assert_eq!(its.len(), 4, "{run:?}");
    for transfer in its {
        assert!(transfer["marks"].to_string().contains("queued-before"));
        assert_eq!(transfer["fate"], "queued", "{transfer}");
    }
}

#[test]
fn a_receiver_that_was_waiting_before_the_trace_is_seen() {
    let _turn = take_turn!(tracing);
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id();
    wait_until("it is in recvmsg", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut calls = tasks.map(|task| fs::read_to_string(task.path().join("syscall")));
        calls.any(|call| call.is_ok_and(|call| call.starts_with("47 ")))
    });
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid.to_string()]);
    let file = fs::File::open("/dev/null").unwrap();
    let number = receiver.send(file.as_raw_fd());
    let run = tracing.stop();
    receiver.end();
    let lines = lines(&run.stdout);
    let [transfer] = transfers(&lines)[..] else {
        panic!("{run:?}");
    };
    assert_eq!(transfer["sender"]["fd"], file.as_raw_fd());
    assert_eq!(transfer["receiver"]["fd"], number);
    assert_eq!(transfer["verdict"], "same");
}
