//! What is said to whoever may not trace, or on a kernel that does not let anybody.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use fdtrace::model::Hop;
use fdtrace_testkit::{
    command::{FDTRACE, at, fdtrace, run, skip},
    contract::Schema,
};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::json;

/// fdtrace in a place where anybody may run it.
struct Unprivileged {
    dir: TempDir,
}

impl Unprivileged {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let copy = dir.path().join("fdtrace");
        fs::copy(FDTRACE.as_str(), &copy).expect("there is room for a copy");
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("it is ours");
        Self { dir }
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("fdtrace")
    }

    fn fdtrace(&self, args: &[&str]) -> Command {
        const NOBODY: u32 = 65534;
        let mut command = at(&self.program(), args);
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

fn has_btf(test: &str) -> bool {
    let path = "/sys/kernel/btf/vmlinux";
    let found = fs::metadata(path);
    if let Err(error) = &found {
        skip(
            test,
            &format!("this kernel has no type information: {path}: {error}"),
        );
    }
    found.is_ok()
}

fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        skip(test, "not root");
    }
    root
}

#[test]
fn doctor_says_what_is_lacking_to_whoever_lacks_it() {
    if !has_btf("doctor_says_what_is_lacking_to_whoever_lacks_it") {
        return;
    }
    let user = Unprivileged::new();
    let text = run(&mut user.fdtrace(&["doctor"]));
    assert_eq!((text.code, text.stderr.as_str()), (Some(2), ""), "{text:?}");
    let obstacle = text
        .stdout
        .lines()
        .find(|line| line.starts_with("cannot trace: "));
    let obstacle = obstacle.expect("there is something in the way");
    for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"] {
        assert!(obstacle.contains(name), "no {name} in {obstacle}");
    }
    assert!(!text.stdout.contains("ready to trace"), "{text:?}");
    // The plan is there all the same, a line for every hop.
    for hop in [
        "copy", "attach", "queue", "dequeue", "detach", "receive", "install", "end",
    ] {
        let lines = text
            .stdout
            .lines()
            .filter(|line| line.split_whitespace().nth(1) == Some(hop));
        assert_eq!(lines.count(), 1, "{hop}: {text:?}");
    }

    let printed = run(&mut user.fdtrace(&["doctor", "--format", "json"]));
    assert_eq!(
        (printed.code, printed.stderr.as_str()),
        (Some(2), ""),
        "{printed:?}"
    );
    assert_eq!(printed.stdout.lines().count(), 1, "{printed:?}");
    let findings = json(&printed);
    assert_eq!(findings["type"], "doctor");
    assert_eq!(findings["schema_version"], 2);
    let obstacles = findings["obstacles"].as_array().expect("it is a list");
    let lacking = obstacles[0].as_str().expect("they are sentences");
    assert!(
        lacking.contains("CAP_BPF") && lacking.contains("CAP_PERFMON"),
        "{lacking}"
    );
    assert!(
        findings["plan"]
            .as_array()
            .is_some_and(|plan| plan.len() >= 8)
    );
    assert!(findings["offsets"]["SCM_FP_LIST__FP"].is_u64());
    // Nothing was attached, and nothing is said to have been.
    assert_eq!(findings["tested"], false);
    assert!(text.stdout.contains("\nself-test: skipped"), "{text:?}");
}

#[test]
fn doctor_finds_nothing_in_the_way_of_root() {
    let test = "doctor_finds_nothing_in_the_way_of_root";
    // The control of what is above: the same command with the privileges.
    if !is_root(test) || !has_btf(test) {
        return;
    }
    let capabilities = fdtrace::kernel::Capabilities::current().expect("capget works");
    if let Some(lacking) = capabilities.lacking_for_tracing() {
        return skip(test, &format!("this root lacks {lacking}"));
    }
    let text = run(&mut fdtrace(&["doctor"]));
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains("ready to trace\n"), "{text:?}");
    assert!(text.stdout.contains("\nself-test: passed"), "{text:?}");
    let findings = json(&run(&mut fdtrace(&["doctor", "--format", "json"])));
    assert_eq!(findings["tested"], true);
}

/// What doctor prints in JSON is what somebody needs who has not got the machine, and may be given to
/// anybody.
#[test]
fn doctors_json_has_every_place_and_nothing_private() {
    if !has_btf("doctors_json_has_every_place_and_nothing_private") {
        return;
    }
    let schema = Schema::parse(&run(&mut fdtrace(&["schema"])).stdout);
    let user = Unprivileged::new();
    let home = user.dir.path().display().to_string();
    let mut command = user.fdtrace(&["doctor", "--format", "json"]);
    command.env("HOME", &home).env("USER", "somebody-by-name");
    for printed in [
        run(&mut command),
        run(&mut fdtrace(&["doctor", "--format", "json"])),
    ] {
        schema.assert_lines(&printed.stdout);
        let findings = json(&printed);
        let places = findings["places"].as_array().expect("it is a list");
        for hop in Hop::ALL {
            let of_hop = places.iter().filter(|place| place["hop"] == hop.name());
            assert!(of_hop.count() > 0, "{hop} is nowhere in {findings}");
        }
        let copy = places.iter().find(|place| place["target"] == "__scm_send");
        let copy = copy.expect("every kernel's plan begins there");
        let prototype = copy["prototype"].as_str().expect("BTF describes it");
        assert!(
            prototype.starts_with(
                "int __scm_send(struct socket *sock, struct msghdr *msg, struct scm_cookie *"
            ),
            "{prototype}"
        );
        assert_eq!(copy["symbols"][0], "__scm_send");
        let build = fs::read_to_string("/proc/sys/kernel/version").expect("/proc is mounted");
        assert_eq!(findings["build"], build.trim());
        assert!(findings["page_size"].as_u64() >= Some(4096), "{findings}");
        assert!(findings["settings"].is_object(), "{findings}");
        // What is not there says why.
        let absent = places.iter().filter(|place| place["prototype"].is_null());
        let mut unfit = absent.map(|place| &place["unfit"]);
        assert!(unfit.all(serde_json::Value::is_string), "{findings}");

        let read = |path: &str| fs::read_to_string(path).expect("/proc is mounted");
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let private = [boot_id.trim(), &home, "somebody-by-name", "/root", "/home"];
        for private in private {
            assert!(
                !printed.stdout.contains(private),
                "{private} is in {findings}"
            );
        }
        // A host's name may be a word like any other, and one that is no value is nobody's.
        let host = read("/proc/sys/kernel/hostname");
        let value = format!("\"{}\"", host.trim());
        assert!(!printed.stdout.contains(&value), "{value} is in {findings}");
        // The upper half of every kernel address.
        for beginning in ["0xffff8", "0xffffffff8", "ffffffff8"] {
            assert!(!printed.stdout.contains(beginning), "{findings}");
        }
    }
}

#[test]
fn verify_without_privileges_names_them_and_the_way_to_get_them() {
    if !has_btf("verify_without_privileges_names_them_and_the_way_to_get_them") {
        return;
    }
    let user = Unprivileged::new();
    for format in ["text", "json"] {
        let refused = run(&mut user.fdtrace(&["verify", "--format", format, "relay"]));
        refused.assert_complaint("CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE", Some("sudo"));
    }
    // A report that could not be made leaves no file, not even an empty one.
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("it is ours");
    let path = dir.path().join("report");
    let refused = run(user.fdtrace(&["verify", "-o"]).arg(path));
    refused.assert_complaint("CAP_BPF", Some("sudo"));
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

#[test]
fn a_mechanism_that_shows_nothing_is_refused() {
    let test = "a_mechanism_that_shows_nothing_is_refused";
    if !is_root(test) || !has_btf(test) {
        return;
    }
    for mechanism in ["trampoline", "kprobe"] {
        for command in ["verify", "doctor"] {
            let refused = run(&mut fdtrace(&[command, "--attach", mechanism]));
            refused.assert_complaint(
                &format!("--attach {mechanism} shows no hop here: "),
                Some("fdtrace doctor"),
            );
        }
    }
}
