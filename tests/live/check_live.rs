//! `fdtrace check` in front of a command that hands descriptors over rightly, or in one of several wrong
//! ways.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use fdtrace_testkit::{
    command::{Run, fdtrace, run, skip},
    take_turn,
};
use serde_json::Value;
use tempfile::TempDir;

/// A parent that passes three memfds to its child, which takes them as its argument says.
const HAND_OVER: &str = "
import os, socket, sys
mode = sys.argv[1]
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
passed = [os.memfd_create(name) for name in ('one', 'two', 'three')]
if os.fork() == 0:
    ours.close()
    room = 2 if mode == 'small' else 3
    flags = 0 if mode == 'inherit' else socket.MSG_CMSG_CLOEXEC
    if mode == 'read':
        os.read(theirs.fileno(), 1)
    elif mode != 'leave':
        theirs.recvmsg(1, socket.CMSG_LEN(room * 4), flags)
    os._exit(0)
if mode != 'leave':
    theirs.close()
socket.send_fds(ours, [b'x'], passed)
os.wait()
sys.exit(7 if mode == 'fail' else 0)
";

const EXPECTED: &str = "delivered=3 kind=memfd to=python3 cloexec once";

fn has_python(test: &str) -> bool {
    let has = Command::new("python3").arg("--version").output().is_ok();
    if !has {
        skip(test, "no python3");
    }
    has
}

fn check(args: &[&str], mode: &str) -> Run {
    let mut command = fdtrace(&["check"]);
    run(command
        .args(args)
        .args(["--", "python3", "-c", HAND_OVER, mode]))
}

#[test]
fn a_right_hand_over_is_green_and_each_wrong_one_is_red() {
    let _turn = take_turn!(tracing);
    if !has_python("a_right_hand_over_is_green_and_each_wrong_one_is_red") {
        return;
    }
    for (mode, code, said) in [
        ("right", 0, "3 descriptors delivered, all as expected"),
        ("small", 1, "truncated (no-control-room)"),
        ("read", 1, "discarded"),
        ("inherit", 1, "close-on-exec is not set"),
        // Its own failure passes through first.
        ("fail", 7, "all as expected"),
    ] {
        let run = check(&["--expect", EXPECTED], mode);
        assert_eq!(run.code, Some(code), "{mode}: {run:?}");
        assert!(run.stderr.contains(said), "{mode}: {run:?}");
        assert_eq!(run.stdout, "", "{mode}");
    }
    // Nothing is expected but what always is.
    let run = check(&[], "inherit");
    assert_eq!(run.code, Some(0), "{run:?}");
    let run = check(&[], "small");
    assert_eq!(run.code, Some(1), "{run:?}");
}

#[test]
fn a_hop_that_is_needed_and_not_watched_is_no_answer() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let (file, ran) = (
        folder.path().join("expected.toml"),
        folder.path().join("ran"),
    );
    fs::write(&file, "need = [\"copy\"]\n").unwrap();
    // By tracepoints nobody sees a copy.
    let mut command = fdtrace(&["check", "--attach", "tracepoint", "--file"]);
    let copy = run(command.arg(&file).arg("--").arg("touch").arg(&ran));
    if copy.stderr.contains("tracepoint") && copy.code == Some(2) {
        return skip(
            "a_hop_that_is_needed_and_not_watched_is_no_answer",
            "this kernel has no such tracepoints",
        );
    }
    assert_eq!(copy.code, Some(3), "{copy:?}");
    assert!(copy.stderr.contains("not watched: "), "{copy:?}");
    // Nor the function that refuses a file.
    let mut command = fdtrace(&["check", "--attach", "tracepoint", "--expect", "cause=lsm"]);
    let refused = run(command.arg("--").arg("touch").arg(&ran));
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains("not watched: receive"),
        "{refused:?}"
    );
    assert!(!ran.exists(), "the command was run");
}

#[test]
fn what_was_blessed_holds_again_and_is_written_in_every_format() {
    let _turn = take_turn!(tracing);
    if !has_python("what_was_blessed_holds_again_and_is_written_in_every_format") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (blessed, json, junit) = (path("blessed.toml"), path("check.json"), path("check.xml"));
    let run = check(&["--bless", &blessed], "small");
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(!fs::exists(&blessed).unwrap(), "a bad run was blessed");
    let run = check(&["--bless", &blessed], "right");
    assert_eq!(run.code, Some(0), "{run:?}");
    let reports = [format!("json={json}"), format!("junit={junit}")];
    let args = [
        "--file",
        &blessed,
        "--report",
        &reports[0],
        "--report",
        &reports[1],
    ];
    assert_eq!(check(&args, "right").code, Some(0));
    let run = check(&args, "inherit");
    assert_eq!(run.code, Some(1), "{run:?}");
    let lines = fs::read_to_string(&json).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let of = |kind: &str| {
        lines
            .iter()
            .filter(move |line| line["type"] == kind)
            .count()
    };
    assert_eq!(
        (of("start"), of("transfer"), of("summary"), of("check")),
        (1, 3, 1, 2)
    );
    let failed = lines.iter().find(|line| line["result"] == "fail").unwrap();
    assert_eq!(failed["findings"].as_array().unwrap().len(), 3);
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("failures=\"1\"") && xml.contains("errors=\"0\""),
        "{xml}"
    );
}

#[test]
fn reports_go_to_stdout_and_a_page_has_every_transfer() {
    let _turn = take_turn!(tracing);
    if !has_python("reports_go_to_stdout_and_a_page_has_every_transfer") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    let html = format!("html={}", page.display());
    let run = check(&["--report", "tap", "--report", &html], "small");
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.starts_with("TAP version 14\n"), "{run:?}");
    assert!(
        run.stderr.contains("truncated (no-control-room)"),
        "{run:?}"
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("memfd:three") && page.ends_with("</html>\n"),
        "{page}"
    );
}

#[test]
fn doctor_fails_where_a_hop_that_is_insisted_on_cannot_be_watched() {
    let _turn = take_turn!(tracing);
    let doctor = |hops: &str| {
        run(&mut fdtrace(&[
            "doctor",
            "--attach",
            "tracepoint",
            "--require",
            hops,
        ]))
    };
    let all = doctor("install,end");
    if all.code == Some(2) {
        return skip(
            "doctor_fails_where_a_hop_that_is_insisted_on_cannot_be_watched",
            "this kernel has no such tracepoints",
        );
    }
    assert_eq!(all.code, Some(0), "{all:?}");
    let some = doctor("copy,install,detach");
    assert_eq!(some.code, Some(2), "{some:?}");
    assert!(
        some.stdout
            .contains("cannot trace: not watched: copy, detach\n"),
        "{some:?}"
    );
}

#[test]
fn a_command_that_cannot_run_or_is_killed_ends_it_as_env_would() {
    let _turn = take_turn!(tracing);
    let code = |command: &[&str]| run(fdtrace(&["check", "--"]).args(command)).code;
    assert_eq!(code(&["no-such-command"]), Some(127));
    assert_eq!(code(&["/no/such/command"]), Some(127));
    assert_eq!(code(&["/proc/version"]), Some(126));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(128 + 15));
}

#[test]
fn what_is_closed_and_what_is_kept_is_seen_at_both_ends() {
    let _turn = take_turn!(tracing);
    if !has_python("what_is_closed_and_what_is_kept_is_seen_at_both_ends") {
        return;
    }
    // Neither end closes anything before it ends.
    for (word, code) in [
        ("still-open", 0),
        ("closed", 1),
        ("kept-by-sender", 0),
        ("closed-by-sender", 1),
    ] {
        let run = check(&["--expect", &format!("delivered=3 {word}")], "right");
        assert_eq!(run.code, Some(code), "{word}: {run:?}");
    }
}

/// The quickest of several runs by turns: whatever else the machine does only makes one slower.
#[test]
fn check_takes_hardly_longer_than_trace() {
    const MORE: Duration = Duration::from_millis(300);
    const TURNS: usize = 12;
    let _turn = take_turn!(tracing);
    let took = |args: &[&str]| {
        let begun = Instant::now();
        let run = run(&mut fdtrace(args));
        assert_eq!(run.code, Some(0), "{run:?}");
        begun.elapsed()
    };
    let [mut trace, mut check, mut late] = [Duration::MAX; 3];
    for _ in 0..TURNS {
        trace = trace.min(took(&["trace", "--", "true"]));
        check = check.min(took(&["check", "--", "true"]));
        // Negative control: a check that takes half a second longer.
        late = late.min(took(&["check", "--", "sleep", "0.5"]));
        if check <= trace + MORE && late > trace + MORE {
            break;
        }
    }
    assert!(check <= trace + MORE, "{check:?} and not {trace:?}");
    assert!(late > trace + MORE, "half a second is not noticed");
}
