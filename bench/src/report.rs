//! What was measured, as text and JSON, and what the smoke form makes of it.

use std::{fmt, process::ExitCode};

use serde::Serialize;

use crate::{machine::Machine, rounds::Costs, scale::Scale, state::State};

/// How much dearer than the floor, in parts of the untraced time, a workload without descriptors
/// may become before something must have changed in kind: a hook on everybody's path, or a list
/// looked for where none is.
const SMOKE_MARGIN: f64 = 0.5;
/// How many times its untraced time a pass may take.
const SMOKE_PASS: f64 = 6.0;

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) costs: Costs,
    pub(crate) scale: Option<Scale>,
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            kernel,
            cpu,
            cpus,
            returns,
            load,
        } = &self.machine;
        writeln!(f, "Linux {kernel}, {cpu}, {cpus} CPUs, load {load}")?;
        writeln!(f, "speculative return stack overflow: {returns}\n")?;
        let states: Vec<State> = self
            .costs
            .rows
            .first()
            .map(|row| row.ratios.iter().map(|(state, _)| *state).collect())
            .unwrap_or_default();
        write!(f, "| workload | untraced |")?;
        for state in &states {
            write!(f, " {} |", state.title())?;
        }
        write!(f, "\n|---|---|")?;
        for _ in &states {
            write!(f, "---|")?;
        }
        writeln!(f)?;
        for row in &self.costs.rows {
            write!(
                f,
                "| {} | {:.0} ns |",
                row.workload.name(),
                row.untraced_ns.median
            )?;
            for state in &states {
                match row.ratios.iter().find(|(of, _)| of == state) {
                    Some((_, ratio)) => {
                        let [low, high] = ratio.quartiles;
                        write!(f, " × {:.2} ({low:.2}–{high:.2}) |", ratio.median)?;
                    }
                    None => write!(f, " |")?,
                }
            }
            writeln!(f)?;
        }
        for (state, why) in &self.costs.without {
            writeln!(f, "\nwithout {}: {why}", state.title())?;
        }
        if let Some(scale) = &self.scale {
            write!(f, "\n{scale}")?;
        }
        Ok(())
    }
}

/// Fails on what no noise explains.
pub(crate) fn judge(results: &Results) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (state, why) in &results.costs.without {
        eprintln!("fdtrace-bench: no {}: {why}", state.title());
        code = ExitCode::from(2);
    }
    for row in &results.costs.rows {
        let of = |wanted| {
            let mut ratios = row.ratios.iter();
            ratios
                .find(|(state, _)| *state == wanted)
                .map(|(_, ratio)| ratio)
        };
        let (Some(floor), Some(trace)) = (of(State::Floor), of(State::Trace)) else {
            continue;
        };
        let most = if row.workload.passes() {
            SMOKE_PASS
        } else {
            floor.median + SMOKE_MARGIN
        };
        // The lower quartile: a burst of somebody else's work slows some rounds, not most.
        if trace.quartiles[0] > most {
            eprintln!(
                "fdtrace-bench: {} takes {:.2} times as long when traced, and {most:.2} at most is normal",
                row.workload.name(),
                trace.quartiles[0],
            );
            code = ExitCode::FAILURE;
        }
    }
    code
}
