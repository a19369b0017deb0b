//! Text for people who watch a trace scroll: a line a message, or a line a descriptor, and a summary.

mod failed;
mod layout;
mod names;
mod notes;
mod numbers;
mod row;
mod texts;

use std::io::{self, Write as _};

use super::{
    fit::Fit,
    groups::{Grouping, Groups},
    phrase::{count, counts, duration},
    plan::write_heading,
    programs,
    sanitize::sanitize,
    still_open,
    text::{BOLD, YELLOW, hop_lines, write_losses},
};
use crate::{
    model::{Judged, Losses, Pointers, Tally},
    watch::{Looked, TraceEnd, TraceReport, TraceStart},
};
use layout::{Columns, Page, Pieces};
pub(super) use names::file as file_name;
use row::{Key, Row};
use texts::Texts;

/// Pairs of programs that the summary shows; JSON has them all.
const PAIRS_SHOWN: usize = 10;

/// Rows of one batch in which a transfer may still find its message.
const OPEN_ROWS: usize = 64;

/// How to write what.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineStyle {
    /// A line for every hop of every transfer too.
    pub hops: bool,
    /// A line for every transfer; else for every message.
    pub each: bool,
    /// A table at the end, without lines unless there is one for every transfer.
    pub group: Option<Grouping>,
    /// Not all files of a message may be there.
    pub parted: bool,
    /// Columns of the terminal, if it is one.
    pub width: Option<usize>,
    /// What is written to has no styles, so that lines of transfers need none.
    pub plain: bool,
    /// Size of the ring buffer, where the trace is being made, and could be made anew.
    pub buffer_kib: Option<u32>,
}

/// Writes styled text; the writer strips the styles where there is no terminal.
pub struct Lines<W: io::Write> {
    out: Fit<W>,
    pointers: Pointers,
    style: LineStyle,
    /// Transfers too, and not the summary alone.
    transfers: bool,
    clock: Clock,
    /// What came since the last flush.
    rows: Vec<Row>,
    pieces: Vec<Pieces>,
    /// What is in those.
    texts: Texts,
    /// The lines under way.
    written: String,
    columns: Columns,
    /// What the latest loss was told to be cured by.
    cures: Vec<String>,
    groups: Option<Groups>,
}

/// Turns CLOCK_MONOTONIC to time of day.
#[derive(Clone, Copy, Default)]
struct Clock {
    /// Local time minus CLOCK_MONOTONIC, nanoseconds.
    ahead_ns: i128,
    begin_ns: u64,
}

impl Clock {
    fn of(start: &TraceStart<'_>) -> Self {
        let offset_ns = i128::from(start.utc_offset_s) * 1_000_000_000;
        Self {
            ahead_ns: i128::from(start.wall_ns) - i128::from(start.t_ns) + offset_ns,
            begin_ns: start.t_ns,
        }
    }

    /// Appends `14:03:22.123456`.
    fn push_time_of_day(self, text: &mut String, t_ns: u64) {
        const DAY_US: u64 = 86_400_000_000;
        let ns = i128::from(t_ns) + self.ahead_ns;
        let us = match u64::try_from(ns) {
            Ok(ns) => ns / 1000 % DAY_US,
            // Less than a day, so that it fits.
            Err(_) => (ns / 1000).rem_euclid(DAY_US.into()) as u64,
        };
        let (s, us) = (us / 1_000_000, us % 1_000_000);
        for (before, number) in [("", s / 3600), (":", s / 60 % 60), (":", s % 60)] {
            text.push_str(before);
            push_padded(text, number, 2);
        }
        text.push('.');
        push_padded(text, us, 6);
    }
}

/// Appends a number with zeros in front.
fn push_padded(text: &mut String, number: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let number = buffer.format(number);
    text.extend(std::iter::repeat_n(
        '0',
        digits.saturating_sub(number.len()),
    ));
    text.push_str(number);
}

impl<W: io::Write> Lines<W> {
    /// Writes to `out` in this style.
    pub fn new(out: W, pointers: Pointers, style: LineStyle) -> Self {
        Self {
            out: Fit::new(out, style.width),
            pointers,
            style: LineStyle {
                each: style.each || style.hops,
                ..style
            },
            transfers: true,
            clock: Clock::default(),
            rows: Vec::new(),
            pieces: Vec::new(),
            texts: Texts::default(),
            written: String::new(),
            columns: Columns::default(),
            cures: Vec::new(),
            groups: style.group.map(|it| Groups::new(it.by.title(), it.sort)),
        }
    }

    /// Writes what there is to say at the end, and nothing before.
    pub fn summary_alone(out: W, pointers: Pointers, style: LineStyle) -> Self {
        Self {
            transfers: false,
            ..Self::new(out, pointers, style)
        }
    }

    fn write_rows(&mut self) -> io::Result<()> {
        let page = Page {
            width: self.out.width(),
            plain: self.style.plain,
        };
        for row in &self.rows {
            let pieces = Pieces::of(row, &mut self.texts, page);
            self.columns.widen(&pieces);
            self.pieces.push(pieces);
        }
        let mut time = String::new();
        for (row, pieces) in self.rows.iter().zip(&self.pieces) {
            time.clear();
            self.clock.push_time_of_day(&mut time, row.t_ns);
            let texts = &self.texts;
            let lines = &mut self.written;
            lines.clear();
            let is_whole = self
                .columns
                .line(lines, (row, pieces), (&time, texts), page);
            lines.push('\n');
            if row.is_loss() && !is_whole {
                *lines += &page.below(texts.of(pieces.files));
                lines.push('\n');
            }
            // Once for those in a row that say the same.
            let cures = row.cures(texts);
            for cure in cures.iter().filter(|cure| !self.cures.contains(cure)) {
                *lines += &page.below(cure);
                lines.push('\n');
            }
            if !cures.is_empty() {
                self.cures = cures;
            }
            self.out.write_lines(lines)?;
        }
        self.rows.clear();
        self.pieces.clear();
        self.texts.clear();
        Ok(())
    }
}

impl<W: io::Write> TraceReport for Lines<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        self.clock = Clock::of(start);
        if !self.transfers {
            return Ok(());
        }
        write_heading(&mut self.out, start.version, start.kernel, start.plan)?;
        writeln!(self.out)?;
        self.out.flush()
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        if !self.transfers {
            return Ok(());
        }
        if let (Some(groups), Some(grouping)) = (&mut self.groups, self.style.group) {
            // What goes on is counted when it ends.
            if !judged.transfer.overdue {
                let (name, transfer) = (names::group_name(grouping.by, judged), &judged.transfer);
                groups.add(name, transfer.fate().has_cause(), transfer.queued_ns);
            }
            if !self.style.each {
                return Ok(());
            }
        }
        let texts = &mut self.texts;
        let key = Key::of(&judged.transfer, self.style.each);
        let mut open = self.rows.iter_mut().rev().take(OPEN_ROWS);
        match open.find(|row| row.is_of(&key)) {
            Some(row) => row.add(judged, texts),
            None => {
                let row = Row::new(key, judged, self.style.parted, texts);
                self.rows.push(row);
            }
        }
        if self.style.hops {
            self.write_rows()?;
            hop_lines(&mut self.out, &mut self.pointers, judged)?;
        }
        Ok(())
    }

    fn looked(&mut self, looked: &Looked<'_>) -> io::Result<()> {
        let Some(holdings) = looked.holdings.filter(|_| self.transfers) else {
            return Ok(());
        };
        self.write_rows()?;
        let mut time = String::new();
        self.clock.push_time_of_day(&mut time, looked.t_ns);
        writeln!(self.out, "{BOLD}at {time}{BOLD:#}")?;
        still_open::write(&mut self.out, holdings, looked.t_ns)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_rows()?;
        self.out.flush()
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        self.write_rows()?;
        if let Some(groups) = &self.groups {
            groups.write(&mut self.out)?;
        }
        if self.transfers {
            writeln!(self.out)?;
        }
        let elapsed = duration(end.t_ns.saturating_sub(self.clock.begin_ns));
        if tally.transfers() == 0 {
            writeln!(self.out, "transfers  none in {elapsed}")?;
        } else {
            let verdicts = match tally.verdicts().is_empty() {
                true => String::new(),
                false => format!("; verdict {}", counts(tally.verdicts())),
            };
            writeln!(
                self.out,
                "transfers  {} in {elapsed}{verdicts}",
                counts(tally.fates())
            )?;
        }
        // A table of one's own takes their place.
        let pairs = match &self.groups {
            Some(_) => Vec::new(),
            None => tally.pairs(),
        };
        for (index, ((sender, receiver), count)) in pairs.iter().take(PAIRS_SHOWN).enumerate() {
            writeln!(
                self.out,
                "{}{count:>7}  {} → {}",
                if index == 0 {
                    "between    "
                } else {
                    "           "
                },
                sender.as_deref().map_or("?".to_owned(), sanitize),
                receiver.as_deref().map_or("nobody".to_owned(), sanitize),
            )?;
        }
        let rest: u64 = pairs.iter().skip(PAIRS_SHOWN).map(|(_, count)| count).sum();
        let rest = match &self.groups {
            Some(_) => 0,
            None => rest + tally.other_pairs(),
        };
        if rest > 0 {
            writeln!(self.out, "           {rest:>7}  others")?;
        }
        if let Some(times) = tally.queue_time() {
            writeln!(
                self.out,
                "in queue   p50 ≤ {}, p90 ≤ {}, p99 ≤ {}, max {}",
                duration(times.p50_ns),
                duration(times.p90_ns),
                duration(times.p99_ns),
                duration(times.max_ns),
            )?;
        }
        still_open::write(&mut self.out, &end.holdings, end.t_ns)?;
        write_losses(&mut self.out, losses, self.style.buffer_kib)?;
        for empty in end.empty_rights.iter().take(PAIRS_SHOWN) {
            let who = match (&empty.comm, empty.pid) {
                (Some(comm), Some(pid)) => format!("{}[{pid}]", sanitize(comm)),
                _ => "others".to_owned(),
            };
            let sends = count(empty.sends, "send");
            writeln!(
                self.out,
                "{YELLOW}nothing    {sends} of {who} with an SCM_RIGHTS that names no descriptor{YELLOW:#}"
            )?;
        }
        if !tally.undescribed().is_empty() {
            let reasons = tally.undescribed().iter();
            let reasons: Vec<String> = reasons
                .map(|(why, count)| format!("{count} {}", why.words()))
                .collect();
            writeln!(
                self.out,
                "{YELLOW}unnamed    {}{YELLOW:#}",
                reasons.join(", ")
            )?;
        }
        if tally.forgotten() > 0 {
            writeln!(
                self.out,
                "{YELLOW}forgotten  {} messages that had not ended, for more recent ones{YELLOW:#}",
                tally.forgotten()
            )?;
        }
        for unread in end.unread.sentences() {
            writeln!(
                self.out,
                "{YELLOW}not read   {}{YELLOW:#}",
                sanitize(&unread)
            )?;
        }
        if let Some(why) = &end.incomplete {
            writeln!(self.out, "{YELLOW}{}{YELLOW:#}", sanitize(why))?;
        }
        if let Some(status) = end.command_status {
            writeln!(self.out, "command    exit status {status}")?;
        }
        if let Some(costs) = &end.programs {
            programs::write(&mut self.out, costs)?;
        }
        self.out.flush()
    }
}
