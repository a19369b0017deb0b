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
            // What cannot be seen is skipped, and that is a success of fdtrace's.
            PASSED
                if !auto && scenarios.count("inconclusive") > 0 && scenarios.only_unwatched() =>
            {
                Result::Cannot
            }
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
        if result == Result::Cannot && ended.code != CANNOT && scenarios.count("pass") == 0 {
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
mod tests;
