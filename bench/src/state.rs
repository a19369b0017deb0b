//! What a workload is measured under.

use std::{
    fs,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
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

/// What an observer writes, in its folder.
const OUTPUT: &str = "output";

/// How long an observer may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// What one writes in bpftrace who has read the kernel.
    Functions,
    /// The same by kprobes.
    Kprobes,
    /// What one writes who does not know its functions: how many messages are sent and received.
    Calls,
    /// What bcc's sofdsnoop watches and tells, by bpftrace.
    Sofdsnoop,
    /// What Inspektor Gadget's fdpass watches and tells, by bpftrace.
    Fdpass,
    /// `perf trace` of the two system calls, on the workload's process.
    Perf,
    /// `strace` of the two system calls, on the workload's process.
    Strace,
}

impl State {
    pub(crate) const ALL: [Self; 12] = [
        Self::Floor,
        Self::Records,
        Self::Trace,
        Self::Hops,
        Self::OtherPid,
        Self::Functions,
        Self::Kprobes,
        Self::Calls,
        Self::Sofdsnoop,
        Self::Fdpass,
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

    /// fdtrace beside what else one could run, but for perf, which a VM does not have.
    pub(crate) const PEERS: [Self; 8] = [
        Self::Trace,
        Self::Hops,
        Self::Functions,
        Self::Kprobes,
        Self::Calls,
        Self::Sofdsnoop,
        Self::Fdpass,
        Self::Strace,
    ];

    /// What bpftrace runs for it.
    fn script(self) -> Option<&'static str> {
        Some(match self {
            Self::Functions => include_str!("peers/functions.bt"),
            Self::Kprobes => include_str!("peers/kprobes.bt"),
            Self::Calls => include_str!("peers/calls.bt"),
            Self::Sofdsnoop => include_str!("peers/sofdsnoop.bt"),
            Self::Fdpass => include_str!("peers/fdpass.bt"),
            _ => return None,
        })
    }

    /// What is in each of its lines that tells of a message, or of a descriptor of one; `None` if it has no
    /// such lines.
    fn line_mark(self) -> Option<&'static str> {
        Some(match self {
            Self::Trace | Self::Hops => " → ",
            Self::Functions | Self::Kprobes => "sent ",
            Self::Sofdsnoop => "SEND ",
            Self::Fdpass => "passed ",
            Self::Perf | Self::Strace => "sendmsg(",
            Self::Floor | Self::Records | Self::OtherPid | Self::Calls => return None,
        })
    }

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
            Self::Functions => "bpftrace, functions",
            Self::Kprobes => "bpftrace, kprobes",
            Self::Calls => "bpftrace, calls",
            Self::Sofdsnoop => "sofdsnoop",
            Self::Fdpass => "fdpass",
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
    err: Option<ChildStderr>,
    /// Where its stdout goes, if that is looked at.
    out: Option<PathBuf>,
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
            State::Functions | State::Kprobes | State::Calls | State::Sofdsnoop | State::Fdpass => {
                let mut command = Command::new("bpftrace");
                command.args(["-B", "line", "-e", state.script().unwrap_or_default()]);
                let out = stage.folder.join(OUTPUT);
                let mut program = Program::start_with("bpftrace", command, Some(out.clone()))?;
                program.wait_until(|| {
                    fs::read_to_string(&out).is_ok_and(|text| text.contains("ready\n"))
                })?;
                program
            }
            State::Perf => {
                let mut command = Command::new("perf");
                command.args(["trace", "-e", "sendmsg,recvmsg", "-o"]);
                command.arg(stage.folder.join(OUTPUT));
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
                command.arg(stage.folder.join(OUTPUT));
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
        command.arg(self.folder.join(OUTPUT));
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
    pub(crate) fn start(name: &'static str, command: Command) -> Result<Self> {
        Self::start_with(name, command, None)
    }

    /// One whose stdout is this file.
    fn start_with(name: &'static str, mut command: Command, out: Option<PathBuf>) -> Result<Self> {
        let stdout = out.as_ref().map(fs::File::create).transpose()?;
        // SAFETY: prctl is a system call that is safe between fork and exec.
        unsafe {
            // A tracer that outlives the benchmark would be measured by the next one.
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(stdout.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("there is no {name}"))?;
        Ok(Self {
            name,
            err: process.stderr.take(),
            out,
            process,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
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
        let status = self.process.try_wait()?;
        if let Some(status) = status {
            let mut said = String::new();
            if let Some(err) = &mut self.err {
                err.read_to_string(&mut said)?;
            }
            if let Some(out) = &self.out {
                said += &fs::read_to_string(out)?;
            }
            bail!(
                "{}: {status}: {}",
                self.name,
                said.lines()
                    .find(|line| !line.is_empty())
                    .unwrap_or("it said nothing")
            );
        }
        Ok(())
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(out) = &self.out {
            wait_for_the_rest(out)?;
        }
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

/// Waits until a program that does not read on once it is interrupted has nothing more to write.
fn wait_for_the_rest(out: &Path) -> Result<()> {
    const QUIET: Duration = Duration::from_millis(500);
    let begin = Instant::now();
    let (mut len, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET && begin.elapsed() < PATIENCE {
        let now = fs::metadata(out)?.len();
        if now != len {
            (len, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What an observer told of the messages that were passed under it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Told {
    /// Lines of messages, or of descriptors.
    pub(crate) lines: u64,
    /// What it said was lost, in its words.
    pub(crate) lost: Vec<String>,
}

impl Told {
    /// From its output; `None` if it has no line of each message.
    pub(crate) fn read(state: State, folder: &Path) -> Result<Option<Self>> {
        let Some(mark) = state.line_mark() else {
            return Ok(None);
        };
        let text = fs::read(folder.join(OUTPUT)).context("an observer wrote nothing")?;
        Ok(Some(Self::of(mark, &String::from_utf8_lossy(&text))))
    }

    fn of(mark: &str, text: &str) -> Self {
        let lost = text.lines().filter(|line| {
            let word = line.split(' ').next().unwrap_or_default();
            word.eq_ignore_ascii_case("lost")
        });
        Self {
            lines: text.lines().filter(|line| line.contains(mark)).count() as u64,
            lost: lost.map(str::to_owned).collect(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_what_was_lost_is_in_its_words() {
        let text = "Attaching 3 probes...\nready\nsent 7 fdtrace-bench 4\nreceived 7 fdtrace-bench room 24\n\
                    Lost 12 events\nsent 7 fdtrace-bench 4\n";
        let told = Told::of("sent ", text);
        assert_eq!(
            (told.lines, told.lost),
            (2, vec!["Lost 12 events".to_owned()])
        );
    }
}
