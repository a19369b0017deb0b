//! What is played, how often, how many at a time and until when; and several reports of one run.

use std::{collections::BTreeSet, fs};

use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
};
use serde_json::Value;

use super::run::{Lines, names, verify};

/// What cannot differ between two runs of the same scenarios.
fn told(lines: &Lines) -> Vec<(String, u64, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines
        .of_type("scenario")
        .map(|line| {
            let round = line["round"].as_u64().expect("it is a number");
            (text(line, "name"), round, text(line, "result"))
        })
        .collect()
}

#[test]
fn scenarios_at_once_are_kept_apart_and_told_in_order() {
    let _turn = take_turn!(tracing);
    let args: Vec<&str> = names().collect();
    let alone = Lines::of(&verify(&args));
    let run = verify(&[&args[..], &["--jobs", "6"]].concat());
    let together = Lines::of(&run);
    // A kernel that is preempted within a program skips that program's runs meanwhile, of which
    // there are more with so many at once. What that leaves open is said to be open, never to fail.
    let is_open = |result: &str| result == "inconclusive";
    let skips = together.summary()["recursion_misses"] != 0;
    assert_eq!(told(&together).len(), told(&alone).len());
    let expected: Vec<_> = told(&alone)
        .into_iter()
        .zip(told(&together))
        .map(|(alone, (name, round, result))| {
            if skips && is_open(&result) {
                (name, round, result)
            } else {
                alone
            }
        })
        .collect();
    assert_eq!(told(&together), expected);
    let some_open = expected.iter().any(|(_, _, result)| is_open(result));
    let code = if some_open { 3 } else { 0 };
    assert_eq!((run.code, run.stderr.as_str()), (Some(code), ""));
    // Each has its own transfers and no other's.
    let mut ids = BTreeSet::new();
    for line in together.of_type("scenario") {
        for id in line["transfers"].as_array().expect("it is a list") {
            assert!(ids.insert(id.as_u64()), "{line}");
        }
        let name = line["name"].as_str().expect("it has a name");
        // It tries as often as it takes.
        if name != "reused-pointer" && line["result"] != "inconclusive" {
            assert_eq!(
                together.transfers(name).len(),
                alone.transfers(name).len(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_selection_is_repeated_round_by_round() {
    let _turn = take_turn!(tracing);
    let lines = Lines::of(&verify(&[
        "--repeat",
        "3",
        "-j2",
        "relay",
        "{two,three}-fds",
    ]));
    let names = ["two-fds", "three-fds", "relay"];
    let expected: Vec<(String, u64, String)> = (1..=3)
        .flat_map(|round| names.map(|name| (name.to_owned(), round, "pass".to_owned())))
        .collect();
    assert_eq!(told(&lines), expected);
    assert_eq!(lines.summary()["not_run"], 0);
    assert_eq!(lines.summary()["scenarios"]["pass"], 9);
}

#[test]
fn the_first_failure_ends_the_run_if_it_is_to() {
    let _turn = take_turn!(tracing);
    // Nothing is done in no time.
    let args = [
        "--time-limit",
        "0.0001",
        "stream-one-fd",
        "two-fds",
        "relay",
    ];
    let all = Lines::of(&verify(&args));
    assert_eq!(all.of_type("scenario").count(), 3);
    assert_eq!(all.summary()["not_run"], 0);
    let run = verify(&[&args[..], &["--fail-fast"]].concat());
    assert_eq!(run.code, Some(1), "{run:?}");
    let first = Lines::of(&run);
    assert_eq!(first.of_type("scenario").count(), 1);
    assert_eq!(first.summary()["not_run"], 2);
    assert_eq!(first.summary()["interrupted"], false);
}

#[test]
fn one_run_writes_every_report_that_was_asked_for() {
    let _turn = take_turn!(tracing);
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let path = |name: &str| dir.path().join(name);
    let report = |format: &str, name: &str| format!("{format}={}", path(name).display());
    let run = run(&mut fdtrace(&[
        "verify",
        "two-fds",
        "--format",
        "tap",
        "--report",
        &report("junit", "verify.xml"),
        "--report",
        &report("json", "verify.jsonl"),
        "--report",
        &report("text", "verify.txt"),
    ]));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    assert!(run.stdout.starts_with("TAP version 14\n"), "{run:?}");
    assert!(run.stdout.contains("\nok 1 - two-fds\n"), "{run:?}");
    assert!(run.stdout.ends_with("\n1..1\n"), "{run:?}");
    let read = |name: &str| fs::read_to_string(path(name)).expect("it is there");
    let document = quick_junit::Report::deserialize_from_str(&read("verify.xml"));
    assert_eq!(document.expect("it is JUnit XML").tests, 1);
    assert!(read("verify.txt").contains("pass  two-fds"));
    let lines: Vec<Value> = read("verify.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    assert_eq!(lines.first().expect("it has lines")["type"], "start");
    assert_eq!(lines.last().expect("it has lines")["type"], "summary");
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 3);
}
