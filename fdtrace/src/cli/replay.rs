//! `fdtrace replay` and `fdtrace report`: a recorded trace, shown as it would have been live, for
//! other tools, or as a page.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{
    CannotRun, EXIT_OK, Output,
    args::{Common, Replay as ReplayArgs, ReplayFormat},
    browser,
    place::{DASH, open_for_reading},
    trace::{block, exit_code},
};
use crate::{
    recording::Header,
    report::{Dot, Json, Lines, Mermaid, Perfetto, sanitize},
    watch::{Limits, Replay, Selection, Session, TraceReport},
};

pub(super) fn run(args: &ReplayArgs, common: &Common) -> Result<u8> {
    let selection = |header: &Header| Selection {
        pids: args.ends.pid.clone(),
        comms: args.ends.comm.clone(),
        ..args.show.selection(header)
    };
    let replay = Replayed::open(&args.recording, args.show.limits())?;
    let mut out = Output::open(common.output.as_deref())?;
    let pointers = common.pointers(replay.replay.header().kptr_restrict);
    let style = args.show.style(common.width(&out), out.is_plain());
    let hops = args.show.hops;
    let report: Box<dyn TraceReport> = match args.format {
        ReplayFormat::Text => Box::new(Lines::new(block(&mut out), pointers, style)),
        ReplayFormat::Json => Box::new(Json::new(block(out.unstyled()), pointers, hops)),
        ReplayFormat::Perfetto => Box::new(Perfetto::new(block(&mut out))),
        ReplayFormat::Dot => Box::new(Dot::new(block(&mut out))),
        ReplayFormat::Mermaid => Box::new(Mermaid::new(block(&mut out))),
    };
    let code = replay.show(selection, report, common)?;
    out.finish()?;
    Ok(code)
}

/// Makes a page of a recording.
#[cfg(feature = "html")]
pub(super) fn page(args: &super::args::Page, common: &Common) -> Result<u8> {
    let html = |out: &mut dyn io::Write| -> Result<u8> {
        let replay = Replayed::open(&args.recording, Limits::NONE)?;
        let pointers = common.pointers(replay.replay.header().kptr_restrict);
        let report = Box::new(crate::report::Html::new(block(out), pointers));
        replay.show(|_| Selection::default(), report, common)
    };
    if args.open {
        let mut code = EXIT_OK;
        let write = |out: &mut dyn io::Write| {
            code = html(out)?;
            Ok(())
        };
        let path = browser::show(write, "")?;
        if !common.quiet {
            eprintln!("fdtrace: {}", path.display());
        }
        return Ok(code);
    }
    let mut out = Output::open(common.output.as_deref())?;
    if out.is_stdout() && io::stdout().is_terminal() {
        return Err(CannotRun {
            what: "a page is nothing for a terminal".to_owned(),
            hint: "write it to a file (-o page.html), or show it in a browser (--open)",
        }
        .into());
    }
    let code = html(&mut out.unstyled())?;
    out.finish()?;
    Ok(code)
}

/// A recording on its way into a report.
struct Replayed {
    name: String,
    replay: Replay<BufReader<File>>,
    limits: Limits,
}

impl Replayed {
    fn open(recording: &Path, limits: Limits) -> Result<Self> {
        let name = match recording == Path::new(DASH) {
            true => "stdin".to_owned(),
            false => recording.display().to_string(),
        };
        let file = open_for_reading(recording).with_context(|| format!("cannot read {name}"))?;
        let mut replay = Replay::new(BufReader::new(file)).with_context(|| name.clone())?;
        replay.tell_overdue(limits.overdue_ns);
        Ok(Self {
            name,
            replay,
            limits,
        })
    }

    fn show<'a>(
        mut self,
        selection: impl FnOnce(&Header) -> Selection,
        report: Box<dyn TraceReport + 'a>,
        common: &Common,
    ) -> Result<u8> {
        let header = self.replay.header();
        let mut session = Session::begin(selection(header), self.limits, report, header)?;
        let mut last = Vec::new();
        while !session.is_full() {
            let batch = self.replay.next_batch();
            let looks = self.replay.take_looks();
            let Some(batch) = batch else {
                last = looks;
                break;
            };
            // They were taken before it came.
            looks.iter().try_for_each(|look| session.looked(look))?;
            session.show(&batch)?;
            self.replay.reuse(batch);
        }
        let mut ended = self.replay.end();
        session.show(&std::mem::take(&mut ended.transfers))?;
        last.iter().try_for_each(|look| session.looked(look))?;
        if let Some(trouble) = ended.incomplete.as_ref().filter(|_| !common.quiet) {
            eprintln!("fdtrace: {}: {}", sanitize(&self.name), sanitize(trouble));
        }
        Ok(session.end(ended, exit_code)?)
    }
}
