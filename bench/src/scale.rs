//! Scale: how much at once, how long, how fast from the start.

mod stream;

use std::{
    fmt, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fdtrace::{plan::Attach, tracker::Tracker};
use serde::Serialize;

use crate::{rounds::Spread, state, state::Program, worker::Worker, workload::Workload};

/// Starts that are measured.
const STARTS: usize = 9;
/// Transfers that the tracker is given, one size after the other.
const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// How long descriptors are passed as fast as it goes.
const SUSTAINED: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    start: Start,
    sustained: Vec<Sustained>,
    tracker: Vec<Tracked>,
}

/// From the command to everything attached.
#[derive(Debug, Serialize)]
struct Start {
    ready_ms: Spread,
    /// Resident, once it is ready, and at most until then.
    resident_kib: u64,
    peak_kib: u64,
}

/// As many transfers as the senders make, for a while.
#[derive(Debug, Serialize)]
struct Sustained {
    senders: usize,
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
        start: start(fdtrace, attach)?,
        sustained: vec![
            sustained(fdtrace, attach, 1)?,
            sustained(fdtrace, attach, 2)?,
        ],
        tracker: SIZES.into_iter().map(track).collect::<Result<_>>()?,
    })
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
    Ok(Start {
        ready_ms: Spread::of(times).context("nothing was measured")?,
        resident_kib,
        peak_kib,
    })
}

fn sustained(fdtrace: &Path, attach: Attach, senders: usize) -> Result<Sustained> {
    let (_folder, folder) = state::folder()?;
    let (ready, out) = (folder.join("ready"), folder.join("out"));
    let cpus = std::thread::available_parallelism()?.get();
    let mut workers = (0..senders)
        .map(|number| Worker::start(Workload::PassStream, (cpus - 1 - number % cpus) % cpus))
        .collect::<Result<Vec<_>>>()?;
    // Under the tracer, or the loop would be over too soon.
    let mut program = Program::start("fdtrace", fdtrace_command(fdtrace, attach, &ready, &out))?;
    program.wait_until(|| ready.exists())?;
    let times = workers[0].calibrate(SUSTAINED.as_nanos() as u64)?;
    let before = times;
    let begin = Instant::now();
    for worker in &mut workers {
        worker.command(times)?;
    }
    for worker in &mut workers {
        worker.answer()?;
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
        transfers_per_second: (times * senders as u64) as f64 / took,
        lost_events,
        transfers_seen,
        transfers_made: before * senders as u64,
    })
}

/// Transfers of `pids` in the output, and events that were lost.
fn outcome(out: &Path, pids: &[u64]) -> Result<(u64, u64)> {
    use std::io::BufRead as _;
    let (mut seen, mut lost) = (0, 0);
    for line in std::io::BufReader::new(fs::File::open(out)?).lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        match value["type"].as_str() {
            Some("transfer") => {
                let sender = value["sender"]["pid"].as_u64();
                seen += u64::from(sender.is_some_and(|pid| pids.contains(&pid)));
            }
            Some("summary") => {
                let by_hop = value["lost_events"].as_object().context("no losses")?;
                lost = by_hop.values().filter_map(serde_json::Value::as_u64).sum();
            }
            _ => {}
        }
    }
    Ok((seen, lost))
}

fn track(transfers: u64) -> Result<Tracked> {
    let before = memory(std::process::id(), "VmRSS:")?;
    let mut stream = stream::Stream::new();
    let mut tracker = Tracker::new(Box::new(|_| None));
    let mut events = 0;
    let mut closed = 0;
    let begin = Instant::now();
    for _ in 0..transfers {
        for record in stream.next_transfer() {
            tracker.apply(fdtrace::event::decode(record)?);
            events += 1;
        }
        if events % 300 == 0 {
            closed += tracker.take_closed().len() as u64;
        }
    }
    let took = begin.elapsed().as_secs_f64();
    closed += tracker.take_closed().len() as u64;
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
            "resident {} MiB, at most {} MiB",
            resident_kib / 1024,
            peak_kib / 1024
        )?;
        for sustained in &self.sustained {
            writeln!(
                f,
                "{} sending as fast as they can: {:.0} transfers/s, {} of {} seen, {} events lost",
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
