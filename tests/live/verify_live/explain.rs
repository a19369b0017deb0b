//! Stories of what this kernel does.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use fdtrace_testkit::{
    command::{self, Run, fdtrace, skip},
    take_turn,
};
use serde_json::Value;

use super::run::Lines;

fn explain(args: &[&str]) -> Run {
    let run = command::run(fdtrace(&["explain"]).args(args));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    run
}

/// The acts of one kind.
fn parts<'a>(story: &'a Value, kind: &'a str) -> Vec<&'a Value> {
    let parts = story["parts"].as_array().expect("a list");
    parts.iter().filter(|part| part["part"] == kind).collect()
}

#[test]
fn a_story_shows_the_file_at_one_end_then_in_flight_then_at_both() {
    let _turn = take_turn!(tracing);
    let run = explain(&["stream-one-fd", "--format", "json"]);
    let lines = Lines::of(&run);
    let story = lines.of_type("story").next().expect("a story");
    let scenes = parts(story, "moment");
    assert_eq!(scenes.len(), 3, "{story}");
    let places = |scene: usize| {
        let whereabouts = &scenes[scene]["whereabouts"][0];
        let descriptors = whereabouts["descriptors"].as_array().expect("a list");
        (descriptors.len(), whereabouts["refs"].as_i64())
    };
    let queued = |scene: usize| scenes[scene]["queues"][0]["files"].as_array().map(Vec::len);
    assert_eq!((places(0), queued(0)), ((1, Some(1)), Some(0)), "{story}");
    assert_eq!((places(1), queued(1)), ((1, Some(2)), Some(1)), "{story}");
    assert_eq!((places(2), queued(2)), ((2, Some(2)), Some(0)), "{story}");
    // Kernels that tell how many descriptors a socket has queued tell the same.
    let told: Vec<Option<u64>> = scenes
        .iter()
        .map(|scene| scene["queues"][0]["scm_fds"].as_u64())
        .collect();
    assert!(
        told == [Some(0), Some(1), Some(0)] || told == [None; 3],
        "{told:?}"
    );
    let ending = &story["endings"][0];
    assert_eq!(ending["fate"], "delivered");
    let kinds: Vec<&Value> = parts(story, "call")
        .iter()
        .map(|passage| &passage["kind"])
        .collect();
    assert_eq!(kinds, ["send", "receive"]);
}

#[test]
fn every_hop_that_is_watched_is_seen_in_its_function_and_no_other_is_claimed() {
    let _turn = take_turn!(tracing);
    let run = explain(&["stream-one-fd", "--format", "json"]);
    let lines = Lines::of(&run);
    let story = lines.of_type("story").next().expect("a story");
    let hops: Vec<&Value> = parts(story, "call")
        .iter()
        .flat_map(|passage| passage["steps"].as_array().expect("a list"))
        .map(|step| &step["hop"])
        .filter(|hop| !hop.is_null())
        .collect();
    let names: Vec<&Value> = hops.iter().map(|hop| &hop["hop"]).collect();
    assert_eq!(
        names,
        [
            "copy", "attach", "queue", "dequeue", "detach", "receive", "install", "end"
        ]
    );
    let watched = story["watched"].as_array().expect("a list");
    for hop in hops {
        let is_watched = watched.contains(&hop["hop"]);
        assert_eq!(hop["is_watched"], is_watched, "{hop}");
        // Tracepoints show the end of a message that nobody received, which this one is not.
        if hop["hop"] != "end" {
            assert_eq!(!hop["seen"].is_null(), is_watched, "{hop}");
        }
        for file in hop["seen"]["files"].as_array().into_iter().flatten() {
            assert_eq!(file["unaccounted"], 0, "{hop}");
        }
    }
}

#[test]
fn every_scenario_makes_a_story() {
    let _turn = take_turn!(tracing);
    for scenario in ["dgram-one-fd", "max-fds", "relay", "number-as-data"] {
        let run = explain(&[scenario]);
        assert!(run.stdout.starts_with(scenario), "{run:?}");
        assert!(run.stdout.contains("delivered"), "{run:?}");
    }
}

#[test]
fn a_program_in_c_does_what_the_scenario_did() {
    let _turn = take_turn!(tracing);
    if Command::new("cc").arg("--version").output().is_err() {
        return skip("a_program_in_c_does_what_the_scenario_did", "no C compiler");
    }
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    for (scenario, says) in [
        ("stream-one-fd", "message 1: 1 descriptor\n"),
        ("dgram-one-fd", "message 1: 1 descriptor\n"),
        ("three-fds", "message 1: 3 descriptors\n"),
        ("two-messages", "message 2: 1 descriptor\n"),
        ("kind-eventfd", "message 1: 1 descriptor\n"),
        ("kind-timerfd", "message 1: 1 descriptor\n"),
        ("kind-signalfd", "message 1: 1 descriptor\n"),
        ("kind-epoll", "message 1: 1 descriptor\n"),
        ("kind-inotify", "message 1: 1 descriptor\n"),
        ("kind-memfd", "message 1: 1 descriptor\n"),
        ("kind-pidfd", "message 1: 1 descriptor\n"),
        ("kind-tty", "message 1: 1 descriptor\n"),
        ("kind-bpf-map", "message 1: 1 descriptor\n"),
        (
            "room-for-two-of-three",
            "message 1: 2 descriptors, MSG_CTRUNC\n",
        ),
        ("rlimit-nofile", "message 1: 2 descriptors, MSG_CTRUNC\n"),
        ("max-fds", "message 1: 253 descriptors\n"),
        ("plain-read-discards", "message 1: read() took 1 byte"),
        ("peek", "message 1: 1 descriptor, and the message stays\n"),
        (
            "receiver-closes",
            "message 1: closed with the message unread\n",
        ),
    ] {
        let source = explain(&[scenario, "--c"]).stdout;
        assert!(source.lines().count() <= 70, "{scenario}: {source}");
        let (file, program) = (dir.path().join("pass.c"), dir.path().join("pass"));
        fs::write(&file, &source).expect("there is room");
        let compiled = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .args([&program, &file])
            .output()
            .expect("there is a compiler");
        assert!(
            compiled.status.success(),
            "{scenario}: {compiled:?}\n{source}"
        );
        let ran = Command::new(&program).output().expect("it runs");
        assert!(ran.status.success(), "{scenario}: {ran:?}");
        let said = String::from_utf8(ran.stdout).expect("it writes text");
        assert!(said.contains(says), "{scenario}: {said}");
        // Every file that came and has an offset is the sender's, by that.
        for line in said.lines().filter(|line| line.contains(" offset ")) {
            assert!(line.ends_with("at offset 42"), "{scenario}: {line}");
        }
    }
}

#[test]
fn steps_hold_the_processes_until_the_reader_goes_on() {
    let _turn = take_turn!(tracing);
    let mut child = fdtrace(&["explain", "--step"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fdtrace starts");
    let mut stderr = child.stderr.take().expect("it is piped");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It says that it waits, and the sender does not send meanwhile: it is told of later.
    let mut said = Vec::new();
    while !said.ends_with(b"Enter] ") {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).expect("it is open"), 1, "{said:?}");
        said.push(byte[0]);
    }
    let said = String::from_utf8(said).expect("it writes text");
    assert!(said.contains("held here"), "{said}");
    stdin.write_all(b"\n").expect("it listens");
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("it writes text");
    assert!(rest.starts_with("[replay: "), "{rest}");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let story = String::from_utf8(output.stdout).expect("it writes text");
    // The same story as without stops: each act once, in order.
    let told: Vec<&str> = story
        .lines()
        .filter(|line| {
            line.chars()
                .next()
                .is_some_and(|char| char.is_ascii_digit())
        })
        .map(|line| line.split('.').next().unwrap_or_default())
        .collect();
    assert_eq!(told, ["1", "2", "3", "4", "5"], "{story}");
    assert!(story.contains("delivered"), "{story}");
}

#[test]
fn a_failure_is_explained_as_far_as_it_came() {
    let _turn = take_turn!(tracing);
    // Nobody can play a scenario in no time, so this one fails.
    let args = ["verify", "stream-one-fd", "--time-limit", "0.000001"];
    let failed = command::run(&mut fdtrace(&args));
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(!failed.stdout.contains("as Linux"), "{failed:?}");
    let explained = command::run(fdtrace(&args).arg("--explain-failure"));
    assert_eq!(explained.code, Some(1), "{explained:?}");
    assert!(
        explained.stdout.contains("stream-one-fd: one descriptor"),
        "{explained:?}"
    );
    assert!(
        explained.stdout.contains("It did not go as it must"),
        "{explained:?}"
    );
    // What passes needs no explanation.
    let args = ["verify", "stream-one-fd", "--explain-failure"];
    let passed = command::run(&mut fdtrace(&args));
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(!passed.stdout.contains("as Linux"), "{passed:?}");
}
