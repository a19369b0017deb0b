//! Recordings of the running kernel.

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use fdtrace::{kernel::KernelView, tracer::UnixIterator};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::{
    children::grandchild,
    command::{Run, fdtrace, run, skip},
    tracing::{lines, transfers},
};

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

#[test]
fn queues_that_could_not_be_read_are_told_of_in_the_summary() {
    let _turn = turn!("queues_that_could_not_be_read_are_told_of_in_the_summary");
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    let view = KernelView::live().unwrap();
    if UnixIterator::of(&view.types).unwrap() == UnixIterator::Absent {
        return skip(
            "queues_that_could_not_be_read_are_told_of_in_the_summary",
            "this kernel lists no sockets by network namespace",
        );
    }
    // A process in a network namespace of its own, and an fdtrace that may not go there.
    let mut elsewhere = Command::new("sleep");
    elsewhere.arg("600");
    // SAFETY: the child makes one system call, which takes a number.
    unsafe { elsewhere.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?)) };
    let mut elsewhere = match elsewhere.spawn() {
        Ok(child) => child,
        Err(error) => {
            return skip(
                "queues_that_could_not_be_read_are_told_of_in_the_summary",
                &format!("no network namespace can be made: {error}"),
            );
        }
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    let file = file.to_str().unwrap();
    let record = |confined: bool| {
        let mut command = fdtrace(&["record", file, "--", "true"]);
        if confined {
            // SAFETY: likewise, and executing a program keeps to the bounding set.
            unsafe {
                command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                })
            };
        }
        let recorded = run(&mut command);
        let replayed = run(&mut fdtrace(&["replay", "--format", "json", file]));
        let unread = lines(&replayed.stdout).pop().unwrap()["unread_queues"].take();
        (recorded, unread)
    };
    let (told, unread) = record(true);
    let (free, nothing) = record(false);
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();

    let summary = |run: &Run| {
        let mut lines = run.stderr.lines();
        lines.any(|line| line.starts_with("not read   queues at the start: "))
    };
    let why = unread["at_start"].as_str().unwrap_or_default();
    assert!(why.contains("could not be entered"), "{unread} {told:?}");
    assert!(summary(&told), "{told:?}");
    // One that may go there reads them all.
    assert!(nothing.is_null() && !summary(&free), "{nothing} {free:?}");
}
