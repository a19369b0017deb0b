//! Recordings of the running kernel.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, net::UnixStream, process::CommandExt as _},
    },
    process::Command,
    thread,
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{fdtrace, run, skip},
    take_turn,
};
use io_uring::IoUring;
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::{
    children::grandchild,
    tracing::{lines, transfers},
};

#[test]
fn a_replay_is_what_was_live() {
    let _turn = take_turn!(tracing);
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
    let _turn = take_turn!(tracing);
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

/// By who may not enter it, for which there is no need: the socket is in a network namespace that has
/// no process, and no process has the socket.
#[test]
fn what_lies_where_nobody_leads_is_recorded() {
    const TEST: &str = "what_lies_where_nobody_leads_is_recorded";
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let lying = fs::File::create(folder.path().join("far away")).unwrap();
    let there = thread::scope(|scope| {
        let there = scope.spawn(|| -> io::Result<(UnixStream, IoUring)> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let (ours, theirs) = UnixStream::pair()?;
            passing::send(ours.as_raw_fd(), b"x", &[&[lying.as_raw_fd()]])?;
            let ring = IoUring::new(2)?;
            ring.submitter().register_files(&[theirs.as_raw_fd()])?;
            Ok((ours, ring))
        });
        there.join().unwrap()
    });
    let _kept = match there {
        Ok(kept) => kept,
        Err(error) => return skip(TEST, &format!("no namespace or no io_uring: {error}")),
    };
    let file = folder.path().join("recording");
    let file = file.to_str().unwrap();
    let mut command = fdtrace(&["record", file, "--duration", "0.1"]);
    // SAFETY: the child makes one system call, which takes numbers; executing a program keeps to the
    // bounding set.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    let recorded = run(&mut command);
    let replayed = run(&mut fdtrace(&["replay", "--format", "json", file]));
    let lines = lines(&replayed.stdout);
    let ino = lying.metadata().unwrap().ino().to_string();
    let ours: Vec<_> = transfers(&lines)
        .into_iter()
        .filter(|transfer| transfer["file"]["ino"] == ino)
        .collect();
    // Before 6.8 the ring itself keeps the socket in a queue, which is another way there.
    assert_eq!(ours.len(), 1, "{recorded:?} {replayed:?}");
    assert_eq!(ours[0]["fate"], "queued", "{}", ours[0]);
    assert!(ours[0]["marks"].to_string().contains("queued-before"));
    let unread = &lines.last().unwrap()["unread_queues"];
    assert!(unread.is_null(), "{unread} {recorded:?}");
}
