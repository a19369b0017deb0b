//! Held: what a turn of a loop may cost on the kernel that CI counts instructions on. They are the same in
//! every run, so what has become dearer shows at once.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use fdtrace::plan::Attach::{self, Kprobe, Tracepoint, Trampoline};

use crate::{
    rounds::{Costs, Rounds},
    state::State::{self, OtherPid, Trace},
    workload::Workload::{self, OpenClose, Pass16, PassStream, Tcp, UnixBytes, UnixMessages},
};

/// The series of that kernel.
const KERNEL: &str = "6.12";

/// How much dearer a pass may become, in parts of what it takes untraced; by kprobes, which do not count the
/// same in every boot, in parts of the whole.
const PASS_MARGIN: f64 = 0.05;
const PASS_PART: f64 = 0.02;
/// The same for a loop that passes nothing: more than the clock's interrupts make of it, and less than one more
/// program on its way, which takes 70 instructions at least. `Tcp` takes 16,000, in which one may hide.
const OTHERS_MARGIN: f64 = 0.006;

/// A loop in a state, by a mechanism, and how many times what it takes untraced.
type Held = (Attach, Workload, State, f64);

const HELD: [Held; 19] = [
    (Trampoline, PassStream, Trace, 1.50),
    (Trampoline, Pass16, Trace, 1.77),
    (Trampoline, UnixBytes, Trace, 1.00),
    (Trampoline, UnixMessages, Trace, 1.00),
    (Trampoline, OpenClose, Trace, 1.00),
    (Trampoline, Tcp, Trace, 1.00),
    (Trampoline, PassStream, OtherPid, 1.48),
    (Kprobe, PassStream, Trace, 3.86),
    (Kprobe, Pass16, Trace, 6.12),
    (Kprobe, UnixBytes, Trace, 1.83),
    (Kprobe, UnixMessages, Trace, 1.78),
    (Kprobe, OpenClose, Trace, 1.00),
    (Kprobe, Tcp, Trace, 1.03),
    (Tracepoint, PassStream, Trace, 1.91),
    (Tracepoint, Pass16, Trace, 2.13),
    (Tracepoint, UnixBytes, Trace, 1.17),
    (Tracepoint, UnixMessages, Trace, 1.195),
    (Tracepoint, OpenClose, Trace, 1.00),
    (Tracepoint, Tcp, Trace, 1.03),
];

/// Counts what is held, on a `kernel` of that series, and says what is dearer.
///
/// # Errors
///
/// On another kernel, and where not all can be measured.
pub(crate) fn check(kernel: &str, rounds: impl Fn(Attach) -> Rounds) -> Result<ExitCode> {
    let is_series = kernel
        .strip_prefix(KERNEL)
        .is_some_and(|rest| rest.starts_with('.'));
    ensure!(is_series, "Linux {KERNEL} is held, and this is {kernel}");
    let mut status = ExitCode::SUCCESS;
    println!("| by | workload | state | held | counted |\n|---|---|---|--:|--:|");
    for by in [Trampoline, Kprobe, Tracepoint] {
        let costs = rounds(by).run()?;
        for held in HELD.iter().filter(|held| held.0 == by) {
            let (_, workload, state, ratio) = held;
            let counted = counted(&costs, *workload, *state)?;
            let (workload, state) = (workload.name(), state.title());
            println!("| {by} | {workload} | {state} | {ratio:.3} | {counted:.3} |");
            if is_dearer(held, counted) {
                eprintln!(
                    "fdtrace-bench: {workload} by {by}, {state}: × {counted:.3}, where × {ratio:.3} is held"
                );
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

/// The states that are held by this mechanism.
pub(crate) fn states(by: Attach) -> Vec<State> {
    let is_held = |wanted: &State| {
        HELD.iter()
            .any(|(of, _, state, _)| (*of, *state) == (by, *wanted))
    };
    [Trace, OtherPid].into_iter().filter(is_held).collect()
}

/// The loops that are held.
pub(crate) fn workloads() -> Vec<Workload> {
    let mut all = Vec::new();
    for (_, workload, ..) in HELD {
        if !all.contains(&workload) {
            all.push(workload);
        }
    }
    all
}

fn counted(costs: &Costs, workload: Workload, state: State) -> Result<f64> {
    let row = costs.rows.iter().find(|row| row.workload == workload);
    let mut ratios = row.into_iter().flat_map(|row| &row.ratios);
    let (_, ratio) = ratios.find(|(of, _)| *of == state).with_context(|| {
        format!(
            "{} was not measured under {}",
            workload.name(),
            state.title()
        )
    })?;
    Ok(ratio.median)
}

fn is_dearer((_, workload, _, held): &Held, counted: f64) -> bool {
    let margin = match workload.passes() {
        true => PASS_MARGIN.max(held * PASS_PART),
        false => OTHERS_MARGIN,
    };
    counted > held + margin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_may_vary_and_what_passes_nothing_may_not() {
        let pass = (Trampoline, PassStream, Trace, 1.5);
        assert!(!is_dearer(&pass, 1.54));
        assert!(is_dearer(&pass, 1.56));
        let open = (Trampoline, OpenClose, Trace, 1.0);
        assert!(!is_dearer(&open, 1.004));
        // The cheapest program on its way, 70 of 7,100.
        assert!(is_dearer(&open, 1.0 + 70.0 / 7_100.0));
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        let nothing = Costs {
            rows: Vec::new(),
            without: Vec::new(),
            told: Vec::new(),
        };
        assert!(counted(&nothing, PassStream, Trace).is_err());
    }
}
