//! Coverage: how each hop is watched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hop, Mechanism};

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
