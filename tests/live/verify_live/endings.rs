//! Every way in which a run can end.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use fdtrace_testkit::{
    command::{Run, fdtrace, run},
    take_turn,
    turn::wait_until,
};
use nix::sys::signal::Signal;

use super::{
    run::{Lines, verify},
    session::{MARK, Session, marked, new_mark},
};

fn interrupted_by(signal: Signal) {
    let session = Session::in_the_middle(&[]);
    session.signal(signal);
    let ended = session.end();
    assert_eq!(
        ended.status.code(),
        Some(128 + signal as i32),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr, "");
    let lines = Lines::of(&Run {
        code: ended.status.code(),
        stdout: ended.stdout,
        stderr: ended.stderr,
    });
    let summary = lines.summary();
    assert_eq!(summary["interrupted"], true, "{summary}");
    assert_eq!(summary["exit_code"], 128 + signal as i32, "{summary}");
    // What was done until then is reported, and it was not all.
    let done = lines.of_type("scenario").count();
    assert!((1..300).contains(&done), "{done}");
    assert_eq!(summary["scenarios"], serde_json::json!({ "pass": done }));
}

#[test]
fn an_interrupt_ends_the_run_with_its_summary_and_leaves_nothing() {
    let _turn = take_turn!(tracing);
    interrupted_by(Signal::SIGINT);
}

#[test]
fn a_termination_ends_the_run_with_its_summary_and_leaves_nothing() {
    let _turn = take_turn!(tracing);
    interrupted_by(Signal::SIGTERM);
}

#[test]
fn a_kill_leaves_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    let _turn = take_turn!(tracing);
    let session = Session::in_the_middle(&[]);
    session.signal(Signal::SIGKILL);
    let ended = session.end();
    assert_eq!(ended.status.signal(), Some(Signal::SIGKILL as i32));
    assert!(!ended.stdout.contains(r#""type":"summary""#));
}

#[test]
fn a_kill_leaves_the_machine_as_it_was_whatever_a_scenario_had_set_up() {
    let _turn = take_turn!(tracing);
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let before = mounts();
    for scenario in [
        "pid-namespace",
        "too-many-in-flight",
        "rlimit-nofile",
        "lsm-denied",
        "sockmap-discards",
    ] {
        let once = run(&mut fdtrace(&["verify", "--format", "json", scenario]));
        if !once.stdout.contains(r#""result":"pass""#) {
            // It sets nothing up where the kernel lacks what it needs.
            assert!(once.stdout.contains(r#""result":"skip""#), "{once:?}");
            continue;
        }
        let session = Session::in_the_middle_of(scenario, &[]);
        session.signal(Signal::SIGKILL);
        // Waits until no process and no program is left.
        session.end();
        let again = run(&mut fdtrace(&["verify", "--format", "json", scenario]));
        assert!(again.stdout.contains(r#""result":"pass""#), "{again:?}");
    }
    assert_eq!(mounts(), before);
}

#[test]
fn an_interrupted_report_is_whole_in_its_file() {
    let _turn = take_turn!(tracing);
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let path = dir.path().join("report.jsonl");
    let session = Session::in_the_middle(&["-o", path.to_str().expect("its name is text")]);
    // Not there before it is whole.
    assert!(!path.exists());
    session.signal(Signal::SIGINT);
    let ended = session.end();
    assert_eq!(
        (ended.status.code(), ended.stdout.as_str()),
        (Some(130), "")
    );
    let lines = Lines::of(&Run {
        code: Some(130),
        stdout: fs::read_to_string(&path).expect("it is there now"),
        stderr: ended.stderr,
    });
    assert_eq!(lines.summary()["interrupted"], true);
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_and_is_success() {
    let _turn = take_turn!(tracing);
    let mark = new_mark();
    for lines_read in [0, 2] {
        let mut child = fdtrace(&["verify"])
            .env(MARK, &mark)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fdtrace can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("it has one"));
        for _ in 0..lines_read {
            stdout
                .read_line(&mut String::new())
                .expect("it can be read");
        }
        drop(stdout);
        let run = Run::of(&child.wait_with_output().expect("it ends"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
        wait_until("no process is left", || marked(&mark).is_empty());
    }
}

#[test]
fn a_scenario_over_its_time_fails_with_the_limit_and_leaves_no_process() {
    let _turn = take_turn!(tracing);
    let mark = new_mark();
    let args = ["verify", "--format", "json", "--time-limit", "0.0001"];
    let run = run(fdtrace(&args)
        .args(["stream-one-fd", "two-fds"])
        .env(MARK, &mark));
    // No waiting: fdtrace itself waits until the actors are gone.
    assert_eq!(marked(&mark), []);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
    let lines = Lines::of(&run);
    for name in ["stream-one-fd", "two-fds"] {
        let scenario = lines.scenario(name);
        assert_eq!(scenario["result"], "fail", "{scenario}");
        let reason = scenario["reason"].as_str().expect("it says why");
        assert!(reason.contains("0.0001 s"), "{reason}");
    }
    assert_eq!(lines.summary()["exit_code"], 1);
    assert_eq!(lines.summary()["interrupted"], false);
}

#[test]
fn a_long_time_limit_is_one_too() {
    let _turn = take_turn!(tracing);
    let run = verify(&["--time-limit", "4294967295", "stream-one-fd"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
}
