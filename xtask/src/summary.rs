//! Reads what `cargo test` and nextest print, and adds up the results of all tests.

use std::fmt;

/// How many tests passed, failed and were skipped. Displays as the last line of a test run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Totals {
    /// Adds one line of output; lines that are not a binary's summary change nothing.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim();
        let counts = if let Some(counts) = line.strip_prefix("test result: ") {
            // "ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
            counts.split_once(". ").map_or(counts, |(_, counts)| counts)
        } else if let Some(summary) = line.strip_prefix("Summary [") {
            // "   0.013s] 6 tests run: 3 passed (1 slow), 2 failed, 1 timed out, 9 skipped", where
            // skipped is what was not asked for.
            let counts = summary.split_once(" run: ").map(|(_, counts)| counts);
            counts.unwrap_or_default()
        } else {
            return;
        };
        for count in counts.split([';', ',']) {
            let mut words = count.split_whitespace();
            let number = words.next().and_then(|number| number.parse::<usize>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed" | "timed" | "exec")) => self.failed += number,
                (Some(number), Some("ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Whether any test has been run to its end.
    pub(crate) fn any_passed(&self) -> bool {
        self.passed > 0
    }

    /// Moves `count` tests that skipped themselves: the test harness has counted them as passed.
    pub(crate) fn skip(&mut self, count: usize) {
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The lines of a skip log that say that a test skipped itself.
pub(crate) fn skips(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.starts_with("skipped: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 2 tests
test tests::a ... ok
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
     Running ../tests/live/main.rs (target/debug/deps/live-0123)
test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.00s
";

    fn totals(output: &str) -> Totals {
        let mut totals = Totals::default();
        output.lines().for_each(|line| totals.read(line));
        totals
    }

    #[test]
    fn every_binary_counts() {
        assert_eq!(totals(OUTPUT).to_string(), "16 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn nextest_counts_too() {
        let line = "     Summary [   0.013s] 6 tests run: 3 passed (1 slow), 2 failed, 1 timed out, 9 skipped\n";
        assert_eq!(totals(line).to_string(), "3 passed, 3 failed, 0 skipped");
        let line = "     Summary [   0.013s] 1 test run: 1 passed, 0 skipped\n";
        assert_eq!(totals(line).to_string(), "1 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn other_lines_count_for_nothing() {
        let output = "test result\n5 passed; 1 failed\nthe test result: ok. 1 passed";
        assert_eq!(totals(output), Totals::default());
    }

    #[test]
    fn a_test_that_skipped_itself_has_not_passed() {
        let mut totals = totals(OUTPUT);
        totals.skip(3);
        assert_eq!(totals.to_string(), "13 passed, 2 failed, 4 skipped");
    }

    #[test]
    fn only_skip_lines_are_skips() {
        let log = "skipped: live::stream: needs root\nnoise\nskipped: live::dgram: needs root\n";
        assert_eq!(skips(log).count(), 2);
    }
}
