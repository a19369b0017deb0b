//! `cargo xtask bench`: what watching costs on this machine, beside what else one could run.
//!
//! The measuring is done by the crate `fdtrace-bench`, as root and without Cargo, so that it can be
//! carried into a VM too. There, where QEMU runs the instructions, time would mean nothing: it counts
//! them instead, and they are the same in every run.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;

use crate::{
    process,
    vm::{self, Choice},
    workspace,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench -- --workload pass-stream --state trace --state strace
  cargo xtask bench -- --scale --json bench.json
  cargo xtask bench -- --smoke
  cargo xtask bench --vm 6.12 -- --attach kprobe --workload pass-stream
  cargo xtask bench --vm 6.12 --peers -- --workload pass-stream --rounds 1")]
pub(crate) struct Args {
    /// Count instructions instead of time, in a VM with this kernel: a series that Debian has, or
    /// the path of a bzImage.
    #[arg(long, value_name = "SERIES|PATH")]
    vm: Option<Choice>,
    /// Measure bpftrace and strace in that VM too.
    #[arg(long, requires = "vm")]
    peers: bool,
    /// Arguments for the benchmark; `-- --help` lists them.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Exits with what the benchmark exits with.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(kernel) = &args.vm {
        return vm::bench(kernel.clone(), args.peers, &args.args);
    }
    let release = workspace::target().join("release");
    // Before the build, so that a missing sudo does not cost minutes to find out.
    let mut bench = process::as_root(release.join("fdtrace-bench"))?;
    let packages = ["-p", "fdtrace", "-p", "fdtrace-bench"];
    process::run(process::cargo().args(["build", "--release"]).args(packages))?;
    bench.arg("--fdtrace").arg(release.join("fdtrace"));
    let status = process::status(bench.args(&args.args))?;
    Ok(ExitCode::from(process::exit_code(status)))
}
