//! Cases that people have reported: the summary names who holds what it should not, and what that is.

use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
};
use serde_json::Value;
use tempfile::TempDir;

use super::roles::{KEYMAPS, command};
use crate::trace_live::tracing::lines;

/// What the trace of a role says: its lines, and its summary of what is still open.
fn traced(role: &str, args: &[&str]) -> (Vec<Value>, Value) {
    let mut trace = fdtrace(&["trace", "--format", "json"]);
    let run = run(trace.args(args).arg("--").args(command(role)));
    let lines = lines(&run.stdout);
    let summary = lines.last().unwrap()["still_open"].clone();
    (lines, summary)
}

/// Of the summary, the process of this name at this end.
fn of<'a>(summary: &'a Value, side: &str, comm: &str) -> &'a Value {
    let processes = summary["processes"].as_array().unwrap();
    let mut found = processes
        .iter()
        .filter(|it| it["side"] == side && it["comm"] == comm);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {comm} that is a {side}: {summary:#}"));
    assert!(found.next().is_none(), "{summary:#}");
    one
}

#[test]
fn what_a_receiver_never_closes_is_named_and_what_it_closes_is_not() {
    let _turn = take_turn!(tracing);
    let (lines, summary) = traced("leak", &[]);
    let receiver = of(&summary, "receiver", "receiver");
    let open = receiver["open"].as_u64().unwrap();
    assert_eq!(receiver["ended"], true, "{summary:#}");
    assert!(open > 20 && (open as usize) < KEYMAPS, "{summary:#}");
    let files = receiver["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{summary:#}");
    assert_eq!(files[0]["name"], "memfd:format-table");
    assert_eq!(files[0]["count"], open);
    // As many were delivered and closed.
    let all = receiver["all"].as_u64().unwrap();
    assert!(all >= 2 * open && all <= 2 * open + 1, "{summary:#}");
    assert_eq!(
        (&receiver["unknown"], &receiver["unseen"]),
        (&0.into(), &0.into())
    );
    // Its table was full of these.
    let truncated = lines
        .iter()
        .find(|line| line["cause"] == "rlimit-nofile")
        .unwrap();
    let full = &summary["full"][0];
    assert_eq!(full["pid"], truncated["receiver"]["pid"], "{summary:#}");
    assert_eq!(full["files"][0]["name"], "memfd:format-table");
    assert_eq!(full["received"], open);
}

#[test]
fn a_sender_that_keeps_its_copies_is_named() {
    let _turn = take_turn!(tracing);
    let (_, summary) = traced("user-drop", &[]);
    let sender = of(&summary, "sender", "sender");
    assert_eq!(
        (&sender["open"], &sender["all"]),
        (&0.into(), &3.into()),
        "{summary:#}"
    );

    let (_, summary) = traced("sender-leak", &[]);
    let receiver = of(&summary, "receiver", "receiver");
    assert_eq!(
        (&receiver["open"], &receiver["all"]),
        (&0.into(), &20.into()),
        "{summary:#}"
    );
    let sender = of(&summary, "sender", "sender");
    assert_eq!(
        (&sender["open"], &sender["all"]),
        (&20.into(), &20.into()),
        "{summary:#}"
    );
    assert_eq!(sender["files"][0]["name"], "unix socket");
}

#[test]
fn a_receiver_that_closes_all_at_once_is_said_to_have() {
    let _turn = take_turn!(tracing);
    let (lines, summary) = traced("user-drop", &[]);
    let receiver = of(&summary, "receiver", "receiver");
    assert_eq!(
        (&receiver["open"], &receiver["all"]),
        (&0.into(), &3.into()),
        "{summary:#}"
    );
    assert_eq!(
        (&receiver["unknown"], &receiver["unseen"]),
        (&0.into(), &0.into())
    );
    let open = lines
        .iter()
        .filter(|it| it["type"] == "still_open" && it["side"] == "receiver");
    assert!(
        open.clone()
            .all(|line| line["state"] == "closed" || line["state"] == "replaced"),
        "{:#?}",
        open.collect::<Vec<_>>()
    );
}

/// What is told of receivers, and of how many.
fn states(lines: &[Value]) -> Vec<&str> {
    let told = lines.iter();
    let told = told.filter(|it| it["type"] == "still_open" && it["side"] == "receiver");
    told.map(|line| line["state"].as_str().unwrap()).collect()
}

#[test]
fn a_place_at_the_number_of_a_closed_socket_is_not_that_socket() {
    let _turn = take_turn!(tracing);
    let (lines, _) = traced("place", &[]);
    assert_eq!(states(&lines), ["replaced"; 5], "{lines:#?}");
}

#[test]
fn what_a_thread_with_a_table_of_its_own_has_is_not_called_closed() {
    let _turn = take_turn!(tracing);
    // Whichever thread is the last.
    for _ in 0..5 {
        let (lines, _) = traced("own-table", &[]);
        let states = states(&lines);
        assert_eq!(states.len(), 3, "{lines:#?}");
        assert!(
            states
                .iter()
                .all(|state| ["open", "unknown"].contains(state)),
            "{lines:#?}"
        );
    }
}

#[test]
fn a_child_that_inherits_is_named_with_its_numbers() {
    let _turn = take_turn!(tracing);
    let (lines, _) = traced("inherit", &["--every", "500ms"]);
    let is_one = |line: &&Value| {
        line["type"] == "still_open" && line["side"] == "receiver" && line["state"] == "open"
    };
    let with_child = lines.iter().filter(is_one).filter(|line| {
        line["holders"]
            .as_array()
            .is_some_and(|holders| holders.len() == 2)
    });
    let mut seen = 0;
    for line in with_child {
        let holders = line["holders"].as_array().unwrap();
        let child = holders
            .iter()
            .find(|it| it["comm"] == "sleep")
            .unwrap_or_else(|| panic!("{line}"));
        assert_eq!(child["inherited"], true, "{line}");
        assert_eq!(child["fds"][0], line["fd"], "{line}");
        let parent = holders.iter().find(|it| it["pid"] == line["pid"]).unwrap();
        assert_eq!(parent["inherited"], false, "{line}");
        seen += 1;
    }
    assert!(seen >= 5, "{lines:#?}");
}

#[test]
fn a_recording_keeps_what_was_still_open() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    let file = file.to_str().unwrap();
    let recorded = run(fdtrace(&["record", file, "--every", "300ms", "--"]).args(command("leak")));
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let told = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| line.contains("format-table") && !line.contains("→"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let live = told(&recorded.stderr);
    assert_eq!(live.len(), 2, "{recorded:?}");
    let replayed = run(&mut fdtrace(&["replay", file]));
    assert_eq!(told(&replayed.stdout), live, "{replayed:?}");
    let json = run(&mut fdtrace(&["replay", "--format", "json", file]));
    let lines = lines(&json.stdout);
    let open = lines
        .iter()
        .filter(|it| it["type"] == "still_open" && it["state"] == "open");
    assert!(open.count() > 20, "{lines:#?}");
}
