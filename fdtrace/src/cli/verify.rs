//! `fdtrace verify`: the whole line, from the kernel's types to the exit code.

use std::{
    io::Write,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    CannotRun, EXIT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, Output,
    args::{Common, ReportFormat, Verify},
    programme::Programme,
    reports::Outputs,
};
use crate::{
    kernel::KernelView,
    plan::plan,
    report::{self, Report as _, Start, Summary},
    tracer::Tracer,
    tracker::Tracker,
    verify::{self, Scenario, ScenarioResult, Verifier},
};

pub(super) fn run(args: &Verify, common: &Common) -> Result<u8> {
    let scenarios = verify::select(&args.scenarios)?;
    if args.list {
        return list(&scenarios, args.format, common);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(play(&scenarios, args, common))
}

fn list(scenarios: &[&Scenario], format: ReportFormat, common: &Common) -> Result<u8> {
    if matches!(format, ReportFormat::Junit | ReportFormat::Tap) {
        return Err(CannotRun {
            what: "a list is no report".to_owned(),
            hint: "`--list` has --format text and json",
        }
        .into());
    }
    let mut out = Output::open(common.output.as_deref())?;
    if format == ReportFormat::Json {
        serde_json::to_writer(&mut out, &report::catalogue(scenarios))?;
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
        write!(out, "  {:<27} {}", scenario.name, scenario.summary)?;
        match scenario.needs {
            [] => writeln!(out)?,
            needs => writeln!(out, " (needs {})", needs.join(", "))?,
        }
    }
    Ok(())
}

async fn play(scenarios: &[&'static Scenario], args: &Verify, common: &Common) -> Result<u8> {
    let begin = Instant::now();
    // Both before anything is attached: neither may fail with work half done.
    let mut interrupt = Interrupt::new()?;
    let mut outputs = Outputs::open(args.format, common.output.as_ref(), &args.report)?;

    let view = KernelView::live()?;
    check_privileges(&view)?;
    let viewed = begin.elapsed();
    let plan = plan(&view, common.attach)?;
    let KernelView {
        types,
        symbols,
        kptr_restrict,
        ..
    } = view;
    let mut tracer = Tracer::start(plan, args.buffer.saturating_mul(1024), &types)?;
    let attached = begin.elapsed();
    tracer.prepare_snapshots(&types)?;
    drop(types);
    if common.verbose {
        eprintln!(
            "fdtrace: read the kernel's types and symbols in {} ms, attached after {} ms",
            viewed.as_millis(),
            attached.as_millis()
        );
    }

    let tracker = Tracker::new(Box::new(move |address| {
        symbols.symbolize(address).map(|(name, _)| name.to_owned())
    }));
    let mut verifier = Verifier::new(tracer, tracker, args.time_limit);
    let mut report = outputs.reports(common.pointers, kptr_restrict, args.hops);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    report.start(&Start {
        version: env!("CARGO_PKG_VERSION"),
        wall_ns: u64::try_from(now.as_nanos())?,
        plan: verifier.plan(),
    })?;

    let first = Instant::now();
    let mut summary = Summary::default();
    let mut programme = Programme::new(scenarios, args);
    loop {
        while verifier.under_way() < args.jobs as usize
            && let Some(scenario) = programme.next()
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
        let Some((number, outcome)) = ended else {
            break;
        };
        for outcome in programme.ended(number, outcome) {
            summary.add(&outcome);
            report.scenario(&outcome)?;
        }
    }
    for outcome in programme.rest() {
        summary.add(&outcome);
        report.scenario(&outcome)?;
    }
    summary.unplayed = programme.asked_for() - summary.played();
    summary.elapsed_ns = u64::try_from(first.elapsed().as_nanos())?;
    summary.losses = verifier.losses()?;
    summary.exit_code = exit_code(&summary);
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

fn check_privileges(view: &KernelView) -> Result<()> {
    if let Some(lacking) = view.capabilities.lacking_for_tracing() {
        return Err(CannotRun {
            what: format!("tracing needs {lacking}, which this process lacks"),
            hint: "run it with sudo",
        }
        .into());
    }
    if !view.init_pid_namespace {
        return Err(CannotRun {
            what: "this process is in a pid namespace of its own, so the kernel's process ids \
                   are not those it sees"
                .to_owned(),
            hint: "run the container with the host's pid namespace (--pid=host)",
        }
        .into());
    }
    Ok(())
}

/// A failure outweighs an open question, which outweighs all that passed.
fn exit_code(summary: &Summary) -> u8 {
    if summary.scenarios_with(ScenarioResult::Fail) > 0 {
        EXIT_FAILED
    } else if summary.interrupted || summary.scenarios_with(ScenarioResult::Inconclusive) > 0 {
        EXIT_INCONCLUSIVE
    } else {
        EXIT_OK
    }
}

/// Ctrl-C and SIGTERM.
struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    fn new() -> Result<Self> {
        let handle = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            int: handle(SignalKind::interrupt())?,
            term: handle(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.int.recv() => (),
            _ = self.term.recv() => (),
        }
    }
}
