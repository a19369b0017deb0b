//! A way of a story: one file from process to process, as boxes with an arrow for each message.

use std::io::{self, Write as _};

use super::{moment::frame, page};
use crate::{
    explain::story::{Station, Way},
    report::{fit::Fit, phrase::number, sanitize},
};

/// Lines of a box with one row.
const HEIGHT: usize = 3;

pub(super) fn write(out: &mut Fit<impl io::Write>, way: &Way) -> io::Result<()> {
    writeln!(out)?;
    writeln!(out, "{} goes from process to process:", way.file)?;
    writeln!(out)?;
    let page = page(out) - HEIGHT;
    let mut lines: [String; HEIGHT] = Default::default();
    for station in &way.stations {
        let pieces = [arrow(station), boxed(station)];
        let width = |text: &str| text.chars().count();
        let wide: usize = pieces.iter().map(|piece| width(&piece[0])).sum();
        if width(&lines[0]) + wide > page {
            write_row(out, &mut lines)?;
        }
        for piece in pieces {
            for (line, part) in lines.iter_mut().zip(piece) {
                line.push_str(&part);
            }
        }
    }
    write_row(out, &mut lines)?;
    writeln!(out)
}

fn write_row(out: &mut Fit<impl io::Write>, lines: &mut [String; HEIGHT]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "   {}", line.trim_end())?;
        line.clear();
    }
    Ok(())
}

/// The message that it came by.
fn arrow(station: &Station) -> [String; HEIGHT] {
    let Some(message) = station.message else {
        return Default::default();
    };
    let label = format!(" message {message} ");
    let width = label.chars().count();
    let shaft = "─".repeat(width - HEIGHT);
    [label, format!(" {shaft}▶ "), " ".repeat(width)]
}

/// The process with its numbers for the file.
fn boxed(station: &Station) -> [String; HEIGHT] {
    let numbers = match (station.received_fd, station.sent_fd) {
        (None, None) => "?".to_owned(),
        (Some(received), Some(sent)) if received != sent => format!("{received}, sent from {sent}"),
        (received, sent) => number(received.or(sent)),
    };
    let title = format!("{} {}", sanitize(&station.comm), station.pid);
    let mut lines = frame(&title, &[numbers]).into_iter();
    std::array::from_fn(|_| lines.next().unwrap_or_default())
}
