//! The command line: arguments as typed, and what each command does with them.
//!
//! Data goes to stdout or `--output`, status to stderr. A reader that has gone away is success.

mod args;
#[cfg(feature = "html")]
mod browser;
mod check;
mod doctor;
#[cfg(feature = "explain")]
mod explain;
mod inflight;
mod manual;
mod output;
mod place;
mod ready;
mod replay;
mod reports;
mod schedule;
mod startup;
#[cfg(feature = "explain")]
mod step;
mod suggest;
mod trace;
mod usage;
mod verify;
mod why;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use args::Command;
pub use output::Output;

use crate::{
    kernel::{KernelError, inherited},
    plan::PlanError,
    report::{sanitize, schema},
    tracer::ProbeError,
    verify::SelectionError,
    watch::StartError,
};

/// Every check passed, or nothing contradicted.
pub const EXIT_OK: u8 = 0;
/// A check failed.
pub const EXIT_FAILED: u8 = 1;
/// Bad usage, or fdtrace cannot run here.
pub const EXIT_CANNOT: u8 = 2;
/// The question could not be answered.
pub const EXIT_INCONCLUSIVE: u8 = 3;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    inherited::take_over();
    let args = usage::parse();
    let color = args.common.color;
    color.apply();
    let done = match args.command {
        Command::Verify(verify_args) => verify::run(&verify_args, &args.common),
        Command::Trace(trace_args) => trace::run(&trace_args, &args.common),
        Command::Record(record_args) => trace::record(&record_args, &args.common),
        Command::Check(check_args) => check::run(&check_args, &args.common),
        Command::Replay(replay_args) => replay::run(&replay_args, &args.common),
        #[cfg(feature = "html")]
        Command::Report(page_args) => replay::page(&page_args, &args.common),
        #[cfg(feature = "explain")]
        Command::Explain(explain_args) => explain::run(&explain_args, &args.common),
        Command::Doctor(doctor_args) => doctor::run(&doctor_args, &args.common),
        Command::Inflight(inflight_args) => inflight::run(&inflight_args, &args.common),
        Command::Why(why_args) => why::run(&why_args, &args.common),
        Command::Man(man_args) => manual::man(&man_args, &args.common),
        Command::Completions(of) => manual::completions(&of, &args.common),
        Command::Schema => print_schema(&args.common),
        Command::Runner { scenario } => return crate::verify::main(&scenario),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(EXIT_OK),
        Err(error) => {
            complain(&error, args.common.verbose);
            ExitCode::from(EXIT_CANNOT)
        }
    }
}

fn print_schema(common: &args::Common) -> anyhow::Result<u8> {
    let mut out = Output::open(common.output.as_deref())?;
    serde_json::to_writer_pretty(&mut out, &schema::schema())?;
    writeln!(out)?;
    out.finish()?;
    Ok(EXIT_OK)
}

/// One line: what, where, and why; and one more if the user can do something about it.
///
/// With `verbose`, also how the verifier's log ends, where it refused a program.
fn complain(error: &anyhow::Error, verbose: bool) {
    let mut stderr = anstream::stderr().lock();
    // Nobody to tell that stderr is closed.
    let _ = writeln!(stderr, "fdtrace: {}", sanitize(&one_line(error)));
    if let Some(hint) = hint(error) {
        let _ = writeln!(stderr, "hint: {hint}");
    }
    let log = error
        .downcast_ref::<StartError>()
        .and_then(StartError::verifier_log);
    if let (true, Some(log)) = (verbose, log) {
        const LINES: usize = 40;
        let lines: Vec<&str> = log.trim_end().lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            let _ = writeln!(stderr, "verifier: {line}");
        }
    }
}

/// The causes joined.
fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.lines().next().unwrap_or_default().to_owned();
        // Transparent errors say the same as what they wrap.
        if parts.last() != Some(&text) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<StartError>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<KernelError>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<ProbeError>() {
            error.hint()
        } else if let Some(PlanError::NothingToAttach { .. }) = cause.downcast_ref::<PlanError>() {
            Some("`fdtrace doctor` shows what can be watched here")
        } else if cause.is::<SelectionError>() {
            Some("`fdtrace verify --list` shows them all")
        } else if inherited::is_out_of_descriptors(cause) {
            Some("allow it more descriptors (`ulimit -n`)")
        } else {
            cause.downcast_ref::<CannotRun>().map(|error| error.hint)
        }
    })
}

/// fdtrace cannot do its work as it was started.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct CannotRun {
    what: String,
    hint: &'static str,
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io_error = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json_error = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io_error.or(json_error) == Some(io::ErrorKind::BrokenPipe)
    })
}
