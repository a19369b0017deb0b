//! A story as text for people.

mod call;
mod moment;
mod way;

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

pub(crate) use call::write_step;

use super::{
    fit::Fit,
    phrase::{ended, number},
    sanitize,
};
use crate::{
    explain::story::{Ending, Part, Story, UNNAMED},
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
        Part::Moment(moment) => moment::write(out, place, moment),
        Part::Call(call) => call::write(out, place, call),
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
    for way in &story.ways {
        way::write(out, way)?;
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

/// Writes the heading of a part.
///
/// # Errors
/// What writing says.
pub(crate) fn title(out: &mut Fit<impl io::Write>, place: usize, title: &str) -> io::Result<()> {
    writeln!(out, "{BOLD}{}. {}{BOLD:#}", place + 1, sanitize(title))?;
    writeln!(out)
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
