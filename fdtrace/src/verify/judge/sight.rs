//! Sight: what a plan must watch for the trace to show a fate, so that one it cannot show is an
//! open question and not a wrong answer.

use crate::{
    model::{Cause, Fate, Hop},
    plan::Plan,
};

/// Why the plan does not show how a transfer ended that ended so; `None` if it does.
pub(super) fn lacking(plan: &Plan, fate: Fate, cause: Option<Cause>) -> Option<String> {
    let mut blind: Vec<&str> = sender(plan).into_iter().map(Hop::name).collect();
    match (fate, cause) {
        (Fate::Failed, _) | (_, Some(Cause::ZeroLength)) => {
            if !plan.sees_failed_sends() {
                return Some(say("what a send returns is"));
            }
            return None;
        }
        (Fate::Delivered | Fate::Peeked | Fate::Truncated | Fate::Refused, _)
        | (_, Some(Cause::PlainRead | Cause::ReceiveFailed)) => {
            blind.extend((!plan.watches(Hop::Install)).then_some(Hop::Install.name()));
        }
        (_, Some(Cause::Splice | Cause::Sockmap)) | (Fate::Queued, _) => {
            if !plan.sees_every_end() {
                blind.push("the end of every list");
            }
        }
        _ => blind.extend((!plan.watches(Hop::End)).then_some(Hop::End.name())),
    }
    match blind[..] {
        [] => None,
        [hop] => Some(say(&format!("{hop} is"))),
        [one, other, ..] => Some(say(&format!("{one} and {other} are"))),
    }
}

fn say(what: &str) -> String {
    format!("{what} not watched here: `fdtrace doctor` says why")
}

/// Why a sender's number is not known that a control message in user memory did not give.
pub(super) fn number() -> String {
    say("copy, where the kernel's own copy of the sender's numbers would be seen, is")
}

/// Why it is not known who refused a file, or whether it was refused at all.
pub(super) fn refusal(plan: &Plan) -> Option<String> {
    let seen = plan.watches(Hop::Receive) && plan.watches(Hop::Install);
    (!seen).then(|| say("receive, where the kernel says why it installs no number, is"))
}

/// Why a new number is not known that was inferred from a table which other threads use.
pub(super) fn new_number() -> String {
    say("receive, where the kernel gives the new number, is")
}

/// The hop without which no sender is seen, if it is not watched.
pub(super) fn sender(plan: &Plan) -> Option<Hop> {
    let seen = plan.watches(Hop::Copy) || plan.watches(Hop::Queue);
    (!seen).then_some(Hop::Queue)
}
