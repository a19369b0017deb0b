//! Scale: how much at once, how long, how fast from the start.

mod processes;
mod stream;

use std::{
    fmt, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fdtrace::{
    kernel::KernelView,
    model::Coverage,
    plan::{Attach, plan},
    tracer::Tracer,
    watch::Pipeline,
};
use serde::Serialize;

use self::processes::Chain;
use crate::{
    records::BUFFER,
    rounds::Spread,
    state::{self, Program},
    worker::{Worker, cpu_time},
    workload::Workload,
};

/// Starts that are measured.
const STARTS: usize = 9;
/// Transfers that the tracker is given, one size after the other.
const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Transfers a second that must not lose anything.
const RATES: [u64; 2] = [50_000, 150_000];
/// How finely that is paced.
const STEP: Duration = Duration::from_millis(1);
/// How long descriptors are passed, at a rate or as fast as it goes.
const SUSTAINED: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    chains: Vec<Chain>,
    start: Start,
    paced: Vec<Sustained>,
    sustained: Vec<Sustained>,
    tracker: Vec<Tracked>,
}

/// From the command to everything attached.
#[derive(Debug, Serialize)]
struct Start {
    ready_ms: Spread,
    /// Of that, in a process that has the rest: reading the kernel's types and symbols, planning,
    /// loading the programs, attaching and testing them.
    read_ms: Spread,
    plan_ms: Spread,
    load_ms: Spread,
    attach_ms: Spread,
    test_ms: Spread,
    /// On a CPU, all of it.
    cpu_ms: Spread,
    /// Resident, once it is ready, and at most until then.
    resident_kib: u64,
    peak_kib: u64,
}

/// As many transfers as the senders make, for a while.
#[derive(Debug, Serialize)]
struct Sustained {
    senders: usize,
    /// Transfers a second that were asked for; as many as possible without.
    rate: Option<u64>,
    transfers_per_second: f64,
    lost_events: u64,
    transfers_seen: u64,
    transfers_made: u64,
}

/// The tracker alone.
#[derive(Debug, Serialize)]
struct Tracked {
    transfers: u64,
    events_per_second: f64,
    /// What the process has grown by.
    grown_kib: u64,
}

pub(crate) fn measure(fdtrace: &Path, attach: Attach) -> Result<Scale> {
    Ok(Scale {
        chains: chains(fdtrace, attach)?,
        start: start(fdtrace, attach)?,
        paced: RATES
            .into_iter()
            .map(|rate| sustained(fdtrace, attach, 1, Some(rate)))
            .collect::<Result<_>>()?,
        sustained: vec![
            sustained(fdtrace, attach, 1, None)?,
            sustained(fdtrace, attach, 2, None)?,
        ],
        tracker: SIZES.into_iter().map(track).collect::<Result<_>>()?,
    })
}

/// Of each length, until there is no room for more.
fn chains(fdtrace: &Path, attach: Attach) -> Result<Vec<Chain>> {
    let mut chains = Vec::new();
    for length in processes::LENGTHS {
        let chain = processes::measure(fdtrace, attach, length)?;
        eprintln!("fdtrace-bench: {chain}");
        let is_last = chain.is_short();
        chains.push(chain);
        if is_last {
            break;
        }
    }
    Ok(chains)
}

fn fdtrace_command(fdtrace: &Path, attach: Attach, ready: &Path, out: &Path) -> Command {
    let _ = fs::remove_file(ready);
    let mut command = Command::new(fdtrace);
    command.args(["trace", "--format", "json", "--attach", &attach.to_string()]);
    command.arg("-o").arg(out).arg("--ready-file").arg(ready);
    command
}

fn start(fdtrace: &Path, attach: Attach) -> Result<Start> {
    let (_folder, folder) = state::folder()?;
    let (ready, out) = (folder.join("ready"), folder.join("out"));
    let mut times = Vec::new();
    let (mut resident_kib, mut peak_kib) = (0, 0);
    for _ in 0..STARTS {
        let begin = Instant::now();
        let mut program =
            Program::start("fdtrace", fdtrace_command(fdtrace, attach, &ready, &out))?;
        program.wait_until(|| ready.exists())?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        resident_kib = memory(program.pid(), "VmRSS:")?;
        peak_kib = memory(program.pid(), "VmHWM:")?;
        program.stop()?;
    }
    let [mut read, mut planned, mut cpu] = [const { Vec::new() }; 3];
    let [mut loaded, mut attached, mut tested] = [const { Vec::new() }; 3];
    for _ in 0..STARTS {
        let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
        let cpu_begin = cpu_time()?;
        let begin = Instant::now();
        let view = KernelView::live()?;
        read.push(ms(begin));
        let begin = Instant::now();
        let plan = plan(&view, attach)?;
        planned.push(ms(begin));
        let tracer = runtime()?.block_on(async { Tracer::start(plan, BUFFER, &view.types) })?;
        let times = tracer.start_times();
        loaded.push(times.load.as_secs_f64() * 1e3);
        attached.push(times.attach.as_secs_f64() * 1e3);
        tested.push(times.test.as_secs_f64() * 1e3);
        cpu.push((cpu_time()? - cpu_begin).as_secs_f64() * 1e3);
        drop(tracer);
    }
    let spread = |figures| Spread::of(figures).context("nothing was measured");
    Ok(Start {
        ready_ms: spread(times)?,
        read_ms: spread(read)?,
        plan_ms: spread(planned)?,
        load_ms: spread(loaded)?,
        attach_ms: spread(attached)?,
        test_ms: spread(tested)?,
        cpu_ms: spread(cpu)?,
        resident_kib,
        peak_kib,
    })
}

/// At a rate, if there is one, or as fast as it goes.
fn sustained(
    fdtrace: &Path,
    attach: Attach,
    senders: usize,
    rate: Option<u64>,
) -> Result<Sustained> {
    let (_folder, folder) = state::folder()?;
    let (ready, out) = (folder.join("ready"), folder.join("out"));
    let cpus = std::thread::available_parallelism()?.get();
    let mut workers = (0..senders)
        .map(|number| Worker::start(Workload::PassStream, (cpus - 1 - number % cpus) % cpus))
        .collect::<Result<Vec<_>>>()?;
    // Under the tracer, or the loop would be over too soon.
    let mut program = Program::start("fdtrace", fdtrace_command(fdtrace, attach, &ready, &out))?;
    program.wait_until(|| ready.exists())?;
    let times = match rate {
        Some(rate) => rate * SUSTAINED.as_secs(),
        None => workers[0].calibrate(SUSTAINED.as_nanos() as u64)?,
    };
    let begin = Instant::now();
    if let Some(rate) = rate {
        // In steps of a millisecond, as long as it keeps up.
        for step in 1..=SUSTAINED.as_millis() as u32 {
            workers[0].run(rate / 1000)?;
            let due = begin + STEP * step;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    } else {
        for worker in &mut workers {
            worker.command(times)?;
        }
        for worker in &mut workers {
            worker.answer()?;
        }
    }
    let took = begin.elapsed().as_secs_f64();
    program.stop()?;
    let pids: Vec<u64> = workers
        .iter()
        .map(|worker| u64::from(worker.pid()))
        .collect();
    let (transfers_seen, lost_events) = outcome(&out, &pids)?;
    Ok(Sustained {
        senders,
        rate,
        transfers_per_second: (times * senders as u64) as f64 / took,
        lost_events,
        transfers_seen,
        // Without the first turn, which came before the tracer, but with those to calibrate.
        transfers_made: workers.iter().map(|worker| worker.turns - 1).sum(),
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Transfers of `pids` in the output, and events that were lost.
fn outcome(out: &Path, pids: &[u64]) -> Result<(u64, u64)> {
    let mut seen = 0;
    let lost = told(out, |transfer| {
        let sender = transfer["sender"]["pid"].as_u64();
        seen += u64::from(sender.is_some_and(|pid| pids.contains(&pid)));
    })?;
    Ok((seen, lost))
}

/// Hands over every transfer in the output; events that were lost are what comes back.
fn told(out: &Path, mut hear: impl FnMut(&serde_json::Value)) -> Result<u64> {
    use std::io::BufRead as _;
    let mut lost = 0;
    for line in std::io::BufReader::new(fs::File::open(out)?).lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        match value["type"].as_str() {
            Some("transfer") => hear(&value),
            Some("summary") => {
                let by_hop = value["lost_events"].as_object().context("no losses")?;
                lost = by_hop.values().filter_map(serde_json::Value::as_u64).sum();
            }
            _ => {}
        }
    }
    Ok(lost)
}

fn track(transfers: u64) -> Result<Tracked> {
    let before = memory(std::process::id(), "VmRSS:")?;
    let mut stream = stream::Stream::new();
    let mut pipeline = Pipeline::new(Coverage::default(), Box::new(|_| None));
    let mut events = 0;
    let mut closed = 0;
    let begin = cpu_time()?;
    for _ in 0..transfers {
        for record in stream.next_transfer() {
            pipeline.record(record, &mut |_| ());
            events += 1;
        }
        if events % 300 == 0 {
            closed += pipeline.take_ended().len() as u64;
        }
    }
    let took = (cpu_time()? - begin).as_secs_f64();
    closed += pipeline.take_ended().len() as u64;
    anyhow::ensure!(
        closed + 2 >= transfers,
        "the tracker closed {closed} of {transfers}"
    );
    Ok(Tracked {
        transfers,
        events_per_second: events as f64 / took,
        grown_kib: memory(std::process::id(), "VmRSS:")?.saturating_sub(before),
    })
}

fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .context("the kernel does not say how much memory a process has")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Start {
            ready_ms,
            read_ms,
            plan_ms,
            load_ms,
            attach_ms,
            test_ms,
            cpu_ms,
            resident_kib,
            peak_kib,
        } = &self.start;
        let [low, high] = ready_ms.quartiles;
        writeln!(
            f,
            "ready after {:.0} ms ({low:.0}–{high:.0})",
            ready_ms.median
        )?;
        writeln!(
            f,
            "of that, reading types and symbols {:.0} ms, planning {:.1} ms, loading {:.0} ms, \
             attaching {:.1} ms, testing {:.1} ms; {:.0} ms on a CPU",
            read_ms.median,
            plan_ms.median,
            load_ms.median,
            attach_ms.median,
            test_ms.median,
            cpu_ms.median,
        )?;
        writeln!(
            f,
            "resident {} MiB, at most {} MiB",
            resident_kib / 1024,
            peak_kib / 1024
        )?;
        for chain in &self.chains {
            writeln!(f, "{chain}")?;
        }
        for sustained in self.paced.iter().chain(&self.sustained) {
            let how = match sustained.rate {
                Some(rate) => format!("paced to {rate} transfers/s"),
                None => "as fast as possible".to_owned(),
            };
            writeln!(
                f,
                "{} sending, {how}: {:.0} transfers/s, {} of {} seen, {} events lost",
                sustained.senders,
                sustained.transfers_per_second,
                sustained.transfers_seen,
                sustained.transfers_made,
                sustained.lost_events,
            )?;
        }
        for tracked in &self.tracker {
            writeln!(
                f,
                "tracker, {} transfers: {:.2} million events/s, grown by {} KiB",
                tracked.transfers,
                tracked.events_per_second / 1e6,
                tracked.grown_kib,
            )?;
        }
        Ok(())
    }
}
