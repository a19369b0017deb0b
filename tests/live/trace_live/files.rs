//! The files that a trace writes, and what a command is left with.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsRawFd,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    thread,
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{FDTRACE, Run, fdtrace, run, skip},
    take_turn,
};
use nix::{
    fcntl::{OFlag, open},
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, pthread_sigmask, signal},
        stat::Mode,
    },
};
use tempfile::TempDir;

use super::{
    children::{ReceivingChild, grandchild},
    tracing::{Tracing, lines, transfers},
};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_trace_is_in_its_file_when_it_is_whole() {
    let _turn = take_turn!(tracing);
    for ending in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("trace");
        fs::write(&file, "old").unwrap();
        let path = file.to_str().unwrap();
        let mut tracing = Tracing::start(&["trace", "--format", "json", "-o", path]);
        let mut child = ReceivingChild::start();
        child.send(0);
        child.end();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        kill(tracing.pid(), ending).unwrap();
        assert!(tracing.child.wait().unwrap().success(), "{ending}");
        let lines = lines(&fs::read_to_string(&file).unwrap());
        assert_eq!(lines.last().unwrap()["type"], "summary");
        assert!(!transfers(&lines).is_empty());
        assert_eq!(names(folder.path()), ["trace"]);
    }
}

#[test]
fn a_trace_that_is_killed_leaves_the_old_one_and_nothing_else() {
    const TEST: &str = "a_trace_that_is_killed_leaves_the_old_one_and_nothing_else";
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let nameless = OFlag::O_TMPFILE | OFlag::O_RDWR;
    if let Err(errno) = open(folder.path(), nameless, Mode::S_IRWXU) {
        return skip(
            TEST,
            &format!("this file system has no files without a name: {errno}"),
        );
    }
    let file = folder.path().join("trace");
    fs::write(&file, "old").unwrap();
    let mut tracing = Tracing::start(&["trace", "-o", file.to_str().unwrap()]);
    tracing.child.kill().unwrap();
    tracing.child.wait().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(names(folder.path()), ["trace"]);
}

/// Runs a script on a file system of 16 KiB in a mount namespace of its own; `None` if that cannot
/// be had. `$0` is fdtrace, and what follows the command.
fn on_a_small_disk(test: &str, script: &str, command: &[String]) -> Option<Run> {
    let folder = TempDir::new().unwrap();
    let script = format!(
        "mount --make-rprivate / && mount -t tmpfs -o size=16k fdtrace-test \"$1\" || exit 99\n\
         cd \"$1\" && shift\n{script}"
    );
    let mut shell = Command::new("unshare");
    shell
        .args(["-m", "sh", "-uc", &script, FDTRACE.as_str()])
        .arg(folder.path())
        .args(command);
    let run = run(&mut shell);
    if matches!(run.code, Some(1 | 99)) {
        skip(test, "nothing can be mounted apart");
        return None;
    }
    Some(run)
}

#[test]
fn a_trace_that_cannot_be_written_leaves_the_old_one() {
    const TEST: &str = "a_trace_that_cannot_be_written_leaves_the_old_one";
    let _turn = take_turn!(tracing);
    let script = "echo old > trace; \"$0\" trace --format json -o trace -- \"$@\"; echo $?; \
                  \"$0\" trace -o trace -- no-such-command; echo $?; cat trace; ls -A";
    if let Some(run) = on_a_small_disk(TEST, script, &grandchild()) {
        assert_eq!(run.stdout, "2\n2\nold\ntrace\n", "{run:?}");
        let said: Vec<&str> = run
            .stderr
            .lines()
            .filter(|line| line.starts_with("fdtrace:"))
            .collect();
        let full = "fdtrace: cannot write trace: No space left on device (os error 28)";
        assert_eq!(said, [full, "fdtrace: no-such-command: command not found"]);
    }
}

#[test]
fn a_recording_that_does_not_begin_leaves_the_earlier_one() {
    const TEST: &str = "a_recording_that_does_not_begin_leaves_the_earlier_one";
    let _turn = take_turn!(tracing);
    // The second has no room for its header.
    let script = "echo earlier > recording; \"$0\" record recording -- no-such-command; echo $?; \
                  cat /dev/zero > fill 2> /dev/null; \"$0\" record recording -- touch ran; echo $?; \
                  cat recording; ls -A";
    if let Some(run) = on_a_small_disk(TEST, script, &[]) {
        assert_eq!(run.stdout, "2\n2\nearlier\nfill\nrecording\n", "{run:?}");
        let said: Vec<&str> = run.stderr.lines().collect();
        let full = "fdtrace: cannot write the recording: No space left on device (os error 28)";
        assert_eq!(said, ["fdtrace: no-such-command: command not found", full]);
    }
}

#[test]
fn a_recording_is_its_owners_alone_and_follows_no_link() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("precious"), "precious").unwrap();
    symlink("precious", at("link")).unwrap();
    fs::write(at("earlier"), "open to all").unwrap();
    fs::set_permissions(at("earlier"), fs::Permissions::from_mode(0o666)).unwrap();
    for name in ["link", "earlier", "new"] {
        let recorded = run(fdtrace(&["record", "-q"])
            .arg(at(name))
            .args(["--", "true"]));
        assert_eq!(recorded.code, Some(0), "{recorded:?}");
        let metadata = fs::symlink_metadata(at(name)).unwrap();
        assert!(metadata.is_file(), "{name}");
        assert_eq!(metadata.mode() & 0o7777, 0o600, "{name}");
    }
    assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
    assert_eq!(names(folder.path()), ["earlier", "link", "new", "precious"]);
}

#[test]
fn a_recording_goes_down_a_pipe() {
    let _turn = take_turn!(tracing);
    let script = "\"$0\" record - -- \"$@\" | \"$0\" replay - --format json";
    let mut piped = Command::new("sh");
    piped.args(["-c", script, FDTRACE.as_str()]);
    // What the command says itself must not be in it.
    let mut command = grandchild();
    command[2] = format!("echo said; {}", command[2]);
    piped.args(command);
    let piped = run(piped.stdin(Stdio::null()));
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert!(piped.stderr.lines().any(|line| line == "said"), "{piped:?}");
    let lines = lines(&piped.stdout);
    assert_eq!(transfers(&lines).len(), 40);
    assert_eq!(lines.last().unwrap()["command_status"], 0);

    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let reader = pipe.clone();
    let reader = thread::spawn(move || fs::read(reader).unwrap());
    let recorded = run(fdtrace(&["record", "-q"]).arg(&pipe).args(["--", "true"]));
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    assert!(reader.join().unwrap().starts_with(b"fdtrace recording\n"));
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn a_ready_file_may_be_a_pipe() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let mut traced = fdtrace(&["trace", "--ready-file"])
        .arg(&pipe)
        .args(["--", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Opening waits for the one end, reading for the other's.
    let said = fs::read_to_string(&pipe).unwrap();
    assert_eq!(said, format!("{}\n", traced.id()));
    assert!(traced.wait().unwrap().success());
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn a_command_is_left_what_fdtrace_was_started_with() {
    let _turn = take_turn!(tracing);
    let status = |traced: bool| {
        let mut command = match traced {
            true => fdtrace(&[
                "trace",
                "-q",
                "-o",
                "/dev/stderr",
                "--exit-status",
                "command",
                "--",
            ]),
            false => Command::new("env"),
        };
        command.args([
            "grep",
            "-E",
            "SigBlk|SigIgn|Max open",
            "/proc/self/status",
            "/proc/self/limits",
        ]);
        // SAFETY: system calls alone.
        unsafe {
            command.pre_exec(|| {
                signal(Signal::SIGCHLD, SigHandler::SigIgn)?;
                // Rust's own runtime ignores it, and fdtrace cannot tell.
                signal(Signal::SIGPIPE, SigHandler::SigDfl)?;
                let blocked = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD]);
                pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)?;
                Ok(setrlimit(Resource::RLIMIT_NOFILE, 200, 300)?)
            })
        };
        let run = run(&mut command);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stdout
    };
    let plain = status(false);
    // The control: it has something to be left.
    let ignored = plain
        .lines()
        .find_map(|line| line.split("SigIgn:\t").nth(1));
    let ignored = u64::from_str_radix(ignored.unwrap(), 16).unwrap();
    assert_ne!(ignored & 1 << (Signal::SIGCHLD as u64 - 1), 0, "{plain}");
    assert_eq!(status(true), plain);
}

#[test]
fn a_commands_end_is_learnt_though_the_parent_ignores_its_childrens() {
    let _turn = take_turn!(tracing);
    for script in ["exit 7", "kill -KILL $$"] {
        let mut command = fdtrace(&[
            "trace",
            "--exit-status",
            "command",
            "--",
            "sh",
            "-c",
            script,
        ]);
        // SAFETY: one system call.
        unsafe {
            command.pre_exec(|| {
                signal(Signal::SIGCHLD, SigHandler::SigIgn)?;
                Ok(())
            })
        };
        let run = run(&mut command);
        let status = if script == "exit 7" { 7 } else { 128 + 9 };
        assert_eq!(run.code, Some(status), "{run:?}");
    }
}

#[test]
fn a_blocked_interrupt_ends_a_trace() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let ready = folder.path().join("ready");
    nix::unistd::mkfifo(&ready, Mode::S_IRWXU).unwrap();
    let mut command = fdtrace(&["trace", "--ready-file"]);
    command
        .arg(&ready)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // SAFETY: one system call.
    unsafe {
        command.pre_exec(|| {
            let all = SigSet::all();
            Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?)
        })
    };
    let traced = command.spawn().unwrap();
    drop(
        File::open(&ready)
            .and_then(std::io::read_to_string)
            .unwrap(),
    );
    kill(
        nix::unistd::Pid::from_raw(traced.id().cast_signed()),
        Signal::SIGINT,
    )
    .unwrap();
    let ended = traced.wait_with_output().unwrap();
    assert!(ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stdout).contains("lost "));
}

#[test]
fn no_two_files_are_shown_alike() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let names: [&[u8]; 4] = [
        b"x\xff",
        br"x\xff",
        "x\u{200b}".as_bytes(),
        "x\u{fffd}ff".as_bytes(),
    ];
    let shown = [r"/x\xff", r"/x\\xff", r"/x\u{200b}", r"/x\u{fffd}ff"];
    let files =
        names.map(|name| File::create(folder.path().join(OsStr::from_bytes(name))).unwrap());
    let recording = folder.path().join("recording");
    let mut child = ReceivingChild::start();
    let pid = child.child.id().to_string();
    let path = recording.to_str().unwrap();
    let mut tracing = Tracing::start(&["record", path, "--pid", &pid]);
    let fds: Vec<i32> = files.iter().map(AsRawFd::as_raw_fd).collect();
    passing::send(child.socket.as_raw_fd(), b"x", &[&fds]).unwrap();
    // It has come when the next one has.
    child.send(0);
    child.end();
    kill(tracing.pid(), Signal::SIGINT).unwrap();
    assert!(tracing.child.wait().unwrap().success());

    let text = run(&mut fdtrace(&["replay", path, "--each"])).stdout;
    for name in shown {
        let lines = text
            .lines()
            .filter(|line| line.split(' ').any(|word| word.ends_with(name)));
        assert_eq!(lines.count(), 1, "{name} {text}");
    }
    let json = run(&mut fdtrace(&["replay", path, "--format", "json"])).stdout;
    let lines = lines(&json);
    let paths = transfers(&lines)
        .into_iter()
        .filter_map(|line| line["file"]["path"].as_str());
    let found: Vec<Vec<u8>> = paths.map(fdtrace::model::lossless::bytes).collect();
    for name in names {
        let whole = folder.path().join(OsStr::from_bytes(name));
        assert!(
            found
                .iter()
                .any(|path| path == whole.as_os_str().as_bytes()),
            "{json}"
        );
    }
}
