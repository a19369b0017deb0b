//! `fdtrace verify`: the whole line, from the kernel's types to the exit code.

use std::{
    io::Write,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail};

#[cfg(feature = "explain")]
use super::explain::Stories;
use super::{
    CannotRun, EXIT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, Output,
    args::{Common, ReportFormat, Verify},
    reports::Outputs,
    schedule::Schedule,
    startup::{self, Interrupt},
};
use crate::{
    kernel::{self, inherited},
    plan::Price,
    report::{self, Report as _, ScenarioRun, Start, Summary},
    verify::{self, Scenario, ScenarioResult, Verifier},
    watch::Options,
};

/// Descriptors that there must be room for to begin a scenario beside others, which need some too.
const ROOM_FOR_ANOTHER: u64 = 32;

pub(super) fn run(args: &Verify, common: &Common) -> Result<u8> {
    let scenarios = select(args)?;
    if args.list {
        return list(&scenarios, args.format, common);
    }
    startup::block_on(run_all(&scenarios, args, common))
}

/// What is asked for, without what is not, and of that the part that is to be run here.
fn select(args: &Verify) -> Result<Vec<&'static Scenario>> {
    let mut scenarios = verify::select(&args.scenarios)?;
    if !args.exclude.is_empty() {
        let excluded = verify::select(&args.exclude)?;
        scenarios.retain(|scenario| excluded.iter().all(|other| other.name != scenario.name));
    }
    let mut place = 0;
    scenarios.retain(|_| {
        place += 1;
        args.partition.is_none_or(|part| part.has(place - 1))
    });
    Ok(scenarios)
}

fn list(scenarios: &[&Scenario], format: ReportFormat, common: &Common) -> Result<u8> {
    if !matches!(format, ReportFormat::Text | ReportFormat::Json) {
        return Err(CannotRun {
            what: "a list is no report".to_owned(),
            hint: "`--list` has --format text and json",
        }
        .into());
    }
    let mut out = Output::open(common.output.as_deref())?;
    if format == ReportFormat::Json {
        report::write_json(&mut out, &report::catalogue(scenarios))?;
        writeln!(out)?;
    } else {
        write_list(&mut out, scenarios)?;
    }
    out.finish()?;
    Ok(EXIT_OK)
}

fn write_list(out: &mut impl Write, scenarios: &[&Scenario]) -> Result<()> {
    let mut group = None;
    for scenario in scenarios {
        if group != Some(scenario.group) {
            let gap = if group.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}{}", scenario.group.name())?;
            group = Some(scenario.group);
        }
        write!(out, "  {:<28} {}", scenario.name, scenario.summary)?;
        match scenario.needs {
            [] => writeln!(out)?,
            needs => writeln!(out, " (needs {})", needs.join(", "))?,
        }
    }
    Ok(())
}

async fn run_all(scenarios: &[&'static Scenario], args: &Verify, common: &Common) -> Result<u8> {
    // Before anything is attached: it may not fail with work half done.
    let mut outputs = Outputs::open(args.format, common.output.as_ref(), &args.report)?;

    let options = Options {
        price: Price::Any,
        snapshots: true,
        ..startup::options(common, args.buffer)
    };
    let live = startup::start(&options, common)?;
    // Until here a signal ends this process at once, and with it all that is attached.
    let mut interrupt = Interrupt::new()?;
    let kptr_restrict = live.header().kptr_restrict;
    let timing = args
        .stats
        .then(|| live.tracer().time_programs())
        .transpose()?;
    let mut verifier = Verifier::new(live, args.time_limit);
    #[cfg(feature = "explain")]
    let mut stories = args
        .explain_failure
        .then(|| Stories::begin(&mut verifier, common.pointers(kptr_restrict)))
        .transpose()?;
    let mut report = outputs.reports(common, kptr_restrict, args.hops, args.buffer);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    report.start(&Start {
        version: env!("CARGO_PKG_VERSION"),
        wall_ns: u64::try_from(now.as_nanos())?,
        mono_ns: kernel::clock::now_ns(),
        machine: &kernel::machine(),
        plan: verifier.plan(),
    })?;

    let first = Instant::now();
    let mut summary = Summary::default();
    let mut schedule = Schedule::new(scenarios, args);
    loop {
        while verifier.under_way() < args.jobs as usize
            && (verifier.under_way() == 0 || inherited::descriptors_left() >= ROOM_FOR_ANOTHER)
            && let Some(scenario) = schedule.next()
        {
            verifier.begin(scenario)?;
        }
        let ended = tokio::select! {
            ended = verifier.next() => ended?,
            () = interrupt.received() => {
                summary.interrupted = true;
                break;
            }
        };
        let Some((number, judgement)) = ended else {
            break;
        };
        let run = ScenarioRun::from(judgement);
        #[cfg(feature = "explain")]
        let run = match &mut stories {
            Some(stories) => stories.explain(number, run, verifier.plan()),
            None => run,
        };
        for run in schedule.ended(number, run) {
            summary.add(&run);
            report.scenario(&run)?;
        }
    }
    for run in schedule.rest() {
        summary.add(&run);
        report.scenario(&run)?;
    }
    summary.not_run = schedule.asked_for() - summary.ended();
    summary.elapsed_ns = u64::try_from(first.elapsed().as_nanos())?;
    summary.losses = verifier.losses()?;
    summary.programs = timing.map(|_| verifier.costs()).transpose()?;
    summary.exit_code = match summary.interrupted {
        true => interrupt.exit_code(),
        false => exit_code(&summary, args.strict),
    };
    report.summary(&summary)?;
    drop(report);
    outputs.finish()?;
    if verifier.undecodable() > 0 {
        bail!(
            "{} records could not be decoded: the eBPF object is not this fdtrace's",
            verifier.undecodable()
        );
    }
    Ok(summary.exit_code)
}

/// A failure outweighs an open question, which outweighs all that passed.
fn exit_code(summary: &Summary, strict: bool) -> u8 {
    let is_open = |result| summary.scenarios_with(result) > 0;
    if summary.scenarios_with(ScenarioResult::Fail) > 0 {
        EXIT_FAILED
    } else if is_open(ScenarioResult::Inconclusive) || strict && is_open(ScenarioResult::Skip) {
        EXIT_INCONCLUSIVE
    } else {
        EXIT_OK
    }
}
