//! `fdtrace inflight`: walk the queues twice, show what both walks agree on, and perhaps again.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

use super::{
    CannotRun, EXIT_FAILED, EXIT_OK, Output,
    args::{Common, Format, InFlight},
    startup::{Interrupt, block_on},
};
use crate::{
    inflight::{Census, PathFilter, Sightings, Wanted, select},
    kernel::KernelView,
    plan::Offsets,
    report::{InFlightJson, InFlightReport, InFlightText, Round, TotalBy},
    tracer::{Queues, SocketTables},
    watch::{StartError, check_privileges},
};

/// Something matches.
const EXIT_MATCH: u8 = EXIT_OK;
/// Nothing does, which `lsof` and `grep` answer likewise.
const EXIT_NONE: u8 = EXIT_FAILED;

pub(super) fn run(args: &InFlight, common: &Common) -> Result<u8> {
    block_on(look(args, common))
}

async fn look(args: &InFlight, common: &Common) -> Result<u8> {
    let begin = Instant::now();
    let mut out = Output::open(common.output.as_deref())?;
    let mut interrupt = Interrupt::new()?;
    // Before anything else, so that a name that leads nowhere is said at once.
    if let Some(path) = &args.path {
        open_place(path)?;
    }
    let view = KernelView::live()?;
    check_privileges(&view)?;
    let pointers = common.pointers(view.kptr_restrict);
    let offsets = Offsets::resolve(&view)?;
    let tables = SocketTables::of(&offsets, &view.symbols);
    let mut queues = Queues::open(&offsets, &view.types, tables).map_err(StartError::from)?;
    drop(view);
    if common.verbose {
        eprintln!(
            "fdtrace: ready to look after {} ms",
            begin.elapsed().as_millis()
        );
    }

    let redraw = args.watch.is_some() && out.is_stdout() && io::stdout().is_terminal();
    let width = common.width(&out);
    let grouping = args.group_by.map(TotalBy::from);
    // Thousands of rows, of a hundred pieces each.
    let buffered = BufWriter::new(&mut out);
    let mut report: Box<dyn InFlightReport> = match args.format {
        Format::Json => Box::new(InFlightJson::new(buffered, pointers)),
        Format::Text => Box::new(
            InFlightText::new(buffered, redraw)
                .fit(width)
                .group(grouping, args.each),
        ),
    };
    let mut sightings = Sightings::default();
    let exit_code = loop {
        let begin = Instant::now();
        let first = queues.pass()?;
        // Looked up again each time: holding it open would keep its mount busy.
        let place = match &args.path {
            Some(path) => Some(locate(&mut queues, path)?),
            None => None,
        };
        let census = Census::of(&first, queues.pass()?);
        if common.verbose {
            eprintln!(
                "fdtrace: read every queue twice in {} ms",
                begin.elapsed().as_millis()
            );
        }
        let wall_ns = nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH)?)?;
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the clock")?;
        sightings.note(&census, nanoseconds(monotonic.into())?, wall_ns);
        let wanted = Wanted {
            pids: args.pid.clone(),
            path: place,
            kinds: args.kind.iter().map(ToString::to_string).collect(),
            socket: args.socket.clone(),
            deleted: args.deleted,
        };
        let selection = select(&census, &wanted, args.sort.into(), &sightings);
        let exit_code = if selection.matched > 0 {
            EXIT_MATCH
        } else {
            EXIT_NONE
        };
        report.round(&Round {
            census: &census,
            selection: &selection,
            sightings: &sightings,
            wall_ns,
            unfiltered: args.is_unfiltered(),
            exit_code,
        })?;
        let Some(interval) = args.watch else {
            break exit_code;
        };
        tokio::select! {
            () = tokio::time::sleep(interval) => (),
            () = interrupt.received() => break exit_code,
        }
    };
    drop(report);
    out.finish()?;
    Ok(exit_code)
}

fn nanoseconds(time: Duration) -> Result<u64> {
    u64::try_from(time.as_nanos()).context("the clock is centuries ahead")
}

/// Opens what a path names without opening the thing itself: no driver, pipe or automounter sees
/// it, and no permission is asked for.
fn open_place(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .with_context(|| format!("cannot look up {}", path.display()))
}

/// What the kernel knows the path by.
fn locate(queues: &mut Queues, path: &Path) -> Result<PathFilter> {
    let file = open_place(path)?;
    let is_dir = file
        .metadata()
        .with_context(|| format!("cannot look up {}", path.display()))?
        .is_dir();
    let (inode, seen) = queues.locate(file.as_fd())?.ok_or_else(|| CannotRun {
        what: format!("the kernel does not list {}", path.display()),
        hint: "run it in the machine's own pid namespace",
    })?;
    Ok(PathFilter {
        inode,
        mount_id: seen.mount_root.then_some(seen.mount_id),
        below: is_dir.then_some(seen.text),
    })
}
