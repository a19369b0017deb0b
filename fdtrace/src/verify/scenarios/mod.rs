//! The scenarios, a module per group. Names are stable: users put them into their CI.

mod handoff;
mod identity;
mod negative;

use anyhow::Result;

use super::stage::Stage;

/// A group of scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The same file object comes out.
    Identity,
    /// Something that could be mistaken for it does not.
    NegativeControl,
}

impl Group {
    /// Every group, in the catalogue's order.
    pub const ALL: [Self; 2] = [Self::Identity, Self::NegativeControl];

    /// The group's name in commands and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::NegativeControl => "negative-control",
        }
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
    pub(super) play: fn(&Stage) -> Result<()>,
}

/// Every scenario, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [identity::SCENARIOS, handoff::SCENARIOS, negative::SCENARIOS]
        .into_iter()
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
    ($group:ident: $($name:literal $play:expr, $summary:literal $(, needs $($need:literal),+)?;)*) => {
        pub(super) const SCENARIOS: &[super::Scenario] = &[$(super::Scenario {
            name: $name,
            group: super::Group::$group,
            summary: $summary,
            needs: &[$($($need),+)?],
            play: $play,
        }),*];
    };
}
use scenarios;
