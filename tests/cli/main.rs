//! The command line as scripts see it: exit codes, which stream says what, and how it fails.
//! Needs no privilege; as root, what is about a lack of privilege runs as somebody else.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod catalogue;
mod files;
mod output;
mod page;
mod privileges;
mod samples;
mod terminal;
mod transcripts;

use fdtrace_testkit::command::{Run, fdtrace, run};
use serde_json::Value;

/// clap's way to refuse: exit code 2, nothing on stdout, and what was wrong on stderr.
fn assert_usage_error(run: &Run, what: &str) {
    assert_eq!(run.code, Some(2), "{run:?}");
    assert_eq!(run.stdout, "", "{run:?}");
    assert!(run.stderr.starts_with("error: "), "{run:?}");
    assert!(run.stderr.contains(what), "{what:?} is not in {run:?}");
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn version_is_one_line() {
    let version = run(&mut fdtrace(&["--version"]));
    assert_eq!(version.code, Some(0));
    let expected = format!("fdtrace {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
}

#[test]
fn no_command_at_all_is_a_usage_error() {
    let run = run(&mut fdtrace(&[]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert_eq!(run.stdout, "", "{run:?}");
    assert!(run.stderr.contains("Usage: fdtrace"), "{run:?}");
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    let both = run(&mut fdtrace(&["-q", "-v", "verify", "--list"]));
    assert_usage_error(&both, "cannot be used with");
    for one in ["-q", "-v"] {
        let run = run(&mut fdtrace(&[one, "verify", "--list"]));
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[test]
fn a_time_limit_may_be_short_or_long() {
    for good in ["0.0001", "1", "86400", "1e9"] {
        let argument = format!("--time-limit={good}");
        let run = run(&mut fdtrace(&["verify", "--list", &argument]));
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[test]
fn a_stage_of_an_unknown_scenario_says_so_as_a_fact() {
    let stage = run(&mut fdtrace(&["__runner", "no-such"]));
    assert_eq!(stage.code, Some(1), "{stage:?}");
    let fact = json(&stage);
    assert_eq!(fact["fact"], "failed");
    assert_eq!(fact["why"], "no scenario no-such");
}

#[test]
fn a_stage_without_a_verifier_ends_by_itself() {
    // Its checkpoint asks stdin, which is at its end.
    let stage = run(&mut fdtrace(&["__runner", "stream-one-fd"]));
    assert_eq!(stage.code, Some(1), "{stage:?}");
    assert!(stage.stdout.contains("the verifier is gone"), "{stage:?}");
}
