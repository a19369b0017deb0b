//! `cargo xtask test`: every check and test that this machine can run, in one command.
//!
//! A failing check does not stop the ones after it. What cannot run is skipped with its reason,
//! never silently. The tests come last, so that the output ends with their own results, after what
//! each check took.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    ebpf, features, process,
    summary::{self, Totals},
    toolchain::{self, Toolchain},
    vm, workflows, workspace,
};

/// Names the file to which a test that skips itself appends `skipped: NAME: WHY`.
const SKIP_LOG: &str = "FDTRACE_SKIP_LOG";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install nothing, neither rustup components nor the eBPF toolchain.
    #[arg(long)]
    no_install: bool,
    /// Arguments for `cargo test`; a second `--` begins those of the tests.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// How a check ended.
pub(crate) enum Outcome {
    Passed(String),
    Skipped(String),
}

use Outcome::{Passed, Skipped};

/// Runs checks and remembers what has to be said at the end.
#[derive(Default)]
struct Checks {
    failed: Vec<String>,
    skipped: Vec<String>,
    took: Vec<(&'static str, Duration)>,
}

impl Checks {
    fn run(&mut self, name: &'static str, check: impl FnOnce() -> Result<Outcome>) {
        println!("\n==> {name}");
        let begin = Instant::now();
        let outcome = check();
        self.took.push((name, begin.elapsed()));
        match outcome {
            Ok(Passed(how)) => println!("ok: {how}"),
            Ok(Skipped(why)) => {
                println!("skipped: {why}");
                self.skipped.push(format!("{name}: {why}"));
            }
            Err(error) => {
                println!("failed: {error:#}");
                self.failed.push(format!("{name}: {error:#}"));
            }
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut checks = Checks::default();
    checks.run("committed eBPF object", || ebpf::check().map(Passed));
    checks.run("formatting", || {
        component(
            "fmt",
            "rustfmt",
            args.no_install,
            process::cargo().args(["fmt", "--all", "--check"]),
        )
    });
    checks.run("lints", || {
        let lints = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        component(
            "clippy",
            "clippy",
            args.no_install,
            process::cargo().args(lints),
        )
    });
    checks.run("features", || match has("clippy") {
        true => features::check().map(Passed),
        false => Ok(Skipped("no clippy".to_owned())),
    });
    checks.run("licences, bans and sources of dependencies", dependencies);
    checks.run("security advisories of dependencies", advisories);
    checks.run("fresh eBPF build", || fresh_build(args.no_install));

    checks.run("action and workflows", || workflows::check(args.no_install));
    checks.run("programs that tests use", || programs(args.no_install));
    checks.run("real programs on another kernel", vm::test);

    println!("\n==> tests");
    let begin = Instant::now();
    let totals = tests(&args.args, &mut checks)?;
    checks.took.push(("tests", begin.elapsed()));

    println!();
    for (name, took) in &checks.took {
        println!("{:>4} s  {name}", took.as_secs());
    }
    for skipped in &checks.skipped {
        println!("skipped check: {skipped}");
    }
    for failed in &checks.failed {
        println!("failed check: {failed}");
    }
    println!("{totals}");
    Ok(if checks.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What tests look at fdtrace's output with, and what they trace; those that miss one skip
/// themselves and say so.
const PROGRAMS: [(&str, &str); 20] = [
    ("chromium", "chromium"),
    ("dot", "graphviz"),
    ("cc", "gcc"),
    ("strace", "strace"),
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("tmux", "tmux"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("dbus-daemon", "dbus-daemon"),
    ("go", "golang-go"),
    ("pytest", "python3-pytest"),
    ("bats", "bats"),
    ("ctest", "cmake"),
    ("meson", "meson"),
    ("ninja", "ninja-build"),
    ("busybox", "busybox-static"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

fn programs(no_install: bool) -> Result<Outcome> {
    let mut found = Vec::new();
    for (program, package) in PROGRAMS {
        let path = if no_install {
            process::find(program).with_context(|| format!("no {program}"))
        } else {
            toolchain::find_or_install(program, package)
        };
        match path {
            Ok(path) => found.push(path.display().to_string()),
            Err(error) => return Ok(Skipped(format!("{error:#}"))),
        }
    }
    Ok(Passed(found.join(", ")))
}

/// Runs `command`, a Cargo subcommand that a rustup component brings.
fn component(
    subcommand: &str,
    component: &str,
    no_install: bool,
    command: &mut Command,
) -> Result<Outcome> {
    let present = || has(subcommand);
    if !present() && !no_install && process::find("rustup").is_some() {
        // Its failure shows in what follows.
        process::status(Command::new("rustup").args(["component", "add", component]))?;
    }
    if !present() {
        return Ok(Skipped(format!(
            "no {component}: run `rustup component add {component}`"
        )));
    }
    process::run(command)?;
    Ok(Passed(process::shown(command)))
}

/// Whether there is such a Cargo subcommand.
fn has(subcommand: &str) -> bool {
    process::succeeds(process::cargo().args([subcommand, "--version"]))
}

fn no_cargo_deny() -> Outcome {
    // Compiling it takes three minutes on two cores: too long to do unasked.
    Skipped("no cargo-deny: run `cargo install cargo-deny --locked`".to_owned())
}

fn dependencies() -> Result<Outcome> {
    if !has("deny") {
        return Ok(no_cargo_deny());
    }
    let mut deny = process::cargo();
    process::run(deny.args(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(Passed(process::shown(&deny)))
}

fn advisories() -> Result<Outcome> {
    if !has("deny") {
        return Ok(no_cargo_deny());
    }
    // Apart from the check, so that no network is not taken for a finding.
    if !process::succeeds(process::cargo().args(["deny", "fetch", "db"])) {
        return Ok(Skipped(
            "the advisory database cannot be downloaded".to_owned(),
        ));
    }
    let mut deny = process::cargo();
    process::run(deny.args(["deny", "check", "--disable-fetch", "advisories"]))?;
    Ok(Passed(process::shown(&deny)))
}

/// Builds the object anew: the committed one must be what its sources say.
fn fresh_build(no_install: bool) -> Result<Outcome> {
    let mut toolchain = Toolchain::find();
    if toolchain.is_err() && !no_install && toolchain::installable() {
        toolchain::install()?;
        toolchain = Toolchain::find();
    }
    let toolchain = match toolchain {
        Ok(toolchain) => toolchain,
        // There nobody reads a skip.
        Err(error) if env::var_os("CI").is_some() => return Err(error),
        Err(error) => return Ok(Skipped(format!("{error:#}"))),
    };
    let fresh = ebpf::build(&toolchain, false)?;
    if ebpf::is_reproduced(&fresh)? {
        return Ok(Passed(
            "fresh build matches the committed object".to_owned(),
        ));
    }
    match ebpf::committed()?.toolchain.other(toolchain.versions()) {
        // A release is not made then: `cargo xtask ebpf --reproduce` fails.
        Some(other) => Ok(Skipped(format!(
            "the object can be built, and not compared with the committed one: {other}"
        ))),
        None => bail!("the same toolchain built another object: run `cargo xtask ebpf`"),
    }
}

/// Runs the tests, as root where that is possible, and adds up their results. With `args`, which are
/// those of `cargo test`, that runs them all.
fn tests(args: &[OsString], checks: &mut Checks) -> Result<Totals> {
    let log = workspace::target().join("skipped-tests.log");
    fs::create_dir_all(workspace::target()).context("cannot make the target directory")?;
    // It must exist already, for tests under sudo would create it as root's.
    fs::write(&log, "").context("cannot empty the log of skipped tests")?;

    let mut runs = if args.is_empty() && has("nextest") {
        vec![
            (Runner::Nextest, nextest()),
            (Runner::Cargo, machines_tests()),
        ]
    } else {
        vec![(Runner::Cargo, cargo_test(args))]
    };
    if !process::is_root() {
        if process::sudo_works() {
            // Only the tests become root, not the compiler.
            let build: Vec<_> = args
                .iter()
                .take_while(|arg| *arg != "--")
                .cloned()
                .collect();
            if let Err(error) = process::run(cargo_test(&build).arg("--no-run")) {
                checks.failed.push(format!("tests: {error:#}"));
                return Ok(Totals::default());
            }
            let variable = runner_variable()?;
            for (_, run) in &mut runs {
                run.env(&variable, "sudo -E");
            }
        } else {
            println!("not root and no sudo: tests that need root skip themselves");
        }
    }
    let mut totals = Totals::default();
    for (run_by, run) in &mut runs {
        if let Err(error) = read(*run_by, run.env(SKIP_LOG, &log), &mut totals) {
            checks.failed.push(format!("tests: {error:#}"));
        }
    }

    let log = fs::read(&log).context("cannot read the log of skipped tests")?;
    let log = String::from_utf8_lossy(&log);
    println!();
    summary::skips(&log).for_each(|skip| println!("{skip}"));
    totals.skip(summary::skips(&log).count());
    Ok(totals)
}

/// Who runs tests, and reports on them.
#[derive(Clone, Copy)]
enum Runner {
    /// `cargo test`, on stdout.
    Cargo,
    /// `cargo nextest`, on stderr.
    Nextest,
}

/// Runs tests, passes on what they print, and adds up what it says of their results.
fn read(run_by: Runner, run: &mut Command, totals: &mut Totals) -> Result<()> {
    eprintln!("$ {}", process::shown(run));
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    match run_by {
        // It would listen for keys at a terminal, and stop if it may not.
        Runner::Nextest => run.stdin(Stdio::null()).stderr(writer),
        Runner::Cargo => run.stdout(writer),
    };
    let mut child = run.spawn().context("cannot run cargo")?;
    // The pipe's other end is the child's alone, or there would be no end to what is read.
    run.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.read(&line);
    }
    let status = child.wait().context("cannot wait for the tests")?;
    if !status.success() {
        bail!("`{}` ended with {status}", process::shown(run));
    }
    Ok(())
}

/// Test programs whose tests wait for each other, and ask the machine once what it can do: nextest,
/// which starts a process for each test, gains nothing there and asks every time.
const MACHINES: [&str; 2] = ["live", "adversaries"];

/// All tests but those of [`MACHINES`].
fn nextest() -> Command {
    let mut cargo = process::cargo();
    let machines = MACHINES.map(|name| format!("binary(={name})")).join(" | ");
    cargo.args(["nextest", "run", "--workspace", "--tests", "--no-fail-fast"]);
    cargo.args(["-E", &format!("not ({machines})")]);
    cargo
}

/// The tests of [`MACHINES`].
fn machines_tests() -> Command {
    let mut cargo = process::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    for name in MACHINES {
        cargo.args(["--test", name]);
    }
    cargo
}

fn cargo_test(args: &[OsString]) -> Command {
    let mut cargo = process::cargo();
    // --tests is all but examples and doc tests: the last summary must not be an empty one.
    cargo.args(["test", "--no-fail-fast", "--tests"]);
    let chosen = args.iter().take_while(|arg| *arg != "--").any(|arg| {
        let arg = arg.to_string_lossy();
        arg.starts_with("-p") || arg.starts_with("--package")
    });
    if !chosen {
        cargo.arg("--workspace");
    }
    cargo.args(args);
    cargo
}

/// The variable that makes Cargo start this host's programs through another.
fn runner_variable() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let verbose =
        process::output(Command::new(rustc).arg("-vV")).context("cannot ask rustc for the host")?;
    let host = verbose
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc names no host")?;
    Ok(format!(
        "CARGO_TARGET_{}_RUNNER",
        host.to_uppercase().replace('-', "_")
    ))
}
