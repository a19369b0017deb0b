//! What watching costs, measured: each workload untraced, under fdtrace in several forms, under
//! empty programs on the same hooks (the floor), and under what a user would run instead.
//!
//! `cargo xtask bench` builds and runs this. All states of one workload run in the same process,
//! in turns within one run, so that what else the machine does hits all of them; what is compared
//! are ratios of neighbours, and their median is told with its spread.

mod bpf;
mod floor;
mod held;
mod machine;
mod records;
mod report;
mod rounds;
mod scale;
mod state;
mod worker;
mod workload;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use fdtrace::plan::Attach;

use self::{state::State, workload::Workload};

#[derive(Debug, Parser)]
#[command(
    name = "fdtrace-bench",
    version,
    about = "Measures what watching costs"
)]
struct Args {
    #[command(subcommand)]
    worker: Option<Command>,
    /// The fdtrace to measure.
    #[arg(long, value_name = "FILE", default_value = "fdtrace")]
    fdtrace: PathBuf,
    /// How fdtrace and the floor attach.
    #[arg(long, default_value_t = Attach::Auto)]
    attach: Attach,
    /// Workloads to measure [default: all]
    #[arg(long, value_enum, value_name = "NAME")]
    workload: Vec<Workload>,
    /// States to measure beside untraced [default: all]
    #[arg(long, value_enum, value_name = "NAME")]
    state: Vec<State>,
    /// Rounds; each runs every workload in every state once [default: 9, or 3 with --counted]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long one workload runs in one state of a round [default: 100, or 5 with --counted]
    #[arg(long, value_name = "MS")]
    slice: Option<u64>,
    /// This machine's clock counts instructions, a nanosecond each, so that little will do, and
    /// peers are none: `cargo xtask bench --vm` sets it.
    #[arg(long)]
    counted: bool,
    /// Measure what else one could run too; with --counted.
    #[arg(long, requires = "counted", conflicts_with = "state")]
    peers: bool,
    /// Measure scale too: sustained rates, the tracker, many sockets, start-up.
    #[arg(long)]
    scale: bool,
    /// A short run that fails on a structural regression, and on nothing else.
    #[arg(long, conflicts_with_all = ["rounds", "slice", "scale"])]
    smoke: bool,
    /// Count what is held, and fail where it has become dearer; with --counted.
    #[arg(long, requires = "counted", conflicts_with_all = ["rounds", "slice", "scale", "smoke", "workload", "state", "attach"])]
    held: bool,
    /// Write the results there as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one workload on command; the benchmark starts this itself.
    #[command(hide = true)]
    Worker {
        #[arg(value_enum)]
        workload: Workload,
        /// The CPU to stay on.
        cpu: usize,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.worker {
        Some(Command::Worker { workload, cpu }) => {
            worker::serve(*workload, *cpu).map(|()| ExitCode::SUCCESS)
        }
        None => run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("fdtrace-bench: {error:#}");
        ExitCode::from(2)
    })
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.held {
        return held::check(&machine::Machine::here()?.kernel, |attach| rounds::Rounds {
            fdtrace: args.fdtrace.clone(),
            attach,
            workloads: held::workloads(),
            states: held::states(attach),
            // They count the same in each.
            rounds: 1,
            slice_ns: 5_000_000,
        });
    }
    let all = |named: &[Workload]| match named {
        [] => Workload::ALL.to_vec(),
        _ => named.to_vec(),
    };
    let mut plan = rounds::Rounds {
        fdtrace: args.fdtrace.clone(),
        attach: args.attach,
        workloads: all(&args.workload),
        states: match args.state.as_slice() {
            [] if args.peers => State::PEERS.to_vec(),
            [] if args.counted => State::OWN.to_vec(),
            [] => State::ALL.to_vec(),
            named => named.to_vec(),
        },
        rounds: args.rounds.unwrap_or(if args.counted { 3 } else { 9 }),
        slice_ns: args.slice.unwrap_or(if args.counted { 5 } else { 100 }) * 1_000_000,
    };
    if args.smoke {
        plan.rounds = 5;
        plan.slice_ns = 20_000_000;
        plan.states = vec![State::Floor, State::Trace];
    }
    let results = report::Results {
        machine: machine::Machine::here()?,
        counted: args.counted,
        costs: plan.run()?,
        scale: args
            .scale
            .then(|| scale::measure(&args.fdtrace, args.attach))
            .transpose()?,
    };
    print!("{results}");
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&results)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.smoke {
        return Ok(report::judge(&results.costs).into());
    }
    Ok(ExitCode::SUCCESS)
}
