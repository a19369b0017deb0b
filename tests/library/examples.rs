//! The examples, run as they are.

use std::{
    env, fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::SystemTime,
};

use fdtrace::Error;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{live, recording};

/// When the newest file in a folder was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap();
    let times = entries.map(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => newest(&entry.path()),
            false => entry.metadata().unwrap().modified().unwrap(),
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// An example. `cargo test` builds them all beside its tests; where that has not been done since the
/// crate was changed, it is done here.
fn example(name: &str) -> Command {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let this = env::current_exe().unwrap();
    // This test is in `deps`, beside `examples`.
    let examples = this.ancestors().nth(2).unwrap().join("examples");
    let path = examples.join(name);
    let built = fs::metadata(&path).and_then(|it| it.modified());
    let changed = ["src", "examples", "bpf"].map(|folder| newest(&crate_folder.join(folder)));
    if built.is_ok_and(|built| changed.iter().all(|changed| built > *changed)) {
        return Command::new(path);
    }
    let mut build = Command::new(env!("CARGO"));
    // As CI builds the tests, so that nothing else is built anew.
    build.args(["build", "--quiet", "--workspace", "--example", name]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.current_dir(crate_folder).status().unwrap().success());
    Command::new(path)
}

/// What it prints, if it ends well.
fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Starts an example that says when it has begun, by its first line.
fn started(mut example: Command) -> (Child, String) {
    let mut child = example.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while !line.ends_with(b"\n") && stdout.read(&mut byte).unwrap() == 1 {
        line.push(byte[0]);
    }
    (child, String::from_utf8(line).unwrap())
}

#[test]
fn assert_handoff_finds_the_listener_with_the_child() -> Result<(), Error> {
    fdtrace::require_privileges!();
    // Others use this machine too, and may make fdtrace lose something.
    let tries = (0..3).map(|_| example("assert_handoff").output().unwrap());
    let output = tries.take(3).find(|it| it.status.success() || !lost(it));
    let text = printed(&output.expect("nothing was lost in one of three runs"));
    assert!(text.starts_with("the child has it as "), "{text}");
    Ok(())
}

fn lost(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("not everything was seen")
}

#[test]
fn assert_handoff_is_skipped_without_privileges() {
    let mut example = example("assert_handoff");
    live::drop_capabilities(&mut example);
    let output = example.output().unwrap();
    assert!(output.status.success());
    assert_eq!(printed(&output), "");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(
        why.starts_with("skipped: main: tracing needs CAP_BPF"),
        "{why}"
    );
}

#[test]
fn daemon_counts_what_is_delivered() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let (child, line) = started(example("daemon"));
    assert!(line.starts_with("watching "), "{line}");
    live::hand_over_one();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let text = printed(&child.wait_with_output().unwrap());
    assert!(text.contains("\"delivered\": "), "{text}");
    Ok(())
}

#[test]
fn event_loop_shows_ten_transfers() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let (child, line) = started(example("event_loop"));
    assert_eq!(line, "watching\n");
    for _ in 0..10 {
        live::hand_over_one();
    }
    let text = printed(&child.wait_with_output().unwrap());
    assert!(text.contains("delivered of a regular"), "{text}");
    Ok(())
}

#[test]
fn read_recording_lists_what_did_not_arrive() {
    let mut example = example("read_recording");
    live::drop_capabilities(&mut example);
    let text = printed(&example.arg(recording("tracepoints")).output().unwrap());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("of Linux 6.18.44-fc-v657"));
    assert_eq!(
        lines.next(),
        Some("a regular was truncated, no-control-room")
    );
    assert_eq!(lines.count(), 5, "{text}");
}
