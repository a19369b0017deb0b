//! Many deliveries, and everything that processes do with what they have: what is said to be open is open,
//! and is held by those of whom it is said.

use std::{
    cell::Cell,
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::fd::RawFd,
};

use fdtrace_testkit::{take_turn, turn::wait_until};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    churn::{Actor, Truth},
    judged::{Said, Score},
};
use crate::trace_live::tracing::{Tracing, lines};

/// How many open files are handed over; more if somebody has the time.
const VARIABLE: &str = "FDTRACE_STILL_OPEN_DELIVERIES";
const DELIVERIES: usize = 1600;

/// How often all stand still to be looked at.
const PARTS: usize = 4;

/// Whether the numbers of two processes stand for one open file, by the kernel.
fn same(pid: u32, fd: RawFd, other: u32, its: RawFd) -> bool {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: takes numbers alone.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            pid as libc::pid_t,
            other as libc::pid_t,
            KCMP_FILE,
            fd as libc::c_ulong,
            its as libc::c_ulong,
        )
    };
    result == 0
}

#[test]
fn whatever_processes_do_nothing_is_said_to_be_open_that_is_not() {
    let _turn = take_turn!(tracing);
    let deliveries = env::var(VARIABLE).map_or(DELIVERIES, |count| count.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let seed = u64::from(std::process::id());
    let tracing = Tracing::start(&["trace", "--format", "json", "--every", "500ms"]);
    let mut actor = Actor::start(folder.path(), deliveries, PARTS, seed);
    let pid = actor.child.id();
    let mut score = Score::default();
    let mut output = Output::of(&tracing);
    for part in 0..PARTS {
        wait_until("it pauses", || {
            fs::exists(folder.path().join(format!("truth-{part}"))).unwrap()
        });
        let truth = actor.paused(part).unwrap();
        let paused_ns = now_ns();
        let mut look = None;
        wait_until("it is looked at", || {
            output.read_on();
            look = output.look_after(pid, paused_ns);
            look.is_some()
        });
        let t_ns = look.unwrap();
        let said = Said::of(&output.lines, pid);
        assert_eq!(said.deliveries(), truth.delivered.len(), "seed {seed}");
        let (wrong, now) = said.judge(t_ns, &truth, pid, &|fd, other, its| {
            same(pid, fd, other, its)
        });
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        score.open += now.open;
        score.moved += now.moved;
        score.closed += now.closed;
        score.unknown += now.unknown;
        score.holders += now.holders;
        if part == 0 {
            finds_lies(&said, t_ns, &truth, pid);
        }
        actor.go_on();
    }
    assert!(actor.child.wait().unwrap().success());
    let run = tracing.stop();
    assert!(run.code == Some(0), "{}", run.stderr);
    let sample: Vec<&str> = run
        .stdout
        .lines()
        .step_by(run.stdout.lines().count() / 500 + 1)
        .collect();
    assert!(
        lines(&sample.join("\n"))
            .iter()
            .any(|line| line["type"] == "still_open")
    );
    println!("{deliveries} deliveries, {PARTS} looks: {score:?}");
    assert!(
        score.open > 0 && score.moved > 0 && score.closed > 0 && score.unknown > 0,
        "{score:?}"
    );
    assert!(score.holders > score.open, "{score:?}");
}

/// What a trace has written so far.
struct Output {
    file: BufReader<File>,
    /// The beginning of a line that is not whole yet.
    begun: String,
    lines: Vec<Value>,
}

impl Output {
    fn of(tracing: &Tracing) -> Self {
        Self {
            file: BufReader::new(File::open(tracing.folder.path().join("stdout")).unwrap()),
            begun: String::new(),
            lines: Vec::new(),
        }
    }

    fn read_on(&mut self) {
        while self.file.read_line(&mut self.begun).unwrap() > 0 && self.begun.ends_with('\n') {
            self.lines.push(serde_json::from_str(&self.begun).unwrap());
            self.begun.clear();
        }
    }

    /// The first look that began after `since_ns` and told of this process, once there is another after it:
    /// by then all that it told is there.
    fn look_after(&self, pid: u32, since_ns: u64) -> Option<u64> {
        let told = self
            .lines
            .iter()
            .filter(|line| line["type"] == "still_open" && line["pid"] == pid);
        let mut later = told
            .filter_map(|line| line["t_ns"].as_str()?.parse().ok())
            .filter(|t_ns| *t_ns > since_ns);
        let first = later.next()?;
        later.any(|t_ns| t_ns > first).then_some(first)
    }
}

fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    std::time::Duration::from(now).as_nanos() as u64
}

/// A number that is closed, one that stands for another file, and another holder are each found out.
fn finds_lies(said: &Said, t_ns: u64, truth: &Truth, pid: u32) {
    let lied = |change: &dyn Fn(&mut Truth)| {
        let mut other = Truth {
            delivered: truth.delivered.clone(),
            table: truth.table.clone(),
            kept: truth.kept.clone(),
        };
        change(&mut other);
        said.judge(t_ns, &other, pid, &|_, _, _| true).0
    };
    assert!(lied(&|_| ()).is_empty());
    assert!(!lied(&|truth| truth.table.clear()).is_empty());
    assert!(
        !lied(&|truth| truth
            .table
            .values_mut()
            .for_each(|token| *token += 1_000_000))
        .is_empty()
    );
    let asked = Cell::new(false);
    let nobody = said.judge(t_ns, truth, pid, &|_, _, _| {
        asked.set(true);
        false
    });
    assert!(!nobody.0.is_empty() || !asked.get());
}
