//! For people.

use std::io;

use super::{CheckRun, lines};
use crate::{
    check::Answer,
    report::{phrase, sanitize},
};

/// Writes what does not hold, and a line that sums up.
///
/// # Errors
/// If it cannot be written.
pub fn write_text(out: &mut dyn io::Write, run: &CheckRun<'_>) -> io::Result<()> {
    for checked in run.checked {
        let word = match checked.answer {
            Answer::Holds => continue,
            Answer::Fails => "FAILS",
            Answer::Open => "OPEN ",
        };
        writeln!(out, "{word} {}", sanitize(&checked.title))?;
        for finding in &checked.findings {
            for line in lines(finding) {
                writeln!(out, "      {line}")?;
            }
        }
    }
    let count = |answer| run.checked.iter().filter(|it| it.answer == answer).count();
    let verdict = match (count(Answer::Fails), count(Answer::Open)) {
        (0, 0) => "all as expected".to_owned(),
        (0, open) => format!("no answer to {open} of {}", run.checked.len()),
        (1, _) => format!("1 of {} does not hold", run.checked.len()),
        (fails, _) => format!("{fails} of {} do not hold", run.checked.len()),
    };
    let delivered = phrase::count(run.delivered, "descriptor");
    writeln!(
        out,
        "{}: {delivered} delivered, {verdict}",
        sanitize(run.name)
    )
}
