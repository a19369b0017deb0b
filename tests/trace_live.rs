//! `fdtrace trace`, `record` and `replay` on the running kernel, beside processes of the tests'
//! own: what these passed, under which numbers, they know themselves.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may unwrap")]

#[path = "command/mod.rs"]
mod command;
#[path = "contract/mod.rs"]
mod contract;

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use command::{Run, fdtrace, run, skip};
use contract::Schema;
use fdtrace::passing;
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::MsgFlags,
    },
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Messages of 250 descriptors that the flooding child passes.
const FLOOD: usize = 400;

/// Tells a child of these tests what to do; see [`a_child`].
const JOB: &str = "TRACE_LIVE_JOB";

/// Why nothing here can run; `None` if it can.
fn obstacle() -> Option<String> {
    let doctor = run(&mut fdtrace(&["doctor", "--format", "json"]));
    let findings: Value = serde_json::from_str(&doctor.stdout).ok()?;
    let plan = findings["plan"].as_array()?;
    let unwatched = ["queue", "dequeue", "install"].into_iter().find(|hop| {
        let entry = plan.iter().find(|entry| entry["hop"] == **hop);
        entry.is_some_and(|entry| entry["skipped"] == true)
    });
    findings["obstacles"][0]
        .as_str()
        .map(str::to_owned)
        .or(unwatched.map(|hop| format!("{hop} is not watched")))
}

/// One test at a time: they are threads of one process, which some of them trace.
fn turn(test: &str) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Some(why) = obstacle() {
        skip(test, &why);
        return None;
    }
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A test's turn, or its end.
macro_rules! turn {
    ($test:literal) => {
        match turn($test) {
            Some(turn) => turn,
            None => return,
        }
    };
}

/// What a child of these tests does: it is this program again, with the job in a variable.
#[test]
fn a_child() {
    match env::var(JOB).as_deref() {
        // Receives what comes on its standard input until that ends; says each number.
        Ok("receive") => {
            while let Ok(received) = passing::receive(0, 8, MsgFlags::empty())
                && !received.data.is_empty()
            {
                for fd in &received.fds {
                    println!("\nreceived {}", fd.as_raw_fd());
                }
                std::mem::forget(received.fds);
            }
        }
        // Sends its standard error over its standard input, twice, and is gone.
        Ok("send") => {
            for _ in 0..2 {
                passing::send(0, b"x", &[&[2]]).unwrap();
            }
        }
        // Passes more to itself than a page of records holds, faster than anybody reads it.
        Ok("flood") => {
            let (a, b) = UnixStream::pair().unwrap();
            let fds = [0; 250];
            for _ in 0..FLOOD {
                passing::send(a.as_raw_fd(), b"x", &[&fds]).unwrap();
                let received = passing::receive(b.as_raw_fd(), 250, MsgFlags::empty()).unwrap();
                assert_eq!(received.fds.len(), 250);
            }
        }
        // Passes descriptors to itself.
        Ok("pass") => {
            let (a, b) = UnixStream::pair().unwrap();
            for _ in 0..20 {
                let fds = [a.as_raw_fd(), 0];
                passing::send(a.as_raw_fd(), b"x", &[&fds]).unwrap();
                let received = passing::receive(b.as_raw_fd(), 2, MsgFlags::empty()).unwrap();
                assert_eq!(received.fds.len(), 2);
            }
        }
        _ => {}
    }
}

fn child(job: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "a_child", "--nocapture", "--test-threads=1"])
        .env(JOB, job);
    command
}

/// A child that receives from the other end of a socket.
struct ReceivingChild {
    child: Child,
    socket: UnixStream,
    said: BufReader<std::process::ChildStdout>,
}

impl ReceivingChild {
    fn start() -> Self {
        let (socket, its) = UnixStream::pair().unwrap();
        let mut child = child("receive")
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            socket,
            said,
        }
    }

    /// Sends it a descriptor; returns the number that it has there.
    fn send(&mut self, fd: i32) -> i64 {
        passing::send(self.socket.as_raw_fd(), b"x", &[&[fd]]).unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some(number) = line.trim().strip_prefix("received ") {
                return number.parse().unwrap();
            }
        }
    }

    fn end(mut self) {
        drop(self.socket);
        assert!(self.child.wait().unwrap().success());
    }
}

/// `fdtrace trace` or `record`, attached.
struct Tracing {
    child: Child,
    folder: TempDir,
}

impl Tracing {
    fn start(args: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let ready = folder.path().join("ready");
        // What others pass meanwhile must not crowd it out.
        let mut command = fdtrace(args);
        if !args.contains(&"--buffer") {
            command.args(["--buffer", "32768"]);
        }
        let child = command
            .arg("--ready-file")
            .arg(&ready)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut tracing = Self { child, folder };
        wait_until("it is ready", || {
            let ended = tracing.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?} {}", tracing.read("stderr"));
            ready.exists()
        });
        tracing
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn stop(mut self) -> Run {
        kill(self.pid(), Signal::SIGINT).unwrap();
        let status = self.child.wait().unwrap();
        Run {
            code: status.code(),
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(
            begin.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        thread::yield_now();
    }
}

fn lines(text: &str) -> Vec<Value> {
    let schema = Schema::parse(&run(&mut fdtrace(&["schema"])).stdout);
    schema.assert_lines(text)
}

fn transfers(lines: &[Value]) -> Vec<&Value> {
    let transfers = lines.iter().filter(|line| line["type"] == "transfer");
    transfers.collect()
}

#[test]
fn a_transfer_is_shown_when_either_end_is_of_a_process() {
    let _turn = turn!("a_transfer_is_shown_when_either_end_is_of_a_process");
    let mut receiver = ReceivingChild::start();
    let file = fs::File::open("/dev/null").unwrap();
    // Both are here before it traces; the receiver may be in `recvmsg` by then.
    let ends = [std::process::id(), receiver.child.id()];
    for end in ends {
        let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &end.to_string()]);
        let number = receiver.send(file.as_raw_fd());
        let run = tracing.stop();
        assert_eq!(run.code, Some(0), "{run:?}");
        let lines = lines(&run.stdout);
        let all = transfers(&lines);
        assert_eq!(all.len(), 1, "{run:?}");
        let transfer = all[0];
        assert_eq!(transfer["sender"]["pid"], ends[0]);
        assert_eq!(transfer["sender"]["fd"], file.as_raw_fd());
        assert_eq!(transfer["receiver"]["pid"], ends[1]);
        assert_eq!(transfer["receiver"]["fd"], number);
        assert_eq!(transfer["fate"], "delivered");
        assert_eq!(transfer["verdict"], "same");
    }
    receiver.end();
}

#[test]
fn what_others_pass_is_not_shown() {
    let _turn = turn!("what_others_pass_is_not_shown");
    let bystander = ReceivingChild::start();
    let pid = bystander.child.id().to_string();
    for args in [["--pid", pid.as_str()], ["--comm", "nobody-is-so"]] {
        let mut receiver = ReceivingChild::start();
        let tracing = Tracing::start(&["trace", "--format", "json", args[0], args[1]]);
        let _ = receiver.send(0);
        let run = tracing.stop();
        assert_eq!(transfers(&lines(&run.stdout)).len(), 0, "{run:?}");
        receiver.end();
    }
    bystander.end();
}

#[test]
fn a_cgroup_is_watched_with_those_below_it() {
    let _turn = turn!("a_cgroup_is_watched_with_those_below_it");
    let name = format!("fdtrace-test-{}", std::process::id());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let Some(mounted) = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .and_then(|line| line.split(' ').nth(1))
    else {
        return skip(
            "a_cgroup_is_watched_with_those_below_it",
            "cgroups of version 2 are not mounted",
        );
    };
    let outer = Path::new(mounted).join(&name);
    let inner = outer.join("inner");
    if let Err(error) = fs::create_dir_all(&inner) {
        return skip(
            "a_cgroup_is_watched_with_those_below_it",
            &format!("no cgroup can be made: {error}"),
        );
    }
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id();
    let moved = fs::write(inner.join("cgroup.procs"), pid.to_string());
    let outcome = moved.map(|()| {
        let outer = outer.to_str().unwrap();
        let tracing = Tracing::start(&["trace", "--format", "json", "--cgroup", outer]);
        let _ = receiver.send(0);
        tracing.stop()
    });
    receiver.end();
    // A cgroup can be removed once its last task is reaped.
    fs::remove_dir(&inner).unwrap();
    fs::remove_dir(&outer).unwrap();
    match outcome {
        Err(error) => skip(
            "a_cgroup_is_watched_with_those_below_it",
            &format!("no process can be moved to a cgroup: {error}"),
        ),
        Ok(run) => {
            let lines = lines(&run.stdout);
            let all = transfers(&lines);
            assert_eq!(all.len(), 1, "{run:?}");
            assert_eq!(all[0]["receiver"]["pid"], pid);
        }
    }
}

#[test]
fn a_folder_that_is_no_cgroup_is_refused() {
    let _turn = turn!("a_folder_that_is_no_cgroup_is_refused");
    run(&mut fdtrace(&["trace", "--cgroup", "/etc"]))
        .assert_complaint("/etc is no cgroup of version 2", Some("/sys/fs/cgroup"));
}

/// The passing child, started by a shell that is started by a shell.
fn grandchild() -> Vec<String> {
    let exe = env::current_exe().unwrap();
    let script = format!(
        "{JOB}=pass sh -c '{} --exact a_child --nocapture >&2'",
        exe.display()
    );
    ["sh", "-c", &script].map(str::to_owned).into()
}

#[test]
fn descendants_of_a_command_are_traced_from_their_first_instruction() {
    let _turn = turn!("descendants_of_a_command_are_traced_from_their_first_instruction");
    let command = grandchild();
    let run = run(fdtrace(&["trace", "--format", "json", "--"]).args(&command));
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    assert_eq!(all.len(), 40, "{run:?}");
    assert!(all.iter().all(|transfer| transfer["verdict"] == "same"));
}

#[test]
fn a_command_that_cannot_run_is_told_as_a_shell_would() {
    let _turn = turn!("a_command_that_cannot_run_is_told_as_a_shell_would");
    for (name, what) in [
        ("no-such-command", "no-such-command: command not found"),
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
    let _turn = turn!("the_commands_status_is_reported_and_passed_on_if_asked");
    let shell = |args: &[&str], script: &str| {
        let mut command = fdtrace(&["trace", "--format", "json"]);
        command.args(args).args(["--", "sh", "-c", script]);
        run(&mut command)
    };
    let own = shell(&[], "exit 7");
    assert_eq!(own.code, Some(0), "{own:?}");
    assert_eq!(lines(&own.stdout).last().unwrap()["command_status"], 7);
    let passed_on = shell(&["--exit-status", "command"], "exit 7");
    assert_eq!(passed_on.code, Some(7), "{passed_on:?}");
    let killed = shell(&["--exit-status", "command"], "kill -TERM $$");
    assert_eq!(killed.code, Some(128 + 15), "{killed:?}");
}

#[test]
fn a_pid_that_is_gone_is_told_at_once() {
    let _turn = turn!("a_pid_that_is_gone_is_told_at_once");
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    run(&mut fdtrace(&["trace", "--pid", &pid]))
        .assert_complaint(&format!("there is no process {pid}"), Some("ps"));
}

#[test]
fn the_ready_file_is_there_before_the_command_runs() {
    let _turn = turn!("the_ready_file_is_there_before_the_command_runs");
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
fn a_replay_is_what_was_live() {
    let _turn = turn!("a_replay_is_what_was_live");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    let file = file.to_str().unwrap();
    let mut command = fdtrace(&["record", file, "--"]);
    let recorded = run(command.args(grandchild()));
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let replay = |args: &[&str]| {
        let run = run(fdtrace(&["replay", file]).args(args));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        run.stdout
    };
    let lines = lines(&replay(&["--format", "json"]));
    let all = transfers(&lines);
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|transfer| transfer["verdict"] == "same"));
    assert_eq!(lines.last().unwrap()["command_status"], 0);
    // What the recording's own summary said, the replay's says too.
    let said: Vec<String> = replay(&[]).lines().map(str::to_owned).collect();
    for line in recorded
        .stderr
        .lines()
        .filter(|line| line.starts_with("in queue"))
    {
        assert!(
            said.iter().any(|said| said == line),
            "{line:?} is not in {said:#?}"
        );
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let _turn = turn!("a_closed_pipe_is_success");
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

#[test]
fn a_full_disk_is_told_and_what_was_recorded_before_is_readable() {
    let _turn = turn!("a_full_disk_is_told_and_what_was_recorded_before_is_readable");
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("small");
    fs::create_dir(&place).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16k", "fdtrace-test"])
        .arg(&place)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip(
            "a_full_disk_is_told_and_what_was_recorded_before_is_readable",
            "nothing can be mounted",
        );
    }
    let file = place.join("recording");
    let file = file.to_str().unwrap();
    let recorded = run(fdtrace(&["record", file, "--"]).args(grandchild()));
    let replayed = run(&mut fdtrace(&["replay", "--format", "json", file]));
    let unmounted = Command::new("umount").arg(&place).status();
    assert!(unmounted.unwrap().success());

    assert_eq!(recorded.code, Some(2), "{recorded:?}");
    let complaints: Vec<&str> = recorded
        .stderr
        .lines()
        .filter(|line| line.starts_with("fdtrace: "))
        .collect();
    assert_eq!(complaints.len(), 1, "{recorded:?}");
    assert!(complaints[0].contains("No space left"), "{recorded:?}");
    assert_eq!(replayed.code, Some(3), "{replayed:?}");
    assert!(replayed.stderr.contains("breaks off"), "{replayed:?}");
    assert!(!transfers(&lines(&replayed.stdout)).is_empty());
}

/// Ids of what a process holds in the kernel: `prog_id`, `map_id` or `link_id`.
fn ids(pid: Pid, what: &str) -> Vec<u32> {
    let fds = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let mut ids: Vec<u32> = fs::read_dir(fds)
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|info| {
            let line = info.lines().find(|line| line.starts_with(what))?;
            line.split_once(':')?.1.trim().parse().ok()
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whether the kernel still has what this id is of.
fn exists(command: i64, id: u32) -> bool {
    // BPF_*_GET_FD_BY_ID takes the id first in its attribute.
    let mut attribute = [0_u32; 32];
    attribute[0] = id;
    // SAFETY: the attribute is longer than the kernel needs, and zero behind the id.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attribute.as_mut_ptr(),
            size_of_val(&attribute),
        )
    };
    if fd >= 0 {
        // SAFETY: it is new and nobody else's.
        unsafe { libc::close(i32::try_from(fd).unwrap()) };
    }
    fd >= 0
}

#[test]
fn a_killed_fdtrace_leaves_nothing_in_the_kernel_and_the_command_goes_on() {
    const BPF_PROG_GET_FD_BY_ID: i64 = 13;
    const BPF_MAP_GET_FD_BY_ID: i64 = 14;
    const BPF_LINK_GET_FD_BY_ID: i64 = 30;
    let _turn = turn!("a_killed_fdtrace_leaves_nothing_in_the_kernel_and_the_command_goes_on");
    let folder = TempDir::new().unwrap();
    let (ready, gone) = (folder.path().join("ready"), folder.path().join("gone"));
    fs::write(&gone, "").unwrap();
    // Goes on when fdtrace is gone, and says so.
    let script = format!(
        "while [ -e {0} ]; do sleep 0.05; done; echo went on > {0}",
        gone.display()
    );
    let mut command = fdtrace(&["trace", "--ready-file", ready.to_str().unwrap(), "--"]);
    let mut traced = command
        .args(["sh", "-c", &script])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it is ready", || ready.exists());
    let pid = Pid::from_raw(traced.id().cast_signed());
    let kinds = [
        ("prog_id", BPF_PROG_GET_FD_BY_ID),
        ("map_id", BPF_MAP_GET_FD_BY_ID),
        ("link_id", BPF_LINK_GET_FD_BY_ID),
    ];
    let held: Vec<(&str, i64, u32)> = kinds
        .iter()
        .flat_map(|(what, command)| {
            let ids = ids(pid, what).into_iter();
            ids.map(move |id| (*what, *command, id))
        })
        .collect();
    assert!(held.len() > 5, "it holds programs and maps: {held:?}");
    for (what, command, id) in &held {
        assert!(exists(*command, *id), "{what} {id} is there while it runs");
    }
    traced.kill().unwrap();
    traced.wait().unwrap();
    for (what, command, id) in held {
        wait_until(&format!("{what} {id} is gone"), || !exists(command, id));
    }
    fs::remove_file(&gone).unwrap();
    wait_until("the command goes on", || {
        fs::read_to_string(&gone).is_ok_and(|said| said == "went on\n")
    });
}

#[test]
fn a_command_that_was_not_let_go_ends_with_fdtrace() {
    let _turn = turn!("a_command_that_was_not_let_go_ends_with_fdtrace");
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

/// What a child sent over its end of a socket before it was gone: two messages of one file.
fn sent_by_one_that_is_gone(file: &fs::File) -> UnixStream {
    let (socket, its) = UnixStream::pair().unwrap();
    let sent = child("send")
        .stdin(Stdio::from(OwnedFd::from(its)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(file.try_clone().unwrap()))
        .status()
        .unwrap();
    assert!(sent.success());
    socket
}

#[test]
fn what_was_queued_before_the_trace_is_shown_when_it_is_received() {
    let _turn = turn!("what_was_queued_before_the_trace_is_shown_when_it_is_received");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("queued before");
    let file = fs::File::create(&path).unwrap();
    let socket = sent_by_one_that_is_gone(&file);
    let this = std::process::id();
    let pid = this.to_string();
    let recording = folder.path().join("recording");
    let recording = recording.to_str().unwrap();
    let tracing = Tracing::start(&["record", recording, "--pid", &pid]);
    let received = passing::receive(socket.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
    // The other one stays where it is, and one that is sent now is not mistaken for it.
    let (a, b) = UnixStream::pair().unwrap();
    passing::send(a.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
    let now = passing::receive(b.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
    let recorded = tracing.stop();
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let run = run(&mut fdtrace(&["replay", "--format", "json", recording]));
    let lines = lines(&run.stdout);
    let all = transfers(&lines);
    let [before, after] = all[..] else {
        panic!("{run:?}");
    };
    for (transfer, fd) in [(before, &received.fds[0]), (after, &now.fds[0])] {
        assert_eq!(transfer["fate"], "delivered", "{transfer}");
        assert_eq!(transfer["file"]["path"], path.to_str().unwrap());
        assert_eq!(transfer["receiver"]["pid"], this);
        assert_eq!(transfer["receiver"]["fd"], fd.as_raw_fd());
    }
    let marks = |transfer: &Value| transfer["marks"].to_string();
    assert!(marks(before).contains("queued-before"), "{before}");
    assert_eq!(before["sender"], Value::Null);
    assert_eq!(before["queued_ns"], Value::Null);
    assert_eq!(before["socket"]["type"], "stream");
    assert_eq!(before["verdict"], "unverified");
    assert!(!marks(after).contains("queued-before"), "{after}");
    assert_eq!(after["sender"]["fd"], file.as_raw_fd());
    assert_eq!(after["verdict"], "same");
}

#[test]
fn what_was_queued_before_and_stays_so_is_told_of() {
    use std::os::unix::fs::MetadataExt as _;
    let _turn = turn!("what_was_queued_before_and_stays_so_is_told_of");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("stuck");
    let file = fs::File::create(&path).unwrap();
    let ino = file.metadata().unwrap().ino();
    let socket = sent_by_one_that_is_gone(&file);
    // Without a filter, as nobody does anything with it while it is watched.
    let tracing = Tracing::start(&[
        "trace",
        "--format",
        "json",
        "--kind",
        "regular",
        "--stuck-after",
        "0.1",
    ]);
    wait_until("it is told of", || {
        tracing.read("stdout").matches("still-queued").count() >= 2
    });
    let run = tracing.stop();
    drop(socket);
    let lines = lines(&run.stdout);
    let its = transfers(&lines).into_iter().filter(|transfer| {
        transfer["file"]["ino"] == ino && transfer["file"]["path"] == path.to_str().unwrap()
    });
    // Each as it became overdue, and again at the end.
    let its: Vec<&Value> = its.collect();
    assert_eq!(its.len(), 4, "{run:?}");
    for transfer in its {
        assert!(transfer["marks"].to_string().contains("queued-before"));
        // With tracepoints alone not every end is seen.
        let fate = transfer["fate"].as_str().unwrap();
        assert!(["queued", "unknown"].contains(&fate), "{transfer}");
    }
}

#[test]
fn a_receiver_that_was_waiting_before_the_trace_is_seen() {
    let _turn = turn!("a_receiver_that_was_waiting_before_the_trace_is_seen");
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id();
    wait_until("it is in recvmsg", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut calls = tasks.map(|task| fs::read_to_string(task.path().join("syscall")));
        calls.any(|call| call.is_ok_and(|call| call.starts_with("47 ")))
    });
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid.to_string()]);
    let file = fs::File::open("/dev/null").unwrap();
    let number = receiver.send(file.as_raw_fd());
    let run = tracing.stop();
    receiver.end();
    let lines = lines(&run.stdout);
    let [transfer] = transfers(&lines)[..] else {
        panic!("{run:?}");
    };
    assert_eq!(transfer["sender"]["fd"], file.as_raw_fd());
    assert_eq!(transfer["receiver"]["fd"], number);
    assert_eq!(transfer["verdict"], "same");
}

/// The most memory that a process has had at once, KiB.
fn most_memory_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.unwrap().trim();
    line.strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn a_flood_loses_records_and_says_so_in_bounded_memory() {
    let _turn = turn!("a_flood_loses_records_and_says_so_in_bounded_memory");
    let tracing = Tracing::start(&[
        "trace",
        "--format",
        "json",
        "--buffer",
        "4",
        "--pid",
        &std::process::id().to_string(),
    ]);
    let attached = most_memory_kib(tracing.pid());
    let flooded = child("flood").stdout(Stdio::null()).status().unwrap();
    assert!(flooded.success());
    let flooded = most_memory_kib(tracing.pid());
    let run = tracing.stop();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let lines = lines(&run.stdout);
    let summary = lines.last().unwrap();
    let lost = summary["lost_events"].as_object().unwrap();
    let lost: u64 = lost.values().filter_map(Value::as_u64).sum();
    assert!(lost > 0, "{summary}");
    assert!(flooded < attached + 32 * 1024, "{attached} KiB, {flooded}");
    let all = transfers(&lines);
    assert!(all.len() <= FLOOD * 250, "none is made up");
    let verdict = |is: &str| all.iter().filter(|it| it["verdict"] == is).count();
    assert!(verdict("lost") > 0, "{summary}");
    assert_eq!(verdict("different"), 0, "{summary}");
}

#[test]
fn the_limit_and_the_duration_end_a_trace() {
    let _turn = turn!("the_limit_and_the_duration_end_a_trace");
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
