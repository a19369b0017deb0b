//! `trace -- COMMAND`, and how a trace ends.

use std::{fs, path::Path, process::Stdio};

use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
    turn::wait_until,
};
use tempfile::TempDir;

use super::{
    children::grandchild,
    tracing::{lines, transfers},
};

#[test]
fn a_command_that_cannot_run_is_told_as_a_shell_would() {
    let _turn = take_turn!(tracing);
    for (name, what) in [
        ("no-such-command", "no-such-command: command not found"),
        (
            "/no/such/command",
            "/no/such/command: no such file or directory",
        ),
        ("/proc/version", "/proc/version: permission denied"),
    ] {
        run(&mut fdtrace(&["trace", "--", name])).assert_complaint(what, None);
    }
}

#[test]
fn the_commands_status_is_reported_and_passed_on_unless_asked_not_to() {
    let _turn = take_turn!(tracing);
    let shell = |args: &[&str], script: &str| {
        let mut command = fdtrace(&["trace", "--format", "json"]);
        command.args(args).args(["--", "sh", "-c", script]);
        run(&mut command)
    };
    let own = shell(&["--exit-status", "trace"], "exit 7");
    assert_eq!(own.code, Some(0), "{own:?}");
    assert_eq!(lines(&own.stdout).last().unwrap()["command_status"], 7);
    let passed_on = shell(&[], "echo aside; exit 7");
    // What it prints is not between the trace's lines.
    assert!(
        passed_on.stderr.contains("aside") && !passed_on.stdout.contains("aside"),
        "{passed_on:?}"
    );
    assert_eq!(passed_on.code, Some(7), "{passed_on:?}");
    let killed = shell(&["--exit-status", "command"], "kill -TERM $$");
    assert_eq!(killed.code, Some(128 + 15), "{killed:?}");
}

#[test]
fn the_ready_file_is_there_before_the_command_runs() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let ready = folder.path().join("ready");
    fs::write(&ready, "of an earlier run").unwrap();
    let ready = ready.to_str().unwrap();
    let script = format!("grep -qx '[0-9]*' {ready}");
    let mut command = fdtrace(&["trace", "--exit-status", "command", "--ready-file", ready]);
    let run = run(command.args(["--", "sh", "-c", &script]));
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_command_that_was_not_let_go_ends_with_fdtrace() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let ran = folder.path().join("ran");
    let mut traced = fdtrace(&["trace", "--", "touch", ran.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", traced.id());
    let mut held = String::new();
    wait_until("it has forked", || {
        held = fs::read_to_string(&children).unwrap_or_default();
        !held.trim().is_empty() || ran.exists()
    });
    traced.kill().unwrap();
    traced.wait().unwrap();
    let held = held.trim().to_owned();
    wait_until("the child is gone", || {
        !Path::new("/proc").join(&held).exists()
    });
    // Attaching takes longer than forking, so it had not run yet.
    assert!(!ran.exists());
}

#[test]
fn the_limit_and_the_duration_end_a_trace() {
    let _turn = take_turn!(tracing);
    let limited = run(
        fdtrace(&["trace", "--format", "json", "--limit-events", "3", "--"]).args(grandchild()),
    );
    assert_eq!(limited.code, Some(0), "{limited:?}");
    assert_eq!(transfers(&lines(&limited.stdout)).len(), 3);
    let timed = run(&mut fdtrace(&[
        "trace",
        "--format",
        "json",
        "--duration",
        "0.1",
        "--comm",
        "x",
    ]));
    assert_eq!(timed.code, Some(0), "{timed:?}");
    assert_eq!(lines(&timed.stdout).last().unwrap()["type"], "summary");
}

#[test]
fn a_closed_pipe_is_success() {
    let _turn = take_turn!(tracing);
    let mut command = fdtrace(&["trace", "--"]);
    let mut child = command
        .args(grandchild())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("fdtrace:"), "{said}");
}
