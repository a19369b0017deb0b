//! The tracker and the verdicts, without a kernel: what each course of events comes to, and what
//! holds for all of them.

mod addresses;
mod courses;
mod descriptions;
mod endings;
mod functions;
mod properties;
mod seams;
mod senders;
mod skips;
mod table;
mod wanted;
mod whole;

use fdtrace::{
    judge::verdict,
    model::{Cause, Fate, Transfer, Verdict},
    plan::Plan,
};
use fdtrace_testkit::track;

fn same(plan: &Plan, transfer: &Transfer) -> bool {
    verdict::of_transfer(transfer, |hop| plan.watches(hop), true) == Some(Verdict::Same)
}

fn fates(transfers: &[Transfer]) -> Vec<(Fate, Option<Cause>)> {
    transfers
        .iter()
        .map(|transfer| (transfer.fate(), transfer.cause()))
        .collect()
}
