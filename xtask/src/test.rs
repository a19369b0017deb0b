//! `cargo xtask test`: every check and test that this machine can run, in one command.
//!
//! A failing check does not stop the ones after it. What cannot run is skipped with its reason,
//! never silently. `cargo test` comes last, so that the output ends with the tests' own results.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    ebpf, process,
    summary::{self, Totals},
    toolchain::{self, Toolchain},
    vm,
    workspace::{self, OBJECT},
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
}

impl Checks {
    fn run(&mut self, name: &str, check: impl FnOnce() -> Result<Outcome>) {
        println!("\n==> {name}");
        match check() {
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
    checks.run("licences, bans and sources of dependencies", dependencies);
    checks.run("security advisories of dependencies", advisories);
    checks.run("fresh eBPF build", || fresh_build(args.no_install));

    checks.run("programs that tests use", || programs(args.no_install));
    checks.run("real programs on another kernel", vm::test);

    println!("\n==> tests");
    let totals = tests(&args.args, &mut checks)?;

    println!();
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
const PROGRAMS: [(&str, &str); 14] = [
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
    let present = || process::succeeds(process::cargo().args([subcommand, "--version"]));
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

fn has_cargo_deny() -> bool {
    process::succeeds(process::cargo().args(["deny", "--version"]))
}

fn no_cargo_deny() -> Outcome {
    // Compiling it takes three minutes on two cores: too long to do unasked.
    Skipped("no cargo-deny: run `cargo install cargo-deny --locked`".to_owned())
}

fn dependencies() -> Result<Outcome> {
    if !has_cargo_deny() {
        return Ok(no_cargo_deny());
    }
    let mut deny = process::cargo();
    process::run(deny.args(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(Passed(process::shown(&deny)))
}

fn advisories() -> Result<Outcome> {
    if !has_cargo_deny() {
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
    let committed = fs::read(workspace::root().join(OBJECT))
        .with_context(|| format!("cannot read {OBJECT}"))?;
    if fresh == committed {
        return Ok(Passed(
            "fresh build matches the committed object".to_owned(),
        ));
    }
    let recorded = ebpf::committed()?.toolchain;
    if recorded == *toolchain.versions() {
        bail!("the same toolchain built another object: run `cargo xtask ebpf`");
    }
    Ok(Passed(format!(
        "fresh build works; it differs from the committed object, which another toolchain built ({recorded}, here {})",
        toolchain.versions()
    )))
}

/// Runs `cargo test` with `args`, as root where that is possible, and adds up its results.
fn tests(args: &[OsString], checks: &mut Checks) -> Result<Totals> {
    let log = workspace::target().join("skipped-tests.log");
    fs::create_dir_all(workspace::target()).context("cannot make the target directory")?;
    // It must exist already, for tests under sudo would create it as root's.
    fs::write(&log, "").context("cannot empty the log of skipped tests")?;

    let mut cargo = cargo_test(args, &log);
    if !process::is_root() {
        if process::sudo_works() {
            // Only the tests become root, not the compiler.
            let build: Vec<_> = args
                .iter()
                .take_while(|arg| *arg != "--")
                .cloned()
                .collect();
            if let Err(error) = process::run(cargo_test(&build, &log).arg("--no-run")) {
                checks.failed.push(format!("tests: {error:#}"));
                return Ok(Totals::default());
            }
            cargo.env(runner_variable()?, "sudo -E");
        } else {
            println!("not root and no sudo: tests that need root skip themselves");
        }
    }

    eprintln!("$ {}", process::shown(&cargo));
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let mut totals = Totals::default();
    for line in
        BufReader::new(child.stdout.take().context("cargo test has no stdout")?).split(b'\n')
    {
        let line = line.context("cannot read what cargo test prints")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.read(&line);
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() {
        checks
            .failed
            .push(format!("tests: cargo test ended with {status}"));
    }

    let log = fs::read(&log).context("cannot read the log of skipped tests")?;
    let log = String::from_utf8_lossy(&log);
    println!();
    summary::skips(&log).for_each(|skip| println!("{skip}"));
    totals.skip(summary::skips(&log).count());
    Ok(totals)
}

fn cargo_test(args: &[OsString], log: &Path) -> Command {
    let mut cargo = process::cargo();
    // --tests is all but examples and doc tests: the last summary must not be an empty one.
    cargo
        .args(["test", "--no-fail-fast", "--tests"])
        .env(SKIP_LOG, log);
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
