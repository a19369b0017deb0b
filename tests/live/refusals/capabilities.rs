//! The capabilities that README names are enough for each command, and each of them is needed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use caps::Capability;
use fdtrace::kernel::Capabilities;
use fdtrace_testkit::{
    command::{FDTRACE, Run, at, run},
    take_turn,
};
use tempfile::TempDir;

use super::confine::{confine, nobody_with};

/// fdtrace where everybody may run it, and a folder that is everybody's.
struct Copy {
    dir: TempDir,
}

impl Copy {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        let for_all = |path: PathBuf, mode: u32| {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        };
        for_all(dir.path().to_owned(), 0o777);
        let copy = dir.path().join("fdtrace");
        fs::copy(FDTRACE.as_str(), &copy).expect("there is room for a copy");
        for_all(copy, 0o755);
        Self { dir }
    }

    /// Runs it as nobody, with these capabilities and no others.
    fn run(&self, args: &[&str], held: &[Capability]) -> Run {
        let mut command = at(&self.dir.path().join("fdtrace"), args);
        command.current_dir(self.dir.path());
        confine(&mut command, nobody_with(held));
        run(&mut command)
    }
}

/// What README names, by its words.
fn named() -> Vec<Capability> {
    const README: &str = include_str!("../../../README.md");
    let (_, after) = README
        .split_once("## What it needs")
        .expect("README has it");
    let line = after
        .lines()
        .find(|line| line.starts_with("- `CAP_"))
        .expect("README names them");
    let words = line.split('`').filter(|word| word.starts_with("CAP_"));
    words
        .map(|word| word.parse().expect("they are capabilities"))
        .collect()
}

impl Copy {
    /// What README names, and what it says that old kernels need beside it, where this is one.
    fn enough(&self) -> Vec<Capability> {
        let mut enough = named();
        let doctor = self.run(&["doctor"], &enough);
        if doctor
            .stdout
            .contains("RLIMIT_MEMLOCK, which eBPF counts against before Linux 5.11")
        {
            assert_eq!(doctor.code, Some(2), "{doctor:?}");
            enough.push(Capability::CAP_SYS_RESOURCE);
        }
        enough
    }
}

#[test]
fn what_readme_names_is_enough_for_each_command() {
    let _turn = take_turn!(tracing);
    let named = named();
    assert_eq!(named, Capabilities::TRACING);
    let copy = Copy::new();
    let named = copy.enough();
    for (args, codes) in [
        (&["doctor"][..], &[0][..]),
        (&["trace", "--duration", "10ms"], &[0]),
        (&["record", "a.fdtrace", "--duration", "10ms"], &[0]),
        (&["check", "--", "/proc/self/exe", "why", "peek"], &[0]),
        // It finds nothing, or something of somebody else's.
        (&["inflight"], &[0, 1]),
        (&["explain", "--c", "stream-one-fd"], &[0]),
    ] {
        let done = copy.run(args, &named);
        let code = done.code.expect("it ends by itself");
        assert!(codes.contains(&code), "{args:?}: {done:?}");
    }
    let all = copy.run(&["verify"], &named);
    let failed: Vec<&str> = all
        .stdout
        .lines()
        .filter(|line| line.starts_with("FAIL"))
        .collect();
    assert!(failed.is_empty(), "{all:?}");
    assert!(all.stdout.contains("passed"), "{all:?}");
}

#[test]
fn without_one_of_them_none_of_the_commands_starts_and_that_one_is_named() {
    let _turn = take_turn!(tracing);
    let copy = Copy::new();
    for lacking in named() {
        let held: Vec<_> = named().into_iter().filter(|it| *it != lacking).collect();
        for args in [
            &["trace", "--duration", "10ms"][..],
            &["record", "b.fdtrace", "--duration", "10ms"],
            &["verify", "relay"],
            &["check", "--", "true"],
            &["inflight"],
            &["explain"],
        ] {
            let refused = copy.run(args, &held);
            refused.assert_complaint(&format!("tracing needs {lacking}, which"), Some("sudo"));
        }
        let doctor = copy.run(&["doctor"], &held);
        assert_eq!(doctor.code, Some(2), "{doctor:?}");
        let said = format!("cannot trace: tracing needs {lacking}, which this process lacks; ");
        assert!(doctor.stdout.contains(&said), "{doctor:?}");
    }
}

#[test]
fn what_takes_more_than_these_names_it() {
    let _turn = take_turn!(tracing);
    let copy = Copy::new();
    let more = copy.enough();
    let timed = copy.run(&["trace", "--stats", "--duration", "10ms"], &more);
    timed.assert_complaint(
        "cannot have the kernel time programs",
        Some("CAP_SYS_ADMIN"),
    );
    let other = copy.run(&["trace", "-q", "-u", "root", "--", "true"], &more);
    other.assert_complaint("cannot become user root (CAP_SETUID, CAP_SETGID)", None);
}
