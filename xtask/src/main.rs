//! Build and test tasks: `cargo xtask --help`.
//!
//! One module per task, each with its own `Args` and `run`. This file only names them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod arch;
mod bench;
mod cross;
mod dist;
mod ebpf;
mod elf;
mod features;
mod fingerprint;
mod fixture;
mod paths;
mod process;
mod summary;
mod test;
mod toolchain;
mod verify;
mod vm;
mod workflows;
mod workspace;

/// Build and test tasks of fdtrace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure what watching costs here, beside what else one could run.
    Bench(bench::Args),
    /// Build everything that a release has, or install and run it.
    Dist(dist::Args),
    /// Build the eBPF object that fdtrace carries, or check that it is up to date.
    Ebpf(ebpf::Args),
    /// Cut a kernel's BTF and symbols down to a fixture for tests.
    Fixture(fixture::Args),
    /// Run every check and test that this machine can run, and say what it cannot.
    Test(test::Args),
    /// Build fdtrace and run `fdtrace verify` as root.
    Verify(verify::Args),
    /// Boot a kernel, or all of them, in QEMU and run fdtrace in it.
    Vm(vm::Args),
    /// Hold `fdtrace inflight` against the memory of a stopped kernel, read by drgn.
    Witness(vm::witness::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::Dist(args) => dist::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Ebpf(args) => ebpf::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Fixture(args) => fixture::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Test(args) => test::run(&args),
        Task::Verify(args) => verify::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Witness(args) => vm::witness::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
