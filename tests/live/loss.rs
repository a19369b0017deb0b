//! Lost records: they weaken what is said, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::run::{ALL_HOPS, Lines, identities, set, verify};

#[test]
fn lost_records_are_counted_for_every_hop() {
    let _turn = turn!();
    // How many is not for this test to say: the buffer is the machine's, and others may fill it.
    let summary = identities().summary();
    let lost = summary["lost_events"].as_object().expect("counts");
    assert_eq!(
        set(&Value::from(lost.keys().cloned().collect::<Vec<_>>())),
        BTreeSet::from(ALL_HOPS)
    );
    assert!(lost.values().all(Value::is_u64), "{summary}");
    assert_eq!(summary["window_full"], 0);
}

#[test]
fn lost_records_leave_the_question_open_and_never_make_it_different() {
    let _turn = turn!();
    // One page, for records of 253 files at three hops.
    let run = verify(&["--buffer", "4", "max-fds"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let lines = Lines::of(&run);
    let scenario = lines.scenario("max-fds");
    assert_eq!(scenario["result"], "skip", "{scenario}");
    assert_eq!(scenario["inconclusive"], true, "{scenario}");
    assert!(scenario["reason"].is_string(), "{scenario}");
    assert!(lines.lost() > 0, "{}", lines.summary());
    let verdicts = &lines.summary()["verdicts"];
    assert!(verdicts["lost"].as_u64() > Some(0), "{verdicts}");
    assert_eq!(verdicts.get("different"), None, "{verdicts}");
    assert_eq!(lines.summary()["exit_code"], 3);
    // The witnesses do not depend on the trace, and still say what is true.
    let witnesses = scenario["witnesses"].as_array().expect("a list");
    assert!(!witnesses.is_empty());
    assert!(
        witnesses.iter().all(|witness| witness["verdict"] == "same"),
        "{scenario}"
    );
}

#[test]
fn losses_of_one_scenario_do_not_weaken_the_next() {
    let _turn = turn!();
    // Too little for 253 files, and enough for two however slowly it is emptied.
    let run = verify(&["--buffer", "16", "max-fds", "two-fds"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let lines = Lines::of(&run);
    assert!(lines.lost() > 0, "{}", lines.summary());
    assert_eq!(lines.scenario("max-fds")["inconclusive"], true);
    assert_eq!(lines.scenario("two-fds")["result"], "pass");
    for transfer in lines.transfers("two-fds") {
        assert_eq!(transfer["verdict"], "same", "{transfer}");
    }
}
