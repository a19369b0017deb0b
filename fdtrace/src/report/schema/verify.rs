//! What `fdtrace verify` writes beside what a trace has.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    model::Verdict,
    verify::{Group, ScenarioResult},
};

/// The scenarios that there are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Catalogue {
    /// Version of this contract.
    pub schema_version: u32,
    /// In the order in which they are run.
    pub scenarios: Vec<Listed>,
}

/// One scenario of the catalogue.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Its name, which will not change.
    pub name: String,
    /// The group it is in, which selects all of it.
    pub group: Group,
    /// What it shows, in a line.
    pub summary: String,
    /// What it needs that not every machine has; where that is lacking, it is skipped.
    pub needs: Vec<String>,
}

/// One behaviour that was verified.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: Group,
    /// Which of the rounds (`--repeat`) it belongs to, from 1.
    pub round: u32,
    /// How it ended.
    pub result: ScenarioResult,
    /// Why, unless it passed.
    pub reason: Option<String>,
    /// Why each earlier run of this round was repeated: what was lost left it open. All else is of the
    /// last run.
    pub retried: Vec<String>,
    /// Ids of its transfers.
    pub transfers: Vec<u64>,
    /// What the witnesses said.
    pub witnesses: Vec<Witness>,
    /// How long it took, nanoseconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub elapsed_ns: u64,
}

/// What one witness said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Witness {
    /// `trace`, `iter/task_file`, `kcmp`, `offset` or `scm_fds`.
    pub name: String,
    /// What it said.
    pub verdict: Verdict,
    /// What it was asked about: `passed`, the descriptors that were passed, or `mistakable`, one
    /// that only looks like them.
    pub about: String,
}
