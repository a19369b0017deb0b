//! The arguments, as typed.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::{plan::Attach, report::PointerStyle};

/// Follow open files through Unix sockets, and prove that what comes out is what went in.
#[derive(Debug, Parser)]
#[command(name = "fdtrace", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Drive own senders and receivers through this kernel and prove every pass.
    Verify(Verify),
    /// Show how each hop is watched on this kernel, or why it cannot be.
    Doctor(Doctor),
    /// Print the JSON Schema of the output.
    Schema,
    /// One scenario's actors; `verify` starts this itself.
    #[command(name = crate::verify::STAGE_ARGUMENT, hide = true)]
    Stage { scenario: String },
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Common {
    /// Write there instead of to stdout; the file appears whole, when all is done.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(super) output: Option<PathBuf>,
    /// How to watch: the best this kernel allows, or one mechanism alone.
    #[arg(long, value_enum, default_value_t = Attach::Auto, global = true)]
    pub(super) attach: Attach,
    /// How to show kernel addresses; `auto` shows them unless kernel.kptr_restrict is 2.
    #[arg(long, value_enum, default_value_t = PointerStyle::Auto, global = true)]
    pub(super) pointers: PointerStyle,
    /// When to use colour.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub(super) color: Color,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Say on stderr how long starting took.
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Makes it the choice for everything that this process prints.
    pub(super) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// JSON Lines; `fdtrace schema` describes them.
    Json,
}

/// What verify's results can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people.
    Text,
    /// JSON Lines; `fdtrace schema` describes them.
    Json,
    /// JUnit XML, for CI.
    Junit,
    /// TAP 14, for CI.
    Tap,
}

/// A report beside the one on stdout: `FORMAT=FILE`.
#[derive(Clone, Debug)]
pub(super) struct ExtraReport {
    pub(super) format: ReportFormat,
    pub(super) file: PathBuf,
}

impl FromStr for ExtraReport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((format, file)) if !file.is_empty() => Ok(Self {
                format: ReportFormat::from_str(format, false)?,
                file: file.into(),
            }),
            _ => Err("not of the form FORMAT=FILE".to_owned()),
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct Verify {
    /// Scenarios to play, by name, group or pattern ('kind-*'); all of them if none is named.
    #[arg(value_name = "SCENARIO")]
    pub(super) scenarios: Vec<String>,
    /// List the scenarios and exit.
    #[arg(long)]
    pub(super) list: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(super) format: ReportFormat,
    /// Write another report too, such as `junit=verify.xml`; may be given several times.
    #[arg(long, value_name = "FORMAT=FILE", conflicts_with = "list")]
    pub(super) report: Vec<ExtraReport>,
    /// Play all of it this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeat: u32,
    /// Play this many scenarios at a time.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) jobs: u32,
    /// Begin no other scenario once one has failed.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Print every hop of every transfer.
    #[arg(long)]
    pub(super) hops: bool,
    /// Time that a scenario may take.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(super) time_limit: Duration,
    /// Size of the ring buffer in KiB, rounded up to a power of two.
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    pub(super) buffer: u32,
}

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(super) struct Doctor {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

fn seconds(text: &str) -> Result<Duration, String> {
    /// A century or so: a deadline this far off can still be told from now.
    const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() && limit <= LONGEST => Ok(limit),
        _ => Err("not a time that can pass".to_owned()),
    }
}
