//! Sets: hooks that answer together. What a hop by a function tells and what a hop by a tracepoint tells need
//! not fit: a table is compared as a receive returns, by when the function that gives lists back has ended the
//! message.
//!
//! So hops are seen by functions if those tell the whole way, or else by tracepoints if these do. Where neither
//! does, functions show what they can, without those whose records would say something wrong for want of
//! others.

use super::{Attach, Fitting, Hook, PlannedHop, Price, fitting_hooks, hooks, unavailable};
use crate::{
    kernel::{KernelView, TypeError},
    model::{Hop, Mechanism},
};

/// Where a list is duplicated: for the skb, up to 6.9, and for a peek.
pub(super) const LIST_DUPLICATED: &str = "scm_fp_dup";
/// Where a sender looks for its list in the queue, and for its numbers.
pub(super) const QUEUE_LOOKED_AT: &str = "sk_data_ready";
/// Where a receiver's table is compared with what it was.
pub(super) const TABLE_LOOKED_AT: &str = "sock_recv_length";
/// Where a call gives its list back.
const LIST_RELEASED: &str = "__scm_destroy";
/// Where sends return that had a list, or were to have one.
const SENDS: [&str; 3] = [
    "unix_stream_sendmsg",
    "unix_dgram_sendmsg",
    "unix_seqpacket_sendmsg",
];

/// Plans each hop by the best set that there is.
pub(super) fn plan_hops(
    view: &KernelView,
    attach: Attach,
    price: Price,
) -> Result<Vec<PlannedHop>, TypeError> {
    let mut by_functions = hop_by_hop(view, attach, price, None)?;
    let Some(lacking) = lacking_of_functions(&by_functions) else {
        return Ok(by_functions);
    };
    if attach.allows(Mechanism::Tracepoint) {
        let by_tracepoints = hop_by_hop(view, attach, price, Some(&lacking))?;
        if is_whole_by_tracepoints(&by_tracepoints) {
            return Ok(by_tracepoints);
        }
    }
    leave_out_misleading(&mut by_functions);
    Ok(by_functions)
}

/// Takes this function or tracepoint out of the plan, and says why.
pub(super) fn strike_out(hops: &mut [PlannedHop], target: &str, why: &str) {
    for planned in hops {
        if planned.hooks.iter().any(|hook| hook.target == target) {
            // A kretprobe is nothing without its kprobe, nor the other way round.
            planned.hooks.retain(|hook| hook.target != target);
            planned.why = Some(format!("{target} {why}"));
        }
    }
}

/// Each hop by its first candidate that fits. Where functions lack something, only tracepoints do.
fn hop_by_hop(
    view: &KernelView,
    attach: Attach,
    price: Price,
    functions_lack: Option<&str>,
) -> Result<Vec<PlannedHop>, TypeError> {
    let hops = Hop::ALL.into_iter();
    hops.map(|hop| plan_hop(hop, view, attach, price, functions_lack))
        .collect()
}

fn plan_hop(
    hop: Hop,
    view: &KernelView,
    attach: Attach,
    price: Price,
    functions_lack: Option<&str>,
) -> Result<PlannedHop, TypeError> {
    let mut refused: Vec<String> = Vec::new();
    for candidate in hooks::candidates(hop) {
        let mut fitting = match unavailable(candidate.mechanism, view) {
            _ if !attach.allows(candidate.mechanism) => continue,
            Some(why) => Fitting {
                hooks: Vec::new(),
                unfit: vec![why],
            },
            None => fitting_hooks(candidate, view, attach, price)?,
        };
        if candidate.mechanism != Mechanism::Tracepoint
            && !fitting.hooks.is_empty()
            && let Some(lack) = functions_lack
        {
            fitting.hooks.clear();
            fitting.unfit = vec![lack.to_owned()];
        }
        for why in fitting.unfit {
            if !refused.contains(&why) {
                refused.push(why);
            }
        }
        if !fitting.hooks.is_empty() {
            return Ok(PlannedHop {
                hop,
                hooks: fitting.hooks,
                why: (!refused.is_empty()).then(|| refused.join("; ")),
            });
        }
    }
    if attach.allows(Mechanism::Tracepoint) {
        refused.extend(hooks::instead(hop).map(str::to_owned));
    }
    if refused.is_empty() {
        refused.push(format!("no {attach} shows it"));
    }
    Ok(PlannedHop {
        hop,
        hooks: Vec::new(),
        why: Some(refused.join("; ")),
    })
}

/// The first thing that is needed to tell the whole way by functions and that these hooks do not show.
fn lacking_of_functions(hops: &[PlannedHop]) -> Option<String> {
    let needs = [
        (
            Hop::Copy,
            "the sender's numbers",
            is_by_function(hops, Hop::Copy),
        ),
        (
            Hop::Attach,
            "what a peek takes",
            watches(hops, LIST_DUPLICATED),
        ),
        (
            Hop::Queue,
            "what gets into a queue",
            is_watched(hops, Hop::Queue),
        ),
        (
            Hop::Detach,
            "what is received",
            is_by_function(hops, Hop::Detach),
        ),
        (
            Hop::Receive,
            "what is received",
            is_by_function(hops, Hop::Receive),
        ),
        (
            Hop::Install,
            "what is received",
            is_by_function(hops, Hop::Install),
        ),
        (Hop::End, "how lists end", watches(hops, LIST_RELEASED)),
        (
            Hop::End,
            "why sends fail",
            SENDS.iter().all(|send| watches(hops, send)),
        ),
    ];
    let (hop, what, _) = needs.into_iter().find(|(.., is_there)| !is_there)?;
    let mut text = format!("functions do not show {what} here");
    let planned = hops.iter().find(|planned| planned.hop == hop);
    if let Some(why) = planned.and_then(|planned| planned.why.as_deref()) {
        text += &format!(" ({why})");
    }
    Some(text)
}

fn is_whole_by_tracepoints(hops: &[PlannedHop]) -> bool {
    [QUEUE_LOOKED_AT, TABLE_LOOKED_AT]
        .iter()
        .all(|target| watches(hops, target))
        && is_watched(hops, Hop::Dequeue)
        && is_watched(hops, Hop::End)
}

/// Leaves out what would say something wrong, as what it relies on is not there.
fn leave_out_misleading(hops: &mut [PlannedHop]) {
    if watches(hops, TABLE_LOOKED_AT) {
        // What is in the table is seen after these have ended the message.
        leave_out(
            hops,
            Hop::Detach,
            |_| true,
            "ends what the table is still to tell of",
        );
        leave_out(
            hops,
            Hop::End,
            |hook| hook.target == LIST_RELEASED,
            "ends what the table is still to tell of",
        );
    } else if !watches(hops, LIST_RELEASED) || !is_watched(hops, Hop::Detach) {
        // A number that the thread gets later would be taken for one of that list's.
        for hop in [Hop::Detach, Hop::Receive, Hop::Install] {
            let why = "tells only of lists that are seen to be detached and given back";
            leave_out(hops, hop, |_| true, why);
        }
    }
    let is_linked = is_watched(hops, Hop::Attach);
    if !is_linked {
        let why = "tells of a list of which the skb may have a duplicate, and nothing shows that";
        leave_out(hops, Hop::Copy, |_| true, why);
    }
    if !is_watched(hops, Hop::Copy) {
        let why = "tells only of lists that were seen at copy";
        leave_out(hops, Hop::End, |hook| SENDS.contains(&hook.target), why);
    }
}

fn leave_out(hops: &mut [PlannedHop], hop: Hop, is_one: impl Fn(&Hook) -> bool, why: &str) {
    let Some(planned) = hops.iter_mut().find(|planned| planned.hop == hop) else {
        return;
    };
    let Some(first) = planned.hooks.iter().find(|hook| is_one(hook)) else {
        return;
    };
    let why = format!("{} {why}", first.target);
    planned.hooks.retain(|hook| !is_one(hook));
    planned.why = Some(match planned.why.take() {
        Some(before) => format!("{before}; {why}"),
        None => why,
    });
}

fn hooks_of(hops: &[PlannedHop], hop: Hop) -> impl Iterator<Item = &'static Hook> {
    let planned = hops.iter().filter(move |planned| planned.hop == hop);
    planned.flat_map(|planned| planned.hooks.iter().copied())
}

fn is_watched(hops: &[PlannedHop], hop: Hop) -> bool {
    hooks_of(hops, hop).next().is_some()
}

fn is_by_function(hops: &[PlannedHop], hop: Hop) -> bool {
    hooks_of(hops, hop).any(|hook| hook.kind.mechanism() != Mechanism::Tracepoint)
}

fn watches(hops: &[PlannedHop], target: &str) -> bool {
    Hop::ALL
        .into_iter()
        .any(|hop| hooks_of(hops, hop).any(|hook| hook.target == target))
}
