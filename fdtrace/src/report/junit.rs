//! JUnit XML, as CI systems read it: a suite for each group, a test case for each scenario.
//!
//! A scenario that failed is a `failure`. One without an answer is an `error`: the test could not
//! be carried out, which is neither a failure nor something to skip over; if it was answered when
//! run again, it is a flaky error of a test that passed. The XML is one document, so it is
//! written when all is done; no kernel address is in it.

use std::{io, time::Duration};

use quick_junit::{
    NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestRerun, TestSuite,
};

use super::{
    Report, ScenarioRun, Start, Summary,
    phrase::{losses, not_run},
    plan::watched,
    sanitize::sanitize,
    text::{account, name},
};
use crate::verify::{Judgement, ScenarioResult};

/// What the document calls itself, and what the names of its classes begin with.
const NAME: &str = "fdtrace";

/// The type of an error: nothing else is one.
const INCONCLUSIVE: &str = "inconclusive";

/// Gathers test cases and writes the document at the end.
pub struct Junit<W> {
    out: W,
    properties: Vec<(&'static str, String)>,
    suites: Vec<TestSuite>,
}

impl<W: io::Write> Junit<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            properties: Vec::new(),
            suites: Vec::new(),
        }
    }

    fn suite(&mut self, group: &str) -> &mut TestSuite {
        let known = self.suites.iter().position(|suite| suite.name == *group);
        let at = known.unwrap_or_else(|| {
            self.suites.push(TestSuite::new(group));
            self.suites.len() - 1
        });
        &mut self.suites[at]
    }
}

impl<W: io::Write> Report for Junit<W> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        self.properties = vec![
            ("fdtrace", start.version.to_owned()),
            ("kernel", sanitize(&start.plan.release)),
            ("watched", watched(&super::plan_entries(start.plan))),
        ];
        Ok(())
    }

    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()> {
        let judgement = &run.judgement;
        let group = judgement.group.name();
        let mut status = status(judgement);
        status.add_reruns(run.retried.iter().map(|reason| rerun(reason)));
        let mut case = TestCase::new(name(run), status);
        case.set_classname(format!("{NAME}.{group}"))
            .set_time(judgement.elapsed);
        let account = account(judgement);
        if !account.is_empty() {
            case.set_system_out(sanitize(&account));
        }
        let suite = self.suite(group);
        let time = suite.time.unwrap_or_default();
        suite.set_time(time + judgement.elapsed).add_test_case(case);
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let lost = losses(&summary.losses);
        if !lost.is_empty() {
            self.properties.push(("lost", lost.join(", ")));
        }
        if let Some(why) = not_run(summary) {
            self.properties.push(("incomplete", why));
        }
        let mut document = Document::new(NAME);
        document.set_time(Duration::from_nanos(summary.elapsed_ns));
        for mut suite in std::mem::take(&mut self.suites) {
            for (name, value) in &self.properties {
                suite.add_property((*name, value.as_str()));
            }
            document.add_test_suite(suite);
        }
        // In one piece, so that an error in writing is the writer's own and not the serializer's.
        let text = document.to_string().map_err(io::Error::other)?;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

fn status(judgement: &Judgement) -> TestCaseStatus {
    let (mut status, kind) = match judgement.result {
        ScenarioResult::Pass => return TestCaseStatus::success(),
        ScenarioResult::Skip => (TestCaseStatus::skipped(), "skip"),
        ScenarioResult::Fail => (TestCaseStatus::non_success(NonSuccessKind::Failure), "fail"),
        ScenarioResult::Inconclusive => (
            TestCaseStatus::non_success(NonSuccessKind::Error),
            INCONCLUSIVE,
        ),
    };
    status.set_type(kind);
    if let Some(reason) = &judgement.reason() {
        status.set_message(sanitize(reason));
    }
    status
}

/// A run that losses left open.
fn rerun(reason: &str) -> TestRerun {
    let mut rerun = TestRerun::new(NonSuccessKind::Error);
    rerun.set_type(INCONCLUSIVE).set_message(sanitize(reason));
    rerun
}
