//! `cargo xtask bench`: what watching costs on this machine, beside what else one could run.
//!
//! The measuring is done by the crate `fdtrace-bench`, as root and without Cargo, so that it can be
//! carried into a VM too.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;

use crate::{process, workspace};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench -- --workload pass-stream --state trace --state strace
  cargo xtask bench -- --scale --json bench.json
  cargo xtask bench -- --smoke")]
pub(crate) struct Args {
    /// Arguments for the benchmark; `-- --help` lists them.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Exits with what the benchmark exits with.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let release = workspace::target().join("release");
    // Before the build, so that a missing sudo does not cost minutes to find out.
    let mut bench = process::as_root(release.join("fdtrace-bench"))?;
    let packages = ["-p", "fdtrace", "-p", "fdtrace-bench"];
    process::run(process::cargo().args(["build", "--release"]).args(packages))?;
    bench.arg("--fdtrace").arg(release.join("fdtrace"));
    let status = process::status(bench.args(&args.args))?;
    Ok(ExitCode::from(process::exit_code(status)))
}
