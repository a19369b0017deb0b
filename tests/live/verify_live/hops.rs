//! Hops: which ones are seen, and what is said of each.

use std::collections::BTreeSet;

use fdtrace_testkit::take_turn;
use serde_json::Value;

use super::run::{ALL_HOPS, Lines, identities, set, verify};

#[test]
fn every_transfer_is_seen_at_each_hop_that_is_watched_and_missed_at_the_others() {
    let _turn = take_turn!(tracing);
    // Of what tracepoints show, the end of a delivered list is not part.
    let by_tracepoint = |entry: &Value| entry["mechanism"] == "tracepoint";
    let start = identities()
        .of_type("start")
        .next()
        .expect("it comes first");
    let plan = start["plan"].as_array().expect("the plan is a list");
    let (watched, unwatched): (Vec<_>, Vec<_>) = ALL_HOPS.into_iter().partition(|hop| {
        plan.iter().any(|entry| {
            entry["hop"] == *hop
                && entry["skipped"] != true
                && !(*hop == "end" && by_tracepoint(entry))
        })
    });
    assert!(watched.len() >= 3, "{start}");
    for transfer in identities().of_type("transfer") {
        assert_eq!(
            set(&transfer["hops"]),
            watched.iter().copied().collect::<BTreeSet<_>>()
        );
        assert_eq!(transfer["missing"], serde_json::json!(unwatched));
        assert!(transfer["queued_ns"].is_u64(), "{transfer}");
    }
}

#[test]
fn hops_show_one_file_with_its_references_at_each() {
    let _turn = take_turn!(tracing);
    let run = verify(&["--hops", "sender-closes-first", "two-fds"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = Lines::of(&run);
    let hops = |transfer: &Value| -> Vec<&Value> {
        let id = &transfer["id"];
        lines
            .of_type("hop")
            .filter(|line| line["transfer"] == *id)
            .collect()
    };
    for transfer in lines.of_type("transfer") {
        let hops = hops(transfer);
        let seen = transfer["hops"].as_array().expect("a list").len();
        assert_eq!(hops.len(), seen, "{transfer}");
        for hop in hops {
            assert!(hop["refs"].as_i64() >= Some(1), "{hop}");
            assert_eq!(hop["file"], transfer["file"]["ptr"], "{hop}");
            let side = if ["copy", "attach", "queue"]
                .iter()
                .any(|sent| hop["hop"] == *sent)
            {
                "sender"
            } else {
                "receiver"
            };
            assert_eq!(hop["pid"], transfer[side]["pid"], "{hop}");
        }
    }
    // Of the second message nobody holds a duplicate and the sender has closed its own: the list
    // in the queue is all that keeps the file.
    let transfers = lines.transfers("sender-closes-first");
    let at_dequeue = |transfer: &Value| {
        let hop = hops(transfer)
            .into_iter()
            .find(|hop| hop["hop"] == "dequeue");
        hop.and_then(|hop| hop["refs"].as_i64())
    };
    assert!(transfers[0]["message"].as_u64() < transfers[1]["message"].as_u64());
    assert_eq!(at_dequeue(transfers[1]), Some(1));
    // The control: of the first message the verifier has one.
    assert_eq!(at_dequeue(transfers[0]), Some(2));
}

#[test]
fn hops_are_printed_only_when_asked_for() {
    let _turn = take_turn!(tracing);
    assert_eq!(identities().of_type("hop").count(), 0);
}

#[test]
fn aliases_hide_every_address() {
    let _turn = take_turn!(tracing);
    let args = ["--hops", "relay", "--pointers"];
    let aliased = verify(&[&args[..], &["alias"]].concat());
    assert_eq!(aliased.code, Some(0), "{aliased:?}");
    assert!(!aliased.stdout.contains("0xff"), "{aliased:?}");
    let lines = Lines::of(&aliased);
    let files: Vec<&Value> = lines
        .of_type("transfer")
        .map(|line| &line["file"]["ptr"])
        .collect();
    // The relayed file is one, so it has one name.
    assert_eq!(files, ["file#1", "file#1"]);
    let raw = verify(&[&args[..], &["raw"]].concat());
    assert!(raw.stdout.contains("0xff"), "{raw:?}");
}
