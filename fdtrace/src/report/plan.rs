//! The plan: how hops are watched, in a heading and as `fdtrace doctor` prints it.

use std::io;

use super::{
    sanitize::sanitize,
    text::{DIM, GREEN, YELLOW},
};
use crate::{
    model::{Hop, PlanEntry},
    plan::{NOT_ASKED_FOR, Plan},
};

/// What runs where, how hops are watched, and which are not.
pub(super) fn write_heading(
    out: &mut impl io::Write,
    version: &str,
    release: &str,
    plan: &[PlanEntry],
) -> io::Result<()> {
    writeln!(
        out,
        "fdtrace {version} on Linux {}, watching {}",
        sanitize(release),
        watched(plan)
    )?;
    let is_unwatched = |entry: &&PlanEntry| {
        let asked_for = entry.why.as_deref() != Some(NOT_ASKED_FOR);
        entry.skipped && asked_for
    };
    let unwatched = plan.iter().filter(is_unwatched);
    let unwatched: Vec<String> = unwatched.map(|entry| sanitize(&entry.hop)).collect();
    if !unwatched.is_empty() {
        writeln!(
            out,
            "{DIM}not watched here: {} (`fdtrace doctor` says why){DIM:#}",
            unwatched.join(", ")
        )?;
    }
    Ok(())
}

/// `queue, dequeue, install by tracepoint`, each hop once, by the first of its hooks.
pub(super) fn watched(plan: &[PlanEntry]) -> String {
    let mut mechanisms: Vec<(String, Vec<String>)> = Vec::new();
    let mut before = None;
    for entry in plan {
        let again = before.replace(&entry.hop) == Some(&entry.hop);
        let Some(mechanism) = entry.mechanism.as_deref().filter(|_| !again) else {
            continue;
        };
        let (mechanism, hop) = (sanitize(mechanism), sanitize(&entry.hop));
        match mechanisms.iter_mut().find(|(name, _)| *name == mechanism) {
            Some((_, hops)) => hops.push(hop),
            None => mechanisms.push((mechanism, vec![hop])),
        }
    }
    let parts: Vec<String> = mechanisms
        .iter()
        .map(|(mechanism, hops)| format!("{} by {mechanism}", hops.join(", ")))
        .collect();
    parts.join("; ")
}

/// The plan as `fdtrace doctor` prints it: a line a hop.
///
/// # Errors
/// What writing says.
pub(crate) fn write_plan(out: &mut impl io::Write, plan: &Plan) -> io::Result<()> {
    for planned in &plan.hops {
        let hop: Hop = planned.hop;
        if planned.is_watched() {
            let targets: Vec<&str> = planned.hooks.iter().map(|hook| hook.target).collect();
            let hook = planned.hooks[0];
            writeln!(
                out,
                "  {GREEN}✓{GREEN:#} {hop:<8} {:<10} {:<6} {}",
                hook.kind.mechanism(),
                hook.kind.name(),
                targets.join(", ")
            )?;
            if let Some(why) = &planned.why {
                writeln!(out, "             {DIM}{}{DIM:#}", sanitize(why))?;
            }
        } else {
            let why = planned.why.as_deref().unwrap_or_default();
            writeln!(
                out,
                "  {YELLOW}–{YELLOW:#} {hop:<8} {DIM}{}{DIM:#}",
                sanitize(why)
            )?;
        }
    }
    Ok(())
}
