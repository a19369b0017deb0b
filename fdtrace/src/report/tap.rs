//! TAP 14, as test harnesses read it: a test point for each scenario.
//!
//! One without an answer is `not ok`, because it is not; its diagnostics say `inconclusive`. The
//! plan comes last, when it is known how many there are; a run that ended early bails out. No
//! kernel address is in it.

use std::io;

use super::{
    Report, ScenarioRun, Start, Summary,
    harmless::write_json,
    phrase::{losses, not_run},
    plan::watched,
    sanitize::sanitize,
    text::{account, name},
};
use crate::verify::ScenarioResult;

/// Writes a test point as soon as it is known.
pub struct Tap<W> {
    out: W,
    points: u64,
}

impl<W: io::Write> Tap<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, points: 0 }
    }

    /// A block of YAML, which JSON strings are.
    fn diagnostics(&mut self, run: &ScenarioRun, result: &str) -> io::Result<()> {
        writeln!(self.out, "  ---")?;
        writeln!(self.out, "  result: {result}")?;
        if let Some(reason) = &run.judgement.reason() {
            writeln!(self.out, "  message: {}", quoted(reason)?)?;
        }
        if !run.retried.is_empty() {
            let reasons: io::Result<Vec<String>> =
                run.retried.iter().map(|reason| quoted(reason)).collect();
            writeln!(self.out, "  retried: [{}]", reasons?.join(", "))?;
        }
        let account = account(&run.judgement);
        if !account.is_empty() {
            writeln!(self.out, "  transfers: {}", quoted(&account)?)?;
        }
        let ms = run.judgement.elapsed.as_secs_f64() * 1e3;
        writeln!(self.out, "  duration_ms: {ms:.3}")?;
        writeln!(self.out, "  ...")
    }
}

impl<W: io::Write> Report for Tap<W> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        writeln!(self.out, "TAP version 14")?;
        writeln!(
            self.out,
            "# fdtrace {} on Linux {}, watching {}",
            start.version,
            sanitize(&start.plan.release),
            watched(&super::plan_entries(start.plan))
        )
    }

    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()> {
        self.points += 1;
        let (ok, result) = match run.judgement.result {
            ScenarioResult::Pass => ("ok", "pass"),
            ScenarioResult::Skip => ("ok", "skip"),
            ScenarioResult::Fail => ("not ok", "fail"),
            ScenarioResult::Inconclusive => ("not ok", "inconclusive"),
        };
        let name = description(&name(run));
        write!(self.out, "{ok} {} - {name}", self.points)?;
        if run.judgement.result == ScenarioResult::Skip {
            let reason = run.judgement.reason().unwrap_or_default();
            write!(self.out, " # SKIP {}", sanitize(&reason))?;
        }
        writeln!(self.out)?;
        self.diagnostics(run, result)?;
        self.out.flush()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let lost = losses(&summary.losses);
        if !lost.is_empty() {
            writeln!(self.out, "# lost: {}", lost.join(", "))?;
        }
        writeln!(self.out, "1..{}", self.points + summary.not_run)?;
        if let Some(why) = not_run(summary) {
            writeln!(self.out, "Bail out! {why}")?;
        }
        self.out.flush()
    }
}

pub(super) fn quoted(text: &str) -> io::Result<String> {
    let mut quoted = Vec::new();
    write_json(&mut quoted, &sanitize(text))?;
    String::from_utf8(quoted).map_err(io::Error::other)
}

/// What stands for itself in a description: no directive begins there, nothing is escaped.
pub(super) fn description(text: &str) -> String {
    sanitize(text).replace('\\', "\\\\").replace('#', "\\#")
}
