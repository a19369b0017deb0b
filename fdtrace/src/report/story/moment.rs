//! A moment of a story: who has which file open then, and what lies in queues, as boxes side by side.

use std::io::{self, Write as _};

use super::{DIM, page, title};
use crate::{
    explain::story::{Moment, Table, Whereabouts},
    report::{fit::Fit, phrase::count, sanitize},
};

pub(super) fn write(
    out: &mut Fit<impl io::Write>,
    place: usize,
    moment: &Moment,
) -> io::Result<()> {
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

pub(super) fn frame(title: &str, rows: &[String]) -> Vec<String> {
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
