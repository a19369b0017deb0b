//! The command line as scripts see it: exit codes, which stream says what, and how it fails.
//! Needs no privilege; as root, what is about a lack of privilege runs as somebody else.

mod command;
mod contract;

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use command::{FDTRACE, Run, at, fdtrace, run, skip};
use contract::{PROMISED, Schema};
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

/// The catalogue, group by group.
const CATALOGUE: &[(&str, &[&str])] = &[
    (
        "identity",
        &[
            "stream-one-fd",
            "dgram-one-fd",
            "seqpacket-one-fd",
            "child-to-parent-file",
            "accept-handoff",
            "sibling-broadcast",
            "unrelated-path",
            "unrelated-abstract",
            "two-fds",
            "three-fds",
            "max-fds",
            "same-fd-twice",
            "sender-keeps",
            "sender-closes-first",
            "sender-socket-closed-first",
            "two-messages",
            "two-cmsgs-merge",
            "shared-offset",
            "relay",
            "concurrent-receive",
            "pid-namespace",
            "libuv-handle",
        ],
    ),
    (
        "negative-control",
        &[
            "reopened-path",
            "number-as-data",
            "pipe-cannot",
            "inet-carries-none",
            "reused-number",
            "reused-pointer",
        ],
    ),
    (
        "object-kinds",
        &[
            "kind-regular",
            "kind-directory",
            "kind-opath",
            "kind-pipe",
            "kind-fifo",
            "kind-tcp-listener",
            "kind-tcp-connection",
            "kind-udp",
            "kind-unix-socket",
            "kind-socket-over-itself",
            "kind-epoll",
            "kind-eventfd",
            "kind-timerfd",
            "kind-signalfd",
            "kind-inotify",
            "kind-memfd",
            "kind-pidfd",
            "kind-tty",
            "kind-device",
            "kind-bpf-map",
            "kind-io-uring",
        ],
    ),
    (
        "send-errors",
        &[
            "bad-fd",
            "bad-fd-in-middle",
            "short-cmsg",
            "zero-fds",
            "too-many-fds",
            "too-many-fds-two-cmsgs",
            "bad-cmsg-pointer",
            "peer-gone",
            "queue-full",
            "too-many-in-flight",
            "peer-connected-elsewhere",
            "passrights-off",
            "passrights-off-embryo",
            "passrights-cleared-later",
        ],
    ),
    (
        "receive-limits",
        &[
            "no-control-buffer",
            "header-only",
            "one-byte-short",
            "room-for-two-of-three",
            "unaligned-one",
            "unaligned-two",
            "rlimit-nofile",
            "lsm-denied",
            "lsm-denied-notrunc",
            "ctrunc-as-input",
        ],
    ),
    ("flags", &["cloexec-not-inherited", "cmsg-cloexec", "peek"]),
    (
        "framing",
        &[
            "plain-read-discards",
            "splice-discards",
            "sockmap-discards",
            "zero-length-send",
            "zero-length-receive",
            "partial-read-then-recvmsg",
            "partial-recvmsg",
            "data-before",
            "data-after",
            "two-lists-never-merge",
            "large-message",
            "oob",
            "oob-inline",
            "sendmmsg-recvmmsg",
            "io-uring",
            "compat-32",
        ],
    ),
    (
        "credentials",
        &[
            "creds-and-fd",
            "passcred-before",
            "passcred-after",
            "no-room-for-creds",
            "pidfd-and-fd",
        ],
    ),
    (
        "lifetime",
        &[
            "receiver-closes",
            "listener-closes",
            "peer-closed-still-delivers",
            "shutdown-read-still-delivers",
            "embryo",
            "dgram-reconnect-discards",
            "receiver-killed",
            "chain-of-sockets",
            "still-queued",
            "gc-self",
            "gc-triangle",
            "gc-cross-edge",
            "gc-backtrack",
        ],
    ),
];

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

/// clap's way to refuse: exit code 2, nothing on stdout, and what was wrong on stderr.
fn assert_usage_error(run: &Run, what: &str) {
    assert_eq!(run.code, Some(2), "{run:?}");
    assert_eq!(run.stdout, "", "{run:?}");
    assert!(run.stderr.starts_with("error: "), "{run:?}");
    assert!(run.stderr.contains(what), "{what:?} is not in {run:?}");
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn help_names_every_command_but_the_hidden_one() {
    let help = run(&mut fdtrace(&["--help"]));
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{help:?}");
    for word in [
        "verify",
        "doctor",
        "schema",
        "--output",
        "--attach",
        "--pointers",
        "--color",
    ] {
        assert!(help.stdout.contains(word), "no {word} in {}", help.stdout);
    }
    assert!(!help.stdout.contains("__stage"), "{}", help.stdout);
    // The same from each command, with its own options.
    let help = run(&mut fdtrace(&["verify", "--help"]));
    for word in ["--list", "--format", "--hops", "--time-limit", "--buffer"] {
        assert!(help.stdout.contains(word), "no {word} in {}", help.stdout);
    }
}

#[test]
fn version_is_one_line() {
    let version = run(&mut fdtrace(&["--version"]));
    assert_eq!(version.code, Some(0));
    let expected = format!("fdtrace {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
}

#[test]
fn no_command_at_all_is_a_usage_error() {
    let run = run(&mut fdtrace(&[]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert_eq!(run.stdout, "", "{run:?}");
    assert!(run.stderr.contains("Usage: fdtrace"), "{run:?}");
}

#[test]
fn unknown_words_are_usage_errors() {
    for (args, what) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["verify", "--frobnicate"], "--frobnicate"),
        (&["verify", "--format", "yaml"], "yaml"),
        (&["verify", "--attach", "magic"], "magic"),
        (&["verify", "--pointers", "some"], "some"),
        (&["verify", "--buffer", "3"], "--buffer"),
        (&["verify", "--buffer", "1048577"], "--buffer"),
        (&["doctor", "--color", "sometimes"], "sometimes"),
        (&["inflight", "--kind", "eventdf"], "eventfd"),
    ] {
        assert_usage_error(&run(&mut fdtrace(args)), what);
    }
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    let both = run(&mut fdtrace(&["-q", "-v", "verify", "--list"]));
    assert_usage_error(&both, "cannot be used with");
    for one in ["-q", "-v"] {
        let run = run(&mut fdtrace(&[one, "verify", "--list"]));
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[test]
fn a_time_limit_is_a_time_that_can_pass() {
    for bad in [
        "0", "-1", "nan", "inf", "1e400", "1e-300", "1e19", "1e10", "soon", "",
    ] {
        let argument = format!("--time-limit={bad}");
        let refused = run(&mut fdtrace(&["verify", "--list", &argument]));
        assert_usage_error(&refused, "--time-limit");
        assert!(refused.stderr.contains("not a "), "{refused:?}");
    }
    for good in ["0.0001", "1", "86400", "1e9"] {
        let argument = format!("--time-limit={good}");
        let run = run(&mut fdtrace(&["verify", "--list", &argument]));
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[test]
fn list_shows_the_catalogue() {
    let list = run(&mut fdtrace(&["verify", "--list"]));
    assert_eq!((list.code, list.stderr.as_str()), (Some(0), ""), "{list:?}");
    insta::assert_snapshot!("list", list.stdout);

    let mut lines = list.stdout.lines().peekable();
    for (group, names) in CATALOGUE {
        assert_eq!(lines.next(), Some(*group));
        let mut listed: Vec<&str> = std::iter::from_fn(|| lines.next_if(|line| !line.is_empty()))
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .collect();
        let mut expected = names.to_vec();
        listed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(listed, expected);
        let gap = lines.next();
        assert!(gap.is_none_or(str::is_empty), "{gap:?}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn list_is_a_line_of_json_too() {
    let list = run(&mut fdtrace(&["verify", "--list", "--format", "json"]));
    assert_eq!((list.code, list.stderr.as_str()), (Some(0), ""), "{list:?}");
    let schema = Schema::parse(&run(&mut fdtrace(&["schema"])).stdout);
    let lines = schema.assert_lines(&list.stdout);
    assert_eq!(lines.len(), 1);
    let scenarios = lines[0]["scenarios"].as_array().expect("it is a list");
    let count: usize = CATALOGUE.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(scenarios.len(), count);
    let find = |name: &str| scenarios.iter().find(|scenario| scenario["name"] == name);
    let scenario = find("pid-namespace").expect("it is listed");
    assert_eq!(scenario["group"], "identity");
    assert_eq!(scenario["needs"][0], "a pid namespace of its own");
    assert_eq!(
        find("relay").expect("it is listed")["needs"].as_array(),
        Some(&vec![])
    );
}

#[test]
fn a_list_is_no_report() {
    for format in ["junit", "tap"] {
        let refused = run(&mut fdtrace(&["verify", "--list", "--format", format]));
        refused.assert_complaint("a list is no report", Some("text and json"));
    }
}

#[test]
fn groups_and_patterns_select_what_they_say_in_the_catalogues_order() {
    let list = |words: &[&str]| {
        let list = run(fdtrace(&["verify", "--list", "--format", "json"]).args(words));
        let scenarios = json(&list)["scenarios"].clone();
        let names = scenarios.as_array().expect("it is a list").iter();
        let names = names.map(|scenario| scenario["name"].as_str().unwrap_or_default().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        list(&["reused-*", "*-one-fd"]),
        [
            "stream-one-fd",
            "dgram-one-fd",
            "seqpacket-one-fd",
            "reused-number",
            "reused-pointer"
        ]
    );
    let mut group = list(&["negative-control"]);
    group.sort_unstable();
    let (_, names) = CATALOGUE
        .iter()
        .find(|(name, _)| *name == "negative-control")
        .expect("it is in the catalogue");
    let mut names = names.to_vec();
    names.sort_unstable();
    assert_eq!(group, names);
}

#[test]
fn what_selects_nothing_is_refused_with_what_was_meant() {
    let refused = run(&mut fdtrace(&["verify", "steam-one-fd"]));
    refused.assert_complaint(
        "there is no scenario or group \"steam-one-fd\"; did you mean \"stream-one-fd\"?",
        Some("fdtrace verify --list"),
    );
    let refused = run(&mut fdtrace(&["verify", "no-such-*"]));
    refused.assert_complaint("no scenario matches", Some("fdtrace verify --list"));
    let refused = run(&mut fdtrace(&["verify", "{a"]));
    refused.assert_complaint("\"{a\" is no pattern: ", Some("fdtrace verify --list"));
    let refused = run(&mut fdtrace(&["verify", "evil\u{1b}[31m\n"]));
    refused.assert_complaint("is no pattern: ", Some("fdtrace verify --list"));
    assert!(!refused.stderr.contains('\u{1b}'), "{refused:?}");
}

#[test]
fn a_report_names_its_format_and_a_file_of_its_own() {
    for (report, what) in [
        ("junit", "FORMAT=FILE"),
        ("junit=", "FORMAT=FILE"),
        ("xml=a", "invalid variant"),
    ] {
        assert_usage_error(&run(&mut fdtrace(&["verify", "--report", report])), what);
    }
    let refused = run(&mut fdtrace(&[
        "verify", "--report", "junit=a", "--report", "tap=a",
    ]));
    refused.assert_complaint("two reports cannot both be a", Some("a file of its own"));
    assert!(!Path::new("a").exists());
}

#[test]
fn list_shows_only_what_is_named() {
    let list = run(&mut fdtrace(&["verify", "--list", "relay", "pipe-cannot"]));
    assert_eq!(list.code, Some(0));
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{list:?}");
    assert!(lines[1].starts_with("  relay "), "{list:?}");
    assert!(lines[4].starts_with("  pipe-cannot "), "{list:?}");
}

#[test]
fn an_unknown_scenario_is_named_with_a_way_to_find_others() {
    for name in ["no-such", "", "relay ", "RELAY", "evil\u{1b}31m\n"] {
        let refused = run(&mut fdtrace(&["verify", "relay", name]));
        refused.assert_complaint("there is no scenario", Some("fdtrace verify --list"));
        assert!(!refused.stderr.contains('\u{1b}'), "{refused:?}");
    }
    // Even where scenarios would only be listed.
    let refused = run(&mut fdtrace(&["verify", "--list", "no-such"]));
    refused.assert_complaint("\"no-such\"", Some("fdtrace verify --list"));
}

#[test]
fn output_that_cannot_be_written_is_one_line_with_the_name_asked_for() {
    // Not .tmp, which is what must not show.
    let dir = tempfile::Builder::new().prefix("report-").tempdir();
    let dir = dir.expect("there is a temporary directory");
    let folder = dir.path().to_str().expect("its name is text");
    let missing = format!("{folder}/missing/report");
    let under_a_file = format!("{}/report", FDTRACE.as_str());
    for path in [missing.as_str(), folder, under_a_file.as_str()] {
        for command in [&["schema"][..], &["verify", "--list"]] {
            let refused = run(fdtrace(command).args(["-o", path]));
            refused.assert_complaint(&format!("cannot write {path}: "), None);
            assert!(!refused.stderr.contains(".tmp"), "{refused:?}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

#[test]
fn output_goes_to_the_file_alone_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let path = dir.path().join("list.txt");
    fs::write(&path, "old").expect("it is ours");
    let written = run(fdtrace(&["verify", "--list", "-o"]).arg(&path));
    assert_eq!(
        (written.code, written.stdout.as_str()),
        (Some(0), ""),
        "{written:?}"
    );
    let list = run(&mut fdtrace(&["verify", "--list"]));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), list.stdout);
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);

    // As any program would have made it, under the umask in force.
    let plain = dir.path().join("plain");
    fs::File::create(&plain).expect("it is ours");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn schema_prints_a_schema_of_every_line() {
    let printed = run(&mut fdtrace(&["schema"]));
    assert_eq!(
        (printed.code, printed.stderr.as_str()),
        (Some(0), ""),
        "{printed:?}"
    );
    let value = json(&printed);
    assert_eq!(
        value["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let variants = value["oneOf"].as_array().expect("a line is one of several");
    for (kind, _) in PROMISED {
        let matching = variants.iter().filter(|variant| {
            variant["properties"]["type"]["const"] == *kind
                && variant["required"]
                    .as_array()
                    .is_some_and(|it| it.contains(&"type".into()))
        });
        assert_eq!(matching.count(), 1, "{kind}");
    }
    // It can be used as one, and refuses what is no line.
    let schema = Schema::parse(&printed.stdout);
    assert!(
        !schema
            .violations(&serde_json::json!({ "type": "summary" }))
            .is_empty()
    );
    assert!(!schema.violations(&serde_json::json!({})).is_empty());
}

#[test]
fn a_reader_that_has_gone_away_is_success() {
    for args in [
        &["schema"][..],
        &["verify", "--list"],
        &["--help"],
        &["verify", "--help"],
        &["--version"],
    ] {
        let (reader, writer) = std::io::pipe().expect("there are pipes");
        drop(reader);
        let child = fdtrace(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("fdtrace can be started");
        let run = Run::of(&child.wait_with_output().expect("it ends"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_reader_of_one_line_is_success() {
    let mut child = fdtrace(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fdtrace can be started");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it has one");
    BufReader::with_capacity(1, stdout)
        .read_line(&mut line)
        .expect("it can be read");
    assert_eq!(line, "{\n");
    let run = Run::of(&child.wait_with_output().expect("it ends"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_closed_stdout_is_no_crash() {
    for redirection in [">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$0\" schema {redirection}");
        let ended = run(Command::new("sh").args(["-c", &script, FDTRACE.as_str()]));
        assert_eq!(ended.code, Some(0), "{redirection}");
    }
}

#[test]
fn a_full_disk_is_an_error_in_one_line() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let child = fdtrace(&["schema"])
        .stdout(full.expect("every Linux has it"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("fdtrace can be started");
    let run = Run::of(&child.wait_with_output().expect("it ends"));
    run.assert_complaint("No space left on device", None);
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
        .find(|line| line.starts_with("in the way: "));
    let obstacle = obstacle.expect("there is something in the way");
    for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"] {
        assert!(obstacle.contains(name), "no {name} in {obstacle}");
    }
    assert!(
        !text.stdout.contains("nothing stands in the way"),
        "{text:?}"
    );
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
    assert_eq!(findings["schema_version"], 1);
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
    assert!(text.stdout.contains("\nself-test: not made"), "{text:?}");
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
    assert!(
        text.stdout
            .contains("nothing stands in the way of tracing\n"),
        "{text:?}"
    );
    assert!(
        text.stdout.contains("\nself-test: each hook fired"),
        "{text:?}"
    );
    let findings = json(&run(&mut fdtrace(&["doctor", "--format", "json"])));
    assert_eq!(findings["tested"], true);
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

#[test]
fn a_stage_of_an_unknown_scenario_says_so_as_a_fact() {
    let stage = run(&mut fdtrace(&["__stage", "no-such"]));
    assert_eq!(stage.code, Some(1), "{stage:?}");
    let fact = json(&stage);
    assert_eq!(fact["fact"], "failed");
    assert_eq!(fact["why"], "no scenario no-such");
}

#[test]
fn a_stage_without_a_verifier_ends_by_itself() {
    // Its checkpoint asks stdin, which is at its end.
    let stage = run(&mut fdtrace(&["__stage", "stream-one-fd"]));
    assert_eq!(stage.code, Some(1), "{stage:?}");
    assert!(stage.stdout.contains("the verifier is gone"), "{stage:?}");
}
