//! More than can be read.

use std::{fs, os::fd::AsRawFd as _, process::Stdio};

use fdtrace_testkit::{command::most_memory_kib, take_turn};
use serde_json::Value;

use super::{
    children::{FLOOD, ReceivingChild, child},
    tracing::{Tracing, lines, transfers},
};

#[test]
fn a_flood_loses_records_and_says_so_in_bounded_memory() {
    let _turn = take_turn!(tracing);
    let tracing = Tracing::start(&[
        "trace",
        "--format",
        "json",
        "--buffer",
        "4",
        "--pid",
        &std::process::id().to_string(),
    ]);
    let attached = most_memory_kib(tracing.id()).unwrap();
    let flooded = child("flood").stdout(Stdio::null()).status().unwrap();
    assert!(flooded.success());
    let flooded = most_memory_kib(tracing.id()).unwrap();
    let run = tracing.stop();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let lines = lines(&run.stdout);
    let summary = lines.last().unwrap();
    let lost = summary["lost_events"].as_object().unwrap();
    let lost: u64 = lost.values().filter_map(Value::as_u64).sum();
    assert!(lost > 0, "{summary}");
    assert!(flooded < attached + 32 * 1024, "{attached} KiB, {flooded}");
    let all = transfers(&lines);
    assert!(all.len() <= FLOOD * 250, "none is made up");
    let verdict = |is: &str| all.iter().filter(|it| it["verdict"] == is).count();
    assert!(verdict("lost") > 0, "{summary}");
    assert_eq!(verdict("different"), 0, "{summary}");
}

#[test]
fn a_flood_of_others_takes_no_room_from_who_is_wanted() {
    let _turn = take_turn!(tracing);
    let mut receiver = ReceivingChild::start();
    let pid = receiver.child.id().to_string();
    // Less than a hundredth of what the flood would fill.
    let args = ["trace", "--format", "json", "--buffer", "64", "--pid", &pid];
    let tracing = Tracing::start(&args);
    let flooded = child("flood").stdout(Stdio::null()).status().unwrap();
    assert!(flooded.success());
    let file = fs::File::open("/dev/null").unwrap();
    let number = receiver.send(file.as_raw_fd());
    let run = tracing.stop();
    receiver.end();
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = lines(&run.stdout);
    let [transfer] = transfers(&lines)[..] else {
        panic!("{run:?}");
    };
    assert_eq!(transfer["sender"]["pid"], std::process::id());
    assert_eq!(transfer["sender"]["fd"], file.as_raw_fd());
    assert_eq!(transfer["receiver"]["fd"], number);
    assert_eq!(transfer["verdict"], "same");
}
