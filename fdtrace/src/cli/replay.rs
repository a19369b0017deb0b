//! `fdtrace replay` and `fdtrace report`: a recorded trace, shown as it would have been live, for
//! other tools, or as a page.

use std::{cell::RefCell, collections::HashMap, io::BufReader, path::Path, rc::Rc};

use anyhow::{Context as _, Result};

use super::{
    Output,
    args::{Common, Page, Replay, ReplayFormat},
    place::{DASH, open_for_reading},
    trace::{block, finish, start_of},
};
use crate::{
    model::{Losses, Pointers, UnreadQueues},
    plan::{show_every_end, show_failed_sends},
    recording::{End, Item, Reader},
    report::{Dot, Html, Json, Lines, Mermaid, Perfetto, sanitize},
    track::Tracker,
    watch::{Limits, Selection, Session, TraceEnd, TraceReport},
};

pub(super) fn run(args: &Replay, common: &Common) -> Result<u8> {
    let selection = Selection {
        pids: args.ends.pid.clone(),
        comms: args.ends.comm.clone(),
        ..args.show.selection(false)
    };
    play(
        &args.recording,
        selection,
        args.show.limits(),
        common,
        |out, pointers| {
            let width = out.width();
            let hops = args.show.hops;
            match args.format {
                ReplayFormat::Text => Box::new(Lines::new(block(out), pointers, hops, width)),
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
        Selection::default(),
        Limits::NONE,
        common,
        |out, pointers| Box::new(Html::new(block(out), pointers)),
    )
}

fn play(
    recording: &Path,
    selection: Selection,
    limits: Limits,
    common: &Common,
    report: impl for<'a> FnOnce(&'a mut Output, Pointers) -> Box<dyn TraceReport + 'a>,
) -> Result<u8> {
    let path = match recording == Path::new(DASH) {
        true => "stdin".to_owned(),
        false => recording.display().to_string(),
    };
    let file = open_for_reading(recording).with_context(|| format!("cannot read {path}"))?;
    let mut reader = Reader::new(BufReader::new(file)).with_context(|| path.clone())?;
    let header = reader.header().clone();

    let names = Rc::new(RefCell::new(HashMap::new()));
    let known = Rc::clone(&names);
    let targets = || {
        let hooks = header.plan.iter();
        hooks.filter_map(|entry| entry.target.as_deref())
    };
    let tracker = Tracker::new(Box::new(move |address| {
        known.borrow().get(&address).cloned()
    }))
    .seeing_every_end(show_every_end(targets()))
    .seeing_failed_sends(show_failed_sends(targets()))
    .seeing_descriptions(header.described);
    let mut out = Output::open(common.output.as_deref())?;
    let pointers = Pointers::new(common.pointers, header.kptr_restrict);
    let mut session = Session::begin(
        tracker,
        Selection {
            // A filtered trace has more in it than it was to show.
            wanted: header.filtered,
            ..selection
        },
        report(&mut out, pointers),
        &start_of(&header),
        limits,
    )?;

    let mut end = None;
    let mut trouble = None;
    let mut losses: Option<Losses> = None;
    let mut last_ns = header.t_ns;
    while !session.is_full() {
        match reader.next_item() {
            Ok(Some(Item::Event(record))) => session.record(&record),
            Ok(Some(Item::Found(fact))) => session.found(fact),
            Ok(Some(Item::Symbol { address, name })) => {
                names.borrow_mut().insert(address, name);
            }
            Ok(Some(Item::Losses(now))) => losses = Some(now),
            Ok(Some(Item::Pause { t_ns })) => {
                last_ns = t_ns;
                if let Some(losses) = losses.take() {
                    session.lost(&losses, t_ns);
                }
                session.settle(t_ns);
                session.pause(t_ns)?;
            }
            Ok(Some(Item::End(ended))) => end = Some(ended),
            Ok(None) => break,
            Err(error) => {
                trouble = Some(error.to_string());
                break;
            }
        }
    }
    let End {
        t_ns,
        command_status,
        losses,
        unread_at_end,
    } = end.unwrap_or_else(|| End {
        t_ns: last_ns,
        losses: session.losses().clone(),
        ..End::default()
    });
    session.lost(&losses, t_ns);
    let unknown = session.undecodable();
    if unknown > 0 {
        trouble.get_or_insert(format!(
            "{unknown} records are of kinds that only a later fdtrace knows"
        ));
    }
    if let Some(trouble) = trouble.as_ref().filter(|_| !common.quiet) {
        eprintln!("fdtrace: {}: {}", sanitize(&path), sanitize(trouble));
    }
    let end = TraceEnd {
        t_ns,
        command_status,
        incomplete: trouble,
        unread: UnreadQueues {
            at_start: header.unread_at_start.clone(),
            at_end: unread_at_end,
        },
        ..TraceEnd::default()
    };
    let code = finish(session, end, &losses)?;
    out.finish()?;
    Ok(code)
}
