//! `fdtrace trace` and `fdtrace record`: watching what others do, as it happens.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::{
    CannotRun, EXIT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, Output,
    args::{Common, ExitStatus, Format, Record, Show, Trace, Watch},
    place::{Place, Replaced, write_name},
    ready::ReadyFile,
    startup::{self, Interrupt},
};
use crate::{
    model::{Pointers, Tally, Verdict},
    plan::Price,
    recording::{Header, Writer},
    report::{Json, LineStyle, Lines},
    tracer::Filter,
    watch::{
        Bounds, Ended, Limits, Options, Session, Stopped, TraceReport,
        account::Account,
        command::{CommandStdout, Held},
        find_cgroup,
    },
};

pub(super) fn run(args: &Trace, common: &Common) -> Result<u8> {
    // All before this process handles signals itself: a pipe waits for its reader.
    let mut out = Output::open(common.output.as_deref())?;
    let ready = prepare(&args.watch, out.is_stdout())?;
    // Nobody could tell COMMAND's lines from the trace's.
    let command_stdout = match args.format == Format::Json && out.is_stdout() {
        true => CommandStdout::Stderr,
        false => CommandStdout::Own,
    };
    let held = hold(&args.watch, command_stdout)?;
    startup::block_on(async {
        let to = &mut out;
        let code = watch(
            held,
            ready,
            &args.watch,
            common,
            Shown {
                show: Some(&args.show),
                limits: args.show.limits(),
                recording: None,
            },
            |pointers| report(to, args, pointers, common),
        )
        .await?;
        out.finish()?;
        Ok(code)
    })
}

pub(super) fn record(args: &Record, common: &Common) -> Result<u8> {
    if common.output.is_some() {
        return Err(CannotRun {
            what: "record has no output beside its recording".to_owned(),
            hint: "`fdtrace replay` shows a recording, and takes -o",
        }
        .into());
    }
    let file = RecordingFile::find(&args.recording)?;
    let ready = prepare(&args.watch, file.is_stdout())?;
    let command_stdout = match file.is_stdout() {
        true => CommandStdout::Stderr,
        false => CommandStdout::Own,
    };
    let held = hold(&args.watch, command_stdout)?;
    startup::block_on(async {
        let style = LineStyle {
            buffer_kib: Some(args.watch.buffer),
            ..LineStyle::default()
        };
        let report = |pointers| -> Box<dyn TraceReport> {
            if common.quiet {
                Box::new(Lines::summary_alone(io::sink(), pointers, style))
            } else {
                Box::new(Lines::summary_alone(anstream::stderr(), pointers, style))
            }
        };
        watch(
            held,
            ready,
            &args.watch,
            common,
            Shown {
                show: None,
                limits: Limits::NONE,
                recording: Some(file),
            },
            report,
        )
        .await
    })
}

/// The command, if there is one, before this process has a second thread.
fn hold(args: &Watch, stdout: CommandStdout) -> Result<Option<Held>> {
    if args.command.is_empty() {
        return Ok(None);
    }
    let user = args.user.as_deref().map(find_user).transpose()?;
    Ok(Some(Held::start(&args.command, stdout, user.as_ref())?))
}

/// A user by name or number.
fn find_user(user: &str) -> Result<Account> {
    let found = Account::find(user);
    found.context("cannot look the user up")?.ok_or_else(|| {
        CannotRun {
            what: format!("there is no user {user:?}"),
            hint: "`getent passwd` lists them",
        }
        .into()
    })
}

fn prepare(args: &Watch, stdout_is_taken: bool) -> Result<Option<ReadyFile>> {
    let path = args.ready_file.as_deref();
    path.map(|path| ReadyFile::prepare(path, stdout_is_taken))
        .transpose()
}

/// Where a recording goes. It has its name as soon as there is something in it, and is the user's
/// alone: it has addresses, and the names of what other users do.
enum RecordingFile {
    /// It is written to as it stands.
    Through { file: File, is_stdout: bool },
    /// It takes the place of what is there.
    Replaced(Replaced),
}

impl RecordingFile {
    fn find(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", write_name(Some(path)));
        Ok(match Place::find_private(path).with_context(cannot)? {
            Place::Stdout if io::stdout().is_terminal() => {
                return Err(CannotRun {
                    what: "a recording is nothing for a terminal".to_owned(),
                    hint: "send stdout to a file or a pipe",
                }
                .into());
            }
            Place::Stdout => Self::Through {
                file: io::stdout()
                    .as_fd()
                    .try_clone_to_owned()
                    .with_context(cannot)?
                    .into(),
                is_stdout: true,
            },
            Place::Through(file) => Self::Through {
                file,
                is_stdout: false,
            },
            Place::Replaced(new) => Self::Replaced(new),
        })
    }

    fn is_stdout(&self) -> bool {
        matches!(
            self,
            Self::Through {
                is_stdout: true,
                ..
            }
        )
    }

    /// Begins the recording; what was there before stays until [`Self::put`].
    fn begin(&self, header: &Header) -> io::Result<Writer<File>> {
        let file = match self {
            Self::Through { file, .. } => file,
            Self::Replaced(new) => new.file(),
        };
        Writer::new(file.try_clone()?, header)
    }

    fn put(self) -> io::Result<()> {
        match self {
            Self::Through { .. } => Ok(()),
            Self::Replaced(new) => new.put(),
        }
    }
}

/// The report that the user asked for.
fn report<'a>(
    out: &'a mut Output,
    args: &Trace,
    pointers: Pointers,
    common: &Common,
) -> Box<dyn TraceReport + 'a> {
    let style = LineStyle {
        buffer_kib: Some(args.watch.buffer),
        ..args.show.style(common.width(out), out.is_plain())
    };
    match args.format {
        Format::Text => Box::new(Lines::new(block(out), pointers, style)),
        Format::Json => Box::new(Json::new(block(out.unstyled()), pointers, args.show.hops)),
    }
}

/// Gathers what is written.
pub(super) fn block<W: io::Write>(out: W) -> io::BufWriter<W> {
    io::BufWriter::with_capacity(1 << 16, out)
}

/// Where what is watched goes, and what of it.
struct Shown<'a> {
    show: Option<&'a Show>,
    limits: Limits,
    recording: Option<RecordingFile>,
}

async fn watch<'a>(
    held: Option<Held>,
    ready: Option<ReadyFile>,
    args: &Watch,
    common: &Common,
    shown: Shown<'_>,
    report: impl FnOnce(Pointers) -> Box<dyn TraceReport + 'a>,
) -> Result<u8> {
    let options = Options {
        price: match shown.show {
            Some(show) if show.hops => Price::Low,
            _ => Price::Least,
        },
        filter: filter(args, held.as_ref())?,
        queues: true,
        still_open: true,
        timing: args.stats,
        ..startup::options(common, args.buffer)
    };
    let mut live = startup::start(&options, common)?;
    // Until here a signal ends this process at once, and with it all that is attached.
    let mut interrupt = Interrupt::new()?;
    live.pipeline_mut().tell_overdue(shown.limits.overdue_ns);
    let cannot_record = "cannot write the recording";
    if let Some(file) = &shown.recording {
        live.record_to(file.begin(live.header()).context(cannot_record)?);
    }
    if let Some(ready) = ready {
        ready.tell()?;
    }
    // Its records wait in the ring buffer until the report has begun.
    let bounds = Bounds {
        duration: args.duration,
        every: args.every,
        command: held.map(Held::release).transpose()?,
    };
    if let Some(file) = shown.recording {
        file.put().context(cannot_record)?;
    }
    let pointers = common.pointers(live.header().kptr_restrict);
    let report = report(pointers);
    let selection = shown.show.map(|show| show.selection(live.header()));
    let selection = selection.unwrap_or_default();
    let mut session = Session::begin(selection, shown.limits, report, live.header())?;

    let stopped = live
        .run(&mut session, interrupt.received(), &bounds)
        .await?;
    let mut ended = live.end(!session.is_full(), stopped.command_status())?;
    session.show(&std::mem::take(&mut ended.transfers))?;
    live.look_last(&mut session)?;
    let undecodable = ended.undecodable;
    let exit_code = session.end(ended, exit_code)?;
    if undecodable > 0 {
        bail!("{undecodable} records could not be decoded: the eBPF object is not this fdtrace's");
    }
    Ok(match (args.exit_status, stopped) {
        (ExitStatus::Command, Stopped::CommandEnded(status)) => {
            u8::try_from(status).unwrap_or(EXIT_FAILED)
        }
        // Without a command, an interrupt is how a trace ends.
        (ExitStatus::Command, Stopped::Interrupted) if !args.command.is_empty() => {
            interrupt.exit_code()
        }
        _ => exit_code,
    })
}

/// A contradiction outweighs a gap, which outweighs all that went well.
pub(super) fn exit_code(tally: &Tally, ended: &Ended) -> u8 {
    if tally.verdict(Verdict::Different) > 0 {
        EXIT_FAILED
    } else if ended.incomplete.is_some()
        || tally.verdict(Verdict::Lost) > 0
        || ended.losses.any()
        || tally.forgotten() > 0
    {
        EXIT_INCONCLUSIVE
    } else {
        EXIT_OK
    }
}

/// Whose transfers to watch.
fn filter(args: &Watch, held: Option<&Held>) -> Result<Filter> {
    Ok(Filter {
        pids: match held {
            Some(held) => vec![held.pid()],
            None => args.pid.clone(),
        },
        comms: args.comm.clone(),
        cgroup: args.cgroup.as_deref().map(find_cgroup).transpose()?,
        describe: true,
    })
}
