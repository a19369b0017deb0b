//! Several reports of one run, such as text on a terminal and JUnit in a file.

use std::io;

use super::{Report, ScenarioRun, Start, Summary};

/// Tells all of them everything.
///
/// When the reader of one goes away, only that one ends; a script that stops reading stdout still
/// gets its files. The last one's error is everybody's.
#[derive(Default)]
pub struct Several<'a> {
    reports: Vec<Box<dyn Report + 'a>>,
}

impl<'a> Several<'a> {
    /// These reports, told in this order.
    #[must_use]
    pub fn new(reports: Vec<Box<dyn Report + 'a>>) -> Self {
        Self { reports }
    }

    fn tell(
        &mut self,
        mut what: impl FnMut(&mut (dyn Report + 'a)) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = 0;
        while let Some(report) = self.reports.get_mut(at) {
            match what(report.as_mut()) {
                Ok(()) => at += 1,
                Err(error)
                    if error.kind() == io::ErrorKind::BrokenPipe && self.reports.len() > 1 =>
                {
                    self.reports.remove(at);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Report for Several<'_> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        self.tell(|report| report.start(start))
    }

    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()> {
        self.tell(|report| report.scenario(run))
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.tell(|report| report.summary(summary))
    }
}
