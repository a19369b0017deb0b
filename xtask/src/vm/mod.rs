//! `cargo xtask vm`: fdtrace on kernels that this machine does not run.
//!
//! A kernel of Debian's or the user's is booted in QEMU from an initramfs that holds fdtrace, what
//! else was asked for, and nothing else. Init (the crate `vm-init`) runs the commands and sends their output
//! over the second serial port; the first is the kernel's console. So the steps are:
//!
//! 1. `kernel` finds the image; `series` knows which package that is, `archive` asks apt for it.
//! 2. `image` builds the binaries and writes them with the job as a `cpio` archive.
//! 3. `machine` starts `qemu`, follows init's frames, and looks for `trouble` in the kernel's log.
//! 4. The output goes to the user as it comes, or with `--all` into a `cell` of the `matrix`.

pub(crate) mod archive;
mod cell;
mod cpio;
mod debug;
mod image;
mod kernel;
mod libraries;
mod machine;
mod matrix;
mod monitor;
mod page;
mod programs;
mod qemu;
mod series;
mod table;
mod trouble;
pub(crate) mod witness;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};
use vm_init::{Frame, Job};

pub(crate) use programs::{played, test};

use crate::{arch::Arch, toolchain, workspace};
pub(crate) use cell::Ended;
use image::{Program, Tests};
pub(crate) use kernel::Choice;
pub(crate) use libraries::linker as dynamic_linker;
use machine::{Machine, Then, Up};
use matrix::{Columns, Page};
use qemu::{Accelerator, Qemu};
use series::Series;

/// What the benchmark measures beside fdtrace, by the names of their packages.
const PEERS: [&str; 2] = ["bpftrace", "strace"];

/// Tells tests that were built elsewhere which fdtrace to test.
const TESTED: &str = "FDTRACE_BIN=/bin/fdtrace";

/// Lets tests say why they skip themselves where their other complaints go.
const SKIPPED: &str = "FDTRACE_SKIP_LOG=/proc/self/fd/2";

/// What is booted when nobody says what.
const DEFAULT_KERNEL: &str = series::STABLE;

/// Seconds that the benchmark may take: QEMU counts slowly.
const BENCH_TIMEOUT: u64 = 3600;

#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Kernels come from Debian's archive through this machine's apt, with their signatures checked, and \
are kept in .cache/vm, or in vm below the folder that FDTRACE_CACHE names. Even without KVM a boot takes seconds.

The exit status is the command's. With --all or --every it is 1 if anything failed or --attach auto could not \
run, 3 if a question stayed open, and 0 otherwise.

Examples:
  cargo xtask vm --kernel 5.10
  cargo xtask vm --kernel 7.3 -- fdtrace doctor
  cargo xtask vm --kernel path/to/bzImage --append lsm=bpf
  cargo xtask vm --all
  cargo xtask vm --all --arch arm64
  cargo xtask vm --every
  cargo xtask vm --all --tools --timeout 1800 --test live::trace_live
  cargo xtask vm --kernel 6.12 --test live -- live --test-threads=1 endings::
  cargo xtask vm --tools --timeout 900 --test live -- live labs::")]
#[command(group = clap::ArgGroup::new("table").args(["all", "every"]))]
pub(crate) struct Args {
    /// A kernel series that Debian has, a flavour of it (6.12-generic, 6.12-rt, 6.12-16k), or the path of a
    /// bzImage; with --all, more than one.
    #[arg(long, value_name = "SERIES|PATH")]
    kernel: Vec<Choice>,
    /// The architecture of the VM's processor; another one than this machine's is emulated.
    #[arg(long, value_enum, default_value_t)]
    arch: Arch,
    /// Run `fdtrace verify` with each mechanism, or the command, on 5.10, 6.1, 6.12, 6.18 and 7.3.
    #[arg(long)]
    all: bool,
    /// For a release: `fdtrace verify`, by the best mechanism and by tracepoints, on what else Debian has.
    /// Every other series, and each other flavour of the stable and of the newest one.
    #[arg(long, conflicts_with = "kernel")]
    every: bool,
    /// VMs that are run at a time.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "table")]
    jobs: usize,
    /// Open a prompt in the VM.
    #[arg(long, conflicts_with_all = ["table", "command"])]
    shell: bool,
    /// Put a shell and its usual commands into the VM's /bin, as --shell does.
    #[arg(long)]
    tools: bool,
    /// Put a program, with the libraries that it needs, or a script into the VM's /bin.
    #[arg(long, value_name = "[NAME=]FILE", value_parser = Program::parse)]
    with: Vec<Program>,
    /// Build one of fdtrace's test programs and put it into the VM's /bin; with --all and no command,
    /// run it too, or one of its modules.
    #[arg(long, value_name = "PROGRAM[::MODULE]")]
    test: Vec<Tests>,
    /// Build the benchmark, fdtrace-bench, and put it into the VM's /bin.
    #[arg(long)]
    bench: bool,
    /// Set a variable for the command.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// More kernel parameters.
    #[arg(long, value_name = "PARAMETERS", default_value = "")]
    append: String,
    /// How to run the VM's instructions [default: kvm if it works here, else tcg]
    #[arg(long, value_enum)]
    accel: Option<Accelerator>,
    /// Time that a VM may take for each command, boot included.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Look for newer packages than those in the cache.
    #[arg(long)]
    refresh: bool,
    /// Put the tables into this Markdown page, between their marks.
    #[arg(long, value_name = "FILE", requires = "table")]
    page: Option<PathBuf>,
    /// What to run in the VM [default: fdtrace verify]
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Runs the benchmark on `kernel`, where a nanosecond is an instruction. Exits with what it exits
/// with.
pub(crate) fn bench(kernel: Choice, peers: bool, args: &[OsString]) -> Result<ExitCode> {
    let mut command = vec!["fdtrace-bench", "--fdtrace", "/bin/fdtrace", "--counted"];
    command.extend(peers.then_some("--peers"));
    let carried = |name| Ok(Program::new(name, toolchain::find_or_install(name, name)?));
    let with = match peers {
        true => PEERS.into_iter().map(carried).collect::<Result<_>>()?,
        false => Vec::new(),
    };
    run(&Args {
        kernel: vec![kernel],
        bench: true,
        accel: Some(Accelerator::Counted),
        timeout: BENCH_TIMEOUT,
        // bpftrace runs a shell.
        tools: peers,
        with,
        command: command
            .iter()
            .map(OsString::from)
            .chain(args.iter().cloned())
            .collect(),
        ..Args::default()
    })
}

/// Exits with what the command exits with.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !cfg!(target_arch = "x86_64") {
        bail!("VMs run on an x86-64 machine, on which the binaries for them are built");
    }
    // Before the build, so that a missing QEMU does not cost minutes to find out.
    let qemu = Qemu::find(args.arch, args.accel)?;
    let tools = args.shell || args.tools;
    if tools && args.arch != Arch::X86_64 {
        bail!("there is no busybox here for {}", args.arch.debian());
    }
    let busybox = tools.then(image::busybox).transpose()?;
    let columns = Columns::of(args);
    let mut session = Session::new(qemu, Duration::from_secs(args.timeout));
    session.refresh = args.refresh;
    session.append.clone_from(&args.append);
    session.job.env.extend(args.env.clone());
    let kernels = args.kernels(&session)?;
    session.programs = image::build(args.arch, args.bench, &args.test)?;
    session.programs.extend(args.with.iter().cloned());
    session.programs.extend(busybox);
    if args.all || args.every {
        session.job.commands = columns.commands();
        let commands = u32::try_from(session.job.commands.len()).unwrap_or(u32::MAX);
        session.timeout = session.timeout.saturating_mul(commands);
        return matrix::run(
            &session,
            &kernels,
            &columns,
            args.jobs,
            args.page.as_deref().map(if args.every {
                Page::Others
            } else {
                Page::Matrix
            }),
        );
    }
    let Some(kernel) = kernels.first() else {
        bail!("no kernel");
    };
    if args.shell {
        session.job.commands = vec![image::shell()];
        session.job.env.push("TERM=linux".into());
        session.job.terminal = Some(terminal_size().unwrap_or((24, 80)));
        return stream(&session, kernel);
    }
    session.job.commands = match columns {
        Columns::Command(command) => vec![command],
        Columns::Verify { .. } | Columns::Outermost => {
            vec![["fdtrace", "verify"].map(OsString::from).into()]
        }
    };
    stream(&session, kernel)
}

impl Args {
    fn kernels(&self, session: &Session) -> Result<Vec<Choice>> {
        if self.every {
            return kernel::others(self.arch, &session.cache);
        }
        match (self.kernel.as_slice(), self.all) {
            ([], true) => Ok(Series::all().map(Choice::Series).collect()),
            ([], false) => Ok(DEFAULT_KERNEL.parse().into_iter().collect()),
            ([_, _, ..], false) => bail!("more than one kernel: add --all"),
            (kernels, _) => Ok(kernels.to_vec()),
        }
    }
}

impl Columns {
    fn of(args: &Args) -> Self {
        match args.command.as_slice() {
            [] if args.every && args.test.is_empty() => Self::Outermost,
            [] => Self::Verify {
                tests: args.test.clone(),
            },
            command => Self::Command(command.to_vec()),
        }
    }
}

/// All that is the same for every kernel of one run of this task.
struct Session {
    qemu: Qemu,
    cache: PathBuf,
    refresh: bool,
    append: String,
    timeout: Duration,
    job: Job,
    programs: Vec<Program>,
}

impl Session {
    /// With nothing to run yet.
    fn new(qemu: Qemu, timeout: Duration) -> Self {
        Self {
            qemu,
            cache: workspace::cache().join("vm"),
            refresh: false,
            append: String::new(),
            timeout,
            job: Job {
                env: [TESTED, SKIPPED].map(OsString::from).into(),
                ..Job::default()
            },
            programs: Vec::new(),
        }
    }

    /// What this kernel is called in messages and tables.
    fn label(&self, choice: &Choice) -> String {
        choice.label(self.qemu.arch)
    }

    /// Runs the job on `choice`; an error is a VM that did not come to its end.
    fn run(&self, choice: &Choice, mut hear: impl FnMut(&Frame, &Up)) -> Result<()> {
        let name = self.label(choice);
        let kernel = choice.kernel(self.qemu.arch, &self.cache, self.refresh)?;
        eprintln!("{name}: booting {}", kernel.origin);
        let machine = Machine {
            name: &name,
            qemu: &self.qemu,
            kernel: &kernel,
            programs: &self.programs,
            job: &self.job,
            append: &self.append,
            timeout: self.timeout,
            runs: &self.cache.join("runs"),
            monitored: false,
        };
        machine.run_until(|frame, up, _| {
            if let Frame::Hello(release) = frame {
                eprint!(
                    "{name}: {release} is up after {:.1} s ({})\r\n",
                    up.after.as_secs_f64(),
                    self.qemu.accelerator
                );
            }
            hear(frame, up);
            Then::GoOn
        })
    }

    /// Runs the job on `choice`, and hands on what each command left as it ends. Tells how the VM
    /// came up, and whether it came to its end.
    fn run_each(&self, choice: &Choice, mut each: impl FnMut(Ended)) -> (Option<Up>, Result<()>) {
        let mut up = None;
        let mut ended = Ended::default();
        let ran = self.run(choice, |frame, now_up| match frame {
            Frame::Hello(_) => up = Some(now_up.clone()),
            Frame::Out(bytes) => ended.out.extend(bytes),
            Frame::Err(bytes) => ended.err.extend(bytes),
            Frame::Trouble(what) => eprintln!("{}: init: {what}", self.label(choice)),
            Frame::Exit(code) => {
                ended.code = *code;
                each(std::mem::take(&mut ended));
            }
        });
        (up, ran)
    }
}

/// Runs one command and hands its output on as it comes.
fn stream(session: &Session, kernel: &Choice) -> Result<ExitCode> {
    let mut status = None;
    // Only while there is somebody to send Ctrl-C to.
    let mut raw = None;
    session.run(kernel, |frame, _| {
        // A reader that has gone away does not stop the VM: its exit status is still wanted.
        match frame {
            Frame::Hello(_) if session.job.terminal.is_some() => raw = RawTerminal::set(),
            Frame::Hello(_) => {}
            Frame::Out(bytes) => {
                let mut stdout = io::stdout().lock();
                let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            Frame::Err(bytes) => drop(io::stderr().lock().write_all(bytes)),
            Frame::Trouble(what) => eprint!("init: {what}\r\n"),
            Frame::Exit(code) => {
                status = Some(*code);
                raw.take();
            }
        }
    })?;
    Ok(ExitCode::from(status.unwrap_or(u8::MAX)))
}

/// The user's terminal in raw mode, so that Ctrl-C goes to the VM; as it was when dropped.
struct RawTerminal {
    before: String,
}

impl RawTerminal {
    fn set() -> Option<Self> {
        let before = stty(&["-g"])?;
        stty(&["raw", "-echo"]).map(|_| Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        stty(&[&self.before]);
    }
}

/// What `stty` says about stdin; `None` when that is no terminal.
fn stty(args: &[&str]) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let output = Command::new("stty")
        .args(args)
        .stdin(Stdio::inherit())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}

/// Rows and columns.
fn terminal_size() -> Option<(u16, u16)> {
    let said = stty(&["size"])?;
    let (rows, columns) = said.split_once(' ')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
}
