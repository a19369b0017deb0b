//! A run of fdtrace that is under way, and what belongs to it: processes by a mark in their
//! environment, programs by their ids.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::{Child, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

use fdtrace_testkit::{
    command::{self, fdtrace},
    take_turn,
    turn::{DEADLINE, wait_until},
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The environment variable that distinguishes this test's processes from all others.
pub(crate) const MARK: &str = "FDTRACE_TEST_MARK";

pub(crate) fn new_mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}", std::process::id())
}

/// Processes that carry the mark, and whether each is a stage or an actor.
pub(crate) fn marked(mark: &str) -> Vec<(i32, bool)> {
    let entry = format!("{MARK}={mark}").into_bytes();
    let pids = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|process| {
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            // A process that has ended has no environment any more.
            let environment = fs::read(process.path().join("environ")).ok()?;
            environment
                .split(|byte| *byte == 0)
                .find(|it| *it == entry)?;
            let command = fs::read(process.path().join("cmdline")).ok()?;
            let stage = command.split(|byte| *byte == 0).any(|it| it == b"__runner");
            Some((pid, stage))
        });
    pids.collect()
}

fn stages(mark: &str) -> usize {
    marked(mark).iter().filter(|(_, stage)| *stage).count()
}

/// Ids of the eBPF programs that a process holds, by its descriptors.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return BTreeSet::new();
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .filter_map(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            line.trim().parse().ok()
        })
        .collect()
}

/// Names of those of the programs that are in the kernel.
fn loaded(ids: &BTreeSet<u32>) -> BTreeSet<String> {
    aya::programs::loaded_programs()
        // One may go away while the list is walked.
        .filter_map(Result::ok)
        .filter(|program| ids.contains(&program.id()))
        .filter_map(|program| program.name_as_str().map(str::to_owned))
        .collect()
}

/// A verify that is under way.
pub(crate) struct Session {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
    mark: String,
    programs: BTreeSet<u32>,
    /// No pipe: stages inherit it, and one that was left would keep it open.
    stderr: File,
}

impl Session {
    /// Starts a run that takes many seconds, and waits until it is in the middle of it: a result
    /// has been printed, a stage is on, and the programs are in the kernel.
    pub(crate) fn in_the_middle(more: &[&str]) -> Self {
        Self::in_the_middle_of("max-fds", more)
    }

    /// The same for a scenario that takes its time each time.
    pub(crate) fn in_the_middle_of(scenario: &str, more: &[&str]) -> Self {
        const REPEATS: &str = "300";
        let mark = new_mark();
        let stderr = tempfile::tempfile().expect("there is room");
        let mut child = fdtrace(&["verify", "--format", "json"])
            .args(more)
            .args([scenario, "--repeat", REPEATS])
            .env(MARK, &mark)
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone().expect("it is open"))
            .spawn()
            .expect("fdtrace can be started");
        let stdout = BufReader::new(child.stdout.take().expect("it has one"));
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| {
                // Nobody listens any more when the test has failed.
                let _ = tell.send(line);
            });
        });
        let mut session = Self {
            child,
            lines,
            seen: String::new(),
            mark,
            programs: BTreeSet::new(),
            stderr,
        };
        if !more.contains(&"-o") {
            while !session.next_line().starts_with(r#"{"type":"scenario""#) {}
        }
        wait_until("a stage is on", || stages(&session.mark) > 0);
        session.programs = programs_of(session.child.id());
        // A stage has its own, such as a security module's.
        for (pid, _) in marked(&session.mark) {
            session.programs.extend(programs_of(pid.cast_unsigned()));
        }
        let names = loaded(&session.programs);
        // The kernel keeps 15 bytes of a name. These are there whatever else the plan has.
        for name in ["end_kfree_skb", "end_consume_skb", "snapshot_task_f"] {
            assert!(names.contains(name), "no {name} in {names:?}");
        }
        session
    }

    fn next_line(&mut self) -> &str {
        let line = self
            .lines
            .recv_timeout(DEADLINE)
            .expect("it prints another line");
        let start = self.seen.len();
        self.seen += &line;
        self.seen.push('\n');
        &self.seen[start..]
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it is still there");
    }

    /// Waits for its end, and until nothing is left of it.
    pub(crate) fn end(mut self) -> Ended {
        self.seen
            .extend(self.lines.iter().flat_map(|line| [line, "\n".to_owned()]));
        let status = self.child.wait().expect("it ends");
        // What a process leaves is cleared away while others already see its end.
        wait_until("no process is left", || marked(&self.mark).is_empty());
        wait_until("no program is left", || loaded(&self.programs).is_empty());
        Ended {
            status,
            stdout: self.seen,
            stderr: command::written(&mut self.stderr),
        }
    }
}

pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[test]
fn a_mark_is_found_on_a_process_and_on_nothing_else() {
    let _turn = take_turn!(tracing);
    // The control of every "no process is left".
    let mark = new_mark();
    assert_eq!(marked(&mark), []);
    // It stays as long as its pipe has no room for all of the schema.
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1)).expect("a pipe can be one page");
    let mut writing = fdtrace(&["schema"])
        .env(MARK, &mark)
        .stdout(writer)
        .spawn()
        .expect("fdtrace can be started");
    let pid = writing.id().cast_signed();
    wait_until("it is on", || marked(&mark) == [(pid, false)]);
    assert_eq!(stages(&mark), 0);
    drop(reader);
    assert!(writing.wait().expect("it ends").success());
    assert_eq!(marked(&mark), []);
}
