//! What one command in one VM amounts to: a cell of the matrix and what has to be said below it.
//!
//! Pure: exit status and output go in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::summary::{self, Totals};

/// Longer complaints are cut in the middle, and longer lines at their end; the files have both
/// whole.
const NOTE_LINES: usize = 24;
const NOTE_WIDTH: usize = 160;

/// fdtrace's exit codes, a contract of its own.
const PASSED: u8 = 0;
const FAILED: u8 = 1;
const CANNOT: u8 = 2;
const INCONCLUSIVE: u8 = 3;

/// What fdtrace says where a mechanism does not exist. A program that the verifier refuses is
/// another matter.
const NOTHING_TO_ATTACH: &str = "shows no hop here";

/// What a command left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) code: u8,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

impl Ended {
    fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.err).contains(text)
    }
}

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Result {
    Passed,
    /// This mechanism does not exist on this kernel, or does not show what every answer needs,
    /// which is no failure when it was asked for by name.
    Cannot,
    Inconclusive,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) result: Result,
    /// What stands in the table.
    pub(crate) text: String,
    /// What stands below it.
    pub(crate) notes: Vec<String>,
    /// The scenarios that were played, in their order.
    pub(crate) scenarios: Vec<Played>,
}

/// What became of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) name: String,
    /// `pass`, `fail`, `inconclusive`, `skip`, or `?`.
    pub(crate) how: &'static str,
    /// Why, unless it passed.
    pub(crate) reason: Option<String>,
}

impl Cell {
    /// The VM did not get that far.
    pub(crate) fn none() -> Self {
        Self {
            result: Result::Failed,
            text: "no result".to_owned(),
            notes: Vec::new(),
            scenarios: Vec::new(),
        }
    }

    /// Of `fdtrace verify --format json`. With `--attach auto` it has to run on every kernel.
    pub(crate) fn of_verify(ended: &Ended, auto: bool) -> Self {
        let mut scenarios = Scenarios::read(&ended.out);
        let result = match ended.code {
            PASSED if scenarios.count("pass") > 0 => Result::Passed,
            CANNOT if !auto && ended.says(NOTHING_TO_ATTACH) => Result::Cannot,
            INCONCLUSIVE if !auto && scenarios.only_unwatched() => Result::Cannot,
            INCONCLUSIVE => Result::Inconclusive,
            _ => Result::Failed,
        };
        let mut text = match (ended.code, scenarios.to_string()) {
            (CANNOT, counts) if counts.is_empty() => "cannot".to_owned(),
            (PASSED | FAILED | INCONCLUSIVE, counts) if !counts.is_empty() => counts,
            (code, counts) => format!("exit {code} {counts}").trim_end().to_owned(),
        };
        if !scenarios.unseen.is_empty() {
            text += &format!("; not seen: {}", scenarios.unseen.join(", "));
        }
        // Where nothing is answered, the hops that are not seen are all there is to say.
        if result == Result::Cannot && ended.code == INCONCLUSIVE && scenarios.count("pass") == 0 {
            return Self {
                result,
                text,
                notes: Vec::new(),
                scenarios: Vec::new(),
            };
        }
        let mut notes = scenarios.reasons();
        notes.extend(scenarios.retried());
        notes.extend(complaint(&ended.err));
        Self {
            result,
            text,
            notes,
            scenarios: std::mem::take(&mut scenarios.played),
        }
    }

    /// Of one of fdtrace's integration tests, whose skips are on stderr.
    pub(crate) fn of_test(ended: &Ended) -> Self {
        let mut totals = Totals::default();
        let out = String::from_utf8_lossy(&ended.out);
        out.lines().for_each(|line| totals.read(line));
        let err = String::from_utf8_lossy(&ended.err);
        let skips: BTreeSet<&str> = summary::skips(&err).collect();
        totals.skip(skips.len());
        if ended.code != PASSED || !totals.any_passed() {
            return Self {
                text: format!("exit {}: {totals}", ended.code),
                result: Result::Failed,
                ..Self::of_command(ended)
            };
        }
        Self {
            result: Result::Passed,
            text: totals.to_string(),
            notes: cut(skips.into_iter().map(str::to_owned).collect()),
            scenarios: Vec::new(),
        }
    }

    /// Of `fdtrace trace`, which has to start and to end.
    pub(crate) fn of_filtered(ended: &Ended) -> Self {
        if ended.code == CANNOT && ended.says(NOTHING_TO_ATTACH) {
            return Self {
                result: Result::Cannot,
                text: "cannot".to_owned(),
                notes: complaint(&ended.err),
                scenarios: Vec::new(),
            };
        }
        Self::of_command(ended)
    }

    /// Of any other command, of which only its status is known.
    pub(crate) fn of_command(ended: &Ended) -> Self {
        if ended.code == 0 {
            return Self {
                result: Result::Passed,
                text: "passed".to_owned(),
                notes: Vec::new(),
                scenarios: Vec::new(),
            };
        }
        // Test harnesses say on stdout what failed.
        let notes = complaint(&ended.out)
            .into_iter()
            .chain(complaint(&ended.err));
        Self {
            result: Result::Failed,
            text: format!("exit {}", ended.code),
            notes: notes.collect(),
            scenarios: Vec::new(),
        }
    }
}

/// The scenarios that are told about, by how they went; those that did not pass with their reason.
#[derive(Default)]
struct Scenarios {
    /// The hops that the plan leaves out.
    unseen: Vec<String>,
    played: Vec<Played>,
    counts: BTreeMap<&'static str, usize>,
    reasons: BTreeMap<(&'static str, String), Vec<String>>,
    /// Those that were played again, each with why.
    retried: Vec<(String, String)>,
}

/// What fdtrace says of a hop that it does not see.
const UNWATCHED: &str = " not watched here";

/// As printed, and the order of it.
const WORDS: [(&str, &str); 5] = [
    ("pass", "passed"),
    ("fail", "failed"),
    ("inconclusive", "inconclusive"),
    ("skip", "skipped"),
    ("?", "unknown"),
];

impl Scenarios {
    fn read(lines: &[u8]) -> Self {
        let mut scenarios = Self::default();
        let lines = String::from_utf8_lossy(lines);
        let lines: Vec<Value> = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let of_type = |what: &'static str| lines.iter().filter(move |line| line["type"] == what);
        for start in of_type("start") {
            let plan = start["plan"].as_array().into_iter().flatten();
            let skipped = plan.filter(|entry| entry["skipped"] == true);
            let hops = skipped.filter_map(|entry| entry["hop"].as_str());
            scenarios.unseen.extend(hops.map(str::to_owned));
        }
        for line in of_type("scenario") {
            let why = line["reason"].as_str().unwrap_or_default();
            let how = match line["result"].as_str() {
                Some("pass") => "pass",
                Some("fail") => "fail",
                // fdtrace's own gap, and not the machine's.
                Some("skip") if why.contains(UNWATCHED) => "inconclusive",
                Some("inconclusive") => "inconclusive",
                Some("skip") => "skip",
                _ => "?",
            };
            *scenarios.counts.entry(how).or_default() += 1;
            let name = line["name"].as_str().unwrap_or("?").to_owned();
            let before = line["retried"].as_array().into_iter().flatten();
            let before = before.filter_map(|reason| reason.as_str());
            scenarios
                .retried
                .extend(before.map(|reason| (name.clone(), reason.to_owned())));
            let reason = line["reason"].as_str().unwrap_or("no reason").to_owned();
            scenarios.played.push(Played {
                name: name.clone(),
                how,
                reason: (how != "pass").then(|| reason.clone()),
            });
            if how != "pass" {
                scenarios
                    .reasons
                    .entry((how, reason))
                    .or_default()
                    .push(name);
            }
        }
        scenarios
    }

    /// Whether nothing failed, and what is open is so for hops that are not watched.
    fn only_unwatched(&self) -> bool {
        self.count("fail") + self.count("?") == 0
            && self
                .reasons
                .keys()
                .all(|(how, reason)| *how != "inconclusive" || reason.contains(UNWATCHED))
    }

    fn count(&self, how: &str) -> usize {
        self.counts.get(how).copied().unwrap_or(0)
    }

    /// One line for each play that did not count.
    fn retried(&self) -> Vec<String> {
        let line = |(name, reason): &(String, String)| format!("played again {name}: {reason}");
        cut(self.retried.iter().map(line).collect())
    }

    /// One line for each reason, however many scenarios have it.
    fn reasons(&self) -> Vec<String> {
        let line = |((how, reason), names): (&(&str, String), &Vec<String>)| {
            format!("{how} {}: {reason}", names.join(", "))
        };
        cut(self.reasons.iter().map(line).collect())
    }
}

impl std::fmt::Display for Scenarios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counted = WORDS
            .iter()
            .filter(|(how, _)| self.count(how) > 0)
            .map(|(how, word)| format!("{} {word}", self.count(how)));
        f.write_str(&counted.collect::<Vec<_>>().join(", "))
    }
}

/// What a program said, but for empty lines.
fn complaint(said: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    let lines = said.lines().filter(|line| !line.trim().is_empty());
    cut(lines.map(str::to_owned).collect())
}

/// `lines` without what is too much of them.
fn cut(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > NOTE_LINES {
        let cut = lines.len() - NOTE_LINES;
        let half = NOTE_LINES / 2;
        lines.splice(half..half + cut, [format!("… {cut} lines …")]);
    }
    for line in &mut lines {
        if let Some((end, _)) = line.char_indices().nth(NOTE_WIDTH) {
            line.truncate(end);
            line.push('…');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
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
}
