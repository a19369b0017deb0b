//! TAP 14: a test point for each expectation.

use std::io;

use super::{CheckRun, lines};
use crate::{
    check::Answer,
    report::tap::{description, quoted},
};

/// Writes the test points.
///
/// # Errors
/// If it cannot be written.
pub fn write_tap(out: &mut dyn io::Write, run: &CheckRun<'_>) -> io::Result<()> {
    writeln!(out, "TAP version 14")?;
    writeln!(out, "1..{}", run.checked.len())?;
    for (number, checked) in (1..).zip(run.checked) {
        let (ok, result) = match checked.answer {
            Answer::Holds => ("ok", "pass"),
            Answer::Fails => ("not ok", "fail"),
            Answer::Open => ("not ok", "inconclusive"),
        };
        let title = description(&format!("{}: {}", run.name, checked.title));
        writeln!(out, "{ok} {number} - {title}")?;
        if checked.answer != Answer::Holds {
            writeln!(out, "  ---\n  result: {result}")?;
            writeln!(out, "  findings:")?;
            for line in checked.findings.iter().flat_map(lines) {
                writeln!(out, "    - {}", quoted(line.trim_start())?)?;
            }
            writeln!(out, "  ...")?;
        }
    }
    out.flush()
}
