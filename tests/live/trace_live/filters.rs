//! Whose transfers are shown.

use std::{
    fs,
    os::{
        fd::AsRawFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{fdtrace, run, skip},
    take_turn,
};

use super::{
    children::{ReceivingChild, grandchild},
    tracing::{Tracing, lines, transfers},
};

#[test]
fn a_transfer_is_shown_when_either_end_is_of_a_process() {
    let _turn = take_turn!(tracing);
    let mut receiver = ReceivingChild::start();
    let file = fs::File::open("/dev/null").unwrap();
    // Both are here before it traces; the receiver may be in `recvmsg` by then.
    let ends = [std::process::id(), receiver.child.id()];
    for end in ends {
        let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &end.to_string()]);
        let number = receiver.send(file.as_raw_fd());
        let run = tracing.stop();
        assert_eq!(run.code, Some(0), "{run:?}");
        let lines = lines(&run.stdout);
        let all = transfers(&lines);
        assert_eq!(all.len(), 1, "{run:?}");
        let transfer = all[0];
        assert_eq!(transfer["sender"]["pid"], ends[0]);
        assert_eq!(transfer["sender"]["fd"], file.as_raw_fd());
        assert_eq!(transfer["receiver"]["pid"], ends[1]);
        assert_eq!(transfer["receiver"]["fd"], number);
        assert_eq!(transfer["fate"], "delivered");
        assert_eq!(transfer["verdict"], "same");
    }
    receiver.end();
}

/// What an unwanted sender tells waits until it is known who reads it, wherever that is kept.
#[test]
fn what_an_unwanted_sender_has_told_comes_with_its_receiver() {
    let _turn = take_turn!(tracing);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let sender = UnixStream::connect(&path).unwrap();
    let (its, _) = listener.accept().unwrap();
    let mut receiver = ReceivingChild::start_over("receive in each way", sender, its);
    let pid = receiver.child.id();
    let file = fs::File::open("/dev/null").unwrap();
    let fd = file.as_raw_fd();
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid.to_string()]);
    let socket = receiver.socket.as_raw_fd();
    passing::send(socket, b"x", &[&[fd]]).unwrap();
    assert_eq!([receiver.received(), receiver.received()], [1, 1]);
    passing::send(socket, b"x", &[&[fd; 40]]).unwrap();
    assert_eq!(receiver.received(), 40);
    passing::send(socket, b"x", &[&[fd]]).unwrap();
    assert_eq!(receiver.received(), 0);
    receiver.end();
    let run = tracing.stop();
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    let of = |fate: &str| {
        let is_it = |transfer: &&&serde_json::Value| transfer["fate"] == fate;
        all.iter().filter(is_it).count()
    };
    let fates = [of("peeked"), of("delivered"), of("discarded")];
    assert_eq!(fates, [1, 41, 1], "{run:?}");
    for transfer in all {
        assert_eq!(transfer["sender"]["pid"], std::process::id(), "{run:?}");
        assert_eq!(transfer["sender"]["fd"], fd, "{run:?}");
        assert_eq!(transfer["receiver"]["pid"], pid, "{run:?}");
        assert_eq!(
            transfer["socket"]["path"],
            path.to_str().unwrap(),
            "{run:?}"
        );
        let is_lost = transfer["fate"] == "discarded";
        assert_eq!(transfer["verdict"] == "same", !is_lost, "{run:?}");
    }
}

#[test]
fn a_receiver_that_never_reads_is_shown_with_the_sender() {
    let _turn = take_turn!(tracing);
    let mut receiver = ReceivingChild::start_with("leave");
    let pid = receiver.child.id();
    let file = fs::File::open("/dev/null").unwrap();
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid.to_string()]);
    passing::send(receiver.socket.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
    assert!(receiver.child.wait().unwrap().success());
    let run = tracing.stop();
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    assert_eq!(all.len(), 1, "{run:?}");
    assert_eq!(all[0]["sender"]["pid"], std::process::id());
    assert_eq!(all[0]["sender"]["fd"], file.as_raw_fd());
    assert_eq!(all[0]["fate"], "discarded");
}

#[test]
fn what_others_pass_is_not_shown() {
    let _turn = take_turn!(tracing);
    let bystander = ReceivingChild::start();
    let pid = bystander.child.id().to_string();
    for args in [["--pid", pid.as_str()], ["--comm", "nobody-is-so"]] {
        let mut receiver = ReceivingChild::start();
        let tracing = Tracing::start(&["trace", "--format", "json", args[0], args[1]]);
        let _ = receiver.send(0);
        let run = tracing.stop();
        assert_eq!(transfers(&lines(&run.stdout)).len(), 0, "{run:?}");
        receiver.end();
    }
    bystander.end();
}

#[test]
fn a_cgroup_is_watched_with_those_below_it() {
    let _turn = take_turn!(tracing);
    let name = format!("fdtrace-test-{}", std::process::id());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let Some(mounted) = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .and_then(|line| line.split(' ').nth(1))
    else {
        return skip(
            "a_cgroup_is_watched_with_those_below_it",
            "cgroups of version 2 are not mounted",
        );
    };
    let outer = Path::new(mounted).join(&name);
    let inner = outer.join("inner");
    if let Err(error) = fs::create_dir_all(&inner) {
        return skip(
            "a_cgroup_is_watched_with_those_below_it",
            &format!("no cgroup can be made: {error}"),
        );
    }
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id();
    let moved = fs::write(inner.join("cgroup.procs"), pid.to_string());
    let outcome = moved.map(|()| {
        let outer = outer.to_str().unwrap();
        let tracing = Tracing::start(&["trace", "--format", "json", "--cgroup", outer]);
        let _ = receiver.send(0);
        tracing.stop()
    });
    receiver.end();
    // A cgroup can be removed once its last task is reaped.
    fs::remove_dir(&inner).unwrap();
    fs::remove_dir(&outer).unwrap();
    match outcome {
        Err(error) => skip(
            "a_cgroup_is_watched_with_those_below_it",
            &format!("no process can be moved to a cgroup: {error}"),
        ),
        Ok(run) => {
            let lines = lines(&run.stdout);
            let all = transfers(&lines);
            assert_eq!(all.len(), 1, "{run:?}");
            assert_eq!(all[0]["receiver"]["pid"], pid);
        }
    }
}

#[test]
fn a_folder_that_is_no_cgroup_is_refused() {
    let _turn = take_turn!(tracing);
    run(&mut fdtrace(&["trace", "--cgroup", "/etc"]))
        .assert_complaint("/etc is not a cgroup v2 path", Some("/sys/fs/cgroup"));
}

#[test]
fn descendants_of_a_command_are_traced_from_their_first_instruction() {
    let _turn = take_turn!(tracing);
    let command = grandchild();
    let run = run(fdtrace(&["trace", "--format", "json", "--"]).args(&command));
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    assert_eq!(all.len(), 40, "{run:?}");
    assert!(all.iter().all(|transfer| transfer["verdict"] == "same"));
}

#[test]
fn a_pid_that_is_gone_is_told_at_once() {
    let _turn = take_turn!(tracing);
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    run(&mut fdtrace(&["trace", "--pid", &pid]))
        .assert_complaint(&format!("there is no process {pid}"), Some("ps"));
}
