//! What came of a command's expectations, in each format.

mod github;
mod json;
#[cfg(feature = "junit")]
mod junit;
mod tap;
mod text;

use std::{io, time::Duration};

use super::{phrase, sanitize};
use crate::{
    check::{Checked, Finding},
    model::Judged,
};

pub use github::write_github;
pub use json::write_json_lines;
#[cfg(feature = "junit")]
pub use junit::write_junit;
pub use tap::write_tap;
pub use text::write_text;

/// One run of `fdtrace check`.
#[derive(Clone, Copy, Debug)]
pub struct CheckRun<'a> {
    /// What the test is called.
    pub name: &'a str,
    /// What came of each expectation.
    pub checked: &'a [Checked],
    /// Transfers that were delivered.
    pub delivered: u64,
    /// What the command returned, as a shell would say it.
    pub command_status: Option<i32>,
    /// How long the command ran.
    pub took: Duration,
    /// The trace in JSON Lines, which a JSON report begins with.
    pub trace: &'a [u8],
    /// The page of the trace; empty unless it is among the reports.
    pub page: &'a [u8],
}

/// Writes the page of the trace.
///
/// # Errors
/// If it cannot be written.
#[cfg(feature = "html")]
pub fn write_page(out: &mut dyn io::Write, run: &CheckRun<'_>) -> io::Result<()> {
    out.write_all(run.page)
}

/// A format of it.
pub type WriteCheck = fn(&mut dyn io::Write, &CheckRun<'_>) -> io::Result<()>;

/// `proxy[812] 9 → worker[813] ?: socket tcp 127.0.0.1:80 listening, truncated (no-control-room)`.
fn transfer(judged: &Judged) -> String {
    let sender = judged.sender.as_ref();
    let sender = sender.map_or("?".to_owned(), |it| phrase::party(&it.comm, it.pid, it.fd));
    let receiver = judged.receiver();
    let receiver = receiver.map_or("nobody".to_owned(), |it| {
        phrase::party(&it.comm, it.pid, it.fd)
    });
    let name = judged.context.file.as_ref().map(ToString::to_string);
    let name = name.unwrap_or_else(|| format!("inode {}", judged.file.ino));
    format!(
        "{sender} → {receiver}: {} {}, {}",
        judged.file.kind(),
        sanitize(&name),
        phrase::ended(judged.fate(), judged.cause())
    )
}

/// A finding in lines: what, on which transfer, and what comes nearest.
fn lines(finding: &Finding) -> Vec<String> {
    let mut lines = vec![sanitize(&finding.what)];
    lines.extend(
        finding
            .transfer
            .iter()
            .map(|judged| format!("  {}", transfer(judged))),
    );
    for nearby in &finding.nearest {
        lines.push(format!("  near: {}", transfer(&nearby.transfer)));
        for field in &nearby.differs {
            let found = match field.found.as_deref() {
                None => "not known".to_owned(),
                Some("") => "none".to_owned(),
                Some(found) => sanitize(found),
            };
            let expected = sanitize(&field.expected);
            lines.push(format!(
                "        {}: {expected} expected, {found}",
                field.field
            ));
        }
    }
    lines
}

/// All findings of one expectation, joined.
fn account(checked: &Checked) -> String {
    let lines: Vec<String> = checked.findings.iter().flat_map(lines).collect();
    lines.join("\n")
}
