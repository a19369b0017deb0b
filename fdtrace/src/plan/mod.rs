//! Plan: from what this kernel is to how each hop is watched here, or why it cannot be.
//!
//! [`plan`] is pure: it looks at a [`KernelView`] and nothing else, so a plan for a kernel
//! that nobody has booted can be made, printed and tested from a fixture. Whether a hook that should
//! work does work is the tracer's question. What does not work goes into the view
//! ([`KernelView::broken`]), and the plan is made anew without it. Hops are planned in `sets`, so that what
//! they tell fits together.

mod hooks;
mod offsets;
mod places;
mod sets;

use std::{fmt, str::FromStr};

pub use hooks::{Hook, Kind};
pub use offsets::{Fact, OffsetError, Offsets};
pub use places::{Place, places};

use crate::{
    kernel::{Broken, KernelView, TypeError},
    model::{Coverage, Hop, Mechanism, PlanEntry},
};

/// Which mechanism the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attach {
    /// The best that this kernel allows, hop by hop.
    Auto,
    /// fentry and fexit alone.
    Trampoline,
    /// kprobes and kretprobes alone.
    Kprobe,
    /// Raw tracepoints alone.
    Tracepoint,
}

impl Attach {
    fn allows(self, mechanism: Mechanism) -> bool {
        match self {
            Self::Auto => true,
            Self::Trampoline => mechanism == Mechanism::Trampoline,
            Self::Kprobe => mechanism == Mechanism::Kprobe,
            Self::Tracepoint => mechanism == Mechanism::Tracepoint,
        }
    }
}

/// What watching may cost those who pass no descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Nothing: only messages with descriptors are looked at, and each is told of by two records instead of
    /// one for each hop. Where the kernel does not allow that, as [`Price::Low`].
    Least,
    /// Next to nothing: hooks that everybody hits are left out, and what only they show is said to
    /// be unseen.
    Low,
    /// Whatever it takes to see each list's end.
    Any,
}

/// How one hop is watched, or why not.
#[derive(Clone, Debug)]
pub struct PlannedHop {
    /// The hop.
    pub hop: Hop,
    /// The hooks that show it; empty where it is not watched.
    pub hooks: Vec<&'static Hook>,
    /// Why there are none, or why a better candidate was passed over.
    pub why: Option<String>,
}

impl PlannedHop {
    /// Whether the hop can be seen.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        !self.hooks.is_empty()
    }
}

/// The plan for one kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kernel release the plan is for.
    pub release: String,
    /// What the programs need to know of this kernel's structures.
    pub offsets: Offsets,
    /// All hops, in the order of the path.
    pub hops: Vec<PlannedHop>,
    /// Hooks that are attached once a reason needs them.
    pub spare: Vec<&'static Hook>,
    /// Two records tell of a message, and each hook is needed for that.
    pub by_message: bool,
    /// Why the functions that were under way as a list ended have no names; `None` if they have.
    pub unnamed: Option<String>,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A structure is not what the programs expect.
    #[error(transparent)]
    Offset(#[from] OffsetError),
    /// The kernel's type information cannot be read.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The mechanism asked for shows no hop at all.
    #[error("--attach {mechanism} shows no hop here: {why}")]
    NothingToAttach {
        /// The mechanism asked for.
        mechanism: Mechanism,
        /// The reason, from the first hop that has one.
        why: String,
    },
}

/// Plans how to watch each hop on the kernel that `view` shows.
///
/// # Errors
/// If a structure that programs read is missing, ambiguous or of another size, or if the
/// mechanism asked for shows nothing at all.
pub fn plan(view: &KernelView, attach: Attach) -> Result<Plan, PlanError> {
    plan_at(view, attach, Price::Low)
}

/// [`plan`], at this price.
///
/// # Errors
/// Those of [`plan`].
pub fn plan_at(view: &KernelView, attach: Attach, price: Price) -> Result<Plan, PlanError> {
    let mut offsets = Offsets::resolve(view)?;
    let by_message = match price {
        Price::Least => by_message(view, attach)?,
        Price::Low | Price::Any => None,
    };
    let (hops, spare) = match by_message {
        Some(planned) => planned,
        None => (sets::plan_hops(view, attach, price)?, Vec::new()),
    };
    let by_table = hops.iter().any(|planned| {
        planned.hop == Hop::Install
            && planned
                .hooks
                .iter()
                .any(|hook| hook.kind == Kind::BtfTracepoint)
    });
    offsets.set("INSTALL_BY_TABLE", u32::from(by_table));
    let mut plan = Plan {
        release: view.release.clone(),
        offsets,
        hops,
        by_message: !spare.is_empty(),
        spare,
        unnamed: view.naming.lacking().map(str::to_owned),
    };
    let free = plan.hooks().find(|hook| hook.target == LIST_FREED);
    if let Some(free) = free
        && !plan.watches(Hop::Queue)
    {
        sets::strike_out(
            &mut plan.hops,
            free.target,
            "tells only of lists that were seen at queue",
        );
    }
    let by_free = plan.hooks().any(|hook| hook.target == LIST_FREED);
    plan.offsets.set("LIST_END_BY_FREE", u32::from(by_free));
    let before_queue = plan.watches(Hop::Copy) || plan.watches(Hop::Attach);
    plan.offsets
        .set("SEEN_BEFORE_QUEUE", u32::from(before_queue));
    plan.offsets
        .set(offsets::BY_SLOT, u32::from(plan.by_message));
    if let Some(mechanism) = forced(attach)
        && plan.hooks().next().is_none()
    {
        let why = plan
            .hops
            .iter()
            .find_map(|hop| hop.why.clone())
            .unwrap_or_default();
        return Err(PlanError::NothingToAttach { mechanism, why });
    }
    Ok(plan)
}

/// The function in which `hop` happens on the kernel that `view` shows, whether or not that kernel
/// lets it be watched; `None` if fdtrace knows none there.
///
/// # Errors
/// If the kernel's types cannot be read.
pub fn function_of(hop: Hop, view: &KernelView) -> Result<Option<&'static str>, TypeError> {
    let functions = hooks::candidates(hop)
        .iter()
        .flat_map(|candidate| candidate.hooks)
        .filter(|hook| hook.kind.mechanism() == Mechanism::Trampoline);
    for hook in functions {
        if hook.unfit(view)?.is_none() {
            return Ok(Some(hook.target));
        }
    }
    Ok(None)
}

/// The hops that two records a message tell of, and what may be attached later.
type ByMessage = (Vec<PlannedHop>, Vec<&'static Hook>);

/// Two records a message; `None` where the kernel lacks a function of theirs.
fn by_message(view: &KernelView, attach: Attach) -> Result<Option<ByMessage>, TypeError> {
    let mechanism = Mechanism::Trampoline;
    if !attach.allows(mechanism) || unavailable(mechanism, view).is_some() {
        return Ok(None);
    }
    let fitting = |candidates: &'static [hooks::Candidate]| -> Result<_, TypeError> {
        for candidate in candidates {
            let hooks = fitting_hooks(candidate, view, attach, Price::Low)?.hooks;
            if !hooks.is_empty() {
                return Ok(hooks);
            }
        }
        Ok(Vec::new())
    };
    let mut planned = Vec::with_capacity(Hop::ALL.len());
    for hop in Hop::ALL {
        let candidates = hooks::by_message(hop);
        let hooks = fitting(candidates)?;
        if hooks.is_empty() && !candidates.is_empty() {
            return Ok(None);
        }
        let by_tail = hooks.iter().any(|hook| hook.target == PACKET_QUEUED);
        if by_tail && view.types.member("scm_fp_list.edges").is_ok() {
            // Since 6.17, which has edges, a stream's packets are queued by no function.
            return Ok(None);
        }
        let why = hooks.is_empty().then(|| NOT_ASKED_FOR.to_owned());
        planned.push(PlannedHop { hop, hooks, why });
    }
    let spare = fitting(hooks::returns())?;
    Ok((!spare.is_empty()).then_some((planned, spare)))
}

/// Why a hop is left out that could be watched.
pub(crate) const NOT_ASKED_FOR: &str = "nobody asked for each hop, as --hops does";

fn forced(attach: Attach) -> Option<Mechanism> {
    Mechanism::ALL
        .into_iter()
        .find(|mechanism| attach != Attach::Auto && attach.allows(*mechanism))
}

/// Why a mechanism cannot be used at all here.
fn unavailable(mechanism: Mechanism, view: &KernelView) -> Option<String> {
    match mechanism {
        Mechanism::Trampoline => view.no_trampolines.clone(),
        Mechanism::Kprobe => view.no_kprobes.clone(),
        Mechanism::Tracepoint => None,
    }
}

/// What of a candidate fits, and why the rest does not.
struct Fitting {
    hooks: Vec<&'static Hook>,
    unfit: Vec<String>,
}

/// The candidate's hooks, if there are those that it cannot do without: all of its functions but the
/// optional ones, or one of its tracepoints. Hooks of other mechanisms than its own only add to it.
fn fitting_hooks(
    candidate: &'static hooks::Candidate,
    view: &KernelView,
    attach: Attach,
    price: Price,
) -> Result<Fitting, TypeError> {
    let mut own: Vec<&'static Hook> = Vec::new();
    let mut bonus = Vec::new();
    let mut unfit = Vec::new();
    for hook in candidate.hooks {
        let is_own = hook.kind.mechanism() == candidate.mechanism;
        let is_taken = hook.optional && own.iter().any(|taken| taken.program == hook.program);
        if is_taken || !attach.allows(hook.kind.mechanism()) {
            continue;
        }
        let unfit_here = match (hook.unfit(view)?, hook.costs()) {
            (None, Some(why)) if price != Price::Any => Some(why.to_owned()),
            (None, None) => view.broken(hook.kind.mechanism(), hook.target),
            (unfit, _) => unfit,
        };
        match unfit_here {
            None if is_own => own.push(hook),
            None => bonus.push(hook),
            Some(why) => unfit.push((hook, is_own && !hook.optional, why)),
        }
    }
    // Of two programs for one function, which has changed, one fits.
    let is_served = |hook: &Hook| own.iter().any(|taken| taken.target == hook.target);
    unfit.retain(|(hook, ..)| !(hook.optional && is_served(hook)));
    let lacks = unfit.iter().any(|(_, is_needed, _)| *is_needed);
    let whole = !lacks || candidate.mechanism == Mechanism::Tracepoint;
    let mut hooks = Vec::new();
    if whole && !own.is_empty() {
        hooks = own;
        hooks.extend(bonus);
    }
    let unfit = unfit.into_iter().map(|(.., why)| why).collect();
    Ok(Fitting { hooks, unfit })
}

impl Plan {
    /// All hooks to attach, in the order of the path.
    pub fn hooks(&self) -> impl Iterator<Item = &'static Hook> + '_ {
        self.hops.iter().flat_map(|hop| hop.hooks.iter().copied())
    }

    /// Whether `hop` can be seen.
    #[must_use]
    pub fn watches(&self, hop: Hop) -> bool {
        self.hops
            .iter()
            .any(|planned| planned.hop == hop && planned.is_watched())
    }

    /// Whether the end of every list shows. Otherwise one that is still open may have ended.
    #[must_use]
    pub fn sees_every_end(&self) -> bool {
        self.hooks()
            .any(|hook| [LIST_RELEASED, LIST_FREED].contains(&hook.target))
    }

    /// Whether it shows what a send returned whose list did not get into a queue.
    #[must_use]
    pub fn sees_failed_sends(&self) -> bool {
        let watches = |target: &&str| self.hooks().any(|hook| hook.target == *target);
        SENDS_RETURNED.iter().all(watches) || watches(&EVERY_SEND_RETURNED)
    }

    /// Whether it shows under which numbers files were sent.
    #[must_use]
    pub fn sees_sent_numbers(&self) -> bool {
        self.watches(Hop::Copy)
            || self
                .hooks()
                .any(|hook| hook.target == sets::QUEUE_LOOKED_AT)
    }

    /// Whether it shows what a receiver gets that only peeks.
    #[must_use]
    pub fn sees_peeks(&self) -> bool {
        let shows = [sets::LIST_DUPLICATED, sets::TABLE_LOOKED_AT];
        self.hooks().any(|hook| shows.contains(&hook.target))
    }

    /// Whether it shows what is sent over sockets that pass no descriptors.
    #[must_use]
    pub fn sees_other_sockets(&self) -> bool {
        self.hooks()
            .any(|hook| hook.target == OTHERS_SEND || hook.program == hooks::SENT_BY_ANYBODY)
    }

    /// What it shows, where files are not described.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let watched = self.hops.iter().filter(|planned| planned.is_watched());
        let mut coverage = Coverage::of(watched.map(|planned| planned.hop));
        coverage.every_end = self.sees_every_end();
        coverage.failed_sends = self.sees_failed_sends();
        coverage.unnamed = self.unnamed.is_some();
        coverage
    }

    /// The plan in words: an entry for each hook, and one for each hop without any.
    #[must_use]
    pub fn entries(&self) -> Vec<PlanEntry> {
        let mut entries = Vec::new();
        for planned in &self.hops {
            let entry = PlanEntry {
                hop: planned.hop.name().to_owned(),
                mechanism: None,
                kind: None,
                target: None,
                skipped: !planned.is_watched(),
                why: planned.why.clone(),
            };
            entries.extend(planned.hooks.iter().map(|hook| PlanEntry {
                mechanism: Some(hook.kind.mechanism().name().to_owned()),
                kind: Some(hook.kind.name().to_owned()),
                target: Some(hook.target.to_owned()),
                ..entry.clone()
            }));
            if !planned.is_watched() {
                entries.push(entry);
            }
        }
        entries
    }

    /// Hands over the hooks that are kept for later, which belong to `end` from now on.
    pub fn take_spare(&mut self) -> Vec<&'static Hook> {
        let spare = std::mem::take(&mut self.spare);
        if let Some(end) = self.end_mut() {
            end.hooks.extend(&spare);
        }
        spare
    }

    /// Does without the hooks that are kept for later, because one of them cannot be used.
    pub fn give_up_spare(&mut self, broken: &Broken) {
        self.spare.clear();
        if let Some(end) = self.end_mut() {
            end.why = Some(broken.to_string());
        }
    }

    fn end_mut(&mut self) -> Option<&mut PlannedHop> {
        self.hops.iter_mut().find(|planned| planned.hop == Hop::End)
    }
}

/// Where sends return whose lists did not get into a queue.
const SENDS_RETURNED: [&str; 2] = ["unix_stream_sendmsg", "unix_dgram_sendmsg"];
/// Where the sends of every socket return.
const EVERY_SEND_RETURNED: &str = "sock_send_length";
/// Where sockets of other families look at control messages.
const OTHERS_SEND: &str = "__sock_cmsg_send";
/// Where a packet gets into a queue, whosever it is.
const PACKET_QUEUED: &str = "skb_queue_tail";
/// Where a call gives its list back.
const LIST_RELEASED: &str = "__scm_destroy";
/// Where the memory of a list is given back.
const LIST_FREED: &str = "kfree";

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Trampoline => "trampoline",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        })
    }
}

impl FromStr for Attach {
    type Err = UnknownAttach;

    fn from_str(name: &str) -> Result<Self, UnknownAttach> {
        let all = [Self::Auto, Self::Trampoline, Self::Kprobe, Self::Tracepoint];
        let found = all.into_iter().find(|attach| attach.to_string() == name);
        found.ok_or(UnknownAttach)
    }
}

/// A word that names no mechanism.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is one of auto, trampoline, kprobe and tracepoint")]
pub struct UnknownAttach;
