//! The scenarios, a module per group. Names are stable: users put them into their CI.

mod credentials;
mod flags;
mod framing;
mod garbage;
mod handoff;
mod identity;
mod lifetime;
mod negative;
mod object_kinds;
mod receive_limits;
mod send_errors;

use anyhow::Result;

use super::runner::Runner;
use crate::model::named;

named! { "kebab-case";
/// A group of scenarios.
pub enum Group {
    /// The same file object comes out.
    Identity,
    /// Something that could be mistaken for it does not.
    NegativeControl,
    /// Whatever has a descriptor can be passed.
    ObjectKinds,
    /// The send fails, and nothing stays behind.
    SendErrors,
    /// A receiver has no room, or may not.
    ReceiveLimits,
    /// What a call asks of the descriptors it receives.
    Flags,
    /// How lists are glued to data, and what takes the data without them.
    Framing,
    /// Other control messages beside the descriptors.
    Credentials,
    /// What becomes of a queued list when a socket ends.
    Lifetime,
}
}

/// One behaviour to verify.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// What it shows, in a line.
    pub summary: &'static str,
    /// What it needs that not every machine has; where it is lacking, the scenario is skipped.
    pub needs: &'static [&'static str],
    /// The actors' part.
    pub(super) run: fn(&Runner) -> Result<()>,
}

/// Every scenario, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let framing = framing::SCENARIOS;
    [identity::SCENARIOS, handoff::SCENARIOS, negative::SCENARIOS]
        .into_iter()
        .chain([object_kinds::SCENARIOS, send_errors::SCENARIOS])
        .chain([receive_limits::SCENARIOS, flags::SCENARIOS])
        .chain(framing)
        .chain([credentials::SCENARIOS])
        .chain([lifetime::SCENARIOS, garbage::SCENARIOS])
        .flatten()
}

/// The scenario of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

/// Declares a group's table; each entry is a function of the module, and may end with what the
/// scenario needs that not every machine has: `needs "a pid namespace"`.
macro_rules! scenarios {
    ($group:ident: $($name:literal $run:expr, $summary:literal $(, needs $($need:literal),+)?;)*) => {
        pub(super) const SCENARIOS: &[crate::verify::Scenario] = &[$(crate::verify::Scenario {
            name: $name,
            group: crate::verify::Group::$group,
            summary: $summary,
            needs: &[$($($need),+)?],
            run: $run,
        }),*];
    };
}
use scenarios;
