//! Report: what was found, for people and for programs. A file per format, one trait.
//!
//! Reports do no I/O but writing to what they are given, and read no clock. What the traced
//! system controls (names, paths) reaches a format only through that format's own escaping.

#[cfg(feature = "explain")]
mod against;
mod check;
mod dot;
mod fit;
mod groups;
mod harmless;
#[cfg(feature = "html")]
mod html;
mod inflight;
mod json;
#[cfg(feature = "junit")]
mod junit;
mod lines;
mod mermaid;
mod perfetto;
mod phrase;
mod plan;
mod programs;
mod sanitize;
pub mod schema;
mod several;
mod still_open;
#[cfg(feature = "explain")]
pub(crate) mod story;
mod tap;
mod text;
mod words;

use std::io;

#[cfg(feature = "explain")]
pub use against::write_comparison;
#[cfg(feature = "junit")]
pub use check::write_junit;
#[cfg(feature = "html")]
pub use check::write_page;
pub use check::{CheckRun, WriteCheck, write_github, write_json_lines, write_tap, write_text};
pub use dot::Dot;
pub(crate) use fit::Fit;
pub use groups::{GroupBy, Grouping, Sort};
pub(crate) use harmless::write_json;
#[cfg(feature = "html")]
pub use html::Html;
pub use inflight::{InFlightJson, InFlightReport, InFlightText, Round, TotalBy};
pub use json::Json;
pub(crate) use json::{catalogue, plan as plan_entries};
#[cfg(feature = "junit")]
pub use junit::Junit;
pub use lines::{LineStyle, Lines};
pub use mermaid::Mermaid;
pub use perfetto::Perfetto;
pub(crate) use phrase::{ended, losses, party};
pub(crate) use plan::write_plan;
pub(crate) use sanitize::sanitize;
pub use several::Several;
#[cfg(feature = "explain")]
pub use story::write_story;
pub use tap::Tap;
pub use text::Text;
pub use words::{write_all_words, write_words};

use crate::{
    model::{Counts, Fate, Losses, Machine, ProgramCost, Verdict},
    plan::Plan,
    verify::{Judgement, ScenarioResult},
};

/// What is known before the first result.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// Version of fdtrace.
    pub version: &'a str,
    /// Wall-clock time, nanoseconds since 1970.
    pub wall_ns: u64,
    /// CLOCK_MONOTONIC of the same moment, nanoseconds.
    pub mono_ns: u64,
    /// Which machine it is, and which of its boots.
    pub machine: &'a Machine,
    /// The plan as it came out of the self-test.
    pub plan: &'a Plan,
}

/// One run of a scenario, as reports present it.
#[derive(Clone, Debug)]
pub struct ScenarioRun {
    /// What the judge found.
    pub judgement: Judgement,
    /// Which of the rounds it belongs to, from 1.
    pub round: u32,
    /// Why each earlier run of this round was repeated: what was lost left it open.
    pub retried: Vec<String>,
    /// What the kernel did, where that is to be explained.
    #[cfg(feature = "explain")]
    pub story: Option<Box<crate::explain::Story>>,
}

impl From<Judgement> for ScenarioRun {
    /// The first run of the first round, without a story.
    fn from(judgement: Judgement) -> Self {
        Self {
            judgement,
            round: 1,
            retried: Vec::new(),
            #[cfg(feature = "explain")]
            story: None,
        }
    }
}

/// What all results come to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Scenarios by result.
    pub scenarios: Counts<ScenarioResult>,
    /// Transfers by fate.
    pub fates: Counts<Fate>,
    /// Transfers by the trace's verdict.
    pub verdicts: Counts<Verdict>,
    /// What went unseen.
    pub losses: Losses,
    /// Whether it was ended before all was done.
    pub interrupted: bool,
    /// Scenarios that were asked for and not run, because it was interrupted or was to end at
    /// the first failure.
    pub not_run: u64,
    /// What each program has cost, if somebody wants to know.
    pub programs: Option<Vec<ProgramCost>>,
    /// Time from the first scenario to the last, nanoseconds.
    pub elapsed_ns: u64,
    /// What did not pass, by name, in order.
    pub unsettled: Vec<(ScenarioResult, String)>,
    /// What fdtrace exits with.
    pub exit_code: u8,
}

impl Summary {
    /// Counts one scenario and its transfers.
    pub fn add(&mut self, run: &ScenarioRun) {
        let judgement = &run.judgement;
        self.scenarios.add(judgement.result);
        if judgement.result != ScenarioResult::Pass {
            self.unsettled.push((judgement.result, text::name(run)));
        }
        for judged in &judgement.transfers {
            self.fates.add(judged.transfer.fate());
            if let Some(verdict) = judged.verdict {
                self.verdicts.add(verdict);
            }
        }
    }

    /// Scenarios that ended, however.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.scenarios.total()
    }

    /// Scenarios that ended so.
    #[must_use]
    pub fn scenarios_with(&self, result: ScenarioResult) -> u64 {
        self.scenarios.of(result)
    }
}

/// A format of verify's results.
pub trait Report {
    /// Everything is attached.
    ///
    /// # Errors
    /// What writing says.
    fn start(&mut self, start: &Start<'_>) -> io::Result<()>;

    /// A scenario has ended.
    ///
    /// # Errors
    /// What writing says.
    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()>;

    /// All is done.
    ///
    /// # Errors
    /// What writing says.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
}
