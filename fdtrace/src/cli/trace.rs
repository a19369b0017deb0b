//! `fdtrace trace` and `fdtrace record`: watching what others do, as it happens.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::{
    CannotRun, EXIT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, Output,
    args::{Common, ExitStatus, Format, Record, Show, Trace, Watch},
    place::{Place, Replaced, write_name},
    ready::ReadyFile,
    startup::{self, Interrupt, Started},
};
use crate::{
    model::{Losses, Machine, Pointers, Tally, UnreadQueues, Verdict},
    plan::{Plan, Price},
    recording::{End, FORMAT, Header, Writer},
    report::{Json, Lines, plan_entries},
    tracer::{Cgroup, Filter},
    track::Tracker,
    watch::{
        Limits, Selection, Session, TraceEnd, TraceReport, TraceStart,
        command::{CommandStdout, Held},
        live::{AskedSymbols, Bounds, Live, Stopped, now_ns},
    },
};

pub(super) fn run(args: &Trace, common: &Common) -> Result<u8> {
    // All before this process handles signals itself: a pipe waits for its reader.
    let mut out = Output::open(common.output.as_deref())?;
    let ready = prepare(&args.watch, out.is_stdout())?;
    let held = hold(&args.watch, CommandStdout::Own)?;
    startup::block_on(async {
        let to = &mut out;
        let code = watch(
            held,
            ready,
            &args.watch,
            common,
            args.show.selection(true),
            args.show.limits(),
            |pointers| report(to, args.format, &args.show, pointers),
            None,
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
        let shown = |pointers| -> Box<dyn TraceReport> {
            if common.quiet {
                Box::new(Lines::summary_alone(io::sink(), pointers))
            } else {
                Box::new(Lines::summary_alone(anstream::stderr(), pointers))
            }
        };
        watch(
            held,
            ready,
            &args.watch,
            common,
            Selection::default(),
            Limits::NONE,
            shown,
            Some(file),
        )
        .await
    })
}

/// The command, if there is one, before this process has a second thread.
fn hold(args: &Watch, stdout: CommandStdout) -> Result<Option<Held>> {
    let held = (!args.command.is_empty()).then(|| Held::start(&args.command, stdout));
    Ok(held.transpose()?)
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
    format: Format,
    show: &Show,
    pointers: Pointers,
) -> Box<dyn TraceReport + 'a> {
    let width = out.width();
    match format {
        Format::Text => Box::new(Lines::new(block(out), pointers, show.hops, width)),
        Format::Json => Box::new(Json::new(block(out.unstyled()), pointers, show.hops)),
    }
}

/// Gathers what is written.
pub(super) fn block<W: io::Write>(out: W) -> io::BufWriter<W> {
    io::BufWriter::with_capacity(1 << 16, out)
}

#[expect(clippy::too_many_arguments, reason = "what trace and record differ in")]
async fn watch<'a>(
    held: Option<Held>,
    ready: Option<ReadyFile>,
    args: &Watch,
    common: &Common,
    selection: Selection,
    limits: Limits,
    report: impl FnOnce(Pointers) -> Box<dyn TraceReport + 'a>,
    recording: Option<RecordingFile>,
) -> Result<u8> {
    let mut interrupt = Interrupt::new()?;
    let filter = filter(args, held.as_ref())?;
    let selection = Selection {
        wanted: filter.is_on(),
        ..selection
    };
    let mut started = startup::start(common, args.buffer, &filter, Price::Low)?;
    let (found, unread_at_start) = started.find_queued(common);
    let Started {
        tracer,
        symbols,
        kptr_restrict,
        types,
    } = started;
    drop(types);
    startup::give_memory_back();

    let timing = args.stats.then(|| tracer.time_programs()).transpose()?;
    let header = Header {
        filtered: filter.is_on(),
        unread_at_start,
        ..header(tracer.plan(), kptr_restrict)?
    };
    let cannot_record = "cannot write the recording";
    let begun = match &recording {
        Some(file) => Some(file.begin(&header).context(cannot_record)?),
        None => None,
    };
    if let Some(ready) = ready {
        ready.tell()?;
    }
    // Its records wait in the ring buffer until the report has begun.
    let bounds = Bounds {
        duration: args.duration,
        command: held.map(Held::release).transpose()?,
    };
    if let Some(file) = recording {
        file.put().context(cannot_record)?;
    }
    let asked = AskedSymbols::default();
    let tracker = Tracker::new(asked.symbolizer(symbols))
        .seeing_every_end(tracer.plan().sees_every_end())
        .seeing_failed_sends(tracer.plan().sees_failed_sends())
        .seeing_descriptions(true);
    let session = Session::begin(
        tracker,
        selection,
        report(Pointers::new(common.pointers, kptr_restrict)),
        &start_of(&header),
        limits,
    )?;
    let mut live = Live {
        tracer,
        session,
        recording: begun,
        asked,
        found,
    };

    let stopped = live.run(interrupt.received(), &bounds).await?;
    let command_status = match stopped {
        Stopped::CommandEnded(status) => Some(status),
        _ => None,
    };
    let looked = live.look_again()?;
    let unread_at_end = looked.and_then(|gaps| startup::unread(gaps.map_err(anyhow::Error::from)));
    let losses = live.tracer.losses_at_end()?;
    let programs = timing.as_ref().map(|_| live.tracer.costs()).transpose()?;
    let t_ns = now_ns();
    live.session.lost(&losses, t_ns);
    live.end_recording(&End {
        t_ns,
        command_status,
        losses: losses.clone(),
        unread_at_end: unread_at_end.clone(),
    })?;
    let undecodable = live.session.undecodable();
    let end = TraceEnd {
        t_ns,
        command_status,
        incomplete: None,
        unread: UnreadQueues {
            at_start: header.unread_at_start.clone(),
            at_end: unread_at_end,
        },
        programs,
        exit_code: EXIT_OK,
    };
    let exit_code = finish(live.session, end, &losses)?;
    if undecodable > 0 {
        bail!("{undecodable} records could not be decoded: the eBPF object is not this fdtrace's");
    }
    Ok(match (args.exit_status, command_status) {
        (ExitStatus::Command, Some(status)) if exit_code == EXIT_OK => {
            u8::try_from(status).unwrap_or(EXIT_FAILED)
        }
        _ => exit_code,
    })
}

/// Reports the end, with the exit code that comes of it; returns that.
pub(super) fn finish(session: Session<'_>, end: TraceEnd, losses: &Losses) -> Result<u8> {
    let code = Cell::new(EXIT_OK);
    session.end(|tally| {
        code.set(exit_code(tally, losses, end.incomplete.is_some()));
        TraceEnd {
            exit_code: code.get(),
            ..end
        }
    })?;
    Ok(code.get())
}

/// A contradiction outweighs a gap, which outweighs all that went well.
fn exit_code(tally: &Tally, losses: &Losses, incomplete: bool) -> u8 {
    if tally.verdict(Verdict::Different) > 0 {
        EXIT_FAILED
    } else if incomplete
        || tally.verdict(Verdict::Lost) > 0
        || losses.any()
        || tally.forgotten() > 0
    {
        EXIT_INCONCLUSIVE
    } else {
        EXIT_OK
    }
}

fn header(plan: &Plan, kptr_restrict: u8) -> Result<Header> {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (head_bytes, file_bytes) = Header::record_sizes();
    Ok(Header {
        format: FORMAT,
        fdtrace: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: plan.release.clone(),
        wall_ns: u64::try_from(wall.as_nanos())?,
        t_ns: now_ns(),
        utc_offset_s: utc_offset_s(wall.as_secs()),
        kptr_restrict,
        plan: plan_entries(plan),
        machine: machine(),
        filtered: false,
        described: true,
        unread_at_start: None,
        head_bytes,
        file_bytes,
    })
}

/// What a recording's header tells a report.
pub(super) fn start_of(header: &Header) -> TraceStart<'_> {
    TraceStart {
        version: &header.fdtrace,
        kernel: &header.kernel,
        wall_ns: header.wall_ns,
        t_ns: header.t_ns,
        machine: &header.machine,
        utc_offset_s: header.utc_offset_s,
        plan: &header.plan,
    }
}

/// This machine.
pub(super) fn machine() -> Machine {
    let read = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim_end().to_owned())
    };
    Machine {
        host: read("/proc/sys/kernel/hostname"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
    }
}

/// What local time is ahead of UTC at this moment, seconds.
fn utc_offset_s(unix_s: u64) -> i32 {
    // SAFETY: both structures are this function's own, and all-zero is a valid start.
    let offset = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        let time = unix_s.cast_signed();
        if libc::localtime_r(&raw const time, &raw mut local).is_null() {
            0
        } else {
            local.tm_gmtoff
        }
    };
    i32::try_from(offset).unwrap_or(0)
}

/// Whose transfers to watch.
fn filter(args: &Watch, held: Option<&Held>) -> Result<Filter> {
    for pid in &args.pid {
        check_alive(*pid)?;
    }
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

fn find_cgroup(path: &Path) -> Result<Cgroup> {
    // As it is, or as `/proc/PID/cgroup` has it: below one of these.
    const MOUNTED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let below = path.strip_prefix("/").unwrap_or(path);
    let candidates = MOUNTED.map(|mounted| Path::new(mounted).join(below));
    let found = [path.to_owned()]
        .into_iter()
        .chain(candidates)
        .find(|path| {
            statfs(path).is_ok_and(|system| system.filesystem_type() == CGROUP2_SUPER_MAGIC)
        });
    let Some(path) = found else {
        return Err(CannotRun {
            what: format!("{} is no cgroup of version 2", path.display()),
            hint: "they are folders below /sys/fs/cgroup",
        }
        .into());
    };
    let metadata = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Cgroup {
        id: metadata?.ino(),
        path,
    })
}

fn check_alive(pid: u32) -> Result<()> {
    if Path::new(&format!("/proc/{pid}")).exists() {
        return Ok(());
    }
    Err(CannotRun {
        what: format!("there is no process {pid}"),
        hint: "`ps -e` shows those that there are",
    }
    .into())
}
