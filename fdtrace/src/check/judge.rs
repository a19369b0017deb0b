//! Whether what was expected was seen.

use std::collections::BTreeMap;

use super::{
    Count, Each, Expectation, Expectations,
    later::{Afterwards, Told},
    pattern::{Compared, Fit},
};
use crate::model::{Fate, Judged, Later, Side, StillOpen, StillOpenMissing, Verdict};

/// Transfers that are shown beside an expectation that nothing met, at most.
const NEAREST: usize = 3;

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is as expected.
    Holds,
    /// It is not.
    Fails,
    /// It cannot be said.
    Open,
}

/// One expectation, and what came of it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it is called.
    pub title: String,
    /// What came of it.
    pub answer: Answer,
    /// Why, where it does not hold.
    pub findings: Vec<Finding>,
}

/// One thing that is not as expected, or cannot be said.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub what: String,
    /// It leaves the answer open, and does not speak against it.
    pub open: bool,
    /// The transfer that shows it.
    pub transfer: Option<Box<Judged>>,
    /// Transfers that were seen and are nearly what was expected, the nearest first.
    pub nearest: Vec<Nearby>,
}

/// A transfer that is nearly what was expected.
#[derive(Clone, Debug)]
pub struct Nearby {
    /// The transfer.
    pub transfer: Box<Judged>,
    /// Where it differs, or what is not known of it.
    pub differs: Vec<Compared>,
}

/// All that was seen of a command.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Every transfer that has ended, or is in a queue.
    pub transfers: &'a [Judged],
    /// What became of their numbers, in the order in which it was told.
    pub later: &'a [Later],
    /// What may have gone unseen beside these, in words.
    pub unseen: Option<&'a str>,
}

impl Finding {
    fn fails(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            open: false,
            transfer: None,
            nearest: Vec::new(),
        }
    }

    fn open(what: impl Into<String>) -> Self {
        Self {
            open: true,
            ..Self::fails(what)
        }
    }

    fn on(self, judged: &Judged) -> Self {
        Self {
            transfer: Some(Box::new(judged.clone())),
            ..self
        }
    }
}

impl Checked {
    fn of(title: String, findings: Vec<Finding>) -> Self {
        let answer = if findings.iter().any(|finding| !finding.open) {
            Answer::Fails
        } else if findings.is_empty() {
            Answer::Holds
        } else {
            Answer::Open
        };
        Self {
            title,
            answer,
            findings,
        }
    }
}

/// What the rule is called that always holds.
pub const NOTHING_LOST: &str = "nothing lost";

/// Holds what was seen against what was expected. The first answer is of what is always expected: that
/// nothing is lost or left in a queue, and that what arrives is the same file. The others are in the order
/// of the expectations.
#[must_use]
pub fn judge(expectations: &Expectations, seen: Seen<'_>) -> Vec<Checked> {
    let rule = Checked::of(NOTHING_LOST.to_owned(), lost(expectations, seen));
    let expected = expectations
        .expect
        .iter()
        .map(|expectation| Checked::of(expectation.title(), unmet(expectation, seen)));
    std::iter::once(rule).chain(expected).collect()
}

/// What is always expected, and was not so.
fn lost(expectations: &Expectations, seen: Seen<'_>) -> Vec<Finding> {
    let is_wanted = |judged: &Judged| {
        let allowed = expectations.allow.iter().map(|allowed| &allowed.of);
        // Who says which fate is expected wants it.
        let expected = expectations.expect.iter().map(|expected| &expected.of);
        let mut wanted = allowed.chain(expected.filter(|of| of.fate.is_some()));
        wanted.any(|of| of.fit(judged) == Fit::Yes)
    };
    let mut findings = Vec::new();
    for judged in seen.transfers.iter().filter(|judged| !is_wanted(judged)) {
        let why = judged
            .cause()
            .map_or_else(String::new, |cause| format!(" ({})", cause.name()));
        let finding = match (judged.fate(), judged.verdict) {
            (Fate::Delivered | Fate::Peeked, Some(Verdict::Different)) => {
                Finding::fails("another file came out than went in")
            }
            (Fate::Delivered | Fate::Peeked, Some(Verdict::Same)) | (Fate::Failed, _) => continue,
            (Fate::Delivered | Fate::Peeked, _) => {
                let doubt = judged
                    .doubt()
                    .map_or_else(String::new, |it| format!(": {}", it.words()));
                Finding::open(format!(
                    "it is not proved that the same file came out{doubt}"
                ))
            }
            (Fate::Queued, _) => Finding::fails("left in a queue"),
            (Fate::Unknown, _) => Finding::open("how it ended was not seen"),
            (fate, _) => Finding::fails(format!("{fate}{why}")),
        };
        findings.push(finding.on(judged));
    }
    findings.extend(seen.unseen.map(Finding::open));
    findings
}

/// What is not as this expectation has it.
fn unmet(expectation: &Expectation, seen: Seen<'_>) -> Vec<Finding> {
    let with = |fit: Fit| {
        let transfers = seen.transfers.iter();
        transfers.filter(move |judged| expectation.of.fit(judged) == fit)
    };
    let met: Vec<&Judged> = with(Fit::Yes).collect();
    let delivered = || {
        met.iter()
            .copied()
            .filter(|judged| judged.fate() == Fate::Delivered)
    };
    let mut findings = Vec::new();
    // What may be one of them, or may have been delivered.
    let unsure = with(Fit::Unknown)
        .filter(|judged| judged.fate().installs() || judged.fate() == Fate::Unknown);
    let unsure = unsure.count()
        + met
            .iter()
            .filter(|judged| judged.fate() == Fate::Unknown)
            .count();
    let (counted, found) = match expectation.delivered {
        Some(count) => (count, delivered().count()),
        None => (
            Count {
                least: 1,
                most: u64::MAX,
            },
            met.len(),
        ),
    };
    let word = if expectation.delivered.is_some() {
        "delivered"
    } else {
        "seen"
    };
    let found = found as u64;
    if found > counted.most {
        let extra = delivered().nth(usize::try_from(counted.most).unwrap_or(usize::MAX));
        let finding = Finding::fails(format!("{counted} expected, {found} {word}"));
        findings.push(match extra {
            Some(extra) => finding.on(extra),
            None => finding,
        });
    } else if found < counted.least {
        let what = format!("{counted} expected, {found} {word}");
        let may_be = found + unsure as u64 >= counted.least || seen.unseen.is_some();
        let mut finding = match (may_be, unsure, seen.unseen) {
            (false, ..) => Finding::fails(what),
            (true, 0, Some(unseen)) => Finding::open(format!("{what}; {unseen}")),
            (true, unsure, _) => Finding::open(format!("{what}, and {unsure} that may be")),
        };
        finding.nearest = nearest(expectation, seen.transfers);
        findings.push(finding);
    }
    for judged in delivered() {
        findings.extend(on_arrival(expectation, judged).map(|finding| finding.on(judged)));
    }
    if expectation.still_open.is_some() || expectation.closed_by_sender.is_some() {
        let afterwards = Afterwards::new(seen.transfers, seen.later);
        for judged in delivered() {
            let found = after(expectation, judged, &afterwards);
            findings.extend(found.map(|finding| finding.on(judged)));
        }
    }
    if expectation.each == Some(Each::Once) {
        findings.extend(twice(delivered()));
    }
    findings
}

/// What is not as expected of one that was delivered.
fn on_arrival(expectation: &Expectation, judged: &Judged) -> impl Iterator<Item = Finding> {
    let known = judged.receiver().and_then(|receiver| receiver.cloexec);
    let cloexec = expectation.cloexec.and_then(|expected| match known {
        Some(set) if set == expected => None,
        Some(true) => Some(Finding::fails("close-on-exec is set")),
        Some(false) => Some(Finding::fails(
            "close-on-exec is not set: a program that it executes inherits it",
        )),
        None => Some(Finding::open("whether close-on-exec is set was not seen")),
    });
    let within = expectation.within.and_then(|limit| match judged.queued_ns {
        Some(ns) if u128::from(ns) <= limit.0.as_nanos() => None,
        Some(ns) => {
            let took = humantime::format_duration(std::time::Duration::from_nanos(ns));
            Some(Finding::fails(format!(
                "in its queue for {took}, {limit} expected"
            )))
        }
        None => Some(Finding::open("how long it was in its queue was not seen")),
    });
    cloexec.into_iter().chain(within)
}

/// What is not as expected of what became of one that was delivered.
fn after(
    expectation: &Expectation,
    judged: &Judged,
    afterwards: &Afterwards,
) -> impl Iterator<Item = Finding> {
    let of = |who: &str, expects_open: Option<bool>, told: Option<Told>| {
        let finding = match (expects_open?, told.map(|(state, _)| state)) {
            (true, Some(StillOpen::Open | StillOpen::Moved)) => return None,
            (false, Some(StillOpen::Closed | StillOpen::Replaced)) => return None,
            (false, Some(StillOpen::Open)) => Finding::fails(format!("the {who} never closed it")),
            (false, Some(StillOpen::Moved)) => {
                Finding::fails(format!("the {who} has it open under another number"))
            }
            (true, Some(StillOpen::Closed | StillOpen::Replaced)) => {
                Finding::fails(format!("the {who} closed it"))
            }
            (_, Some(StillOpen::Unknown)) => Finding::open(format!(
                "whether the {who} closed it cannot be told: {}",
                why_not_known(told.and_then(|(_, missing)| missing))
            )),
            (_, Some(StillOpen::Ended) | None) => {
                Finding::open(format!("whether the {who} closed it was not seen"))
            }
        };
        Some(finding)
    };
    let receiver = afterwards.of(judged, Side::Receiver);
    let sender = afterwards.of(judged, Side::Sender);
    let kept = expectation.closed_by_sender.map(|closed| !closed);
    [
        of("receiver", expectation.still_open, receiver),
        of("sender", kept, sender),
    ]
    .into_iter()
    .flatten()
}

/// Why nobody knows what became of a number.
fn why_not_known(missing: Option<StillOpenMissing>) -> &'static str {
    match missing {
        Some(StillOpenMissing::MayBeAnother) | None => "another open file may look like it",
        Some(StillOpenMissing::NoNumber) => "its number was not known",
        Some(StillOpenMissing::OtherNumber) => {
            "the process may have had the number that it has it under before"
        }
        Some(StillOpenMissing::TableTooLong) => "the process has too many numbers",
        Some(StillOpenMissing::OwnTables) => "threads may have had tables of their own",
        Some(StillOpenMissing::Lost) => "what would have told was lost",
    }
}

/// Open files that came to one receiver more than once.
fn twice<'a>(delivered: impl Iterator<Item = &'a Judged>) -> Vec<Finding> {
    let mut arrivals: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for judged in delivered {
        let receiver = judged.receiver().map(|receiver| receiver.pid);
        let file = &judged.file;
        // An address alone is another file's as soon as this one is closed.
        let key = (receiver, file.ptr, file.ino, file.dev);
        arrivals.entry(key).or_default().push(judged);
    }
    let again = arrivals.into_values().filter(|arrivals| arrivals.len() > 1);
    again
        .map(|arrivals| {
            Finding::fails(format!("delivered {} times", arrivals.len())).on(arrivals[1])
        })
        .collect()
}

/// The transfers that agree with most of what was expected, and not with all.
fn nearest(expectation: &Expectation, transfers: &[Judged]) -> Vec<Nearby> {
    let mut near: Vec<(usize, Nearby)> = transfers
        .iter()
        .filter_map(|judged| {
            let fields = expectation.of.compare(judged);
            let agree = fields.iter().filter(|field| field.fit == Fit::Yes).count();
            let mut differs: Vec<Compared> = fields
                .into_iter()
                .filter(|field| field.fit != Fit::Yes)
                .collect();
            if expectation.delivered.is_some() && judged.fate() != Fate::Delivered {
                differs.push(Compared {
                    field: "fate",
                    expected: Fate::Delivered.name().to_owned(),
                    found: Some(judged.fate().name().to_owned()),
                    fit: Fit::No,
                });
            }
            (!differs.is_empty()).then(|| {
                let transfer = Box::new(judged.clone());
                (agree, Nearby { transfer, differs })
            })
        })
        .collect();
    near.sort_by_key(|(agree, _)| std::cmp::Reverse(*agree));
    near.into_iter()
        .take(NEAREST)
        .map(|(_, nearby)| nearby)
        .collect()
}
