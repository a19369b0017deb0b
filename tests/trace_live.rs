//! `fdtrace trace`, `record` and `replay` on the running kernel, beside programs of the tests' own.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may unwrap")]

#[path = "command/mod.rs"]
mod command;
#[path = "contract/mod.rs"]
mod contract;

use std::{fs, process::Command};

use command::{Run, fdtrace, run, skip};
use contract::Schema;
use serde_json::Value;
use tempfile::TempDir;

/// Why nothing here can run; `None` if it can.
fn obstacle() -> Option<String> {
    let doctor = run(&mut fdtrace(&["doctor", "--format", "json"]));
    let findings: Value = serde_json::from_str(&doctor.stdout).ok()?;
    findings["obstacles"][0].as_str().map(str::to_owned)
}

/// Ends a test that cannot run here.
macro_rules! need_tracing {
    ($test:literal) => {
        if let Some(why) = obstacle() {
            return skip($test, &why);
        }
    };
}

fn lines(run: &Run) -> Vec<Value> {
    let schema = Schema::parse(&command::run(&mut fdtrace(&["schema"])).stdout);
    schema.assert_lines(&run.stdout)
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn a_command_that_cannot_run_is_told_as_a_shell_would() {
    need_tracing!("a_command_that_cannot_run_is_told_as_a_shell_would");
    for (name, what) in [
        (
            "no-such-command-here",
            "no-such-command-here: command not found",
        ),
        (
            "/no/such/command",
            "/no/such/command: no such file or directory",
        ),
        ("/etc/passwd", "/etc/passwd: permission denied"),
    ] {
        run(&mut fdtrace(&["trace", "--", name])).assert_complaint(what, None);
    }
}

#[test]
fn the_commands_status_is_reported_and_passed_on_if_asked() {
    need_tracing!("the_commands_status_is_reported_and_passed_on_if_asked");
    let shell = |args: &[&str], script: &str| {
        let mut command = fdtrace(&["trace", "--format", "json"]);
        command.args(args).args(["--", "sh", "-c", script]);
        run(&mut command)
    };
    let own = shell(&[], "exit 7");
    assert_eq!(own.code, Some(0), "{own:?}");
    let lines = lines(&own);
    assert_eq!(lines.last().unwrap()["command_status"], 7);
    let passed_on = shell(&["--exit-status", "command"], "exit 7");
    assert_eq!(passed_on.code, Some(7), "{passed_on:?}");
    let killed = shell(&["--exit-status", "command"], "kill -TERM $$");
    assert_eq!(killed.code, Some(128 + 15), "{killed:?}");
}

#[test]
fn a_pid_that_is_gone_is_told_at_once() {
    need_tracing!("a_pid_that_is_gone_is_told_at_once");
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    let run = run(&mut fdtrace(&["trace", "--pid", &pid]));
    run.assert_complaint(&format!("there is no process {pid}"), Some("ps"));
}

#[test]
fn the_ready_file_is_there_before_the_command_runs() {
    need_tracing!("the_ready_file_is_there_before_the_command_runs");
    let folder = TempDir::new().unwrap();
    let ready = folder.path().join("ready");
    fs::write(&ready, "of an earlier run").unwrap();
    let ready = ready.to_str().unwrap();
    let script = format!("grep -qx '[0-9]*' {ready}");
    let args = [
        "trace",
        "--exit-status",
        "command",
        "--ready-file",
        ready,
        "--",
        "sh",
        "-c",
    ];
    let run = run(fdtrace(&args).arg(&script));
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_replay_is_what_was_recorded() {
    need_tracing!("a_replay_is_what_was_recorded");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    let file = file.to_str().unwrap();
    let recorded = run(fdtrace(&["record", file, "--", "sh", "-c", "exit 4"]).env("TZ", "UTC"));
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    assert_eq!(recorded.stdout, "");
    let replayed = run(&mut fdtrace(&["replay", file, "--format", "json"]));
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let lines = lines(&replayed);
    assert_eq!(of_type(&lines, "start").len(), 1);
    assert_eq!(lines.last().unwrap()["command_status"], 4);
}
