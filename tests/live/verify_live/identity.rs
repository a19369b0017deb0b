//! Scenarios that pass a descriptor to prove which file it is.

use std::collections::{BTreeMap, BTreeSet};

use fdtrace_testkit::{command::skip, contract, take_turn};
use nix::unistd::Pid;
use serde_json::Value;

use super::run::{Lines, TRANSFERS, identities, names, verify};

/// Negative controls in which one process sends to itself; everywhere else two take part.
const SINGLE_PROCESS: [&str; 4] = [
    "number-as-data",
    "pipe-cannot",
    "reused-number",
    "reused-pointer",
];

#[test]
fn every_scenario_of_identity_passes() {
    let _turn = take_turn!(tracing);
    let lines = identities();
    let played: Vec<&str> = lines
        .of_type("scenario")
        .filter_map(|line| line["name"].as_str())
        .collect();
    assert_eq!(played, names().collect::<Vec<_>>());
    for line in lines.of_type("scenario") {
        assert_eq!(line["result"], "pass", "{line}");
        assert_eq!(line["reason"], Value::Null, "{line}");
        assert_ne!(line["result"], "inconclusive", "{line}");
    }
    assert_eq!(
        lines.summary()["scenarios"],
        serde_json::json!({ "pass": TRANSFERS.len() })
    );
    assert_eq!(lines.summary()["exit_code"], 0);
    assert_eq!(lines.summary()["interrupted"], false);
    assert_eq!(lines.0[0]["type"], "start");
}

/// What the other scenarios expect is theirs to know: here counts that none fails, and that none is
/// left open: what needs a hop that this kernel hides is skipped, and says so.
#[test]
fn every_scenario_passes_or_names_what_this_kernel_lacks() {
    let _turn = take_turn!(tracing);
    let run = verify(&[]);
    assert_eq!(run.stderr, "", "{run:?}");
    let lines = Lines::of(&run);
    let mut played = BTreeSet::new();
    for line in lines.of_type("scenario") {
        match line["result"].as_str() {
            Some("pass") => assert_eq!(line["reason"], Value::Null, "{line}"),
            Some("skip") => assert!(line["reason"].is_string(), "{line}"),
            _ => panic!("{line}"),
        }
        played.insert(line["name"].as_str().expect("it has a name"));
    }
    assert_eq!(run.code, Some(0));
    for name in names() {
        assert!(played.contains(name), "{name} is not part of a run of all");
    }
    let count = |result: &str| lines.summary()["scenarios"][result].as_u64().unwrap_or(0);
    assert_eq!(count("pass") + count("skip"), played.len() as u64);
}

#[test]
fn every_transfer_is_delivered_and_the_same_file() {
    let _turn = take_turn!(tracing);
    let lines = identities();
    for line in lines.of_type("transfer") {
        assert_eq!(line["fate"], "delivered", "{line}");
        assert_eq!(line["cause"], Value::Null, "{line}");
        assert_eq!(line["verdict"], "same", "{line}");
    }
    let count = lines.of_type("transfer").count();
    assert_eq!(
        lines.summary()["fates"],
        serde_json::json!({ "delivered": count })
    );
    assert_eq!(
        lines.summary()["verdicts"],
        serde_json::json!({ "same": count })
    );
}

#[test]
fn each_scenario_has_the_transfers_it_makes_and_no_other() {
    let _turn = take_turn!(tracing);
    let lines = identities();
    let mut ids = BTreeSet::new();
    for (name, expected) in TRANSFERS {
        let transfers = lines.transfers(name);
        match expected {
            Some(expected) => assert_eq!(transfers.len(), expected, "{name}"),
            // It tries in pairs until an address comes back.
            None => assert!(
                transfers.len() >= 2 && transfers.len().is_multiple_of(2),
                "{name}"
            ),
        }
        ids.extend(transfers.iter().filter_map(|line| line["id"].as_u64()));
    }
    // Every transfer belongs to one scenario.
    assert_eq!(lines.of_type("transfer").count(), ids.len());
}

#[test]
fn the_kernels_own_list_agrees_in_every_scenario() {
    let _turn = take_turn!(tracing);
    for name in names() {
        let witnesses = identities().scenario(name)["witnesses"]
            .as_array()
            .expect("a list");
        let listed: Vec<&Value> = witnesses
            .iter()
            .filter(|it| it["name"] == "iter/task_file" && it["about"] == "passed")
            .collect();
        assert_eq!(listed.len(), 1, "{name}");
        for witness in witnesses.iter().filter(|it| it["about"] == "passed") {
            assert_eq!(witness["verdict"], "same", "{name}: {witness}");
        }
    }
}

#[test]
fn kcmp_agrees_wherever_an_original_is_held() {
    let _turn = take_turn!(tracing);
    // SAFETY: kcmp reads its arguments and nothing of our memory. 0 is KCMP_FILE.
    let itself = unsafe {
        let pid = libc::c_long::from(Pid::this().as_raw());
        libc::syscall(libc::SYS_kcmp, pid, pid, 0_i64, 0_i64, 0_i64)
    };
    if itself != 0 {
        return skip(
            "kcmp_agrees_wherever_an_original_is_held",
            "this kernel has no kcmp",
        );
    }
    for name in names() {
        let witnesses = identities().scenario(name)["witnesses"]
            .as_array()
            .expect("a list");
        let said = witnesses
            .iter()
            .find(|it| it["name"] == "kcmp" && it["about"] == "passed");
        let said = said.map(|witness| &witness["verdict"]);
        // A duplicate to compare with would keep the address from coming back.
        let expected = (name != "reused-pointer").then(|| Value::from("same"));
        assert_eq!(said, expected.as_ref(), "{name}");
    }
}

#[test]
fn what_only_looks_alike_is_told_apart_by_the_trace_and_every_witness() {
    let _turn = take_turn!(tracing);
    let mistakable = |name: &str| -> BTreeMap<&str, &str> {
        let witnesses = identities().scenario(name)["witnesses"]
            .as_array()
            .expect("a list");
        let text = |value: &'static Value| value.as_str().expect("a name");
        witnesses
            .iter()
            .filter(|it| it["about"] == "mistakable")
            .map(|it| (text(&it["name"]), text(&it["verdict"])))
            .collect()
    };
    for name in names() {
        let said = mistakable(name);
        let asked = ["reopened-path", "reused-number", "reused-pointer"].contains(&name);
        assert_eq!(said.is_empty(), !asked, "{name}: {said:?}");
        assert!(
            said.values().all(|verdict| *verdict == "different"),
            "{name}: {said:?}"
        );
        assert_eq!(said.contains_key("trace"), asked, "{name}: {said:?}");
    }
    for name in ["reopened-path", "reused-number"] {
        assert_eq!(
            mistakable(name).get("iter/task_file"),
            Some(&"different"),
            "{name}"
        );
        assert_eq!(mistakable(name).get("offset"), Some(&"different"), "{name}");
    }
}

#[test]
fn numbers_and_places_are_those_of_the_message() {
    let _turn = take_turn!(tracing);
    for name in names() {
        let mut messages: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for transfer in identities().transfers(name) {
            let message = transfer["message"].as_u64().expect("a number");
            messages.entry(message).or_default().push(transfer);
        }
        for transfers in messages.values() {
            let places: Vec<u64> = transfers
                .iter()
                .filter_map(|it| it["index"].as_u64())
                .collect();
            let expected: Vec<u64> = (0..transfers.len() as u64).collect();
            assert_eq!(places, expected, "{name}");
            assert!(
                transfers.iter().all(|it| it["count"] == transfers.len()),
                "{name}"
            );
            // Within a message every file gets a number of its own.
            let received: BTreeSet<_> = transfers
                .iter()
                .map(|it| it["receiver"]["fd"].as_i64())
                .collect();
            assert_eq!(received.len(), transfers.len(), "{name}");
            assert!(received.iter().all(Option::is_some), "{name}");
        }
    }
}

#[test]
fn sender_and_receiver_are_two_processes_where_they_are_two() {
    let _turn = take_turn!(tracing);
    for name in names() {
        for transfer in identities().transfers(name) {
            let (sender, receiver) = (&transfer["sender"]["pid"], &transfer["receiver"]["pid"]);
            assert!(
                sender.as_u64() > Some(1) && receiver.as_u64() > Some(1),
                "{transfer}"
            );
            let single = SINGLE_PROCESS.contains(&name);
            assert_eq!(sender == receiver, single, "{name}: {transfer}");
        }
    }
}

#[test]
fn max_fds_are_253_files_under_253_numbers() {
    let _turn = take_turn!(tracing);
    let transfers = identities().transfers("max-fds");
    let distinct = |path: &str| {
        let values = transfers
            .iter()
            .map(|it| contract::field(it, path).map(Value::to_string));
        values.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(distinct("file.ptr"), 253);
    assert_eq!(distinct("sender.fd"), 253);
    assert_eq!(distinct("receiver.fd"), 253);
    assert_eq!(distinct("message"), 1);
}

#[test]
fn a_relayed_file_is_one_object_in_two_messages() {
    let _turn = take_turn!(tracing);
    let transfers = identities().transfers("relay");
    let [first, second] = transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!(first["file"]["ptr"], second["file"]["ptr"]);
    assert_ne!(first["message"], second["message"]);
    assert_eq!(first["receiver"]["pid"], second["sender"]["pid"]);
    assert_eq!(first["receiver"]["fd"], second["sender"]["fd"]);
    assert_ne!(first["sender"]["pid"], second["receiver"]["pid"]);
}

#[test]
fn one_file_sent_twice_is_one_object_under_two_numbers() {
    let _turn = take_turn!(tracing);
    let transfers = identities().transfers("same-fd-twice");
    let [first, second] = transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!(first["file"]["ptr"], second["file"]["ptr"]);
    assert_eq!(first["sender"]["fd"], second["sender"]["fd"]);
    assert_ne!(first["receiver"]["fd"], second["receiver"]["fd"]);
    assert_eq!(first["message"], second["message"]);
    // The control: files that only travel together have addresses of their own.
    let two = identities().transfers("two-fds");
    assert_ne!(two[0]["file"]["ptr"], two[1]["file"]["ptr"]);
}

#[test]
fn an_address_that_came_back_is_another_file() {
    let _turn = take_turn!(tracing);
    let transfers = identities().transfers("reused-pointer");
    let [.., first, second] = &transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!(first["file"]["ptr"], second["file"]["ptr"]);
    assert_ne!(first["file"]["ino"], second["file"]["ino"]);
    assert_ne!(first["message"], second["message"]);
}

#[test]
fn transfers_say_how_each_scenario_passed_them() {
    let _turn = take_turn!(tracing);
    let first = |name: &str| identities().transfers(name)[0];
    for (name, kind) in [
        ("stream-one-fd", "stream"),
        ("dgram-one-fd", "dgram"),
        ("seqpacket-one-fd", "seqpacket"),
        ("accept-handoff", "seqpacket"),
    ] {
        assert_eq!(first(name)["socket"]["type"], kind, "{name}");
    }
    assert_eq!(first("stream-one-fd")["file"]["kind"], "regular");
    assert_eq!(first("accept-handoff")["file"]["kind"], "socket");
    assert_eq!(first("stream-one-fd")["sender"]["comm"], "runner");
    assert_eq!(first("stream-one-fd")["receiver"]["comm"], "receiver");

    let path = |name: &str| first(name)["socket"]["path"].as_str();
    assert_eq!(path("stream-one-fd"), None);
    assert!(path("unrelated-path").is_some_and(|path| path.ends_with("/meet")));
    assert!(path("unrelated-abstract").is_some_and(|path| path.starts_with("@fdtrace-verify-")));

    for name in names() {
        let cloexec = &first(name)["receiver"]["cloexec"];
        assert_eq!(*cloexec, name == "libuv-handle", "{name}");
    }
    let receiver = &first("concurrent-receive")["receiver"];
    assert_ne!(receiver["tid"], receiver["pid"], "{receiver}");
}

/// Sockets of other families pass over descriptors; one that goes through a Unix socket shows that the check
/// can tell.
#[test]
fn what_other_sockets_pass_over_is_told_beside_what_arrives() {
    let _turn = take_turn!(tracing);
    const NAME: &str = "inet-carries-none";
    let run = verify(&[NAME]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = Lines::of(&run);
    let mut fates = BTreeMap::new();
    for transfer in lines.transfers(NAME) {
        let fate = (transfer["fate"].to_string(), transfer["cause"].to_string());
        *fates.entry(fate).or_insert(0) += 1;
    }
    let expected = [
        (("\"delivered\"".to_owned(), "null".to_owned()), 1),
        (("\"discarded\"".to_owned(), "\"not-unix\"".to_owned()), 4),
    ];
    assert_eq!(fates, BTreeMap::from(expected), "{run:?}");
}
