//! `fdtrace check`: runs a command, and says whether its hand-overs were as expected.

use std::{
    env, fs,
    io::{self, Write as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;

use super::{
    CannotRun, EXIT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK,
    args::{Check, CheckFormat, CheckReport, Common},
    output::Output,
    startup::{self, Interrupt},
    trace,
};
#[cfg(feature = "html")]
use crate::report::Html;
use crate::{
    check::{self, Answer, Checked, Expectations, Seen},
    model::{Coverage, Fate, Hop, Judged, Later, Losses, Tally},
    report::{self, CheckRun, Json, WriteCheck},
    tracer::Filter,
    watch::{
        Bounds, Ended, Limits, Looked, Options, Selection, Session, TraceEnd, TraceReport,
        TraceStart,
        command::{CommandError, CommandStdout, Held},
    },
};

/// What `env` and shells exit with for a command that is not there, or cannot be executed.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_EXECUTABLE: u8 = 126;

pub(super) fn run(args: &Check, common: &Common) -> Result<u8> {
    let expectations = expectations(args)?;
    // All before the command runs: nothing is found out too late.
    let mut outputs = Outputs::open(args, common)?;
    let held = Held::start(&args.command, CommandStdout::Own, None)?;
    startup::block_on(async {
        let code = watch(&expectations, held, &mut outputs, args, common).await?;
        outputs.finish()?;
        Ok(code)
    })
}

/// Everything that is expected: what the file has, and what the lines say.
fn expectations(args: &Check) -> Result<Expectations> {
    let mut expectations = match &args.file {
        None => Expectations::default(),
        Some(file) => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let parsed = check::parse_file(&text);
            parsed.map_err(|error| unreadable(&file.display().to_string(), &error))?
        }
    };
    for line in &args.expect {
        let parsed = check::parse_line(line);
        expectations
            .expect
            .push(parsed.map_err(|error| unreadable(&format!("--expect '{line}'"), &error))?);
    }
    Ok(expectations)
}

fn unreadable(place: &str, error: &check::SyntaxError) -> CannotRun {
    CannotRun {
        what: format!("{place}: {error}"),
        hint: "the command was not run; docs/check.md has what can be expected",
    }
}

async fn watch(
    expectations: &Expectations,
    held: Held,
    outputs: &mut Outputs,
    args: &Check,
    common: &Common,
) -> Result<u8> {
    let mut interrupt = Interrupt::new()?;
    let options = Options {
        filter: Filter {
            pids: vec![held.pid()],
            describe: true,
            ..Filter::default()
        },
        queues: true,
        still_open: true,
        ..startup::options(common, args.buffer)
    };
    let mut live = startup::start(&options, common)?;
    if let Some(missing) = missing(expectations, live.pipeline().coverage()) {
        eprintln!("fdtrace: no answer is possible here: {missing}; the command was not run");
        return Ok(EXIT_INCONCLUSIVE);
    }
    let begun = Instant::now();
    let bounds = Bounds {
        duration: None,
        every: None,
        command: match held.release() {
            Ok(running) => Some(running),
            Err(error) => return cannot_execute(error),
        },
    };
    let mut transfers = Vec::new();
    let mut later = Vec::new();
    let mut traced = Vec::new();
    let mut page = Vec::new();
    let pointers = || common.pointers(live.header().kptr_restrict);
    let collector = Collector {
        transfers: &mut transfers,
        later: &mut later,
        json: outputs
            .write_a(CheckFormat::Json)
            .then(|| Json::new(&mut traced, pointers(), false)),
        #[cfg(feature = "html")]
        page: outputs
            .write_a(CheckFormat::Html)
            .then(|| Html::new(&mut page, pointers())),
    };
    let mut session = Session::begin(
        Selection::default(),
        Limits::NONE,
        Box::new(collector),
        live.header(),
    )?;
    let stopped = live
        .run(&mut session, interrupt.received(), &bounds)
        .await?;
    let took = begun.elapsed();
    let status = stopped.command_status();
    let mut ended = live.end(true, status)?;
    session.show(&std::mem::take(&mut ended.transfers))?;
    live.look_last(&mut session)?;
    let unseen = unseen(&ended, status.is_none());
    session.end(ended, trace::exit_code)?;
    let seen = Seen {
        transfers: &transfers,
        later: &later,
        unseen: unseen.as_deref(),
    };
    let checked = check::judge(expectations, seen);
    if let Some(file) = &args.bless {
        bless(file, seen, status)?;
    }
    let delivered = transfers.iter().filter(|it| it.fate() == Fate::Delivered);
    let name = name(args);
    outputs.write(&CheckRun {
        name: &name,
        checked: &checked,
        delivered: delivered.count() as u64,
        command_status: status,
        took,
        trace: &traced,
        page: &page,
    })?;
    Ok(exit_code(status, &checked))
}

/// What the command failed with, or else what came of the expectations.
fn exit_code(status: Option<i32>, checked: &[Checked]) -> u8 {
    let any = |answer| checked.iter().any(|checked| checked.answer == answer);
    match status {
        Some(status) if status != 0 => u8::try_from(status).unwrap_or(EXIT_FAILED),
        _ if any(Answer::Fails) => EXIT_FAILED,
        Some(_) if !any(Answer::Open) => EXIT_OK,
        _ => EXIT_INCONCLUSIVE,
    }
}

/// The test's name: what was asked for, what a test runner calls it, or the command's own.
fn name(args: &Check) -> String {
    let by_runner = || env::var("NEXTEST_TEST_NAME").ok();
    let of_command = || {
        let command = args.command.first().map(Path::new);
        let name = command.and_then(Path::file_name);
        name.map_or("check".to_owned(), |name| {
            name.to_string_lossy().into_owned()
        })
    };
    args.name
        .clone()
        .or_else(by_runner)
        .unwrap_or_else(of_command)
}

/// The hops without which there is no answer, and that are not watched here.
fn missing(expectations: &Expectations, coverage: &Coverage) -> Option<String> {
    let by_expectation = expectations
        .expect
        .iter()
        .flat_map(check::Expectation::needs);
    let mut needs: Vec<Hop> = expectations.need.to_vec();
    needs.extend(by_expectation.chain([Hop::Install]));
    needs.sort();
    needs.dedup();
    let mut missing: Vec<&str> = needs
        .into_iter()
        .filter(|hop| !coverage.watches(*hop))
        .map(Hop::name)
        .collect();
    let returns = expectations
        .expect
        .iter()
        .any(check::Expectation::needs_returns);
    if returns && !coverage.failed_sends {
        missing.push("what a send returns");
    }
    (!missing.is_empty()).then(|| format!("not watched: {}", missing.join(", ")))
}

/// What may have gone unseen, in words.
fn unseen(ended: &Ended, interrupted: bool) -> Option<String> {
    let losses = &ended.losses;
    let hides = Losses {
        // These hide nothing that could be lost: sends that were seen late, sends that failed, and names.
        raced: 0,
        unread_sends: 0,
        descriptions: 0,
        ..losses.clone()
    };
    let mut unseen = report::losses(&hides);
    if ended.forgotten > 0 {
        unseen.push(format!("{} forgotten for want of memory", ended.forgotten));
    }
    unseen.extend(ended.incomplete.clone());
    if interrupted {
        unseen.push("interrupted before the command had ended".to_owned());
    }
    (!unseen.is_empty()).then(|| format!("not everything was seen: {}", unseen.join(", ")))
}

/// Writes what this run did as expectations, if it was a good one.
fn bless(file: &Path, seen: Seen<'_>, status: Option<i32>) -> Result<()> {
    let blessed = match status {
        Some(0) => check::bless(seen),
        _ => None,
    };
    let Some(text) = blessed else {
        bail!("this was no good run: {} was not written", file.display());
    };
    let mut out = Output::open(Some(file))?;
    out.write_all(text.as_bytes())?;
    out.finish()
}

fn cannot_execute(error: CommandError) -> Result<u8> {
    let code = match error {
        CommandError::NotFound { .. } => EXIT_NOT_FOUND,
        CommandError::NotExecutable {
            errno: Errno::ENOENT,
            ..
        } => EXIT_NOT_FOUND,
        CommandError::NotExecutable { .. } => EXIT_NOT_EXECUTABLE,
        error => return Err(error.into()),
    };
    eprintln!("fdtrace: {error}");
    Ok(code)
}

/// Keeps every transfer, and writes it in JSON and on a page where these are asked for.
struct Collector<'a> {
    transfers: &'a mut Vec<Judged>,
    later: &'a mut Vec<Later>,
    json: Option<Json<&'a mut Vec<u8>>>,
    #[cfg(feature = "html")]
    page: Option<Html<&'a mut Vec<u8>>>,
}

impl Collector<'_> {
    /// Has those that are asked for do the same.
    fn each(
        &mut self,
        mut tell: impl FnMut(&mut dyn TraceReport) -> io::Result<()>,
    ) -> io::Result<()> {
        #[cfg(feature = "html")]
        if let Some(page) = &mut self.page {
            tell(page)?;
        }
        self.json.as_mut().map_or(Ok(()), |json| tell(json))
    }
}

impl TraceReport for Collector<'_> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        self.each(|report| report.start(start))
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        self.transfers.push(judged.clone());
        self.each(|report| report.transfer(judged))
    }

    fn looked(&mut self, looked: &Looked<'_>) -> io::Result<()> {
        self.later.extend_from_slice(looked.later);
        self.each(|report| report.looked(looked))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        self.each(|report| report.summary(tally, losses, end))
    }
}

/// Where the reports go.
struct Outputs {
    /// The main one; `None` is stderr, so that stdout is the command's alone.
    main: (CheckFormat, Option<Output>),
    others: Vec<(CheckFormat, Output)>,
    quiet: bool,
}

impl Outputs {
    fn open(args: &Check, common: &Common) -> Result<Self> {
        let open = |report: &CheckReport| {
            let output = Output::open(report.file.as_deref())?;
            Ok((report.format, output))
        };
        let main = common
            .output
            .as_deref()
            .map(|file| Output::open(Some(file)));
        Ok(Self {
            main: (args.format, main.transpose()?),
            others: args.report.iter().map(open).collect::<Result<_>>()?,
            quiet: common.quiet,
        })
    }

    /// Whether one of them has this format.
    fn write_a(&self, format: CheckFormat) -> bool {
        let mut others = self.others.iter();
        self.main.0 == format || others.any(|(other, _)| *other == format)
    }

    fn write(&mut self, run: &CheckRun<'_>) -> Result<()> {
        let (format, output) = &mut self.main;
        match output {
            Some(output) => writer(*format)(output, run)?,
            None => {
                let holds = run.checked.iter().all(|it| it.answer == Answer::Holds);
                if !(self.quiet && holds && *format == CheckFormat::Text) {
                    writer(*format)(&mut anstream::stderr().lock(), run)?;
                }
            }
        }
        for (format, output) in &mut self.others {
            writer(*format)(output, run)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let main = self.main.1.into_iter();
        let mut first = Ok(());
        for output in main.chain(self.others.into_iter().map(|(_, output)| output)) {
            first = first.and(output.finish());
        }
        first
    }
}

fn writer(format: CheckFormat) -> WriteCheck {
    match format {
        CheckFormat::Text => report::write_text,
        CheckFormat::Json => report::write_json_lines,
        #[cfg(feature = "junit")]
        CheckFormat::Junit => report::write_junit,
        CheckFormat::Tap => report::write_tap,
        CheckFormat::Github => report::write_github,
        #[cfg(feature = "html")]
        CheckFormat::Html => report::write_page,
    }
}
