//! Verify: fdtrace drives senders and receivers of its own, traces them, asks the witnesses, and
//! judges.
//!
//! ```text
//! scenario ──▶ runner: fdtrace again, as actors ──facts──▶ ┐
//!     tracer ──▶ tracker ──transfers────────────────────▶ ├─▶ judge ──▶ judgement
//!     witnesses, at checkpoints ──testimonies───────────▶ ┘
//! ```

mod bpf;
mod endings;
mod entry;
pub mod fact;
mod judge;
mod observer;
mod record;
mod release;
mod run;
#[allow(unsafe_code)]
pub mod runner;
mod runner_process;
mod scenarios;
mod selection;
mod verifier;
#[allow(unsafe_code)]
mod ways;

use std::time::Duration;

pub use entry::main;
pub use judge::{Blind, Ended, Finding, Judgement, ScenarioResult, Speaker, WitnessReport, unseen};
pub use observer::Observer;
pub use scenarios::{Group, Scenario, all, find};
pub use selection::{SelectionError, select};
pub use verifier::{Verifier, VerifyError};

/// The hidden argument with which fdtrace starts itself as a runner.
pub const RUNNER_ARGUMENT: &str = "__runner";

/// What the process is called that runs a scenario.
pub(crate) const RUNNER_NAME: &str = "runner";

/// How long actors that were killed may take to be gone.
const REAP_LIMIT: Duration = Duration::from_secs(5);
