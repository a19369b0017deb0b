//! Ftrace, by which all is attached to functions, is switched off: before fdtrace starts, and while it traces.
//!
//! The switch is the machine's, so this is for a VM: `cargo xtask vm --kernel 6.12 --env FDTRACE_MAY_SWITCH=ftrace
//! --test live -- live --test-threads=1 refusals::switched_off`.

use std::{
    fs,
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    thread,
    time::Duration,
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{Run, fdtrace, run, skip},
    take_turn,
};
use nix::sys::socket::MsgFlags;

use crate::trace_live::tracing::{Tracing, lines, transfers};

const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
const OFF: &str = "ftrace is switched off (kernel.ftrace_enabled = 0)";

/// It is off until this is dropped.
struct SwitchedOff;

impl SwitchedOff {
    fn now() -> Self {
        fs::write(SWITCH, "0").unwrap();
        Self
    }
}

impl Drop for SwitchedOff {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, "1");
    }
}

/// Why it may not be switched off here; `None` if it may.
fn kept_on() -> Option<&'static str> {
    let is_meant = std::env::var("FDTRACE_MAY_SWITCH").is_ok_and(|what| what == "ftrace");
    match (is_meant, fs::exists(SWITCH)) {
        (false, _) => Some("the switch is the machine's (FDTRACE_MAY_SWITCH=ftrace allows it)"),
        (true, Ok(true)) => None,
        (true, _) => Some("this kernel has no ftrace"),
    }
}

/// Passes a file that nobody else has, and returns what the trace has of it: fate and verdict.
fn told_of(run: &Run, file: &fs::File) -> Vec<String> {
    let ino = file.metadata().unwrap().ino().to_string();
    let lines = lines(&run.stdout);
    let ours = transfers(&lines)
        .into_iter()
        .filter(|it| it["file"]["ino"] == ino);
    ours.map(|it| format!("{} {}", it["fate"], it["verdict"]))
        .collect()
}

fn pass(file: &fs::File) {
    let (sender, receiver) = UnixStream::pair().unwrap();
    passing::send(sender.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
    passing::receive(receiver.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
}

#[test]
fn where_it_is_off_tracepoints_are_taken_and_it_is_said_why() {
    let test = "where_it_is_off_tracepoints_are_taken_and_it_is_said_why";
    let _turn = take_turn!(tracing);
    if let Some(why) = kept_on() {
        return skip(test, why);
    }
    let off = SwitchedOff::now();
    let doctor = run(&mut fdtrace(&["doctor"]));
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.contains(OFF), "{doctor:?}");
    let file = tempfile::tempfile().unwrap();
    let tracing = Tracing::start(&["trace", "--format", "json"]);
    pass(&file);
    let traced = tracing.stop();
    let sees_installs = traced.stdout.contains("\"sock_recv_length\"");
    match sees_installs {
        true => assert_eq!(told_of(&traced, &file), ["\"delivered\" \"same\""]),
        // Before 6.3 they do not show where a descriptor went.
        false => assert_eq!(traced.code, Some(3), "{traced:?}"),
    }
    for mechanism in ["trampoline", "kprobe"] {
        let forced = run(&mut fdtrace(&[
            "trace",
            "--attach",
            mechanism,
            "--duration",
            "1ms",
        ]));
        forced.assert_complaint(OFF, Some("fdtrace doctor"));
    }
    drop(off);
    // The control.
    let doctor = run(&mut fdtrace(&["doctor"]));
    assert!(!doctor.stdout.contains(OFF), "{doctor:?}");
}

#[test]
fn what_went_unseen_while_it_was_off_is_a_loss() {
    let test = "what_went_unseen_while_it_was_off_is_a_loss";
    let _turn = take_turn!(tracing);
    if let Some(why) = kept_on() {
        return skip(test, why);
    }
    for args in [
        &["trace", "--format", "json"][..],
        &["trace", "--format", "json", "--hops"],
    ] {
        let [before, meanwhile, after] = [(); 3].map(|()| tempfile::tempfile().unwrap());
        let tracing = Tracing::start(args);
        pass(&before);
        // It has been read by then.
        thread::sleep(Duration::from_secs(1));
        let off = SwitchedOff::now();
        pass(&meanwhile);
        thread::sleep(Duration::from_secs(2));
        drop(off);
        pass(&after);
        let traced = tracing.stop();
        assert_eq!(traced.code, Some(3), "{traced:?}");
        let lines = lines(&traced.stdout);
        let why = lines.last().unwrap()["incomplete"].as_str();
        assert!(why.is_some_and(|why| why.contains("ftrace was switched off")));
        assert_eq!(told_of(&traced, &before), ["\"delivered\" \"same\""]);
        let unseen = told_of(&traced, &meanwhile);
        assert!(!unseen.iter().any(|it| it.contains("same")), "{unseen:?}");
        let seen = told_of(&traced, &after);
        assert!(
            seen.iter().all(|it| it.starts_with("\"delivered\"")),
            "{seen:?}"
        );
    }
    // In words.
    let tracing = Tracing::start(&["trace"]);
    let off = SwitchedOff::now();
    thread::sleep(Duration::from_secs(1));
    drop(off);
    let traced = tracing.stop();
    assert_eq!(traced.code, Some(3), "{traced:?}");
    assert!(
        traced.stdout.contains("ftrace was switched off meanwhile"),
        "{traced:?}"
    );
}
