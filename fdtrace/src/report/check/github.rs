//! Annotations for GitHub Actions: workflow commands, a line for each finding.

use std::io;

use super::{CheckRun, lines};
use crate::report::sanitize;

/// Writes an annotation for each finding: an error where it speaks against the expectation, a warning
/// where it leaves it open.
///
/// # Errors
/// If it cannot be written.
pub fn write_github(out: &mut dyn io::Write, run: &CheckRun<'_>) -> io::Result<()> {
    for checked in run.checked {
        for finding in &checked.findings {
            let kind = if finding.open { "warning" } else { "error" };
            let title = property(&format!(
                "{}: {}",
                sanitize(run.name),
                sanitize(&checked.title)
            ));
            let text = data(&lines(finding).join("\n"));
            writeln!(out, "::{kind} title={title}::{text}")?;
        }
    }
    out.flush()
}

/// As the text of a command has to be.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// As a property of a command has to be.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
