//! A story as text for people.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::{
    fit::Fit,
    phrase::{count, duration, ended, number},
    sanitize,
};
use crate::explain::story::{
    Call, Ending, FileAtHop, Moment, Part, Sighting, Step, Story, StoryHop, Table, UNNAMED,
    Whereabouts,
};
use crate::{
    model::Fate,
    verify::{RUNNER_NAME, ScenarioResult},
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Columns of a page, where the terminal has as many or there is none.
pub(crate) const WIDTH: usize = 100;

/// Columns of this page.
fn page(out: &Fit<impl io::Write>) -> usize {
    out.width().unwrap_or(WIDTH).min(WIDTH)
}

/// Where the sentence beside a function's name begins.
fn prose_column(out: &Fit<impl io::Write>) -> usize {
    page(out) * 9 / 20
}

/// Writes the whole story, on a terminal of so many columns if it is one.
///
/// # Errors
/// What writing says.
pub fn write_story(
    out: &mut impl io::Write,
    story: &Story,
    width: Option<usize>,
) -> io::Result<()> {
    write(&mut Fit::new(out, width), story)
}

/// Writes the whole story.
///
/// # Errors
/// What writing says.
pub(super) fn write(out: &mut Fit<impl io::Write>, story: &Story) -> io::Result<()> {
    begin(out, story)?;
    for (place, part) in story.parts.iter().enumerate() {
        write_part(out, place, part)?;
    }
    end(out, story)
}

/// Writes what comes before the first part.
///
/// # Errors
/// What writing says.
pub(crate) fn begin(out: &mut Fit<impl io::Write>, story: &Story) -> io::Result<()> {
    writeln!(out, "{BOLD}{}{BOLD:#}: {}", story.scenario, story.about)?;
    writeln!(
        out,
        "{DIM}as Linux {} did it, in order of time{DIM:#}",
        sanitize(&story.kernel)
    )?;
    writeln!(out)?;
    for line in [
        "● a hop that was seen here, with what was read there",
        "◌ a hop that was not seen here: told from the kernel's source",
        "· a function on the way, told from the kernel's source",
        "(in parentheses) has no symbol in this kernel: inlined into its caller",
    ] {
        writeln!(out, "  {DIM}{line}{DIM:#}")?;
    }
    if has_process(story, RUNNER_NAME) {
        writeln!(
            out,
            "  {DIM}{RUNNER_NAME} is the process that fdtrace runs the scenario in; other actors are its children{DIM:#}"
        )?;
    }
    if !story.blind_because.is_empty() {
        writeln!(
            out,
            "  {DIM}Seen here: {}; no more, because {}{DIM:#}",
            story
                .watched
                .iter()
                .map(|hop| hop.name())
                .collect::<Vec<_>>()
                .join(", "),
            sanitize(&story.blind_because.join(", and "))
        )?;
    }
    Ok(())
}

/// Writes one part.
///
/// # Errors
/// What writing says.
pub(crate) fn write_part(
    out: &mut Fit<impl io::Write>,
    place: usize,
    part: &Part,
) -> io::Result<()> {
    writeln!(out)?;
    match part {
        Part::Moment(moment) => write_moment(out, place, moment),
        Part::Call(call) => write_call(out, place, call),
    }
}

/// Writes what comes after the last part.
///
/// # Errors
/// What writing says.
pub(crate) fn end(out: &mut Fit<impl io::Write>, story: &Story) -> io::Result<()> {
    writeln!(out)?;
    if story.messages_left_out > 0 {
        writeln!(
            out,
            "{DIM}{} more messages went the same way{DIM:#}",
            story.messages_left_out
        )?;
        writeln!(out)?;
    }
    if story.endings.is_empty() {
        writeln!(out, "No descriptor was seen in a message.")?;
    }
    for file in &story.files {
        writeln!(
            out,
            "{BOLD}{}{BOLD:#} is {}, the struct file at {}",
            file.name,
            kind(&file.kind),
            file.file
        )?;
    }
    for (endings, more) in runs(&story.endings) {
        write_ending(out, endings, more)?;
    }
    if let Some(reason) = &story.reason {
        let what = match story.result {
            Some(ScenarioResult::Skip) => "It cannot be run here",
            Some(ScenarioResult::Inconclusive) => "Not all of it could be seen",
            _ => "It did not go as it must",
        };
        writeln!(out, "{YELLOW}{what}: {}{YELLOW:#}", sanitize(reason))?;
    }
    out.flush()
}

/// Whether a process of this name takes part in it.
fn has_process(story: &Story, comm: &str) -> bool {
    story.parts.iter().any(|part| match part {
        Part::Moment(moment) => moment.tables.iter().any(|table| table.comm == comm),
        Part::Call(_) => false,
    })
}

/// Endings that say the same of one message, as one: the first and how many more.
fn runs(endings: &[Ending]) -> Vec<(&Ending, usize)> {
    let mut runs: Vec<(&Ending, usize)> = Vec::new();
    for ending in endings {
        match runs.last_mut() {
            Some((first, more))
                if (first.message, first.fate, first.cause)
                    == (ending.message, ending.fate, ending.cause) =>
            {
                *more += 1;
            }
            _ => runs.push((ending, 0)),
        }
    }
    runs
}

fn write_ending(out: &mut Fit<impl io::Write>, ending: &Ending, more: usize) -> io::Result<()> {
    let style = if ending.fate == Fate::Delivered {
        GREEN
    } else {
        YELLOW
    };
    let receiver = match ending.receiver_fd {
        Some(fd) => format!(" → {fd}"),
        None => String::new(),
    };
    let more = match more {
        0 => String::new(),
        more => format!(", and {more} more like it"),
    };
    let file = match &*ending.file {
        UNNAMED => String::new(),
        letter => format!("{letter} "),
    };
    writeln!(
        out,
        "message {}: {file}{}{receiver} {style}{}{style:#}{more}:",
        ending.message,
        number(ending.sender_fd),
        ended(ending.fate, ending.cause),
    )?;
    for line in wrap(&ending.means, page(out) - 4) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn kind(kind: &str) -> String {
    match kind {
        "unknown" => "a file".to_owned(),
        "regular" => "a regular file".to_owned(),
        "anon-inode" => "an anonymous inode".to_owned(),
        kind if kind.starts_with(['a', 'e', 'i', 'o']) => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}

fn write_moment(out: &mut Fit<impl io::Write>, place: usize, moment: &Moment) -> io::Result<()> {
    title(out, place, &moment.title)?;
    let mut boxes: Vec<Vec<String>> = moment.tables.iter().map(table).collect();
    let queues: Vec<String> = moment
        .queues
        .iter()
        .map(|queue| {
            let files = if queue.files.is_empty() {
                "empty".to_owned()
            } else {
                list(&queue.files)
            };
            let count = queue
                .scm_fds
                .map_or(String::new(), |count| format!("  scm_fds: {count}"));
            format!("socket:[{}] {files}{count}", queue.socket_ino)
        })
        .collect();
    let mut between: Vec<Vec<String>> = moment
        .whereabouts
        .iter()
        .filter_map(|file| open_file(file, moment))
        .collect();
    if !queues.is_empty() {
        between.push(frame("receive queues", &queues));
    }
    let at = boxes.len().min(1);
    boxes.splice(at..at, between);
    for row in rows_of(boxes, page(out)) {
        writeln!(out, "   {row}")?;
    }
    for file in &moment.whereabouts {
        let descriptors: Vec<String> = file
            .descriptors
            .iter()
            .map(|place| format!("/proc/{}/fd/{}", place.pid, place.fd))
            .collect();
        let in_queue = moment
            .queues
            .iter()
            .any(|queue| queue.files.contains(&file.file));
        let text = match (descriptors.is_empty(), in_queue) {
            (false, _) => format!(
                "{} is {}{}",
                file.file,
                descriptors.join(" and "),
                file.refs.map_or(String::new(), |refs| format!(
                    ", with {}",
                    count(refs.cast_unsigned(), "reference")
                ))
            ),
            (true, true) => format!(
                "{} is under no number in any of these processes: only the message holds it",
                file.file
            ),
            (true, false) => continue,
        };
        writeln!(out, "   {DIM}/proc:{DIM:#} {text}")?;
    }
    Ok(())
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A process's table as a box.
fn table(table: &Table) -> Vec<String> {
    const SHOWN: usize = 5;
    let mut rows: Vec<String> = table
        .rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            let name = row.file.as_deref().unwrap_or("");
            format!("{:>3} {name:<2} {}", row.fd, shorten(&sanitize(&row.link)))
        })
        .collect();
    let others = table.others + table.rows.len().saturating_sub(SHOWN);
    if others > 0 {
        rows.push(format!("    and {others} others"));
    }
    frame(&format!("{} {}", sanitize(&table.comm), table.pid), &rows)
}

/// A file that is open in one of the tables as a box of its own.
fn open_file(file: &Whereabouts, moment: &Moment) -> Option<Vec<String>> {
    let rows = moment.tables.iter().flat_map(|table| &table.rows);
    let mut links = rows.filter(|row| row.file.as_ref() == Some(&file.file));
    let mut lines = vec![shorten(&sanitize(&links.next()?.link))];
    lines.extend(
        file.refs
            .map(|refs| count(refs.cast_unsigned(), "reference")),
    );
    Some(frame(&format!("open file {}", file.file), &lines))
}

/// The end of a link, which tells more than its beginning.
fn shorten(link: &str) -> String {
    const LONGEST: usize = 26;
    let len = link.chars().count();
    if len <= LONGEST {
        return link.to_owned();
    }
    let end: String = link.chars().skip(len - LONGEST + 1).collect();
    format!("…{end}")
}

fn frame(title: &str, rows: &[String]) -> Vec<String> {
    let len = |text: &str| text.chars().count();
    let width = rows
        .iter()
        .map(|row| len(row))
        .chain([len(title) + 1])
        .max()
        .unwrap_or_default();
    let mut lines = vec![format!("┌ {title} {}┐", "─".repeat(width - len(title)))];
    for row in rows {
        lines.push(format!("│ {row}{} │", " ".repeat(width - len(row))));
    }
    lines.push(format!("└{}┘", "─".repeat(width + 2)));
    lines
}

/// Boxes side by side, as many as a page is wide.
fn rows_of(boxes: Vec<Vec<String>>, page: usize) -> Vec<String> {
    const GAP: usize = 2;
    let width = |lines: &[String]| lines.first().map_or(0, |line| line.chars().count());
    let mut lines = Vec::new();
    let mut open: Vec<Vec<String>> = Vec::new();
    let flush = |open: &mut Vec<Vec<String>>, lines: &mut Vec<String>| {
        let height = open.iter().map(Vec::len).max().unwrap_or_default();
        for at in 0..height {
            let row: Vec<String> = open
                .iter()
                .map(|lines| {
                    let blank = " ".repeat(width(lines));
                    lines.get(at).cloned().unwrap_or(blank)
                })
                .collect();
            lines.push(row.join(&" ".repeat(GAP)).trim_end().to_owned());
        }
        open.clear();
    };
    for lines_of_box in boxes {
        let taken: usize = open.iter().map(|lines| width(lines) + GAP).sum();
        if taken + width(&lines_of_box) > page - 3 {
            flush(&mut open, &mut lines);
        }
        open.push(lines_of_box);
    }
    flush(&mut open, &mut lines);
    lines
}

fn write_call(out: &mut Fit<impl io::Write>, place: usize, call: &Call) -> io::Result<()> {
    title(out, place, &call.title)?;
    for step in &call.steps {
        write_step(out, step)?;
    }
    Ok(())
}

/// Writes the heading of a part.
///
/// # Errors
/// What writing says.
pub(crate) fn title(out: &mut Fit<impl io::Write>, place: usize, title: &str) -> io::Result<()> {
    writeln!(out, "{BOLD}{}. {}{BOLD:#}", place + 1, sanitize(title))?;
    writeln!(out)
}

/// Writes one function.
///
/// # Errors
/// What writing says.
pub(crate) fn write_step(out: &mut Fit<impl io::Write>, step: &Step) -> io::Result<()> {
    let (mark, style) = match &step.hop {
        Some(StoryHop { seen: Some(_), .. }) => ("●", GREEN),
        Some(_) => ("◌", YELLOW),
        None => ("·", DIM),
    };
    let name = match (step.standing, &step.clone) {
        ("inlined", _) => format!("({})", step.function),
        (_, Some(clone)) => clone.clone(),
        _ => step.function.clone(),
    };
    let indent = " ".repeat(2 * step.depth);
    let name_style = if step.hop.is_some() {
        BOLD
    } else {
        Style::new()
    };
    let (column, room) = (prose_column(out), page(out) - prose_column(out));
    let mut does = wrap(&step.does, room).into_iter();
    let pad = (column - 3).saturating_sub(indent.len() + name.chars().count() + 1);
    writeln!(
        out,
        " {style}{mark}{style:#} {indent}{name_style}{name}{name_style:#} {}{}",
        " ".repeat(pad),
        does.next().unwrap_or_default()
    )?;
    let mut prose = |style: Style, text: &str| -> io::Result<()> {
        for line in wrap(text, room) {
            writeln!(out, "{}{style}{line}{style:#}", " ".repeat(column))?;
        }
        Ok(())
    };
    for line in does {
        prose(Style::new(), &line)?;
    }
    if let Some(turn) = &step.turn {
        prose(YELLOW, turn)?;
    }
    let Some(hop) = &step.hop else {
        return Ok(());
    };
    match &hop.seen {
        None if hop.is_watched => {
            let text = format!(
                "{} not seen this time; it is watched {}",
                hop.hop, hop.watched
            );
            prose(DIM, &sanitize(&text))
        }
        None => {
            let text = format!("{} not seen here: {}", hop.hop, hop.watched);
            prose(DIM, &sanitize(&text))
        }
        Some(seen) => {
            for (style, line) in sighting(hop, seen) {
                prose(style, &line)?;
            }
            if let Some(next) = hop.next {
                prose(GREEN, next)?;
            }
            Ok(())
        }
    }
}

/// What was seen at a hop, a line each.
fn sighting(hop: &StoryHop, seen: &Sighting) -> Vec<(Style, String)> {
    let mut lines = vec![(
        DIM,
        format!(
            "{} seen {}, +{}, cpu {}",
            hop.hop,
            sanitize(&hop.watched),
            duration(seen.after_ns),
            seen.cpu
        ),
    )];
    let mut pointers = vec![pointer("list", &seen.list)];
    pointers.extend(seen.skb.as_ref().map(|skb| pointer("skb", skb)));
    lines.push((DIM, pointers.join(", ")));
    let socks: Vec<String> = [("from", &seen.sender_sock), ("to", &seen.receiver_sock)]
        .into_iter()
        .filter_map(|(way, sock)| Some(format!("{way} {}", pointer("sock", sock.as_ref()?))))
        .collect();
    if !socks.is_empty() {
        lines.push((DIM, socks.join(", ")));
    }
    for file in &seen.files {
        lines.push((GREEN, file_line(file)));
    }
    if seen.more_files > 0 {
        lines.push((GREEN, format!("and {} more files", seen.more_files)));
    }
    lines
}

/// An address with what is there; an alias says so itself.
fn pointer(kind: &str, address: &str) -> String {
    if address.starts_with(kind) {
        address.to_owned()
    } else {
        format!("{kind} {address}")
    }
}

/// `A 0xffff… (its 9): references 1 → 2, +1 the list's`.
fn file_line(file: &FileAtHop) -> String {
    let fd = file
        .fd
        .map_or(String::new(), |fd| format!(" (number {fd})"));
    let mut text = format!("{} {}{fd}", file.name, file.file);
    let Some(refs) = file.refs else {
        return text;
    };
    match file.refs_before {
        Some(before) => text += &format!(": references {before} → {refs}"),
        None => text += &format!(": {refs} references"),
    }
    for change in &file.changes {
        text += &format!(", {:+} {}", change.by, change.whose);
    }
    if file.refs_before.is_some() && file.changes.is_empty() && file.unaccounted == 0 {
        text += ", as it should be";
    }
    if file.unaccounted != 0 {
        text += &format!(
            ", {:+} by other calls meanwhile (close, dup …)",
            file.unaccounted
        );
    }
    text
}

/// Breaks text into lines of at most `width` characters, between words.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}
