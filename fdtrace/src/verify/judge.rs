//! Judge: from one scenario's facts, transfers and testimonies to a judgement. Pure.
//!
//! Every descriptor that the system calls passed must be in the trace, under the same numbers, at
//! the right time, with the fate and the cause that the scenario knows it to have, as often as it
//! has one; nothing else of the scenario's processes may be; and the trace and every witness must
//! say of each pair what the scenario knows to be so.

mod calls;
mod finding;
mod messages;
mod sight;

use std::{collections::BTreeMap, time::Duration};

pub use finding::{Ended, Finding, Speaker};
pub use sight::{Blind, lacking as unseen};

use super::{
    Group, Scenario,
    fact::{Fact, MessageName},
    record::{Mistakable, Record, is_of},
};
use crate::{
    judge::{Meanwhile, ledger},
    model::{Judged, Transfer, Verdict, named},
    plan::Plan,
    witness::{Testimony, Witness},
};

named! { "kebab-case";
/// How a scenario ended.
pub enum ScenarioResult {
    /// Everything was as it must be.
    Pass,
    /// Something was not.
    Fail,
    /// This machine lacks what the scenario needs, or cannot show what the answer needs.
    Skip,
    /// Events were lost that the answer needs.
    Inconclusive,
}
}

/// What a witness said of all descriptors it was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessReport {
    /// The witness.
    pub witness: Witness,
    /// The verdict they all have, or the worst of them.
    pub verdict: Verdict,
    /// The question was about a descriptor that is *not* the one it might be taken for.
    pub mistakable: bool,
}

/// What the judge found of one run of a scenario.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The scenario.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// How it ended.
    pub result: ScenarioResult,
    /// Why, unless it passed.
    pub findings: Vec<Finding>,
    /// All that it needs is watched here, and what was lost alone left it open: the next run may
    /// pass.
    pub lossy: bool,
    /// Its transfers, in the order in which they ended.
    pub transfers: Vec<Judged>,
    /// What the witnesses said.
    pub witnesses: Vec<WitnessReport>,
    /// The trace's own verdict on descriptors that might be mistaken for others.
    pub mistakable: Vec<Verdict>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Judgement {
    /// Why it did not pass, in words; `None` if it did.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let reasons: Vec<String> = self.findings.iter().map(Finding::to_string).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

pub(super) fn judge(
    scenario: &Scenario,
    record: &Record,
    transfers: Vec<(Transfer, Meanwhile)>,
    plan: &Plan,
    lossless: bool,
    elapsed: Duration,
) -> Judgement {
    let pids = record.pids();
    let mut lossless = lossless;
    let mut judged = Vec::new();
    for (transfer, meanwhile) in transfers {
        if is_of(&transfer, &pids) {
            // A run that was skipped before the scenario began leaves open what may have been on its
            // way.
            lossless &= meanwhile == Meanwhile::AllSeen;
            judged.push(Judged::of(transfer, |hop| plan.watches(hop), meanwhile));
        }
    }
    let transfers = judged;
    let mut findings = Findings {
        lossless,
        ..Findings::default()
    };
    let mut judgement = Judgement {
        name: scenario.name,
        group: scenario.group,
        result: ScenarioResult::Pass,
        findings: Vec::new(),
        lossy: false,
        transfers,
        witnesses: Vec::new(),
        mistakable: Vec::new(),
        elapsed,
    };
    let trouble = record.trouble.iter().cloned().map(Finding::Trouble);
    findings.failed.extend(trouble);
    findings.failed.extend(record.leaks.iter().cloned());
    let mut short: Vec<&String> = record.short.iter().collect();
    for fact in &record.facts {
        match fact {
            Fact::Failed { why } => findings.failed.push(Finding::Failed(why.clone())),
            Fact::Skipped { why } => findings.skipped.push(Finding::Lacking(why.clone())),
            Fact::Short { why } => short.push(why),
            _ => {}
        }
    }
    let matched = messages::pair(record, &judgement.transfers, plan, &mut findings);
    check_files(record, &judgement.transfers, plan, &matched, &mut findings);
    judgement.mistakable = record
        .mistakable
        .iter()
        .map(|mistakable| judge_mistakable(mistakable, &judgement.transfers, &matched))
        .collect();
    for verdict in &judgement.mistakable {
        findings.expect(Speaker::TraceOfAnother, Verdict::Different, *verdict);
    }
    judgement.witnesses = hear(record, &mut findings);

    let (result, reasons) = if let Some(why) = short.first()
        && !findings.contradicted
    {
        // What went wrong besides came of it.
        (ScenarioResult::Skip, vec![Finding::Short((*why).clone())])
    } else if !findings.failed.is_empty() {
        (ScenarioResult::Fail, findings.failed)
    } else if !findings.unwatched.is_empty() {
        let unwatched = findings.unwatched.into_iter();
        let unwatched = unwatched.map(Finding::NotWatched).collect();
        (ScenarioResult::Skip, unwatched)
    } else if !findings.open.is_empty() {
        judgement.lossy = !lossless;
        (ScenarioResult::Inconclusive, findings.open)
    } else if !findings.skipped.is_empty() {
        (ScenarioResult::Skip, findings.skipped)
    } else {
        (ScenarioResult::Pass, Vec::new())
    };
    judgement.result = result;
    judgement.findings = reasons;
    judgement
}

/// What speaks against a pass.
#[derive(Default)]
struct Findings {
    failed: Vec<Finding>,
    open: Vec<Finding>,
    skipped: Vec<Finding>,
    /// What the scenario needs and the plan does not show; it explains all that is missing.
    unwatched: Vec<Blind>,
    lossless: bool,
    /// The trace or a witness said of two files that they are one, or of one that it is two.
    contradicted: bool,
}

impl Findings {
    fn expect(&mut self, who: Speaker, truth: Verdict, found: Verdict) {
        if found == truth {
            return;
        }
        let finding = Finding::Verdict { who, found, truth };
        match found {
            Verdict::Lost | Verdict::Unverified => self.open.push(finding),
            Verdict::Same | Verdict::Different => {
                self.contradicted = true;
                self.failed.push(finding);
            }
        }
    }

    /// Something is not in the trace, which a blind spot or losses would explain.
    fn missing(&mut self, finding: Finding, blind: Option<Blind>) {
        match blind {
            Some(blind) if self.unwatched.contains(&blind) => {}
            Some(blind) => self.unwatched.push(blind),
            None if self.lossless => self.failed.push(finding),
            None => self.open.push(finding),
        }
    }

    /// Something contradicts the trace, whatever was lost.
    fn wrong(&mut self, finding: Finding) {
        self.failed.push(finding);
    }

    /// Checks a transfer that an actor's message has.
    fn check(&mut self, message: &MessageName, judged: &Judged) {
        let transfer = &judged.transfer;
        if transfer.fate().installs() {
            let verdict = judged.verdict.unwrap_or(Verdict::Unverified);
            self.expect(Speaker::Trace(message.clone()), Verdict::Same, verdict);
        }
        for seen in &transfer.hops {
            // The list or the new descriptor holds a reference at every hop.
            if let Some(refs) = seen.refs.filter(|refs| *refs < 1) {
                self.wrong(Finding::Unreferenced {
                    message: message.clone(),
                    hop: seen.hop,
                    refs,
                });
            }
        }
    }
}

/// For each message, where its transfers are, in the order of its descriptors.
type Matched = BTreeMap<MessageName, Vec<Option<usize>>>;

/// Holds what the trace says of files to what the scenario says of them.
fn check_files(
    record: &Record,
    transfers: &[Judged],
    plan: &Plan,
    matched: &Matched,
    findings: &mut Findings,
) {
    let of = |message: &MessageName| {
        let places = matched.get(message).into_iter().flatten().flatten();
        places.map(|place| &transfers[*place].transfer)
    };
    for fact in &record.facts {
        match fact {
            Fact::Refs { message, hop, refs } => {
                for transfer in of(message) {
                    let seen = transfer.hops.iter().find(|seen| seen.hop == *hop);
                    let found = seen.and_then(|seen| seen.refs);
                    if found == Some(*refs) {
                        continue;
                    }
                    let finding = Finding::References {
                        message: message.clone(),
                        hop: *hop,
                        found,
                        expected: *refs,
                    };
                    match (found, sight::hop(plan, *hop)) {
                        (None, Some(blind)) => findings.missing(finding, Some(blind)),
                        _ => findings.wrong(finding),
                    }
                }
            }
            Fact::Kind {
                message,
                index,
                kind,
            } => {
                let places = matched.get(message).and_then(|places| places.get(*index));
                let Some(place) = places.copied().flatten() else {
                    continue;
                };
                let found = transfers[place].transfer.file.kind();
                if found != *kind {
                    findings.wrong(Finding::Kind {
                        message: message.clone(),
                        index: *index,
                        found,
                        kind: *kind,
                    });
                }
            }
            // Not beside other scenarios, whose witnesses hold it for a moment.
            Fact::Undisturbed { message } if !record.accompanied => {
                for entry in of(message).flat_map(ledger::entries) {
                    if entry.expected.is_some() && entry.seen.refs != entry.expected {
                        findings.wrong(Finding::Ledger {
                            message: message.clone(),
                            hop: entry.seen.hop,
                            found: entry.seen.refs,
                            expected: entry.expected,
                        });
                    }
                }
            }
            _ => {}
        }
    }
}

/// What the trace says of a descriptor that might be taken for a file of a message.
///
/// If the two were one object they would have one address, so a different address settles it. The
/// same address settles nothing once the first file may be gone: then only inode and device can
/// tell two files apart, and nothing can prove them one.
fn judge_mistakable(mistakable: &Mistakable, transfers: &[Judged], matched: &Matched) -> Verdict {
    let original = matched
        .get(&mistakable.message)
        .and_then(|places| places.get(mistakable.index).copied().flatten())
        .map(|place| &transfers[place].transfer);
    let Some(original) = original else {
        return Verdict::Unverified;
    };
    match mistakable.pointer {
        Some(pointer) if pointer != original.file.ptr => return Verdict::Different,
        None => return Verdict::Unverified,
        Some(_) => {}
    }
    let came_by = transfers
        .iter()
        .map(|judged| &judged.transfer)
        .find(|transfer| {
            transfer.id != original.id
                && transfer.receiver().is_some_and(|receiver| {
                    receiver.pid == mistakable.actor.pid && receiver.fd == Some(mistakable.fd)
                })
                && Some(transfer.file.ptr) == mistakable.pointer
                && transfer.message > original.message
        });
    match came_by {
        Some(other)
            if (other.file.ino, other.file.dev) != (original.file.ino, original.file.dev) =>
        {
            Verdict::Different
        }
        _ => Verdict::Unverified,
    }
}

/// Collects the testimonies: each witness must be right about every descriptor that it could compare.
fn hear(record: &Record, findings: &mut Findings) -> Vec<WitnessReport> {
    let mut reports = Vec::new();
    let passed = record.testimonies.values().flatten().flatten();
    summarise(
        passed.chain(&record.in_flight),
        Verdict::Same,
        &mut reports,
        findings,
    );
    // Addresses repeat when files are gone, so of files from different times the list of
    // descriptors can only say that they differ, never that they are one.
    let others = record
        .mistakable
        .iter()
        .flat_map(|mistakable| &mistakable.testimonies);
    let others = others
        .filter(|testimony| testimony.witness != Witness::TaskFile || !reuses_addresses(record));
    summarise(others, Verdict::Different, &mut reports, findings);
    reports
}

/// Whether the scenario is about addresses that come back.
fn reuses_addresses(record: &Record) -> bool {
    record
        .facts
        .iter()
        .any(|fact| matches!(fact, Fact::AddressReused { .. }))
}

fn summarise<'a>(
    testimonies: impl Iterator<Item = &'a Testimony>,
    truth: Verdict,
    reports: &mut Vec<WitnessReport>,
    findings: &mut Findings,
) {
    let mut worst: BTreeMap<Witness, Verdict> = BTreeMap::new();
    for testimony in testimonies {
        let entry = worst.entry(testimony.witness).or_insert(truth);
        if testimony.verdict != truth && *entry == truth {
            *entry = testimony.verdict;
        }
    }
    for (witness, verdict) in worst {
        // A witness that this kernel does not offer says nothing, but the list must be there.
        if verdict != Verdict::Unverified || witness == Witness::TaskFile {
            findings.expect(Speaker::Witness(witness), truth, verdict);
        }
        reports.push(WitnessReport {
            witness,
            verdict,
            mistakable: truth == Verdict::Different,
        });
    }
}

#[cfg(test)]
mod tests;
