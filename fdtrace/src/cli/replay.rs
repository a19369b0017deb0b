//! `fdtrace replay` and `fdtrace report`: a recorded trace, shown as it would have been live, for
//! other tools, or as a page.

use std::{io::BufReader, path::Path};

use anyhow::{Context as _, Result};

use super::{
    Output,
    args::{Common, Page, Replay as ReplayArgs, ReplayFormat},
    place::{DASH, open_for_reading},
    trace::{block, exit_code},
};
use crate::{
    model::Pointers,
    recording::Header,
    report::{Dot, Html, Json, Lines, Mermaid, Perfetto, sanitize},
    watch::{Limits, Replay, Selection, Session, TraceReport},
};

pub(super) fn run(args: &ReplayArgs, common: &Common) -> Result<u8> {
    let selection = |header: &Header| Selection {
        pids: args.ends.pid.clone(),
        comms: args.ends.comm.clone(),
        ..args.show.selection(header)
    };
    play(
        &args.recording,
        selection,
        args.show.limits(),
        common,
        |out, pointers| {
            let (style, hops) = (args.show.style(common.width(out)), args.show.hops);
            match args.format {
                ReplayFormat::Text => Box::new(Lines::new(block(out), pointers, style)),
                ReplayFormat::Json => Box::new(Json::new(block(out.unstyled()), pointers, hops)),
                ReplayFormat::Perfetto => Box::new(Perfetto::new(block(out))),
                ReplayFormat::Dot => Box::new(Dot::new(block(out))),
                ReplayFormat::Mermaid => Box::new(Mermaid::new(block(out))),
            }
        },
    )
}

/// Makes a page of a recording.
pub(super) fn page(args: &Page, common: &Common) -> Result<u8> {
    play(
        &args.recording,
        |_| Selection::default(),
        Limits::NONE,
        common,
        |out, pointers| Box::new(Html::new(block(out), pointers)),
    )
}

fn play(
    recording: &Path,
    selection: impl FnOnce(&Header) -> Selection,
    limits: Limits,
    common: &Common,
    report: impl for<'a> FnOnce(&'a mut Output, Pointers) -> Box<dyn TraceReport + 'a>,
) -> Result<u8> {
    let path = match recording == Path::new(DASH) {
        true => "stdin".to_owned(),
        false => recording.display().to_string(),
    };
    let file = open_for_reading(recording).with_context(|| format!("cannot read {path}"))?;
    let mut replay = Replay::new(BufReader::new(file)).with_context(|| path.clone())?;
    replay.tell_overdue(limits.overdue_ns);
    let mut out = Output::open(common.output.as_deref())?;
    let pointers = common.pointers(replay.header().kptr_restrict);
    let report = report(&mut out, pointers);
    let selection = selection(replay.header());
    let mut session = Session::begin(selection, limits, report, replay.header())?;
    while !session.is_full()
        && let Some(batch) = replay.next_batch()
    {
        session.show(&batch)?;
    }
    let ended = replay.end();
    if let Some(trouble) = ended.incomplete.as_ref().filter(|_| !common.quiet) {
        eprintln!("fdtrace: {}: {}", sanitize(&path), sanitize(trouble));
    }
    let code = session.end(ended, exit_code)?;
    out.finish()?;
    Ok(code)
}
