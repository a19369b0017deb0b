//! Intake: the one way of a record, or of what a look found, into the pipeline and into the recording.

use std::io;

use super::{Pipeline, found::Finding, recorder::Recorder};
use crate::wire::Record;

/// Where all goes that comes in: to whoever hears records, into the pipeline, and into the recording if
/// there is one. After an error nothing more is written.
pub(super) struct Intake<'a> {
    pipeline: &'a mut Pipeline,
    recorder: Option<&'a mut Recorder>,
    hear: &'a mut dyn FnMut(&Record),
    /// Whether anything came.
    pub(super) any: bool,
    /// What came of writing it.
    pub(super) written: io::Result<()>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        pipeline: &'a mut Pipeline,
        recorder: Option<&'a mut Recorder>,
        hear: &'a mut dyn FnMut(&Record),
    ) -> Self {
        Self {
            pipeline,
            recorder,
            hear,
            any: false,
            written: Ok(()),
        }
    }

    /// Takes in a record of the ring buffer.
    pub(super) fn record(&mut self, record: &[u8]) {
        self.any = true;
        let Self {
            pipeline,
            recorder,
            hear,
            written,
            ..
        } = self;
        pipeline.record(record, &mut |record| {
            hear(record);
            write(recorder, written, |recorder| recorder.name(record));
        });
        write(recorder, written, |recorder| recorder.record(record));
    }

    /// Takes in what a look through the queues found.
    pub(super) fn take_found(&mut self, finding: Finding) {
        match finding {
            Finding::Held(record) => self.record(&record),
            Finding::Fact(fact) => {
                self.any = true;
                write(&mut self.recorder, &mut self.written, |recorder| {
                    recorder.found(&fact)
                });
                self.pipeline.found(fact, &mut self.hear);
            }
        }
    }
}

fn write(
    recorder: &mut Option<&mut Recorder>,
    written: &mut io::Result<()>,
    what: impl FnOnce(&mut Recorder) -> io::Result<()>,
) {
    if let Some(recorder) = recorder
        && written.is_ok()
    {
        *written = what(recorder);
    }
}
