//! Text for people who watch a trace scroll: a line a transfer, and a summary.

use std::{fmt::Write as _, io};

use anstyle::Style;

use super::{
    phrase::{counts, duration, ended, party},
    programs,
    sanitize::sanitize,
    text::{DIM, RED, YELLOW, hop_lines, write_heading, write_losses},
};
use crate::{
    model::{
        Fate, FileDescription, FileKind, Judged, Losses, Mark, Pointers, Receiver, Sender, Socket,
        SocketDescription, Tally, Transfer, Verdict,
    },
    watch::{TraceEnd, TraceReport, TraceStart},
};

/// Pairs of programs that the summary shows; JSON has them all.
const PAIRS_SHOWN: usize = 10;

/// Columns, in characters. The file takes what is left of the line.
const PARTY_WIDTH: usize = 26;
const FILE_WIDTH: usize = 36;
const SOCKET_WIDTH: usize = 24;
const TIME_WIDTH: usize = 8;

/// Writes styled text; the writer strips the styles where there is no terminal.
pub struct Lines<W> {
    out: W,
    pointers: Pointers,
    hops: bool,
    /// Transfers too, and not the summary alone.
    transfers: bool,
    /// Columns of the terminal, if it is one: then a line is no longer.
    width: Option<usize>,
    clock: Clock,
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

    /// `14:03:22.123456`
    fn time_of_day(self, t_ns: u64) -> String {
        const DAY_US: i128 = 86_400_000_000;
        let us = ((i128::from(t_ns) + self.ahead_ns) / 1000).rem_euclid(DAY_US);
        let (s, us) = (us / 1_000_000, us % 1_000_000);
        format!("{:02}:{:02}:{:02}.{us:06}", s / 3600, s / 60 % 60, s % 60)
    }
}

impl<W: io::Write> Lines<W> {
    /// Writes to `out`; with `hops`, a line for every hop of every transfer too. A line is no
    /// longer than `width` characters.
    pub fn new(out: W, pointers: Pointers, hops: bool, width: Option<usize>) -> Self {
        Self {
            out,
            pointers,
            hops,
            transfers: true,
            width,
            clock: Clock::default(),
        }
    }

    /// Writes what there is to say at the end, and nothing before.
    pub fn summary_alone(out: W, pointers: Pointers) -> Self {
        Self {
            transfers: false,
            ..Self::new(out, pointers, false, None)
        }
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
        let transfer = &judged.transfer;
        let mut line = Line::new(self.width);
        line.add(DIM, &self.clock.time_of_day(transfer.last_ns()));
        line.gap(2);
        line.column(&sender(transfer.sender.as_ref()), PARTY_WIDTH);
        line.gap(1);
        line.column("→", 2);
        line.column(&receiver(transfer.receiver.as_ref()), PARTY_WIDTH);
        line.gap(1);
        line.column(&file(transfer), FILE_WIDTH);
        line.gap(1);
        line.column(&socket(&transfer.socket), SOCKET_WIDTH);
        let queued = transfer.queued_ns.map_or("–".to_owned(), duration);
        line.gap(1 + TIME_WIDTH.saturating_sub(queued.chars().count()));
        line.add(Style::new(), &queued);
        for (style, note) in notes(judged) {
            line.gap(2);
            line.add(style, &note);
        }
        writeln!(self.out, "{}", line.text)?;
        if self.hops {
            hop_lines(&mut self.out, &mut self.pointers, judged)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        if self.transfers {
            writeln!(self.out)?;
        }
        let elapsed = duration(end.t_ns.saturating_sub(self.clock.begin_ns));
        if tally.transfers() == 0 {
            writeln!(self.out, "transfers  none in {elapsed}")?;
        } else {
            writeln!(
                self.out,
                "transfers  {} in {elapsed}; verdict {}",
                counts(tally.fates()),
                counts(tally.verdicts()),
            )?;
        }
        let pairs = tally.pairs();
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
        let rest = rest + tally.other_pairs();
        if rest > 0 {
            writeln!(self.out, "           {rest:>7}  others")?;
        }
        if let Some(times) = tally.queue_time() {
            writeln!(
                self.out,
                "in queue   half {} at most, 90 % {}, 99 % {}, longest {}",
                duration(times.p50_ns),
                duration(times.p90_ns),
                duration(times.p99_ns),
                duration(times.max_ns),
            )?;
        }
        write_losses(&mut self.out, losses)?;
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

fn sender(sender: Option<&Sender>) -> String {
    sender.map_or("?".to_owned(), |sender| {
        party(&sender.comm, sender.pid, sender.fd)
    })
}

fn receiver(receiver: Option<&Receiver>) -> String {
    receiver.map_or("nobody".to_owned(), |receiver| match receiver.fd {
        None => format!("{}[{}] none", sanitize(&receiver.comm), receiver.pid),
        fd => party(&receiver.comm, receiver.pid, fd),
    })
}

/// What the file is; where that was not told, its kind, with device and inode, by which
/// `find -inum` and `lsof` know it.
fn file(transfer: &Transfer) -> String {
    let file = &transfer.file;
    let kind = file.kind();
    match (kind, transfer.context.file.as_deref()) {
        (FileKind::Pipe, _) => format!("pipe:[{}]", file.ino),
        (_, Some(FileDescription::Socket(SocketDescription::Unix { name, peer, .. })))
            if name.is_none() && peer.is_none() =>
        {
            format!("unix:[{}]", file.ino)
        }
        (_, Some(described)) => sanitize(&described.to_string()),
        (FileKind::Socket, None) => format!("socket:[{}]", file.ino),
        (kind, None) => format!("{kind} {}/{}", file.device(), file.ino),
    }
}

fn socket(socket: &Socket) -> String {
    let kind = socket.kind.map_or("?", |kind| kind.name());
    match &socket.path {
        Some(path) => format!("{kind} {}", sanitize(path)),
        None => kind.to_owned(),
    }
}

/// What else there is to say of a transfer.
fn notes(judged: &Judged) -> Vec<(Style, String)> {
    let Transfer { fate, cause, .. } = &judged.transfer;
    let mut notes = Vec::new();
    if *fate != Fate::Delivered {
        let style = match fate {
            Fate::Peeked | Fate::Queued => YELLOW,
            _ => RED,
        };
        notes.push((style, ended(*fate, *cause)));
    }
    match judged.verdict {
        Some(Verdict::Different) => notes.push((RED, "DIFFERENT FILE".to_owned())),
        Some(verdict @ (Verdict::Lost | Verdict::Unverified)) => {
            notes.push((DIM, verdict.to_string()));
        }
        Some(Verdict::Same) | None => {}
    }
    for mark in Mark::of(&judged.transfer) {
        notes.push((YELLOW, mark.to_string()));
    }
    notes
}

/// A line under way, no longer than a width and without blanks at its end.
struct Line {
    text: String,
    /// Characters that still have room.
    left: usize,
    /// Blanks ahead of what is added next.
    blanks: usize,
}

impl Line {
    /// About what a line takes, styles included.
    const CAPACITY: usize = 256;

    fn new(width: Option<usize>) -> Self {
        Self {
            text: String::with_capacity(Self::CAPACITY),
            left: width.unwrap_or(usize::MAX),
            blanks: 0,
        }
    }

    fn gap(&mut self, width: usize) {
        self.blanks += width;
    }

    /// Text in a column of this width, or longer if it is.
    fn column(&mut self, text: &str, width: usize) {
        self.add(Style::new(), text);
        self.gap(width.saturating_sub(text.chars().count()));
    }

    /// As much of the text as has room, with a mark where that is not all.
    fn add(&mut self, style: Style, text: &str) {
        if text.is_empty() || self.left == 0 {
            return;
        }
        let (blanks, len) = (std::mem::take(&mut self.blanks), text.chars().count());
        let is_cut = blanks.saturating_add(len) > self.left;
        let room = self.left - usize::from(is_cut);
        let blanks = blanks.min(room);
        self.text.extend(std::iter::repeat_n(' ', blanks));
        let kept = match text.char_indices().nth(room - blanks) {
            Some((end, _)) if is_cut => &text[..end],
            _ => text,
        };
        let cut = if is_cut { "…" } else { "" };
        // A string takes whatever is written.
        let _ = write!(self.text, "{style}{kept}{cut}{style:#}");
        self.left = match is_cut {
            true => 0,
            false => self.left - blanks - len,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(width: Option<usize>) -> String {
        let mut line = Line::new(width);
        line.column("né", 4);
        line.gap(1);
        line.add(Style::new(), "abc");
        line.column("", 3);
        line.gap(2);
        line.text
    }

    #[test]
    fn a_line_is_cut_to_its_width_and_has_no_blanks_at_its_end() {
        assert_eq!(line(None), "né   abc");
        for (width, cut) in [(0, ""), (1, "…"), (2, "né"), (3, "né…")] {
            assert_eq!(line(Some(width)), cut, "{width}");
        }
    }
}
