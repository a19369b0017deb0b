//! Adversaries: workloads that try to make fdtrace take one descriptor for another.
//!
//! Their actors know themselves what went where. Held against that, no transfer may be paired
//! wrongly and none may be `same` that is not; what the trace did not see is counted. That a wrong
//! one would be noticed is shown each time by tampering with what was traced. Needs root.
//!
//! A short form by itself. `FDTRACE_ADVERSARY_TRANSFERS` is how many descriptors each adversary
//! passes with each mechanism. Plays are small courses of events beside them, once for each 3000.

mod check;
mod control;
mod plays;
mod session;
mod truth;
mod workload;

use std::{env, process::ExitCode};

use fdtrace::plan::Attach;
use libtest_mimic::{Arguments, Trial};

/// Makes this program the workload of that name.
const WORKLOAD: &str = "FDTRACE_ADVERSARY";
const TRANSFERS: &str = "FDTRACE_ADVERSARY_TRANSFERS";
const TRANSFERS_BY_DEFAULT: usize = 3000;

const MECHANISMS: [(&str, Attach); 3] = [
    ("trampoline", Attach::Trampoline),
    ("kprobe", Attach::Kprobe),
    ("tracepoint", Attach::Tracepoint),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(WORKLOAD) {
        workload::play(&name);
        return ExitCode::SUCCESS;
    }
    if let Ok(names) = env::var(plays::PLAYS) {
        plays::play(&names);
        return ExitCode::SUCCESS;
    }
    let transfers = env::var(TRANSFERS).map_or(TRANSFERS_BY_DEFAULT, |number| {
        number.parse().expect("it is a number")
    });
    let trials = MECHANISMS.into_iter().flat_map(|(mechanism, attach)| {
        workload::ALL.iter().map(move |adversary| {
            let name = format!("{mechanism}::{}", adversary.name);
            Trial::test(name.clone(), move || {
                session::run(&name, adversary.name, attach, transfers)
            })
        })
    });
    let mut arguments = Arguments::from_args();
    // They would be in each other's way.
    arguments.test_threads = Some(1);
    let rounds = (transfers / TRANSFERS_BY_DEFAULT).max(1);
    let trials = plays::trials(&arguments, rounds).into_iter().chain(trials);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
