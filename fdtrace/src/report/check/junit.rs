//! JUnit XML: a test case for each expectation. What does not hold is a failure, what has no answer an
//! error.

use std::io;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{CheckRun, account};
use crate::{check::Answer, report::sanitize};

/// Writes the document.
///
/// # Errors
/// If it cannot be written.
pub fn write_junit(out: &mut dyn io::Write, run: &CheckRun<'_>) -> io::Result<()> {
    let mut suite = TestSuite::new(sanitize(run.name));
    suite.set_time(run.took);
    for checked in run.checked {
        let mut status = match checked.answer {
            Answer::Holds => TestCaseStatus::success(),
            Answer::Fails => TestCaseStatus::non_success(NonSuccessKind::Failure),
            Answer::Open => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        if let Some(first) = checked.findings.first() {
            status.set_message(sanitize(&first.what));
            status.set_description(account(checked));
        }
        let mut case = TestCase::new(sanitize(&checked.title), status);
        case.set_classname(sanitize(run.name)).set_time(run.took);
        suite.add_test_case(case);
    }
    let mut document = Report::new("fdtrace check");
    document.set_time(run.took);
    document.add_test_suite(suite);
    let text = document.to_string().map_err(io::Error::other)?;
    out.write_all(text.as_bytes())?;
    out.flush()
}
