//! Coverage: how each hop is watched, and what may be concluded from silence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hop, Mechanism};

/// What a plan can show. Whoever concludes something from an event that did not come asks here
/// whether it would have come.
///
/// It is made once, from the plan that is in force after the self-test, and a recording's header
/// carries it, so that a replay concludes the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Coverage {
    /// The hops that are watched, in the order of the path.
    pub hops: Vec<Hop>,
    /// The end of every list shows. Otherwise a message whose end was not seen may have ended.
    pub every_end: bool,
    /// What a send returned shows, if its list did not get into a queue. Otherwise such a send fails
    /// unseen.
    pub failed_sends: bool,
    /// The functions that were under way as a list ended have no names, because the kernel hides where
    /// they are. They tell how a list ended that nobody received.
    pub unnamed: bool,
    /// The files and tasks of each message are described. Otherwise nothing is said of why a
    /// description is missing.
    pub descriptions: bool,
}

impl Coverage {
    /// Shows these hops, and nothing beside them.
    #[must_use]
    pub fn of(hops: impl IntoIterator<Item = Hop>) -> Self {
        Self {
            hops: hops.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether `hop` is watched.
    #[must_use]
    pub fn watches(&self, hop: Hop) -> bool {
        self.hops.contains(&hop)
    }
}

/// How one hop is watched, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanEntry {
    /// The hop.
    #[schemars(with = "Hop")]
    pub hop: String,
    /// What watches it; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Mechanism>")]
    pub mechanism: Option<String>,
    /// Kind of attachment in the kernel's words, such as `tp_btf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The function or tracepoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The hop is not watched; absent where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Why it is not, or why a better candidate was passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
