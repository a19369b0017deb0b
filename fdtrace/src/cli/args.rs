//! The arguments, as typed.

mod check;
mod choices;
mod inflight;
mod show;
mod values;
mod watch;

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub(super) use check::{Check, CheckFormat, CheckReport};
pub(super) use choices::{Attach, GroupBy, Order, PointerStyle, Sort, TotalBy};
pub(super) use inflight::InFlight;
pub(super) use show::{Ends, Show};
pub(super) use watch::{ExitStatus, Watch};

use values::{duration, one_of};

use super::Output;
use crate::model::{Hop, Pointers};

/// Follow open files through Unix sockets: who sent which descriptor, what became of it, and why.
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
    /// Check that this kernel passes descriptors as it should, with senders and receivers of its own.
    Verify(Verify),
    /// Show descriptors as they are passed, on this machine or by a command.
    Trace(Trace),
    /// Trace into a file, for `fdtrace replay` and `fdtrace report`.
    Record(Record),
    /// Run a command, and fail if its hand-overs are not as expected.
    Check(Check),
    /// Show a recording; needs no privileges.
    Replay(Replay),
    /// Write a self-contained HTML report of a recording; needs no privileges.
    #[cfg(feature = "html")]
    Report(Page),
    /// Show, function by function, what this kernel does when a descriptor is passed.
    #[cfg(feature = "explain")]
    Explain(Explain),
    /// Show what can be traced on this kernel, how, and what cannot.
    Doctor(Doctor),
    /// List the open files in socket queues, and who can still receive them.
    Inflight(InFlight),
    /// Explain a word of the output: a fate, a cause, a verdict, a doubt, a mark or a state, and what helps.
    Why(Why),
    /// Print the JSON Schema of the output.
    Schema,
    /// Print a manual page.
    Man(Manual),
    /// Print completions for a shell.
    Completions(Completions),
    /// One scenario's actors; `verify` starts this itself.
    #[command(name = crate::verify::RUNNER_ARGUMENT, hide = true)]
    Runner { scenario: String },
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Common {
    /// Write to FILE instead of stdout. A regular file appears when it is complete, or not at all; a
    /// device, a pipe or /dev/fd/N is written to directly, and `-` is stdout.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(super) output: Option<PathBuf>,
    /// Mechanism to trace with: the best that this kernel allows, or one alone.
    #[arg(long, value_enum, default_value_t = Attach::Auto, global = true)]
    pub(super) attach: Attach,
    /// How to show kernel addresses; `auto` shows them unless kernel.kptr_restrict is 2.
    #[arg(long, value_enum, default_value_t = PointerStyle::Auto, global = true)]
    pointers: PointerStyle,
    /// When to use colour.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub(super) color: Color,
    /// Fit lines into this many columns. The default is the terminal's width, and no limit elsewhere.
    #[arg(long, value_name = "COLUMNS", global = true, value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,
    /// Print only errors to stderr.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Print to stderr how long starting took.
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
}

impl Common {
    /// Shows kernel addresses as is asked for, on a kernel with this `kernel.kptr_restrict`.
    pub(super) fn pointers(&self, kptr_restrict: u8) -> Pointers {
        Pointers::new(self.pointers.into(), kptr_restrict)
    }

    /// Columns that a line may have there; `None` if it may be as long as it is.
    pub(super) fn width(&self, out: &Output) -> Option<usize> {
        self.width.map(usize::from).or_else(|| out.width())
    }
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
    #[cfg(feature = "junit")]
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

/// One of several parts of the catalogue: `2/4`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    part: usize,
    parts: usize,
}

impl Partition {
    /// Whether what has this place is in it.
    pub(super) fn has(self, place: usize) -> bool {
        place % self.parts == self.part - 1
    }
}

impl FromStr for Partition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once('/')
            .and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        match parsed {
            Some((part, parts)) if (1..=parts).contains(&part) => Ok(Self { part, parts }),
            _ => Err("not of the form 2/4"),
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct Verify {
    /// Scenarios to run, by name, group or pattern ('kind-*'); all of them if none is named.
    #[arg(value_name = "SCENARIO")]
    pub(super) scenarios: Vec<String>,
    /// Leave these out, by name, group or pattern.
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    pub(super) exclude: Vec<String>,
    /// Run one part of several, such as `2/4`: every fourth scenario from the second on.
    #[arg(long, value_name = "PART/PARTS")]
    pub(super) partition: Option<Partition>,
    /// Exit with 3 if a scenario was skipped, too.
    #[arg(long)]
    pub(super) strict: bool,
    /// List the scenarios and exit.
    #[arg(long)]
    pub(super) list: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub(super) format: ReportFormat,
    /// Write another report too, such as `junit=verify.xml`; may be given several times. FILE is as
    /// with --output.
    #[arg(long, value_name = "FORMAT=FILE", conflicts_with = "list")]
    pub(super) report: Vec<ExtraReport>,
    /// Run everything this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeat: u32,
    /// Retry a scenario up to this many times if it is inconclusive only because records were lost.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(super) retries: u32,
    /// Run this many scenarios at a time. Reference counts are then judged less strictly, because the
    /// witnesses of one scenario briefly hold the files of others.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) jobs: u32,
    /// Stop at the first failure.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Print every hop of every transfer.
    #[arg(long)]
    pub(super) hops: bool,
    /// Explain each scenario that fails, up to where it went wrong.
    #[cfg(feature = "explain")]
    #[arg(long)]
    pub(super) explain_failure: bool,
    /// Time limit of a scenario, such as `10s` or `500ms`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) time_limit: Duration,
    /// Measure fdtrace's own eBPF programs, and print in the summary what each one cost.
    #[arg(long)]
    pub(super) stats: bool,
    /// Size of the ring buffer in KiB, rounded up to a power of two.
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    pub(super) buffer: u32,
}

#[derive(Clone, Debug, ClapArgs)]
pub(super) struct Doctor {
    /// Fail (2) unless each of these hops can be watched, such as copy,install.
    #[arg(long, value_name = "HOPS", value_delimiter = ',', value_parser = one_of::<Hop>(Hop::ALL.map(Hop::name)))]
    pub(super) require: Vec<Hop>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Trace {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) show: Show,
    #[command(flatten)]
    pub(super) watch: Watch,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Record {
    /// File to write, for its owner alone; `fdtrace replay` reads it. A link is replaced and not
    /// followed. With `-` the recording goes to stdout, and what COMMAND writes there to stderr.
    #[arg(value_name = "FILE")]
    pub(super) recording: PathBuf,
    #[command(flatten)]
    pub(super) watch: Watch,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Replay {
    /// What `fdtrace record` wrote; `-` is stdin.
    #[arg(value_name = "FILE")]
    pub(super) recording: PathBuf,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = ReplayFormat::Text)]
    pub(super) format: ReplayFormat,
    #[command(flatten)]
    pub(super) show: Show,
    #[command(flatten)]
    pub(super) ends: Ends,
}

/// What a recording can be turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReplayFormat {
    /// For people.
    Text,
    /// JSON Lines; `fdtrace schema` describes them.
    Json,
    /// Trace events in JSON, for ui.perfetto.dev and chrome://tracing.
    Perfetto,
    /// Who hands what to whom, for Graphviz.
    Dot,
    /// A sequence diagram, for Markdown.
    Mermaid,
}

#[cfg(feature = "html")]
#[derive(Debug, ClapArgs)]
pub(super) struct Page {
    /// What `fdtrace record` wrote; `-` is stdin.
    #[arg(value_name = "FILE")]
    pub(super) recording: PathBuf,
    /// Show it in a browser: $BROWSER, or what xdg-open opens.
    #[arg(long, conflicts_with = "output")]
    pub(super) open: bool,
}

#[cfg(feature = "explain")]
#[derive(Debug, ClapArgs)]
pub(super) struct Explain {
    /// The scenario to run; `fdtrace verify --list` shows them all.
    #[arg(default_value = "stream-one-fd")]
    pub(super) scenario: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Stop the scenario's processes at each checkpoint until Enter is pressed.
    #[arg(long, conflicts_with_all = ["against", "c", "format"])]
    pub(super) step: bool,
    /// Compare with another scenario, to see where they part.
    #[arg(long, value_name = "OTHER", conflicts_with = "c")]
    pub(super) against: Option<String>,
    /// Print a sender and a receiver in C that do the same.
    #[arg(long, conflicts_with = "format")]
    pub(super) c: bool,
    /// Show its first descriptor step by step in a browser: $BROWSER, or what xdg-open opens.
    #[arg(long, conflicts_with_all = ["against", "c", "format", "step", "output"])]
    pub(super) open: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Manual {
    /// The command whose page to print; without one, fdtrace's own.
    pub(super) command: Option<String>,
    /// Write all pages into this folder, such as share/man/man1.
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub(super) all: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Completions {
    /// The shell.
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Why {
    /// The word, such as `no-control-room`; without one, all of them are listed.
    pub(super) word: Option<String>,
}
