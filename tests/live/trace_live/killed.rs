//! What a killed fdtrace leaves behind, by the kernel's own lists: nothing.

use std::{fs, path::PathBuf, process::Stdio};

use fdtrace_testkit::{command::fdtrace, take_turn, turn::wait_until};
use nix::unistd::Pid;
use tempfile::TempDir;

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

/// Programs, maps and links, as a process's fdinfo and the kernel's calls have them.
const KINDS: [(&str, i64); 3] = [
    // BPF_PROG_GET_FD_BY_ID, and so on.
    ("prog_id", 13),
    ("map_id", 14),
    ("link_id", 30),
];

/// All that a process holds of them.
fn held(pid: Pid) -> Vec<(&'static str, i64, u32)> {
    let kinds = KINDS.iter();
    kinds
        .flat_map(|(what, command)| {
            let ids = ids(pid, what).into_iter();
            ids.map(move |id| (*what, *command, id))
        })
        .collect()
}

fn assert_gone(held: Vec<(&str, i64, u32)>) {
    for (what, command, id) in held {
        wait_until(&format!("{what} {id} is gone"), || !exists(command, id));
    }
}

#[test]
fn one_that_is_killed_while_it_starts_leaves_nothing_either() {
    let _turn = take_turn!(tracing);
    // With its maps alone, with some programs attached, and with nearly all.
    for enough in [1, 24, 27] {
        let mut traced = fdtrace(&["trace"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(traced.id().cast_signed());
        let mut last = Vec::new();
        wait_until("it holds as much", || {
            last = held(pid);
            last.len() >= enough || traced.try_wait().unwrap().is_some()
        });
        traced.kill().unwrap();
        traced.wait().unwrap();
        assert!(!last.is_empty());
        assert_gone(last);
    }
}

#[test]
fn a_killed_fdtrace_leaves_nothing_in_the_kernel_and_the_command_goes_on() {
    let _turn = take_turn!(tracing);
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
    let held = held(pid);
    assert!(held.len() > 5, "it holds programs and maps: {held:?}");
    for (what, command, id) in &held {
        assert!(exists(*command, *id), "{what} {id} is there while it runs");
    }
    traced.kill().unwrap();
    traced.wait().unwrap();
    assert_gone(held);
    fs::remove_file(&gone).unwrap();
    wait_until("the command goes on", || {
        fs::read_to_string(&gone).is_ok_and(|said| said == "went on\n")
    });
}
