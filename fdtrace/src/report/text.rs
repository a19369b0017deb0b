//! Text for people: a line a scenario, and what needs saying at the end.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use anstyle::{AnsiColor, Style};

use super::{
    Report, ScenarioRun, Start, Summary,
    fit::{Fit, HANG, JOINED, columns},
    phrase::{counts, duration, ended, grouped, losses, not_run, number},
    plan::write_heading,
    programs,
    sanitize::sanitize,
};
use crate::{
    judge::{
        ledger::{self, Entry},
        missing_hops,
    },
    model::{Fate, Judged, Losses, Pointers, Verdict},
    verify::{Judgement, ScenarioResult},
};

pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();

/// Wide enough for the longest scenario's name.
const NAME_WIDTH: usize = 28;

/// Writes styled text; the writer strips the styles where there is no terminal.
pub struct Text<W: io::Write> {
    out: Fit<W>,
    pointers: Pointers,
    hops: bool,
    buffer_kib: Option<u32>,
}

impl<W: io::Write> Text<W> {
    /// Writes to `out`; with `hops`, a line for every hop of every transfer too.
    pub fn new(out: W, pointers: Pointers, hops: bool) -> Self {
        Self {
            out: Fit::new(out, None),
            pointers,
            hops,
            buffer_kib: None,
        }
    }

    /// Says in the summary of what size the ring buffer was, where that helps.
    #[must_use]
    pub fn buffer(self, kib: u32) -> Self {
        Self {
            buffer_kib: Some(kib),
            ..self
        }
    }

    /// The same on a terminal of so many columns, if it is one.
    #[must_use]
    pub fn fit(self, width: Option<usize>) -> Self {
        Self {
            out: Fit::new(self.out.into_inner(), width),
            ..self
        }
    }

    fn hop_lines(&mut self, judged: &Judged) -> io::Result<()> {
        hop_lines(&mut self.out, &mut self.pointers, judged)
    }
}

/// A line for every hop of a transfer, below the transfer's own.
pub(super) fn hop_lines(
    out: &mut impl io::Write,
    pointers: &mut Pointers,
    judged: &Judged,
) -> io::Result<()> {
    if let Some(doubt) = judged.doubt() {
        writeln!(out, "      {YELLOW}{}{YELLOW:#}", doubt.words())?;
    }
    let Some(begin) = judged.transfer.hops.first().map(|seen| seen.t_ns) else {
        return Ok(());
    };
    for Entry { seen, expected, .. } in ledger::entries(&judged.transfer) {
        // Only where others have moved the count too is there more to say than the count.
        let note = match expected {
            Some(expected) if seen.refs != Some(expected) => {
                format!(" ({expected} by this path alone)")
            }
            _ => String::new(),
        };
        writeln!(
            out,
            "      {DIM}{:<8} +{:<9} cpu {:<2} refs {}{note}  {}[{}]  {}{DIM:#}",
            seen.hop,
            duration(seen.t_ns.saturating_sub(begin)),
            seen.cpu,
            number(seen.refs),
            sanitize(&seen.comm),
            seen.pid,
            pointers.file_at(&judged.transfer, seen),
        )?;
    }
    Ok(())
}

impl<W: io::Write> Report for Text<W> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        let plan = super::plan_entries(start.plan);
        write_heading(&mut self.out, start.version, &start.plan.release, &plan)?;
        writeln!(self.out)
    }

    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()> {
        let judgement = &run.judgement;
        let (style, word) = match judgement.result {
            ScenarioResult::Pass => (GREEN, "pass"),
            ScenarioResult::Fail => (RED, "FAIL"),
            ScenarioResult::Skip => (YELLOW, "skip"),
            ScenarioResult::Inconclusive => (YELLOW, "open"),
        };
        // How it ended first, and then by what way, as far as there is room.
        let mut line = format!("{style}{word}{style:#}  {:<NAME_WIDTH$} {HANG}", name(run));
        if let Some(first) = judgement.transfers.first() {
            let _ = write!(line, "{}  ", numbers(judgement, first));
        }
        // Where all is delivered, who vouches for it says enough.
        let delivered = |judged: &Judged| judged.transfer.fate() == Fate::Delivered;
        if !judgement.transfers.iter().all(delivered) {
            let endings = endings(judgement).replace(' ', &JOINED.to_string());
            let _ = write!(line, "{endings}  ");
        }
        let mut line = line.trim_end_matches([' ', HANG]).to_owned();
        let first = judgement.transfers.first();
        let way = first.map_or(String::new(), |first| way(first, &mut self.pointers));
        let said = witnesses(judgement);
        let room = self
            .out
            .width()
            .map_or(usize::MAX, |width| width.saturating_sub(columns(&line)));
        let fits = |parts: &[&str]| {
            let wide = parts
                .iter()
                .filter(|part| !part.is_empty())
                .map(|part| 2 + columns(part));
            wide.sum::<usize>() <= room
        };
        // The way goes first, and who vouches for it after.
        let details = if fits(&[&way, &said]) {
            [way, said]
        } else if fits(&[&said]) {
            [String::new(), said]
        } else {
            Default::default()
        };
        for detail in details.iter().filter(|detail| !detail.is_empty()) {
            let _ = write!(line, "  {DIM}{detail}{DIM:#}");
        }
        writeln!(self.out, "{line}")?;
        for reason in &run.retried {
            let reason = sanitize(reason);
            writeln!(
                self.out,
                "      {DIM}run again, as records were lost: {reason}{DIM:#}"
            )?;
        }
        if let Some(reason) = &judgement.reason() {
            writeln!(self.out, "      {style}{}{style:#}", sanitize(reason))?;
        }
        if self.hops {
            for judged in &judgement.transfers {
                self.hop_lines(judged)?;
            }
        }
        #[cfg(feature = "explain")]
        if let Some(story) = &run.story {
            writeln!(self.out)?;
            super::story::write(&mut self.out, story)?;
            writeln!(self.out)?;
        }
        self.out.flush()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let results = [
            (ScenarioResult::Pass, "passed"),
            (ScenarioResult::Fail, "failed"),
            (ScenarioResult::Skip, "skipped"),
            (ScenarioResult::Inconclusive, "left open"),
        ];
        let by_result: Vec<String> = results
            .iter()
            .map(|(result, word)| (summary.scenarios_with(*result), word))
            .filter(|(count, word)| *count > 0 || ["passed", "failed"].contains(word))
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        writeln!(self.out)?;
        writeln!(
            self.out,
            "scenarios  {} in {}",
            by_result.join(", "),
            duration(summary.elapsed_ns)
        )?;
        if !summary.fates.is_empty() {
            writeln!(
                self.out,
                "transfers  {}; verdict {}",
                counts(&summary.fates),
                counts(&summary.verdicts)
            )?;
        }
        write_losses(&mut self.out, &summary.losses, self.buffer_kib)?;
        for (result, style, title) in [
            (ScenarioResult::Skip, Style::new(), "skipped"),
            (ScenarioResult::Inconclusive, YELLOW, "left open"),
            (ScenarioResult::Fail, RED, "failed"),
        ] {
            let names = summary
                .unsettled
                .iter()
                .filter(|(other, _)| *other == result);
            let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
            if !names.is_empty() {
                writeln!(self.out, "{style}{title:<10} {}{style:#}", names.join(", "))?;
            }
        }
        if let Some(why) = not_run(summary) {
            writeln!(self.out, "{YELLOW}{why}{YELLOW:#}")?;
        }
        if let Some(costs) = &summary.programs {
            programs::write(&mut self.out, costs)?;
        }
        self.out.flush()
    }
}

/// `  4 → 5    +3     41 µs`: the first transfer's numbers, how many more there are, and how long it
/// was queued.
fn numbers(judgement: &Judgement, first: &Judged) -> String {
    let transfer = &first.transfer;
    let from = number(transfer.sender.as_ref().and_then(|sender| sender.fd));
    let to = match transfer.receiver() {
        Some(receiver) => number(receiver.fd),
        None => "·".to_owned(),
    };
    let more = match judgement.transfers.len() - 1 {
        0 => String::new(),
        more => format!("+{more}"),
    };
    let queued = transfer.queued_ns.map_or("–".to_owned(), duration);
    format!("{from:>3} → {to:<3} {more:<4} {queued:>7}")
}

/// `0xffff8882383259c0 queue ▸ dequeue ▸ install`: the file's address, and where it was seen.
fn way(first: &Judged, pointers: &mut Pointers) -> String {
    let transfer = &first.transfer;
    let hops = if missing_hops(transfer).is_empty() {
        "all 8 hops".to_owned()
    } else {
        let names: Vec<&str> = transfer.hops.iter().map(|seen| seen.hop.name()).collect();
        names.join(" ▸ ")
    };
    format!("{} {hops}", pointers.file(&transfer.file))
}

/// `3 delivered, 1 truncated (no-control-room); same by trace, kcmp`: what became of a scenario's
/// transfers and who vouches for it.
pub(super) fn account(judgement: &Judgement) -> String {
    let parts = [endings(judgement), witnesses(judgement)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

/// `3 delivered, 1 truncated (no-control-room)`.
fn endings(judgement: &Judgement) -> String {
    let mut endings: Vec<(String, usize)> = Vec::new();
    for judged in &judgement.transfers {
        let transfer = &judged.transfer;
        let ended = ended(transfer.fate(), transfer.cause());
        match endings.iter_mut().find(|(known, _)| *known == ended) {
            Some((_, count)) => *count += 1,
            None => endings.push((ended, 1)),
        }
    }
    let endings: Vec<String> = endings
        .iter()
        .map(|(ended, count)| format!("{count} {ended}"))
        .collect();
    endings.join(", ")
}

/// A scenario's name, with the round where it was run several times.
pub(super) fn name(run: &ScenarioRun) -> String {
    match run.round {
        1 => run.judgement.name.to_owned(),
        round => format!("{}#{round}", run.judgement.name),
    }
}

/// `same by trace, kcmp; told apart by trace, kcmp`: who agrees. Who does not is in the reason.
fn witnesses(judgement: &Judgement) -> String {
    let agree = |mistakable: bool, truth: Verdict| -> Vec<&str> {
        judgement
            .witnesses
            .iter()
            .filter(|report| report.mistakable == mistakable && report.verdict == truth)
            .map(|report| report.witness.name())
            .collect()
    };
    let mut same = agree(false, Verdict::Same);
    let traced = |judged: &Judged| judged.verdict == Some(Verdict::Same);
    if !judgement.transfers.is_empty() && judgement.transfers.iter().all(traced) {
        same.insert(0, "trace");
    }
    let mut apart = agree(true, Verdict::Different);
    let told = |verdict: &Verdict| *verdict == Verdict::Different;
    if !judgement.mistakable.is_empty() && judgement.mistakable.iter().all(told) {
        apart.insert(0, "trace");
    }
    let mut parts = Vec::new();
    for (what, who) in [("same by", same), ("told apart by", apart)] {
        if !who.is_empty() {
            parts.push(format!("{what} {}", who.join(", ")));
        }
    }
    parts.join("; ")
}

/// What went unseen, in a line, and what helps against it, with a ring buffer of so many KiB where
/// that is known.
pub(super) fn write_losses(
    out: &mut impl io::Write,
    seen: &Losses,
    buffer_kib: Option<u32>,
) -> io::Result<()> {
    let lost = losses(seen);
    if lost.is_empty() {
        return writeln!(out, "lost       nothing");
    }
    writeln!(out, "{YELLOW}lost       {}{YELLOW:#}", lost.join(", "))?;
    let records: u64 = seen.events.iter().map(|(_, count)| count).sum();
    let records = records + seen.descriptions;
    if records == 0 {
        return Ok(());
    }
    let raise = match buffer_kib {
        Some(kib) if kib < BUFFER_MAX_KIB => {
            let enough = enough_for(kib, records);
            format!(
                "raise --buffer to {enough} ({}, now {})",
                size(enough),
                size(kib)
            )
        }
        Some(_) => "trace less: --pid, --comm, --cgroup".to_owned(),
        None => "record again with a larger --buffer".to_owned(),
    };
    let records = grouped(records);
    writeln!(
        out,
        "{YELLOW}           {raise}: {records} records lost{YELLOW:#}"
    )
}

/// The largest ring buffer that can be asked for.
const BUFFER_MAX_KIB: u32 = 1 << 20;

/// KiB that would have held what was lost too, whenever it came.
fn enough_for(kib: u32, lost: u64) -> u32 {
    /// Bytes of a record of one file.
    const RECORD: u64 = 256;
    let more = u32::try_from(lost * RECORD / 1024 + 1).unwrap_or(BUFFER_MAX_KIB);
    kib.saturating_add(more)
        .min(BUFFER_MAX_KIB)
        .next_power_of_two()
}

/// `4 MiB`.
fn size(kib: u32) -> String {
    match kib {
        kib if kib.is_multiple_of(1024) => format!("{} MiB", kib / 1024),
        kib => format!("{kib} KiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_large_enough_is_named() {
        for (kib, lost, enough) in [
            (4096, 1, 8192),
            (4096, 16_000, 8192),
            (4096, 17_000, 16_384),
            (1 << 19, 1, BUFFER_MAX_KIB),
            (4, u64::from(u32::MAX), BUFFER_MAX_KIB),
        ] {
            assert_eq!(enough_for(kib, lost), enough, "{kib} KiB, {lost} lost");
        }
    }
}
