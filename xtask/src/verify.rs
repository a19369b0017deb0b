//! `cargo xtask verify`: what a user would do after a release build, in one command.
//!
//! The build runs as the caller; only fdtrace itself becomes root.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;

use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments for `fdtrace verify`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Exits with what `fdtrace verify` exits with.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before the build, so that a missing sudo does not cost minutes to find out.
    let mut fdtrace = process::as_root(workspace::target().join("release/fdtrace"))?;
    process::run(process::cargo().args(["build", "--release", "-p", "fdtrace"]))?;
    let status = process::status(fdtrace.arg("verify").args(&args.args))?;
    Ok(ExitCode::from(process::exit_code(status)))
}
