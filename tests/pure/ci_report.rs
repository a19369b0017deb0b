//! JUnit XML and TAP 14 of made-up outcomes: what a CI system reads, and several reports of one
//! run.

use std::io;

use fdtrace::{
    model::{Losses, Machine, PointerStyle, Pointers},
    plan::Attach,
    report::{Junit, Report, ScenarioRun, Several, Start, Summary, Tap, Text},
    verify::{Finding, Judgement, ScenarioResult},
};
use fdtrace_testkit::{
    kernels::plan_of,
    outcomes::{
        HOSTILE, all_outcomes, harmless, hostile, inconclusive, judgement, losses, passed, retried,
        write,
    },
};
use quick_junit::TestCaseStatus;

fn junit(runs: &[ScenarioRun], losses: Losses) -> String {
    let mut bytes = Vec::new();
    write(Junit::new(&mut bytes), "7.3", runs, losses);
    String::from_utf8(bytes).expect("reports are UTF-8")
}

fn tap(runs: &[ScenarioRun], losses: Losses) -> String {
    let mut bytes = Vec::new();
    write(Tap::new(&mut bytes), "7.3", runs, losses);
    String::from_utf8(bytes).expect("reports are UTF-8")
}

/// The same scenario played for the second time.
fn second_round() -> ScenarioRun {
    ScenarioRun {
        round: 2,
        ..passed()
    }
}

#[test]
fn junit_has_a_case_for_each_scenario() {
    let mut outcomes = all_outcomes();
    outcomes.push(second_round());
    insta::assert_snapshot!("junit", junit(&outcomes, losses()));
}

#[test]
fn tap_has_a_point_for_each_scenario() {
    let mut outcomes = all_outcomes();
    outcomes.push(second_round());
    insta::assert_snapshot!("tap", tap(&outcomes, losses()));
}

#[test]
fn a_clean_run_tells_of_no_losses() {
    for report in [junit, tap] {
        assert!(!report(&[passed()], Losses::default()).contains("lost"));
        assert!(report(&[passed()], losses()).contains("lost"));
    }
}

#[test]
fn junit_counts_what_is_in_it() {
    let document = quick_junit::Report::deserialize_from_str(&junit(&all_outcomes(), losses()))
        .expect("it is JUnit XML");
    let cases: Vec<_> = document
        .test_suites
        .iter()
        .flat_map(|suite| &suite.test_cases)
        .collect();
    assert_eq!(cases.len(), all_outcomes().len());
    assert_eq!(document.tests, cases.len());
    // Without an answer is an error, not a failure and not a skip.
    assert_eq!((document.failures, document.errors), (1, 1));
}

#[test]
fn what_passed_when_played_again_passes_and_is_flaky() {
    let document = quick_junit::Report::deserialize_from_str(&junit(&[retried()], losses()))
        .expect("it is JUnit XML");
    assert_eq!((document.failures, document.errors), (0, 0));
    let TestCaseStatus::Success { flaky_runs } = &document.test_suites[0].test_cases[0].status
    else {
        panic!("it passed: {document:?}");
    };
    let reasons: Vec<_> = flaky_runs
        .iter()
        .map(|run| run.message.as_deref())
        .collect();
    let expected = retried().retried;
    assert_eq!(reasons, [Some(&*expected[0]), Some(&*expected[1])]);
}

#[test]
fn an_open_question_is_not_ok() {
    let text = tap(&[inconclusive()], losses());
    assert!(text.contains("not ok 1 - max-fds\n"), "{text}");
    assert!(text.contains("  result: inconclusive\n"), "{text}");
}

/// Whether a character can end a line, move a cursor or turn the direction of writing.
fn is_harmful(char: char) -> bool {
    char.is_control() && char != '\n'
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What breaks out of XML or of a line of TAP if it is let.
const BREAKOUT: &str = "]]>\"'</failure><x y=\"&amp;\">\n  ...\nnot ok 99 - # SKIP \\# TODO\n1..1";

fn breaking_out(result: ScenarioResult) -> ScenarioRun {
    ScenarioRun {
        retried: vec![format!("it had said {BREAKOUT} {HOSTILE}")],
        ..Judgement {
            findings: vec![Finding::Trouble(format!(
                "an actor said {BREAKOUT} {HOSTILE}"
            ))],
            ..judgement("stream-one-fd", result)
        }
        .into()
    }
}

#[test]
fn hostile_names_come_out_inert() {
    for report in [junit, tap] {
        let (hostile, harmless) = (
            report(&[hostile()], losses()),
            report(&[harmless()], losses()),
        );
        assert_eq!(hostile.lines().count(), harmless.lines().count());
        let found: Vec<char> = hostile.chars().filter(|char| is_harmful(*char)).collect();
        assert!(found.is_empty(), "{found:?} in {hostile:?}");
        // Inert, and yet there to be read.
        assert!(hostile.contains("u{202e}"), "{hostile:?}");
    }
}

#[test]
fn nothing_breaks_out_of_junit() {
    for result in [ScenarioResult::Fail, ScenarioResult::Skip] {
        let text = junit(&[breaking_out(result)], losses());
        let document = quick_junit::Report::deserialize_from_str(&text).expect("it is XML");
        assert_eq!(document.test_suites.len(), 1);
        assert_eq!(document.test_suites[0].test_cases.len(), 1);
    }
    insta::assert_snapshot!(
        "junit_hostile",
        junit(&[breaking_out(ScenarioResult::Fail)], losses())
    );
}

#[test]
fn nothing_breaks_out_of_tap() {
    for result in [ScenarioResult::Fail, ScenarioResult::Skip] {
        let text = tap(&[breaking_out(result)], losses());
        let points = text.lines().filter(|line| {
            line.starts_with("ok") || line.starts_with("not ok") || line.starts_with("1..")
        });
        assert_eq!(points.count(), 2, "{text}");
        assert_eq!(text.lines().filter(|line| line.trim() == "...").count(), 1);
    }
    insta::assert_snapshot!(
        "tap_hostile",
        tap(
            &[
                breaking_out(ScenarioResult::Fail),
                breaking_out(ScenarioResult::Skip)
            ],
            losses()
        )
    );
}

#[test]
fn a_run_that_was_cut_short_says_so() {
    let cut = |report: &mut dyn Report, interrupted| {
        report.scenario(&passed()).expect("memory takes it");
        let mut summary = Summary {
            interrupted,
            not_run: 3,
            ..Summary::default()
        };
        summary.add(&passed());
        report.summary(&summary).expect("memory takes it");
    };
    for (interrupted, why) in [(true, "interrupted"), (false, "ended at the first failure")] {
        let why = format!("{why}: 3 scenarios were not run");
        let mut bytes = Vec::new();
        cut(&mut Tap::new(&mut bytes), interrupted);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            text.ends_with(&format!("1..4\nBail out! {why}\n")),
            "{text}"
        );

        let mut bytes = Vec::new();
        cut(&mut Junit::new(&mut bytes), interrupted);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains(&why), "{text}");

        let mut bytes = Vec::new();
        let pointers = Pointers::new(PointerStyle::Raw, 0);
        cut(&mut Text::new(&mut bytes, pointers, false), interrupted);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains(&why), "{text}");
    }
}

/// Somewhere to write to that fails from the start.
struct Failing(io::ErrorKind);

impl io::Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_takes_no_other_report_along() {
    let mut bytes = Vec::new();
    let gone = Failing(io::ErrorKind::BrokenPipe);
    let several = Several::new(vec![
        Box::new(Tap::new(gone)),
        Box::new(Tap::new(&mut bytes)),
    ]);
    write(several, "7.3", &[passed()], losses());
    let text = String::from_utf8(bytes).expect("reports are UTF-8");
    assert_eq!(text, tap(&[passed()], losses()));
}

#[test]
fn the_last_reader_that_goes_away_is_told_of_and_a_full_disk_always() {
    let plan = plan_of("7.3", Attach::Tracepoint);
    let start = Start {
        version: "0.0.0",
        wall_ns: 0,
        mono_ns: 0,
        machine: &Machine::default(),
        plan,
    };
    let start = |kinds: &[io::ErrorKind]| {
        let reports = kinds
            .iter()
            .map(|kind| -> Box<dyn Report> { Box::new(Tap::new(Failing(*kind))) });
        Several::new(reports.collect())
            .start(&start)
            .map_err(|error| error.kind())
    };
    let (gone, full) = (io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull);
    assert_eq!(start(&[gone, gone]), Err(gone));
    assert_eq!(start(&[full, gone]), Err(full));
}
