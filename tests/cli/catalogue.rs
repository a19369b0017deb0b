//! The scenarios there are, and how they are named on the command line.

use fdtrace_testkit::{
    command::{fdtrace, run},
    contract::Schema,
};

use crate::json;

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
