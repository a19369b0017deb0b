//! Recordings of the running kernel.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::{
    children::grandchild,
    command::{fdtrace, run, skip},
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
