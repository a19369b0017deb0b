//! Sight: what a plan must watch for the trace to tell a fate, so that what it cannot tell is an
//! open question and not a wrong answer.

use crate::{
    plan::{Hop, Plan},
    tracker::{Cause, Fate},
};

/// Why the plan does not show how a transfer ended that ended so; `None` if it does.
pub(super) fn lacking(plan: &Plan, fate: Fate, cause: Option<Cause>) -> Option<String> {
    let receiver = [Hop::Install];
    let end = [Hop::End];
    let copy = [Hop::Copy];
    let rest: &[Hop] = match (fate, cause) {
        (Fate::Failed, _) | (_, Some(Cause::ZeroLength)) => &copy,
        (Fate::Delivered | Fate::Peeked | Fate::Truncated | Fate::Refused, _)
        | (_, Some(Cause::PlainRead | Cause::ReceiveFailed)) => &receiver,
        _ => &end,
    };
    let mut blind: Vec<&str> = sender(plan).into_iter().map(Hop::name).collect();
    blind.extend(
        rest.iter()
            .filter(|hop| !plan.watches(**hop))
            .map(|hop| hop.name()),
    );
    let hops = match blind[..] {
        [] => return None,
        [hop] => format!("{hop} is"),
        [one, other, ..] => format!("{one} and {other} are"),
    };
    Some(format!(
        "{hops} not watched here: `fdtrace doctor` says why"
    ))
}

/// The hop without which no sender is seen, if it is not watched.
pub(super) fn sender(plan: &Plan) -> Option<Hop> {
    let seen = plan.watches(Hop::Copy) || plan.watches(Hop::Queue);
    (!seen).then_some(Hop::Queue)
}
