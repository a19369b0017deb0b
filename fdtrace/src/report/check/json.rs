//! For programs: the trace, and then a JSON object for each expectation.

use std::io;

use super::CheckRun;
use crate::{
    check::Answer,
    report::{
        sanitize,
        schema::{Check, CheckFinding, CheckResult, Line},
        write_json,
    },
};

/// Writes the trace's lines, and then an object for each expectation.
///
/// # Errors
/// If it cannot be written.
pub fn write_json_lines(out: &mut dyn io::Write, run: &CheckRun<'_>) -> io::Result<()> {
    out.write_all(run.trace)?;
    for checked in run.checked {
        let findings = checked.findings.iter().map(|finding| CheckFinding {
            what: sanitize(&finding.what),
            open: finding.open,
            transfer: finding.transfer.as_ref().map(|judged| judged.id),
            nearest: finding
                .nearest
                .iter()
                .map(|near| near.transfer.id)
                .collect(),
        });
        let check = Check {
            name: sanitize(&checked.title),
            result: match checked.answer {
                Answer::Holds => CheckResult::Pass,
                Answer::Fails => CheckResult::Fail,
                Answer::Open => CheckResult::Inconclusive,
            },
            findings: findings.collect(),
        };
        write_json(&mut *out, &Line::Check(check))?;
        writeln!(out)?;
    }
    out.flush()
}
