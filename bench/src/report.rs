//! What was measured, as text and JSON, and what the smoke form makes of it.

use std::{fmt, process::ExitCode};

use serde::Serialize;

use crate::{machine::Machine, rounds::Costs, scale::Scale, state::State};

/// How much dearer than the floor, in parts of the untraced time, a workload without descriptors
/// may become before something must have changed in kind: a hook on everybody's path, or a list
/// looked for where none is.
const SMOKE_MARGIN: f64 = 0.3;
/// How many times its untraced time a pass may take.
const SMOKE_PASS: f64 = 4.0;

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Whether what is called nanoseconds are instructions.
    pub(crate) counted: bool,
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
        let unit = if self.counted { "instructions" } else { "ns" };
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
                "| {} | {:.0} {unit} |",
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
        if !self.costs.told.is_empty() {
            writeln!(
                f,
                "\n| in the last round | messages | descriptors | lines of them | lost |\n|---|--:|--:|--:|---|"
            )?;
        }
        for (state, passed, told) in &self.costs.told {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} |",
                state.title(),
                passed.messages,
                passed.descriptors,
                told.lines,
                told.lost.join(", ")
            )?;
        }
        if let Some(scale) = &self.scale {
            write!(f, "\n{scale}")?;
        }
        Ok(())
    }
}

/// What the smoke form comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Smoke {
    Normal,
    Regressed,
    /// Not even empty programs can be attached here.
    CannotTell,
}

impl From<Smoke> for ExitCode {
    fn from(smoke: Smoke) -> Self {
        match smoke {
            Smoke::Normal => Self::SUCCESS,
            Smoke::Regressed => Self::FAILURE,
            Smoke::CannotTell => Self::from(2),
        }
    }
}

/// Fails on what no noise explains, and says so.
pub(crate) fn judge(costs: &Costs) -> Smoke {
    let lacks = |wanted| costs.without.iter().any(|(state, _)| *state == wanted);
    for (state, why) in &costs.without {
        eprintln!("fdtrace-bench: no {}: {why}", state.title());
    }
    let regressions = regressions(costs);
    for regression in &regressions {
        eprintln!("fdtrace-bench: {regression}");
    }
    if lacks(State::Floor) {
        Smoke::CannotTell
    } else if lacks(State::Trace) || !regressions.is_empty() || costs.rows.is_empty() {
        Smoke::Regressed
    } else {
        Smoke::Normal
    }
}

/// What is far outside its band.
fn regressions(costs: &Costs) -> Vec<String> {
    let mut found = Vec::new();
    for row in &costs.rows {
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
            found.push(format!(
                "{} takes {:.2} times as long when traced, and {most:.2} at most is normal",
                row.workload.name(),
                trace.quartiles[0],
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rounds::{Row, Spread},
        workload::Workload,
    };

    fn costs(workload: Workload, floor: f64, trace: [f64; 3]) -> Costs {
        let spread = |[low, median, high]: [f64; 3]| Spread {
            median,
            quartiles: [low, high],
        };
        Costs {
            rows: vec![Row {
                workload,
                untraced_ns: spread([1000.0; 3]),
                ratios: vec![
                    (State::Floor, spread([floor; 3])),
                    (State::Trace, spread(trace)),
                ],
            }],
            without: Vec::new(),
            told: Vec::new(),
        }
    }

    #[test]
    fn a_ratio_in_its_band_is_normal_however_wide_it_spreads() {
        let bytes = costs(Workload::UnixBytes, 1.1, [1.15, 1.7, 9.0]);
        let pass = costs(Workload::PassStream, 1.0, [1.4, 2.0, 30.0]);
        assert_eq!(regressions(&bytes), Vec::<String>::new());
        assert_eq!(regressions(&pass), Vec::<String>::new());
    }

    #[test]
    fn a_ratio_far_outside_its_band_is_a_regression() {
        let bytes = costs(Workload::UnixBytes, 1.1, [1.7, 1.8, 1.9]);
        assert_eq!(
            regressions(&bytes),
            ["unix-bytes takes 1.70 times as long when traced, and 1.40 at most is normal"]
        );
        let pass = costs(Workload::Pass253, 1.0, [6.5, 7.0, 8.0]);
        assert_eq!(regressions(&pass).len(), 1);
    }

    #[test]
    fn smoke_tells_a_regression_from_a_machine_without_bpf() {
        let normal = costs(Workload::PassStream, 1.0, [1.9, 2.0, 2.1]);
        assert_eq!(judge(&normal), Smoke::Normal);
        assert_eq!(
            judge(&costs(Workload::PassStream, 1.0, [7.0; 3])),
            Smoke::Regressed
        );
        // Where empty programs attach, fdtrace's own must.
        let without = |states: &[State]| Costs {
            rows: costs(Workload::PassStream, 1.0, [2.0; 3]).rows,
            without: states.iter().map(|state| (*state, String::new())).collect(),
            told: Vec::new(),
        };
        assert_eq!(judge(&without(&[State::Trace])), Smoke::Regressed);
        assert_eq!(
            judge(&without(&[State::Floor, State::Trace])),
            Smoke::CannotTell
        );
    }

    #[test]
    fn the_floor_is_taken_off_a_workload_that_passes_nothing() {
        // Where calling a program at all is dear, that is the kernel's price.
        assert!(regressions(&costs(Workload::Tcp, 2.0, [2.2; 3])).is_empty());
        assert_eq!(regressions(&costs(Workload::Tcp, 1.0, [2.2; 3])).len(), 1);
    }
}
