//! A call of a story: its functions, one below the other, and what was seen at each hop.

use std::io::{self, Write as _};

use anstyle::Style;

use super::{BOLD, DIM, GREEN, YELLOW, page, prose_column, title, wrap};
use crate::{
    explain::story::{Call, FileAtHop, Sighting, Step, StoryHop},
    report::{fit::Fit, phrase::duration, sanitize},
};

pub(super) fn write(out: &mut Fit<impl io::Write>, place: usize, call: &Call) -> io::Result<()> {
    title(out, place, &call.title)?;
    for step in &call.steps {
        write_step(out, step)?;
    }
    Ok(())
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
