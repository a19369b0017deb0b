//! What is still open of what was passed, as text and as the JSON contract has it.

use std::io;

use super::{
    fit::HANG,
    phrase::{count, duration},
    sanitize, schema,
    text::YELLOW,
};
use crate::{
    model::{Also, Digits, FileHolder, FullTable, Holding, Holdings, Later, Side},
    watch::Looked,
};

/// Processes that a summary shows; JSON has them all.
const SHOWN: usize = 10;

/// Names of one process's files that are shown.
const NAMES_SHOWN: usize = 3;

/// Writes a line for each process that has something open of what it received or sent, as of `now_ns`
/// (CLOCK_MONOTONIC).
pub(super) fn write(out: &mut impl io::Write, holdings: &Holdings, now_ns: u64) -> io::Result<()> {
    for (place, line) in sentences(holdings, now_ns).iter().enumerate() {
        let title = if place == 0 { "still open" } else { "" };
        writeln!(out, "{title:<10} {HANG}{line}")?;
    }
    for (place, trouble) in troubles(holdings).iter().enumerate() {
        let title = match place {
            0 if !holdings.full.is_empty() => "full",
            _ => "",
        };
        writeln!(out, "{YELLOW}{title:<10} {HANG}{trouble}{YELLOW:#}")?;
    }
    Ok(())
}

/// What there is to say of each process, those that have most first.
pub(super) fn sentences(holdings: &Holdings, now_ns: u64) -> Vec<String> {
    // Of a recording without looks there is nothing to say.
    let was_seen = |it: &&Holding| it.ended || holdings.looked_ns.is_some();
    let seen = || holdings.processes.iter().filter(was_seen);
    let mut lines: Vec<String> = seen().filter_map(|it| told(it, now_ns)).collect();
    let more = lines.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more processes; JSON has them all"));
    }
    let closed = |it: &Holding| it.open + it.unknown + it.unseen < it.all;
    if lines.is_empty() && (seen().any(closed) || holdings.others > 0) {
        // Of others nobody has asked.
        lines.push("nothing in those that sent or received it".to_owned());
    }
    lines
}

/// What went wrong: tables that were full, and what is not known.
pub(super) fn troubles(holdings: &Holdings) -> Vec<String> {
    let mut troubles: Vec<String> = holdings.full.iter().map(told_full).collect();
    if holdings.let_go > 0 {
        let descriptors = count(holdings.let_go, "descriptor");
        troubles.push(format!(
            "{descriptors} let go of for want of memory, and not looked up"
        ));
    }
    if let Some(why) = &holdings.not_looked {
        troubles.push(format!("not looked up: {}", sanitize(why)));
    }
    troubles
}

/// `client[811] holds 58 of 118 received here: 58 × memfd:format-table, oldest 41 s`.
fn told(holding: &Holding, now_ns: u64) -> Option<String> {
    let Holding {
        open,
        unknown,
        unseen,
        all,
        ..
    } = *holding;
    let who = process(&holding.comm, holding.pid);
    let here = match holding.side {
        Side::Receiver => "received here",
        Side::Sender => "that it sent",
    };
    let mut parts = Vec::new();
    if open > 0 {
        let holds = match (holding.side, holding.ended) {
            (Side::Receiver, false) => "holds",
            (Side::Sender, false) => "still holds",
            (_, true) => "ended holding",
        };
        let mut text = format!("{holds} {open} of {all} {here}: {}", names(&holding.files));
        if let Some(oldest_ns) = holding.oldest_ns.filter(|_| !holding.ended) {
            text += &format!(", oldest {}", duration(now_ns.saturating_sub(oldest_ns)));
        }
        parts.push(text);
    } else if unknown + unseen == 0 {
        // What a receiver has closed is what it should.
        let ended = match holding.ended {
            true => " before it ended",
            false => "",
        };
        let is_told = holding.side == Side::Receiver && holding.ended || !holding.also.is_empty();
        if !is_told {
            return None;
        }
        parts.push(format!("closed all {all} {here}{ended}"));
    }
    if unknown > 0 {
        parts.push(format!(
            "{unknown} of {all} {here} may be open, or others like them"
        ));
    }
    if unseen > 0 {
        parts.push(format!(
            "ended unseen with what it had left of {unseen} {here}"
        ));
    }
    let others: Vec<String> = holding.also.iter().take(NAMES_SHOWN).map(also).collect();
    if !others.is_empty() {
        let more = holding.also.len().saturating_sub(NAMES_SHOWN);
        let more = if more > 0 {
            format!(", +{more}")
        } else {
            String::new()
        };
        let also = match open {
            0 => "",
            _ => "also ",
        };
        parts.push(format!("{also}open in {}{more}", others.join(", ")));
    }
    Some(format!("{who} {}", parts.join("; ")))
}

/// `client[811] had no number left; a look 2 ms later found 59 of what came here: 59 × memfd:format-table`.
fn told_full(full: &FullTable) -> String {
    let who = process(&full.comm, full.pid);
    let Some(looked_ns) = full.looked_ns else {
        return format!("{who} had no number left; nobody looked what was in there");
    };
    let later = duration(looked_ns.saturating_sub(full.t_ns));
    match full.received {
        0 => format!("{who} had no number left; {later} later it held nothing of what came here"),
        received => format!(
            "{who} had no number left; {later} later it held {received} of what came here: {}",
            names(&full.files)
        ),
    }
}

/// `sleep[77] (20, inherited)`.
fn also(also: &Also) -> String {
    let who = process(&also.comm, also.pid);
    let inherited = if also.inherited { ", inherited" } else { "" };
    format!("{who} ({}{inherited})", also.files)
}

/// `58 × memfd:format-table, 2 × pipe`.
fn names(files: &[(String, u64)]) -> String {
    let shown = files.iter().take(NAMES_SHOWN);
    let shown: Vec<String> = shown
        .map(|(name, count)| format!("{count} × {}", sanitize(name)))
        .collect();
    let more: u64 = files.iter().skip(NAMES_SHOWN).map(|(_, count)| count).sum();
    match more {
        0 => shown.join(", "),
        more => format!("{}, +{more}", shown.join(", ")),
    }
}

fn process(comm: &str, pid: u32) -> String {
    format!("{}[{pid}]", sanitize(comm))
}

/// A line of JSON.
pub(super) fn line(later: &Later, looked: &Looked<'_>) -> schema::StillOpen {
    schema::StillOpen {
        transfer: later.transfer,
        side: later.side,
        pid: later.pid,
        comm: later.comm.clone(),
        fd: later.fd,
        state: later.state,
        state_missing: later.missing,
        at: looked.at,
        t_ns: Digits(looked.t_ns),
        holders: later
            .holders
            .as_ref()
            .map(|holders| holders.iter().map(holder).collect()),
        holders_more: later.holders_more,
    }
}

fn holder(holder: &FileHolder) -> schema::Holder {
    let fds = holder.fds.iter().filter_map(|fd| u32::try_from(*fd).ok());
    schema::Holder {
        pid: holder.pid,
        comm: holder.comm.clone(),
        fds: fds.collect(),
        fds_more: holder.fds_more,
        inherited: holder.inherited,
    }
}

/// What the summary has in JSON.
pub(super) fn summary(holdings: &Holdings) -> schema::StillOpenSummary {
    let counts = |files: &[(String, u64)]| {
        let files = files.iter();
        let counted = files.map(|(name, count)| schema::NameCount {
            name: name.clone(),
            count: *count,
        });
        counted.collect()
    };
    let holding = |it: &Holding| schema::Holding {
        pid: it.pid,
        comm: it.comm.clone(),
        side: it.side,
        ended: it.ended,
        all: it.all,
        open: it.open,
        unknown: it.unknown,
        unseen: it.unseen,
        files: counts(&it.files),
        oldest_ns: it.oldest_ns.map(Digits),
        also: it
            .also
            .iter()
            .map(|also| schema::Also {
                pid: also.pid,
                comm: also.comm.clone(),
                files: also.files,
                inherited: also.inherited,
            })
            .collect(),
    };
    let full = |it: &FullTable| schema::FullTable {
        pid: it.pid,
        comm: it.comm.clone(),
        t_ns: Digits(it.t_ns),
        looked_ns: it.looked_ns.map(Digits),
        received: it.received,
        files: counts(&it.files),
    };
    schema::StillOpenSummary {
        processes: holdings.processes.iter().map(holding).collect(),
        others: holdings.others,
        full: holdings.full.iter().map(full).collect(),
        let_go: holdings.let_go,
        looked_ns: holdings.looked_ns.map(Digits),
        not_looked: holdings.not_looked.clone(),
    }
}
