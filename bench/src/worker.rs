//! A workload in a process of its own, which runs on command and says how long it took, by the
//! clock and on a CPU. The second leaves out what else the machine was doing meanwhile, and has what
//! watching adds to the loop itself; it has nothing of what a tracer does while it stops the loop.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        resource::{UsageWho, getrusage},
        time::{TimeVal, TimeValLike as _},
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::workload::Workload;

/// How long something took, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// By the clock.
    pub(crate) wall_ns: u64,
    /// On a CPU, children included.
    pub(crate) cpu_ns: u64,
}

/// The process.
pub(crate) struct Worker {
    pub(crate) workload: Workload,
    /// How often the loop ran.
    pub(crate) turns: u64,
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn start(workload: Workload, cpu: usize) -> Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .args(["worker", &workload.name(), &cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let commands = process.stdin.take().context("a worker has no stdin")?;
        let answers = process.stdout.take().context("a worker has no stdout")?;
        let mut worker = Self {
            workload,
            turns: 0,
            process,
            commands,
            answers: BufReader::new(answers),
        };
        worker.run(1)?;
        Ok(worker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs the loop so many times.
    pub(crate) fn run(&mut self, times: u64) -> Result<Took> {
        self.command(times)?;
        self.answer()
    }

    /// Has it begin, without waiting for it.
    pub(crate) fn command(&mut self, times: u64) -> Result<()> {
        writeln!(self.commands, "{times}").context("a worker has ended")?;
        self.turns += times;
        Ok(())
    }

    pub(crate) fn answer(&mut self) -> Result<Took> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let took = line.trim().split_once(' ').and_then(|(wall, cpu)| {
            Some(Took {
                wall_ns: wall.parse().ok()?,
                cpu_ns: cpu.parse().ok()?,
            })
        });
        took.with_context(|| format!("the worker {} failed", self.workload.name()))
    }

    /// How often the loop runs in so many nanoseconds on a CPU.
    pub(crate) fn calibrate(&mut self, slice_ns: u64) -> Result<u64> {
        let mut times = 1;
        loop {
            let took = self.run(times)?.cpu_ns.max(1);
            if took >= slice_ns / 4 {
                return Ok(
                    (u128::from(times) * u128::from(slice_ns) / u128::from(took)).max(1) as u64,
                );
            }
            times *= 2;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its own child, which may hang in a tracer that was killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What this process and the children that it has waited for have had of CPUs.
pub(crate) fn cpu_time() -> Result<Duration> {
    let own = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: TimeVal| Duration::from_micros(value.num_microseconds().cast_unsigned());
    Ok(own + time(children.user_time()) + time(children.system_time()))
}

/// The worker's own side: a number of times on stdin, the nanoseconds on stdout.
pub(crate) fn serve(workload: Workload, cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one CPU")?;
    let mut body = workload.prepare()?;
    let mut line = String::new();
    let mut commands = std::io::stdin().lock();
    loop {
        line.clear();
        if commands.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let times = line.trim().parse().context("not a number of times")?;
        let (begin, cpu_begin) = (Instant::now(), cpu_time()?);
        body(times)?;
        let (wall, cpu) = (begin.elapsed().as_nanos(), cpu_time()? - cpu_begin);
        println!("{wall} {}", cpu.as_nanos());
    }
}
