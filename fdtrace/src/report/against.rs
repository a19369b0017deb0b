//! Two stories side by side, function by function, to see where they part.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::{fit::Fit, phrase::ended, sanitize, story::wrap};
use crate::{
    explain::story::{Call, Part, Step, Story},
    model::Fate,
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Columns that one story has, where the terminal does not say otherwise.
const WIDTH: usize = 56;
/// Columns that it has at least.
const LEAST: usize = 24;

/// One line of a story: what it does, and what to write of it.
struct Line {
    /// What makes it the same as a line of the other story.
    key: String,
    text: String,
    /// It is where the message's way turned.
    turns: bool,
}

/// Writes what is the same and what is not, and where the two part, on a terminal of so many columns
/// if it is one.
///
/// # Errors
/// What writing says.
pub fn write_comparison(
    out: &mut impl io::Write,
    one: &Story,
    other: &Story,
    columns: Option<usize>,
) -> io::Result<()> {
    let out = &mut Fit::new(out, Some(columns.unwrap_or(2 * WIDTH + 2)));
    // Two blanks lie between them.
    let width = columns.map_or(WIDTH, |columns| ((columns - 2) / 2).clamp(LEAST, WIDTH));
    let (lefts, rights) = (lines(one), lines(other));
    let pairs = align(&lefts, &rights);
    let head = |story: &Story| format!("{:<width$}", sanitize(&story.scenario));
    writeln!(
        out,
        "{BOLD}{}  {}{BOLD:#}",
        head(one),
        head(other).trim_end()
    )?;
    let (about, other_about) = (cut(&one.about, width), cut(&other.about, width));
    writeln!(out, "{DIM}{about:<width$}  {other_about}{DIM:#}")?;
    writeln!(out)?;
    for (left, right) in &pairs {
        let text = |line: &Option<usize>, lines: &[Line]| {
            line.map_or(String::new(), |at| cut(&lines[at].text, width))
        };
        let (left_text, right_text) = (text(left, &lefts), text(right, &rights));
        let style = if left.is_some() && right.is_some() {
            Style::new()
        } else {
            YELLOW
        };
        let mark = match (left, right) {
            (Some(_), Some(_)) => " ",
            (Some(_), None) => "‹",
            _ => "›",
        };
        let row = format!("{left_text:<width$} {mark}{right_text}");
        writeln!(out, "{style}{}{style:#}", row.trim_end())?;
    }
    writeln!(out)?;
    part(out, (one, &lefts), (other, &rights), &pairs)?;
    for story in [one, other] {
        writeln!(out)?;
        writeln!(out, "{BOLD}{}{BOLD:#}", sanitize(&story.scenario))?;
        if story.endings.is_empty() {
            writeln!(out, "  no descriptor was seen in a message")?;
        }
        let mut last = None;
        for ending in &story.endings {
            let what = (ending.fate, ending.cause);
            if last != Some(what) {
                writeln!(out, "  {}", ended(ending.fate, ending.cause))?;
                for line in wrap(&ending.means, 2 * width - 4) {
                    writeln!(out, "    {line}")?;
                }
            }
            last = Some(what);
        }
    }
    out.flush()
}

/// Where the two part, and why: in one sentence.
fn part(
    out: &mut impl io::Write,
    (one, lefts): (&Story, &[Line]),
    (other, rights): (&Story, &[Line]),
    pairs: &[(Option<usize>, Option<usize>)],
) -> io::Result<()> {
    let turns = |(left, right): &(Option<usize>, Option<usize>)| {
        let left = left.is_some_and(|left| lefts[left].turns);
        left != right.is_some_and(|right| rights[right].turns)
    };
    let differs =
        |(left, right): &(Option<usize>, Option<usize>)| left.is_none() || right.is_none();
    // Where a descriptor's fate turned says more than a call that merely differs.
    let turn = pairs.iter().position(turns);
    let Some(mut place) = turn.or_else(|| pairs.iter().position(differs)) else {
        return writeln!(out, "Both go the same way, function by function.");
    };
    while place > 0 && differs(&pairs[place - 1]) {
        place -= 1;
    }
    let common = pairs[..place].iter().rev().find_map(|(left, _)| *left);
    let next = |lines: &[Line], at: Option<usize>, story: &Story| {
        let name = sanitize(&story.scenario);
        let goes = match at.map(|at| &lines[at]) {
            None => "ends there".to_owned(),
            // A heading, and no function.
            Some(line) if line.key.contains(' ') => {
                format!("goes on as {}", line.text.trim_start_matches(['─', ' ']))
            }
            Some(line) => format!("goes on in {}", line.key),
        };
        // What was lost tells two plays apart, and what arrived does not.
        let lost = story
            .endings
            .iter()
            .find(|ending| ending.fate != Fate::Delivered);
        match lost.or(story.endings.first()) {
            Some(ending) => format!("{name} {goes} ({})", ending.means),
            None => format!("{name} {goes}"),
        }
    };
    let left = pairs[place..].iter().find_map(|(left, _)| *left);
    let right = pairs[place..].iter().find_map(|(_, right)| *right);
    let before = common.map_or("the beginning".to_owned(), |at| lefts[at].key.clone());
    writeln!(
        out,
        "{BOLD}They part after {before}:{BOLD:#} {}, while {}.",
        next(lefts, left, one),
        next(rights, right, other)
    )
}

fn lines(story: &Story) -> Vec<Line> {
    let mut lines = Vec::new();
    for part in &story.parts {
        let Part::Call(call) = part else {
            continue;
        };
        lines.push(Line {
            key: format!("{} of message {}", call.kind, call.message),
            text: sanitize(&heading(call)),
            turns: false,
        });
        lines.extend(call.steps.iter().map(line));
    }
    lines
}

fn heading(call: &Call) -> String {
    match call.kind {
        "send" => format!("── message {} is sent", call.message),
        "peek" => format!("── message {} is looked at", call.message),
        "receive" => format!("── message {} is received", call.message),
        _ => format!("── message {} ends unread", call.message),
    }
}

fn line(step: &Step) -> Line {
    let mark = match &step.hop {
        Some(hop) if hop.seen.is_some() => "●",
        Some(_) => "◌",
        None => "·",
    };
    let refs = step
        .hop
        .as_ref()
        .and_then(|hop| hop.seen.as_ref())
        .and_then(|seen| seen.files.first())
        .and_then(|file| Some((file.refs_before, file.refs?)));
    let refs = match refs {
        Some((Some(before), refs)) => format!("  refs {before} → {refs}"),
        Some((None, refs)) => format!("  refs {refs}"),
        None => String::new(),
    };
    let turn = step
        .turn
        .as_ref()
        .map_or(String::new(), |turn| format!("  {turn}"));
    Line {
        key: step.function.clone(),
        text: format!(
            "{mark} {}{}{refs}{turn}",
            " ".repeat(step.depth),
            step.function
        ),
        turns: step.turn.is_some(),
    }
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() <= width {
        true => text.to_owned(),
        false => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// Pairs up the longest sequence of lines that both have; the rest stands alone.
fn align(lefts: &[Line], rights: &[Line]) -> Vec<(Option<usize>, Option<usize>)> {
    let width = rights.len() + 1;
    let mut longest = vec![0_u32; (lefts.len() + 1) * width];
    for left in (0..lefts.len()).rev() {
        for right in (0..rights.len()).rev() {
            longest[left * width + right] = if lefts[left].key == rights[right].key {
                longest[(left + 1) * width + right + 1] + 1
            } else {
                longest[(left + 1) * width + right].max(longest[left * width + right + 1])
            };
        }
    }
    let (mut left, mut right) = (0, 0);
    let mut pairs = Vec::new();
    while left < lefts.len() || right < rights.len() {
        if left < lefts.len() && right < rights.len() && lefts[left].key == rights[right].key {
            pairs.push((Some(left), Some(right)));
            left += 1;
            right += 1;
        } else if right == rights.len()
            || left < lefts.len()
                && longest[(left + 1) * width + right] >= longest[left * width + right + 1]
        {
            pairs.push((Some(left), None));
            left += 1;
        } else {
            pairs.push((None, Some(right)));
            right += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keys: &str) -> Vec<Line> {
        let line = |key: &str| Line {
            key: key.to_owned(),
            text: key.to_owned(),
            turns: false,
        };
        keys.split_whitespace().map(line).collect()
    }

    fn aligned(left: &str, right: &str) -> String {
        let (lefts, rights) = (of(left), of(right));
        let show = |at: Option<usize>, lines: &[Line]| {
            at.map_or("-".to_owned(), |at| lines[at].key.clone())
        };
        let pairs = align(&lefts, &rights).into_iter();
        let shown = pairs.map(|(left, right)| show(left, &lefts) + &show(right, &rights));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_both_have_stands_side_by_side() {
        assert_eq!(aligned("a b c", "a b c"), "aa bb cc");
        assert_eq!(aligned("a b d", "a c d"), "aa b- -c dd");
        assert_eq!(aligned("a", ""), "a-");
        assert_eq!(aligned("", "a b"), "-a -b");
        assert_eq!(aligned("x a b", "a b y"), "x- aa bb -y");
    }
}
