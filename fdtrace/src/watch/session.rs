//! Session: shows a trace, live or recorded, in a report: which transfers, how many, and what they
//! come to.

use std::io;

use super::{Ended, Selection, TraceEnd, TraceReport, TraceStart};
use crate::{
    model::{Judged, Tally},
    recording::Header,
};

/// Where to stop, and what not to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many transfers to show.
    pub transfers: u64,
    /// Shows what has been in a queue for longer than this before it ends, nanoseconds.
    pub overdue_ns: Option<u64>,
}

impl Limits {
    /// All there is, and each when it ends.
    pub const NONE: Self = Self {
        transfers: u64::MAX,
        overdue_ns: None,
    };
}

/// One trace on its way into a report.
pub struct Session<'a> {
    selection: Selection,
    report: Box<dyn TraceReport + 'a>,
    tally: Tally,
    /// How many transfers to show, at most.
    limit: u64,
}

impl<'a> Session<'a> {
    /// Begins the report. Of a trace with a filter, what that did not want is not shown.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn begin(
        selection: Selection,
        limits: Limits,
        mut report: Box<dyn TraceReport + 'a>,
        header: &Header,
    ) -> io::Result<Self> {
        report.start(&TraceStart {
            version: &header.fdtrace,
            kernel: &header.kernel,
            wall_ns: header.wall_ns,
            t_ns: header.t_ns,
            machine: &header.machine,
            utc_offset_s: header.utc_offset_s,
            plan: &header.plan,
        })?;
        Ok(Self {
            selection: Selection {
                wanted: header.filtered,
                ..selection
            },
            report,
            tally: Tally::default(),
            limit: limits.transfers,
        })
    }

    /// Shows what has been judged.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn show(&mut self, transfers: &[Judged]) -> io::Result<()> {
        for judged in transfers {
            // What goes on is shown and not counted: it is counted when it ends.
            let counts = !judged.transfer.overdue;
            if (counts && self.is_full()) || !self.selection.accepts(&judged.transfer) {
                continue;
            }
            if counts {
                self.tally.add(judged);
            }
            self.report.transfer(judged)?;
        }
        match transfers {
            [] => Ok(()),
            _ => self.report.flush(),
        }
    }

    /// Whether as many transfers were shown as were asked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tally.transfers() >= self.limit
    }

    /// Ends the report. `exit_code` says what fdtrace exits with, once all has been counted; returns
    /// that.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn end(
        mut self,
        ended: Ended,
        exit_code: impl FnOnce(&Tally, &Ended) -> u8,
    ) -> io::Result<u8> {
        self.show(&ended.transfers)?;
        self.tally.note_forgotten(ended.forgotten);
        let exit_code = exit_code(&self.tally, &ended);
        let end = TraceEnd {
            t_ns: ended.t_ns,
            command_status: ended.command_status,
            incomplete: ended.incomplete,
            unread: ended.unread,
            programs: ended.programs,
            exit_code,
        };
        self.report.summary(&self.tally, &ended.losses, &end)?;
        self.report.flush()?;
        Ok(exit_code)
    }
}
