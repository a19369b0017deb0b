//! Messages: what the system calls did with each file of each message, beside what the trace and
//! the scenario say of it.
//!
//! A transfer is a message's if the sending side agrees: process, number, place and time. What
//! was installed must agree at the receiving side too. Then the fate and its cause are compared.

use fdtrace_common::records::LIST_MAX;

use super::{
    Ended, Finding, Findings, Matched, Record,
    calls::{Came, Received, Sent, arrived, is_numberless, left, truncates_message},
    sight,
};
use crate::{
    model::{Fate, Judged, Verdict},
    plan::Plan,
    verify::fact::MessageName,
};

/// Pairs what the system calls did with what the trace saw; gives each file's transfer, the
/// delivered one if there is one.
pub(super) fn pair(
    record: &Record,
    transfers: &[Judged],
    plan: &Plan,
    findings: &mut Findings,
) -> Matched {
    let mut pairing = Pairing {
        record,
        transfers,
        plan,
        claimed: vec![false; transfers.len()],
        findings,
    };
    // What agrees in everything first, for all messages: a transfer that contradicts one message
    // may be what another one says.
    let messages: Vec<Message<'_>> = record
        .facts
        .iter()
        .filter_map(Sent::of)
        .map(|sent| {
            let came = record.facts.iter();
            let receives: Vec<_> = came
                .filter_map(|fact| Received::of(fact, sent.message))
                .collect();
            pairing.pair_message(sent, &receives)
        })
        .collect();
    let mut matched = Matched::new();
    for message in messages {
        let name = message.sent.message.clone();
        matched.insert(name, pairing.settle(message));
    }
    pairing.report_rest();
    matched
}

/// A message whose fates have been looked for.
struct Message<'a> {
    sent: Sent<'a>,
    /// By file, where its transfer is: the delivered one if there is one.
    places: Vec<Option<usize>>,
    open: Vec<Open>,
}

/// A fate that no transfer has.
struct Open {
    index: usize,
    expected: Ended,
    /// The number it came with.
    number: Option<i32>,
}

struct Pairing<'a> {
    record: &'a Record,
    transfers: &'a [Judged],
    plan: &'a Plan,
    /// By transfer, whether a message has it.
    claimed: Vec<bool>,
    findings: &'a mut Findings,
}

impl Pairing<'_> {
    /// Finds the transfers that say of each file what must be so.
    fn pair_message<'b>(&mut self, sent: Sent<'b>, receives: &[Received<'_>]) -> Message<'b> {
        let mut truncates = false;
        let mut open = Vec::new();
        // No list holds more; the kernel refuses the message.
        let mut places = vec![None; sent.fds.len().min(LIST_MAX)];
        for (index, place) in places.iter_mut().enumerate() {
            let expected = Ended::all_of(self.record, &sent, index);
            truncates |= truncates_message(&expected, receives, index);
            let came = Came::of(&expected, receives, index);
            if let Some(contradiction) = came.contradiction(&sent, index) {
                self.findings.wrong(contradiction);
            }
            for (expected, receive) in expected.into_iter().zip(came.receives) {
                let Some(found) = self.claim(expected, &sent, index, receive) else {
                    let number = receive.and_then(|receive| receive.number(index));
                    open.push(Open {
                        index,
                        expected,
                        number,
                    });
                    continue;
                };
                if expected.fate == Fate::Delivered || place.is_none() {
                    *place = Some(found);
                }
            }
        }
        for receive in receives {
            let must = receive.truncates || truncates && !receive.peek;
            if let Some(found) = receive.truncated
                && found != must
            {
                self.findings.wrong(Finding::Ctrunc {
                    message: sent.message.clone(),
                    set: found,
                });
            }
        }
        Message { sent, places, open }
    }

    fn claim(
        &mut self,
        expected: Ended,
        sent: &Sent<'_>,
        index: usize,
        receive: Option<&Received<'_>>,
    ) -> Option<usize> {
        let place = self.unclaimed(sent, index).find(|place| {
            let transfer = &self.transfers[*place].transfer;
            expected.is_of(transfer)
                && receive.is_none_or(|receive| arrived(transfer, index, receive))
        })?;
        self.claimed[place] = true;
        let judged = &self.transfers[place];
        self.findings.check(sent.message, judged);
        // What is withheld because of a loss, the next run may show.
        let is_lost = judged.verdict == Some(Verdict::Lost);
        let sender = judged.transfer.sender.as_ref();
        if sent.fds[index] >= 0 && sender.is_some_and(|sender| sender.fd.is_none()) {
            let message = sent.message.clone();
            let blind = (!is_lost).then(sight::number);
            self.findings
                .missing(Finding::SenderNumber { message }, blind);
        }
        if let Some(receive) = receive {
            if is_numberless(&judged.transfer) {
                let finding = Finding::ReceiverNumber {
                    message: sent.message.clone(),
                };
                let blind = (!is_lost).then(sight::new_number);
                self.findings.missing(finding, blind);
            } else {
                check_cloexec(sent.message, judged, receive, self.findings);
            }
        }
        Some(place)
    }

    /// Transfers of this file that nothing has claimed.
    fn unclaimed(&self, sent: &Sent<'_>, index: usize) -> impl Iterator<Item = usize> {
        (0..self.transfers.len()).filter(move |place| {
            !self.claimed[*place] && left(&self.transfers[*place].transfer, index, sent, self.plan)
        })
    }

    /// Reports the fates that no transfer has: the trace says otherwise, or nothing.
    fn settle(&mut self, mut message: Message<'_>) -> Vec<Option<usize>> {
        let mut missing = Vec::new();
        for open in &message.open {
            // Of two that a gap left without their numbers, either may be the one.
            let half = self.unclaimed(&message.sent, open.index).find(|place| {
                let judged = &self.transfers[*place];
                judged.verdict == Some(Verdict::Lost) && open.expected.is_of(&judged.transfer)
            });
            if let Some(place) = half {
                self.claimed[place] = true;
                missing.push(open);
                continue;
            }
            let other = self.unclaimed(&message.sent, open.index).find(|place| {
                let fate = self.transfers[*place].transfer.fate();
                fate != open.expected.fate || !fate.installs()
            });
            match other {
                Some(place) => {
                    self.claimed[place] = true;
                    self.contradict(&message.sent, open, place);
                    message.places[open.index].get_or_insert(place);
                }
                None => missing.push(open),
            }
        }
        if let Some(first) = missing.first() {
            self.report_missing(&message.sent, first, missing.len() - 1);
        }
        message.places
    }

    fn contradict(&mut self, sent: &Sent<'_>, open: &Open, place: usize) {
        let found = &self.transfers[place].transfer;
        let finding = Finding::Ended {
            message: sent.message.clone(),
            fd: sent.fds[open.index],
            found: Ended::of(found),
            truth: open.expected,
        };
        // The trace says nothing of the end, or of its cause: perhaps it could not be seen.
        let is_silent = matches!(found.fate(), Fate::Unknown | Fate::Queued)
            || found.fate() == open.expected.fate && found.cause_missing().is_some();
        // It was not installed; whether for want of room or by refusal was not seen.
        let is_either = |fate| matches!(fate, Fate::Truncated | Fate::Refused);
        if is_either(found.fate()) && found.cause().is_none() && is_either(open.expected.fate) {
            self.findings.missing(finding, sight::refusal(self.plan));
        } else if is_silent {
            let blind = sight::lacking(self.plan, open.expected.fate, open.expected.cause);
            self.findings.missing(finding, blind);
        } else {
            self.findings.wrong(finding);
        }
    }

    fn report_missing(&mut self, sent: &Sent<'_>, first: &Open, more: usize) {
        let Ended { fate, cause } = first.expected;
        let finding = Finding::Missing {
            message: sent.message.clone(),
            fd: sent.fds[first.index],
            number: first.number,
            more,
            expected: first.expected,
        };
        self.findings
            .missing(finding, sight::lacking(self.plan, fate, cause));
    }

    /// Reports what no message has claimed.
    fn report_rest(&mut self) {
        for (judged, claimed) in self.transfers.iter().zip(&self.claimed) {
            let transfer = &judged.transfer;
            // One with a gap is half of a missing one, which was reported.
            let half = matches!(judged.verdict, Some(Verdict::Lost | Verdict::Unverified))
                || transfer.sender.is_none() && sight::sender(self.plan).is_some();
            if *claimed || half {
                continue;
            }
            let finding = Finding::Unmade {
                index: transfer.index,
                count: transfer.count,
                ended: Ended::of(transfer),
            };
            let number = transfer.sender.as_ref().and_then(|sender| sender.fd);
            match number {
                Some(_) => self.findings.wrong(finding),
                // Half of one: it may be an actor's, and what would show whose is lost.
                None => self.findings.missing(finding, None),
            }
        }
    }
}

fn check_cloexec(
    message: &MessageName,
    judged: &Judged,
    receive: &Received<'_>,
    findings: &mut Findings,
) {
    let receiver = judged.transfer.receiver();
    let cloexec = receiver.and_then(|receiver| receiver.cloexec);
    let index = usize::from(judged.transfer.index);
    if cloexec != receive.cloexec.get(index).copied() {
        findings.wrong(Finding::Cloexec {
            message: message.clone(),
        });
    }
}
