//! A workload in a process of its own, which runs on command and says how long it took.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::workload::Workload;

/// The process.
pub(crate) struct Worker {
    pub(crate) workload: Workload,
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

    /// Runs the loop so many times; returns the nanoseconds that took.
    pub(crate) fn run(&mut self, times: u64) -> Result<u64> {
        self.command(times)?;
        self.answer()
    }

    /// Has it begin, without waiting for it.
    pub(crate) fn command(&mut self, times: u64) -> Result<()> {
        writeln!(self.commands, "{times}").context("a worker has ended")?;
        Ok(())
    }

    pub(crate) fn answer(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim()
            .parse()
            .with_context(|| format!("the worker {} failed", self.workload.name()))
    }

    /// How often the loop runs in so many nanoseconds.
    pub(crate) fn calibrate(&mut self, slice_ns: u64) -> Result<u64> {
        let mut times = 1;
        loop {
            let took = self.run(times)?.max(1);
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
        let begin = Instant::now();
        body(times)?;
        println!("{}", begin.elapsed().as_nanos());
    }
}
