//! What commands left behind, and the cells that they make.

use super::*;

const OUT: &str = r#"{"type":"start","schema_version":2}
{"type":"transfer","id":1,"fate":"delivered"}
{"type":"scenario","name":"a","result":"pass","reason":null}
{"type":"scenario","name":"b","result":"fail","reason":"it differs"}
{"type":"scenario","name":"c","result":"inconclusive","reason":"no queue"}
{"type":"scenario","name":"d","result":"inconclusive","reason":"no queue"}
"#;

fn ended(code: u8, out: &str, err: &str) -> Ended {
    Ended {
        code,
        out: out.into(),
        err: err.into(),
    }
}

#[test]
fn scenarios_are_counted_and_their_reasons_joined() {
    let cell = Cell::of_verify(&ended(1, OUT, ""), false);
    assert_eq!(cell.result, Result::Failed);
    assert_eq!(cell.text, "1 passed, 1 failed, 2 inconclusive");
    assert_eq!(
        cell.notes,
        ["fail b: it differs", "inconclusive c, d: no queue"]
    );
}

#[test]
fn a_mechanism_may_be_missing_but_auto_may_not() {
    let cannot = ended(
        2,
        "",
        "fdtrace: --attach kprobe shows no hop here: none\nhint: none\n",
    );
    let cell = Cell::of_verify(&cannot, false);
    assert_eq!(
        (cell.result, cell.text.as_str()),
        (Result::Cannot, "cannot")
    );
    assert_eq!(cell.notes.len(), 2);
    assert_eq!(Cell::of_verify(&cannot, true).result, Result::Failed);
    // A program that the verifier refuses is a failure, however it was asked for.
    let refused = ended(2, "", "fdtrace: cannot load program a for b: EACCES\n");
    assert_eq!(Cell::of_verify(&refused, false).result, Result::Failed);

    const BLIND: &str = r#"{"type":"scenario","name":"a","result":"inconclusive","reason":"queue is not watched here: ask"}"#;
    const PLAN: &str = r#"{"type":"start","plan":[{"hop":"queue","skipped":true,"why":"no such tracepoint"},{"hop":"dequeue","target":"a"}]}"#;
    let blind = ended(3, &format!("{PLAN}\n{BLIND}"), "");
    let cell = Cell::of_verify(&blind, false);
    assert_eq!(
        (cell.result, cell.text.as_str()),
        (Result::Cannot, "1 inconclusive; not seen: queue")
    );
    assert!(cell.scenarios.is_empty());
    assert_eq!(Cell::of_verify(&blind, true).result, Result::Inconclusive);
    let skipped = BLIND.replace("\"inconclusive\"", "\"skip\"");
    let skipped = ended(0, &format!("{PLAN}\n{skipped}"), "");
    let cell = Cell::of_verify(&skipped, false);
    assert_eq!(
        (cell.result, cell.text.as_str()),
        (Result::Cannot, "1 inconclusive; not seen: queue")
    );
    assert_eq!(Cell::of_verify(&skipped, true).result, Result::Failed);
    let mixed = ended(3, &format!("{BLIND}\n{OUT}"), "");
    assert_eq!(Cell::of_verify(&mixed, false).result, Result::Inconclusive);
    // Beside what passes and what is lacking, a blind spot is told with the counts.
    const REST: &str = r#"{"type":"scenario","name":"b","result":"pass","reason":null}
{"type":"scenario","name":"c","result":"skip","reason":"no such option"}"#;
    let partly = ended(3, &format!("{BLIND}\n{REST}"), "");
    let cell = Cell::of_verify(&partly, false);
    assert_eq!(cell.result, Result::Cannot);
    assert_eq!(cell.text, "1 passed, 1 inconclusive, 1 skipped");
    assert_eq!(cell.scenarios.len(), 3);
    assert_eq!(Cell::of_verify(&partly, true).result, Result::Inconclusive);
}

#[test]
fn a_play_that_was_repeated_is_told_of_below() {
    const AGAIN: &str = r#"{"type":"scenario","name":"a","result":"pass","reason":null,"retried":["no end","no queue"]}"#;
    let cell = Cell::of_verify(&ended(0, AGAIN, ""), true);
    assert_eq!(
        (cell.result, cell.text.as_str()),
        (Result::Passed, "1 passed")
    );
    assert_eq!(
        cell.notes,
        ["played again a: no end", "played again a: no queue"]
    );
}

#[test]
fn a_filter_that_does_not_load_is_a_failure() {
    let cannot = ended(2, "", "fdtrace: --attach kprobe shows no hop here: none\n");
    assert_eq!(Cell::of_filtered(&cannot).result, Result::Cannot);
    let refused = ended(2, "", "fdtrace: cannot load program a for b: EINVAL\n");
    assert_eq!(Cell::of_filtered(&refused).result, Result::Failed);
    assert_eq!(Cell::of_filtered(&ended(0, "", "")).result, Result::Passed);
}

#[test]
fn success_without_a_scenario_is_no_success() {
    assert_eq!(
        Cell::of_verify(&ended(0, "", ""), false).result,
        Result::Failed
    );
}

#[test]
fn a_crash_is_a_failure_with_its_status() {
    let cell = Cell::of_verify(&ended(139, OUT, ""), false);
    assert_eq!(cell.result, Result::Failed);
    assert_eq!(cell.text, "exit 139 1 passed, 1 failed, 2 inconclusive");
}

#[test]
fn other_commands_pass_or_fail() {
    assert_eq!(Cell::of_command(&ended(0, "x", "")).text, "passed");
    let cell = Cell::of_command(&ended(101, "test a ... FAILED\n", "panicked\n"));
    assert_eq!(
        (cell.result, cell.text.as_str()),
        (Result::Failed, "exit 101")
    );
    assert_eq!(cell.notes, ["test a ... FAILED", "panicked"]);
}

#[test]
fn a_test_passes_if_one_of_its_tests_did() {
    const OUT: &str = "test a ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 m\n";
    let skip = "skipped: b: not here\n";
    let cell = Cell::of_test(&ended(0, OUT, skip));
    assert_eq!(cell.result, Result::Passed);
    assert_eq!(cell.text, "1 passed, 0 failed, 1 skipped");
    assert_eq!(cell.notes, ["skipped: b: not here"]);

    let both = format!("skipped: a: not here\n{skip}");
    assert_eq!(Cell::of_test(&ended(0, OUT, &both)).result, Result::Failed);
    let cell = Cell::of_test(&ended(101, OUT, ""));
    assert_eq!(cell.result, Result::Failed);
    assert_eq!(cell.text, "exit 101: 2 passed, 0 failed, 0 skipped");
    assert_eq!(Cell::of_test(&ended(0, "", "")).result, Result::Failed);
}

#[test]
fn a_long_complaint_keeps_its_ends() {
    let long: String = (0..100).map(|line| format!("line {line}\n")).collect();
    let lines = complaint(long.as_bytes());
    assert_eq!(lines.len(), NOTE_LINES + 1);
    assert_eq!(lines[0], "line 0");
    assert_eq!(lines[NOTE_LINES / 2], "… 76 lines …");
    assert_eq!(lines[NOTE_LINES], "line 99");
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let lines = complaint("ä".repeat(NOTE_WIDTH + 1).as_bytes());
    assert_eq!(lines, ["ä".repeat(NOTE_WIDTH) + "…"]);
    let fits = "ä".repeat(NOTE_WIDTH);
    assert_eq!(complaint(fits.as_bytes()), [fits]);
}
