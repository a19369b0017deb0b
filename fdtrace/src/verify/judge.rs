//! Judge: one scenario's facts, transfers and testimonies to its outcome. Pure.
//!
//! Every descriptor that the system calls passed must be in the trace, once, under the same
//! numbers, at the right time; nothing else of the scenario's processes may be; and the trace and
//! every witness must say of each pair what the scenario knows to be so.

use std::{collections::BTreeMap, time::Duration};

use super::{Fact, Group, Mistakable, Record, Scenario, is_of};
use crate::{
    ledger,
    plan::{Hop, Plan},
    tracker::{Fate, Transfer},
    verdict::{self, Verdict},
    witness::{Testimony, Witness},
};

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// Everything was as it must be.
    Pass,
    /// Something was not.
    Fail,
    /// This machine lacks what the scenario needs.
    Skip,
    /// Events were lost, or a hop was not watched, that the answer needs.
    Inconclusive,
}

/// A transfer with the trace's verdict, if there is something to judge.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The transfer.
    pub transfer: Transfer,
    /// What the trace says of it.
    pub verdict: Option<Verdict>,
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

/// What became of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// Which time it was played, from 1.
    pub round: u32,
    /// How it ended.
    pub result: Result,
    /// Why, unless it passed.
    pub reason: Option<String>,
    /// Its transfers, in the order in which they ended.
    pub transfers: Vec<Judged>,
    /// What the witnesses said.
    pub witnesses: Vec<WitnessReport>,
    /// The trace's own verdict on descriptors that might be mistaken for others.
    pub mistakable: Vec<Verdict>,
    /// How long it took.
    pub elapsed: Duration,
}

/// One side's account of a message: who, which numbers, and when.
struct Account<'a> {
    pid: u32,
    fds: &'a [i32],
    span: (u64, u64),
    cloexec: &'a [bool],
}

pub(super) fn judge(
    scenario: &Scenario,
    record: &Record,
    transfers: Vec<Transfer>,
    plan: &Plan,
    lossless: bool,
    elapsed: Duration,
) -> Outcome {
    let pids = record.pids();
    let transfers = transfers
        .into_iter()
        .filter(|transfer| is_of(transfer, &pids))
        .map(|transfer| Judged {
            verdict: verdict::of_transfer(&transfer, plan, lossless),
            transfer,
        })
        .collect();
    let mut findings = Findings {
        unwatched: unwatched(plan),
        ..Findings::default()
    };
    let mut outcome = Outcome {
        name: scenario.name,
        group: scenario.group,
        round: 1,
        result: Result::Pass,
        reason: None,
        transfers,
        witnesses: Vec::new(),
        mistakable: Vec::new(),
        elapsed,
    };
    findings.failed.extend(record.trouble.iter().cloned());
    for fact in &record.facts {
        match fact {
            Fact::Failed { why } => findings.failed.push(why.clone()),
            Fact::Skipped { why } => findings.skipped.push(why.clone()),
            Fact::Received {
                message,
                truncated: true,
                ..
            } => findings
                .failed
                .push(format!("{message} came with MSG_CTRUNC")),
            _ => {}
        }
    }
    let matched = match_messages(record, &outcome.transfers, &mut findings);
    check_refs(record, &outcome.transfers, &matched, &mut findings);
    outcome.mistakable = record
        .mistakable
        .iter()
        .map(|mistakable| judge_mistakable(mistakable, &outcome.transfers, &matched))
        .collect();
    for verdict in &outcome.mistakable {
        findings.expect("the trace, of another file,", Verdict::Different, *verdict);
    }
    outcome.witnesses = hear(record, &mut findings);

    let explained = findings.only_missing && (!lossless || findings.unwatched.is_some());
    let (result, reasons) = if !findings.failed.is_empty() && !explained {
        (Result::Fail, findings.failed)
    } else if let (true, Some(unwatched)) = (explained, findings.unwatched) {
        (Result::Inconclusive, vec![unwatched])
    } else if !findings.failed.is_empty() || !findings.open.is_empty() {
        findings.open.extend(findings.failed);
        (Result::Inconclusive, findings.open)
    } else if !findings.skipped.is_empty() {
        (Result::Skip, findings.skipped)
    } else {
        (Result::Pass, Vec::new())
    };
    outcome.result = result;
    outcome.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    outcome
}

/// What speaks against a pass.
#[derive(Default)]
struct Findings {
    failed: Vec<String>,
    open: Vec<String>,
    skipped: Vec<String>,
    /// All that failed is something missing, which losses or a blind spot would explain.
    only_missing: bool,
    /// What the plan does not show that every scenario needs.
    unwatched: Option<String>,
}

/// Says which of the hops are not watched without which no descriptor can be followed from one
/// number to another.
fn unwatched(plan: &Plan) -> Option<String> {
    let sender = plan.watches(Hop::Copy) || plan.watches(Hop::Queue);
    let receiver = plan.watches(Hop::Install);
    let hops = match (sender, receiver) {
        (true, true) => return None,
        (false, true) => "queue is",
        (true, false) => "install is",
        (false, false) => "queue and install are",
    };
    Some(format!(
        "{hops} not watched here: `fdtrace doctor` says why"
    ))
}

impl Findings {
    fn expect(&mut self, who: &str, expected: Verdict, found: Verdict) {
        if found == expected {
            return;
        }
        let text = format!("{who} says {found} where {expected} is true");
        match found {
            Verdict::Lost | Verdict::Unverified => self.open.push(text),
            Verdict::Same | Verdict::Different => self.failed.push(text),
        }
    }

    /// Something is not in the trace.
    fn missing(&mut self, text: String) {
        self.only_missing |= self.failed.is_empty();
        self.failed.push(text);
    }

    /// Something contradicts the trace, whatever was lost.
    fn wrong(&mut self, text: String) {
        self.only_missing = false;
        self.failed.push(text);
    }
}

/// For each message, where its transfers are, in the order of its descriptors.
type Matched = BTreeMap<String, Vec<Option<usize>>>;

/// Pairs what the system calls did with what the trace saw.
fn match_messages(record: &Record, transfers: &[Judged], findings: &mut Findings) -> Matched {
    let mut matched = Matched::new();
    let mut unclaimed: Vec<bool> = vec![true; transfers.len()];
    for (message, sent, received) in messages(record) {
        let Some(received) = received else {
            findings
                .failed
                .push(format!("{message} was sent and not received"));
            continue;
        };
        if sent.fds.len() != received.fds.len() {
            findings.failed.push(format!(
                "{message} left with {} descriptors and came with {}",
                sent.fds.len(),
                received.fds.len()
            ));
        }
        let pairs = sent.fds.len().min(received.fds.len());
        let places: Vec<Option<usize>> = (0..pairs)
            .map(|index| {
                let place = transfers
                    .iter()
                    .position(|judged| accounts_agree(&judged.transfer, index, &sent, &received));
                if let Some(place) = place {
                    unclaimed[place] = false;
                    check_transfer(message, &transfers[place], &received, findings);
                }
                place
            })
            .collect();
        let missing: Vec<usize> = (0..pairs)
            .filter(|index| places[*index].is_none())
            .collect();
        if let Some(first) = missing.first() {
            let more = match missing.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more of its descriptors"),
            };
            findings.missing(format!(
                "{message}'s {} → {}{more} not in the trace from end to end",
                sent.fds[*first], received.fds[*first]
            ));
        }
        matched.insert(message.to_owned(), places);
    }
    let unclaimed = transfers
        .iter()
        .zip(&unclaimed)
        .filter(|(_, unclaimed)| **unclaimed);
    for (judged, _) in unclaimed {
        let transfer = &judged.transfer;
        // One with a gap is the torso of a missing one, which has been said.
        if matches!(judged.verdict, Some(Verdict::Lost | Verdict::Unverified)) {
            continue;
        }
        findings.wrong(format!(
            "the trace has a transfer that no actor made ({} of {}, {})",
            transfer.index + 1,
            transfer.count,
            transfer.fate
        ));
    }
    matched
}

/// Each message with what its sender and its receiver say of it.
fn messages(record: &Record) -> impl Iterator<Item = (&str, Account<'_>, Option<Account<'_>>)> {
    record.facts.iter().filter_map(|fact| {
        let Fact::Sent {
            actor,
            message,
            fds,
            span,
        } = fact
        else {
            return None;
        };
        let sent = Account {
            pid: actor.pid,
            fds,
            span: *span,
            cloexec: &[],
        };
        let received = record.facts.iter().find_map(|fact| match fact {
            Fact::Received {
                actor,
                message: name,
                fds,
                span,
                cloexec,
                ..
            } if name == message => Some(Account {
                pid: actor.pid,
                fds,
                span: *span,
                cloexec,
            }),
            _ => None,
        });
        Some((message.as_str(), sent, received))
    })
}

/// Whether the transfer is file `index` of the message, by number, process and time on both sides.
fn accounts_agree(
    transfer: &Transfer,
    index: usize,
    sent: &Account<'_>,
    received: &Account<'_>,
) -> bool {
    let (Some(sender), Some(receiver)) = (&transfer.sender, &transfer.receiver) else {
        return false;
    };
    let within =
        |hop: &crate::tracker::HopSeen, span: (u64, u64)| (span.0..=span.1).contains(&hop.t_ns);
    let at = |hop| transfer.hops.iter().find(|seen| seen.hop == hop);
    let mut sent_hops = transfer.hops.iter().filter(|seen| seen.hop <= Hop::Queue);
    usize::from(transfer.index) == index
        && usize::from(transfer.count) == sent.fds.len()
        && sender.pid == sent.pid
        && sender.fd == Some(sent.fds[index])
        && receiver.pid == received.pid
        && receiver.fd == Some(received.fds[index])
        && (sent.span.0..=sent.span.1).contains(&sender.t_ns)
        && sent_hops.all(|hop| within(hop, sent.span))
        && at(Hop::Install).is_some_and(|hop| within(hop, received.span))
}

fn check_transfer(message: &str, judged: &Judged, received: &Account<'_>, findings: &mut Findings) {
    let transfer = &judged.transfer;
    if transfer.fate != Fate::Delivered {
        findings.wrong(format!("the trace says {} of {message}", transfer.fate));
    }
    let verdict = judged.verdict.unwrap_or(Verdict::Unverified);
    findings.expect(&format!("the trace, of {message},"), Verdict::Same, verdict);
    let cloexec = transfer
        .receiver
        .as_ref()
        .and_then(|receiver| receiver.cloexec);
    if cloexec != received.cloexec.get(usize::from(transfer.index)).copied() {
        findings.wrong(format!(
            "the trace is wrong about close-on-exec of {message}"
        ));
    }
    for seen in &transfer.hops {
        // The list or the new descriptor holds a reference at every hop.
        if seen.refs.is_none_or(|refs| refs < 1) {
            findings.wrong(format!(
                "{message} has {:?} references at {}",
                seen.refs, seen.hop
            ));
        }
    }
}

/// Holds reference counts to what the scenario says of them.
fn check_refs(record: &Record, transfers: &[Judged], matched: &Matched, findings: &mut Findings) {
    let of = |message: &String| {
        let places = matched.get(message).into_iter().flatten().flatten();
        places.map(|place| &transfers[*place].transfer)
    };
    for fact in &record.facts {
        match fact {
            Fact::Refs { message, hop, refs } => {
                for transfer in of(message) {
                    let seen = transfer.hops.iter().find(|seen| seen.hop.name() == hop);
                    let found = seen.and_then(|seen| seen.refs);
                    if found != Some(*refs) {
                        findings.wrong(format!(
                            "{message} has {found:?} references at {hop}, not {refs}"
                        ));
                    }
                }
            }
            Fact::Undisturbed { message } => {
                for entry in of(message).flat_map(ledger::entries) {
                    if entry.expected.is_some() && entry.seen.refs != entry.expected {
                        findings.wrong(format!(
                            "{message} has {:?} references at {}, and {:?} follow from the hop before",
                            entry.seen.refs, entry.seen.hop, entry.expected
                        ));
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
                && transfer.receiver.as_ref().is_some_and(|receiver| {
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

/// Hears the witnesses: each must say the truth of every descriptor it can say something of.
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
        // A witness that this kernel does not admit says nothing, but the list must be there.
        if verdict != Verdict::Unverified || witness == Witness::TaskFile {
            findings.expect(witness.name(), truth, verdict);
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
