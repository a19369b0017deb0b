//! Sight: what a plan must watch for the trace to show a fate, so that one it cannot show is an
//! open question and not a wrong answer.

use std::fmt;

use crate::{
    model::{Cause, Fate, Hop},
    plan::Plan,
};

/// What is not watched, and would have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind(Vec<Spot>);

/// Something to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Hop(Hop),
    EveryEnd,
    /// What a send returns.
    SendResults,
    /// The sender's numbers, in the kernel's own copy of its control messages.
    SenderNumbers,
    /// Why a number is not installed.
    Refusals,
    /// The receiver's number, in the call that gives it.
    NewNumbers,
    /// The names of the functions that were under way.
    Functions,
    /// What a receiver gets that only looks.
    Peeks,
    /// What is sent over sockets of other families.
    OtherSockets,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hop(hop) => hop.name(),
            Self::EveryEnd => "the end of every list",
            Self::SendResults => "what a send returns",
            Self::SenderNumbers => {
                "copy, where the kernel's own copy of the sender's numbers would be seen,"
            }
            Self::Refusals => "receive, where the kernel says why it installs no number,",
            Self::NewNumbers => "receive, where the kernel gives the new number,",
            Self::Functions => "what functions a list ends in",
            Self::Peeks => "what a peek takes",
            Self::OtherSockets => "what is sent over other sockets than Unix ones",
        })
    }
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spots: Vec<String> = self.0.iter().map(Spot::to_string).collect();
        let verb = if spots.len() == 1 { "is" } else { "are" };
        let spots = spots.join(" and ");
        write!(
            f,
            "{spots} {verb} not watched here: `fdtrace doctor` says why"
        )
    }
}

impl std::error::Error for Blind {}

/// Why the plan does not show how a transfer ended that ended so; `None` if it does.
#[must_use]
pub fn lacking(plan: &Plan, fate: Fate, cause: Option<Cause>) -> Option<Blind> {
    let mut blind: Vec<Spot> = sender(plan).into_iter().collect();
    blind.extend((plan.unnamed.is_some() && fate.has_cause()).then_some(Spot::Functions));
    let unwatched = |hop| (!plan.watches(hop)).then_some(Spot::Hop(hop));
    match (fate, cause) {
        (_, Some(Cause::NotUnix)) => {
            blind.clear();
            blind.extend((!plan.sees_other_sockets()).then_some(Spot::OtherSockets));
        }
        (Fate::Failed, _) | (_, Some(Cause::ZeroLength)) => {
            blind.retain(|spot| *spot == Spot::Functions);
            blind.extend((!plan.sees_failed_sends()).then_some(Spot::SendResults));
        }
        (Fate::Delivered | Fate::Peeked | Fate::Truncated | Fate::Refused, _)
        | (_, Some(Cause::PlainRead | Cause::ReceiveFailed)) => {
            let sees_peeks = fate != Fate::Peeked || plan.sees_peeks();
            blind.extend(unwatched(Hop::Install));
            blind.extend((!sees_peeks).then_some(Spot::Peeks));
        }
        (_, Some(Cause::Splice | Cause::Sockmap)) => {
            blind.extend((!plan.sees_every_end()).then_some(Spot::EveryEnd));
        }
        (Fate::Queued, _) => {
            blind.retain(|spot| *spot != Spot::Hop(Hop::Queue));
            blind.extend(unwatched(Hop::Queue));
            blind.extend((!plan.sees_every_end()).then_some(Spot::EveryEnd));
        }
        _ => blind.extend(unwatched(Hop::End)),
    }
    (!blind.is_empty()).then_some(Blind(blind))
}

/// Why nothing is known of this hop.
pub(super) fn hop(plan: &Plan, hop: Hop) -> Option<Blind> {
    (!plan.watches(hop)).then(|| Blind(vec![Spot::Hop(hop)]))
}

/// Why a sender's number is not known that a control message in user memory did not give.
pub(super) fn number() -> Blind {
    Blind(vec![Spot::SenderNumbers])
}

/// Why it is not known who refused a file, or whether it was refused at all.
pub(super) fn refusal(plan: &Plan) -> Option<Blind> {
    let seen = plan.watches(Hop::Receive) && plan.watches(Hop::Install);
    (!seen).then(|| Blind(vec![Spot::Refusals]))
}

/// Why a new number is not known that was inferred from a table which other threads use.
pub(super) fn new_number() -> Blind {
    Blind(vec![Spot::NewNumbers])
}

/// Without what no sender is known by its numbers, if that is not watched.
pub(super) fn sender(plan: &Plan) -> Option<Spot> {
    match (plan.sees_sent_numbers(), plan.watches(Hop::Queue)) {
        (true, _) => None,
        (false, true) => Some(Spot::SenderNumbers),
        (false, false) => Some(Spot::Hop(Hop::Queue)),
    }
}
