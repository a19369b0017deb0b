//! `fdtrace verify`: the whole line, from the kernel's types to the exit code.

use std::{
    io::Write as _,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use aya::{Btf, Endianness};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    CannotRun, EXIT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, Output,
    args::{Common, Format, Verify},
};
use crate::{
    kernel::KernelView,
    plan::{Mechanism, plan},
    report::{Json, Pointers, Report, Start, Summary, Text},
    tracer::Tracer,
    tracker::Tracker,
    verify::{self, Scenario, ScenarioResult, Verifier},
};

pub(super) fn run(args: &Verify, common: &Common) -> Result<u8> {
    let scenarios = select(&args.scenarios)?;
    if args.list {
        return list(&scenarios, common);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(play(&scenarios, args, common))
}

fn select(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(verify::all().collect());
    }
    names
        .iter()
        .map(|name| {
            verify::find(name).ok_or_else(|| {
                CannotRun {
                    what: format!("there is no scenario {name:?}"),
                    hint: "`fdtrace verify --list` shows them all",
                }
                .into()
            })
        })
        .collect()
}

fn list(scenarios: &[&Scenario], common: &Common) -> Result<u8> {
    let mut out = Output::open(common.output.as_deref())?;
    let mut group = None;
    for scenario in scenarios {
        if group != Some(scenario.group) {
            let gap = if group.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}{}", scenario.group.name())?;
            group = Some(scenario.group);
        }
        writeln!(out, "  {:<27} {}", scenario.name, scenario.summary)?;
    }
    out.finish()?;
    Ok(EXIT_OK)
}

async fn play(scenarios: &[&'static Scenario], args: &Verify, common: &Common) -> Result<u8> {
    let begin = Instant::now();
    // Both before anything is attached: neither may fail with work half done.
    let mut interrupt = Interrupt::new()?;
    let mut out = Output::open(common.output.as_deref())?;

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
    // One copy of the types at a time is enough in memory.
    let raw_types = types.into_raw();
    let parse = || -> Result<Btf> {
        let bytes = raw_types.read().context("cannot read the kernel's BTF")?;
        Btf::parse(&bytes, Endianness::default()).context("cannot parse the kernel's BTF")
    };
    // Trampolines need it now, the iterator not before the first scenario.
    let mut btf = None;
    if plan
        .hooks()
        .any(|hook| hook.kind.mechanism() == Mechanism::Trampoline)
    {
        btf = Some(parse()?);
    }
    let mut tracer = Tracer::start(plan, args.buffer.saturating_mul(1024), btf.as_ref())?;
    let attached = begin.elapsed();
    let btf = btf.map_or_else(parse, Ok)?;
    tracer.prepare_snapshots(&btf)?;
    drop((btf, raw_types));
    if common.verbose {
        eprintln!(
            "fdtrace: read the kernel's types and symbols in {} ms, attached after {} ms",
            viewed.as_millis(),
            attached.as_millis()
        );
    }

    let pointers = Pointers::new(common.pointers, kptr_restrict);
    let tracker = Tracker::new(Box::new(move |address| {
        symbols.symbolize(address).map(|(name, _)| name.to_owned())
    }));
    let mut verifier = Verifier::new(tracer, tracker, args.time_limit);
    let mut report: Box<dyn Report> = match args.format {
        Format::Text => Box::new(Text::new(&mut out, pointers, args.hops)),
        Format::Json => Box::new(Json::new(&mut out, pointers, args.hops)),
    };
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
    for scenario in scenarios {
        let outcome = tokio::select! {
            outcome = verifier.play(scenario) => outcome?,
            () = interrupt.received() => {
                summary.interrupted = true;
                break;
            }
        };
        summary.add(&outcome);
        report.scenario(&outcome)?;
    }
    summary.elapsed_ns = u64::try_from(first.elapsed().as_nanos())?;
    summary.losses = verifier.losses()?;
    summary.exit_code = exit_code(&summary);
    report.summary(&summary)?;
    drop(report);
    out.finish()?;
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
