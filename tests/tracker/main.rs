//! The tracker and the verdicts, without a kernel: what each course of events comes to, and what
//! holds for all of them.

mod addresses;
mod endings;
mod functions;
mod properties;
mod senders;
#[path = "../support/mod.rs"]
mod support;
mod table;

use fdtrace::{
    event::Event,
    plan::Plan,
    tracker::{Cause, Fate, Tracker, Transfer},
    verdict::{self, Verdict},
};
use support::tracker;

fn track(events: impl IntoIterator<Item = Event>) -> Vec<Transfer> {
    let mut tracker: Tracker = tracker();
    for event in events {
        tracker.apply(event);
    }
    tracker.close_open();
    tracker.take_closed()
}

fn same(plan: &Plan, transfer: &Transfer) -> bool {
    verdict::of_transfer(transfer, plan, true) == Some(Verdict::Same)
}

fn fates(transfers: &[Transfer]) -> Vec<(Fate, Option<Cause>)> {
    transfers
        .iter()
        .map(|transfer| (transfer.fate, transfer.cause))
        .collect()
}
