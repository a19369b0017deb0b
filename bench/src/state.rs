//! What a workload is measured under.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use fdtrace::plan::Attach;
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use crate::{
    floor::Floor,
    records::{Records, Written},
};

/// How long an observer may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What bpftrace runs: the tracepoints that fdtrace uses where it has nothing else, and what it
/// takes to say who passed something.
const BPFTRACE: &str = r#"
BEGIN { printf("ready\n"); }
rawtracepoint:sk_data_ready { @sent[pid, comm] = count(); }
rawtracepoint:skb_copy_datagram_iovec { @read[pid, comm] = count(); }
rawtracepoint:sock_recv_length { @received[pid, comm] = count(); }
rawtracepoint:kfree_skb { @freed[comm] = count(); }
rawtracepoint:consume_skb { @consumed[comm] = count(); }
"#;

/// One of them; untraced goes without saying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Empty programs on fdtrace's hooks.
    Floor,
    /// The same, and the three records of a pass with nothing in them.
    Records,
    /// `fdtrace trace` to a file.
    Trace,
    /// The same with every hop.
    Hops,
    /// `fdtrace trace --pid` of a process that does nothing.
    OtherPid,
    /// A bpftrace script on the same tracepoints, counting.
    Bpftrace,
    /// `perf trace` of the two system calls, on the workload's process.
    Perf,
    /// `strace` of the two system calls, on the workload's process.
    Strace,
}

impl State {
    pub(crate) const ALL: [Self; 8] = [
        Self::Floor,
        Self::Records,
        Self::Trace,
        Self::Hops,
        Self::OtherPid,
        Self::Bpftrace,
        Self::Perf,
        Self::Strace,
    ];

    /// Without what else one could run.
    pub(crate) const OWN: [Self; 5] = [
        Self::Floor,
        Self::Records,
        Self::Trace,
        Self::Hops,
        Self::OtherPid,
    ];

    /// Whether it works by stopping the workload, so that only the clock shows what it costs.
    pub(crate) fn stops(self) -> bool {
        self == Self::Strace
    }

    /// As it heads a column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Records => "records",
            Self::Trace => "trace",
            Self::Hops => "--hops",
            Self::OtherPid => "other --pid",
            Self::Bpftrace => "bpftrace",
            Self::Perf => "perf trace",
            Self::Strace => "strace",
        }
    }
}

/// What observers need.
pub(crate) struct Stage<'a> {
    pub(crate) fdtrace: &'a Path,
    pub(crate) attach: Attach,
    /// The workloads' processes, for those that follow processes.
    pub(crate) pids: &'a [u32],
    /// A process that does nothing and has no children: with a process, fdtrace follows its
    /// descendants, as the workloads are of this one.
    pub(crate) idle: u32,
    /// Where output goes.
    pub(crate) folder: &'a Path,
}

/// Something that is watching.
pub(crate) enum Observer {
    Floor { _floor: Floor },
    Records(Records),
    Program(Program),
}

/// A program that is watching, which ends when it is interrupted.
pub(crate) struct Program {
    name: &'static str,
    process: Child,
    _out: Option<BufReader<ChildStdout>>,
    err: Option<ChildStderr>,
}

impl Observer {
    /// Starts it, and returns once it is attached.
    pub(crate) fn start(state: State, stage: &Stage<'_>) -> Result<Self> {
        let program = match state {
            State::Floor => {
                let floor = Floor::attach(stage.attach)?;
                return Ok(Self::Floor { _floor: floor });
            }
            State::Records => return Ok(Self::Records(Records::attach()?)),
            State::Trace => stage.fdtrace(&[])?,
            State::Hops => stage.fdtrace(&["--hops"])?,
            State::OtherPid => stage.fdtrace(&["--pid", &stage.idle.to_string()])?,
            State::Bpftrace => {
                let mut command = Command::new("bpftrace");
                command.args(["-e", BPFTRACE]);
                let mut program = Program::start("bpftrace", command)?;
                program.wait_for_line("ready")?;
                program
            }
            State::Perf => {
                let mut command = Command::new("perf");
                command.args(["trace", "-e", "sendmsg,recvmsg", "-o"]);
                command.arg(stage.folder.join("perf"));
                command.arg("-p").arg(stage.pid_list());
                let mut program = Program::start("perf", command)?;
                // It does not say when it is ready; a second is more than it took anywhere.
                std::thread::sleep(Duration::from_secs(1));
                program.must_run()?;
                program
            }
            State::Strace => {
                let mut command = Command::new("strace");
                command.args(["-f", "-qq", "-e", "trace=sendmsg,recvmsg", "-o"]);
                command.arg(stage.folder.join("strace"));
                for pid in stage.pids {
                    command.arg("-p").arg(pid.to_string());
                }
                let mut program = Program::start("strace", command)?;
                program.wait_until(|| stage.pids.iter().all(|pid| is_traced(*pid)))?;
                program
            }
        };
        Ok(Self::Program(program))
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Self::Floor { .. } => Ok(()),
            Self::Records(records) => {
                let Written { read, lost } = records.stop()?;
                if lost > 0 {
                    // What finds no room costs less than what does.
                    eprintln!("fdtrace-bench: {lost} records had no room, {read} had");
                }
                Ok(())
            }
            Self::Program(program) => program.stop(),
        }
    }
}

impl Stage<'_> {
    fn fdtrace(&self, arguments: &[&str]) -> Result<Program> {
        let ready = self.folder.join("ready");
        let _ = fs::remove_file(&ready);
        let mut command = self.fdtrace_command(&ready);
        command.args(arguments);
        let mut program = Program::start("fdtrace", command)?;
        program.wait_until(|| ready.exists())?;
        Ok(program)
    }

    fn fdtrace_command(&self, ready: &Path) -> Command {
        let mut command = Command::new(self.fdtrace);
        command.args(["trace", "--attach", &self.attach.to_string(), "-o"]);
        command.arg(self.folder.join("trace"));
        command.arg("--ready-file").arg(ready);
        command
    }

    fn pid_list(&self) -> String {
        let pids: Vec<String> = self.pids.iter().map(ToString::to_string).collect();
        pids.join(",")
    }
}

fn is_traced(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        status
            .lines()
            .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    })
}

impl Program {
    pub(crate) fn start(name: &'static str, mut command: Command) -> Result<Self> {
        // SAFETY: prctl is a system call that is safe between fork and exec.
        unsafe {
            // A tracer that outlives the benchmark would be measured by the next one.
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("there is no {name}"))?;
        Ok(Self {
            name,
            _out: process.stdout.take().map(BufReader::new),
            err: process.stderr.take(),
            process,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it prints a line.
    fn wait_for_line(&mut self, wanted: &str) -> Result<()> {
        let mut line = String::new();
        let out = self._out.as_mut().context("it has no stdout")?;
        while out.read_line(&mut line)? > 0 {
            if line.trim() == wanted {
                return Ok(());
            }
            line.clear();
        }
        self.must_run()
    }

    pub(crate) fn wait_until(&mut self, is_so: impl Fn() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is_so() {
            self.must_run()?;
            if begin.elapsed() > PATIENCE {
                bail!("{} is not ready after {PATIENCE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// An error with what it said, if it has ended.
    fn must_run(&mut self) -> Result<()> {
        // One that is about to end closes its output first.
        let begin = Instant::now();
        let patience = if self._out.is_none() {
            PATIENCE
        } else {
            Duration::ZERO
        };
        let status = loop {
            match self.process.try_wait()? {
                None if begin.elapsed() < patience => {}
                other => break other,
            }
        };
        if status.is_some() {
            let mut said = String::new();
            if let Some(err) = &mut self.err {
                err.read_to_string(&mut said)?;
            }
            bail!(
                "{}: {}",
                self.name,
                said.lines().next().unwrap_or("it ended")
            );
        }
        Ok(())
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?);
        kill(pid, Signal::SIGINT)?;
        let begin = Instant::now();
        while self.process.try_wait()?.is_none() {
            if begin.elapsed() > PATIENCE {
                self.process.kill()?;
                self.process.wait()?;
                bail!("{} did not end", self.name);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// A folder for output, in memory: a disk would be measured too.
pub(crate) fn folder() -> Result<(tempfile::TempDir, PathBuf)> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .context("cannot make a folder for output")?;
    let path = folder.path().to_path_buf();
    Ok((folder, path))
}
