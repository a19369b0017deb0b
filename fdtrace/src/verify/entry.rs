//! Entry: where a process that fdtrace has started for one scenario begins.
//!
//! It finds the scenario and gives it a runner; neither of the two knows this module.

use std::process;

use anyhow::{Context as _, Result};

use super::{
    RUNNER_NAME,
    fact::Fact,
    runner::{self, Runner, call_oneself, die_with_parent, failure, whoami},
    scenarios,
};
use crate::kernel::inherited;

/// Runs the scenario of this name and ends the process.
pub fn main(name: &str) -> process::ExitCode {
    let limit = inherited::descriptor_limit();
    let result = enter(name);
    if let Err(error) = &result {
        // The verifier may be gone, and nobody else reads this.
        let _ = runner::say(&failure(None, error, limit));
    }
    process::ExitCode::from(u8::from(result.is_err()))
}

fn enter(name: &str) -> Result<()> {
    die_with_parent(None)?;
    call_oneself(RUNNER_NAME)?;
    let scenario = scenarios::find(name).with_context(|| format!("no scenario {name}"))?;
    let runner = Runner::new()?;
    runner::say(&Fact::Joined { actor: whoami()? })?;
    (scenario.run)(&runner)
}
