//! Session: shows a trace, live or recorded, in a report: which transfers, how many, and what they
//! come to.

use std::io;

use super::{Ended, Looked, Selection, TraceEnd, TraceReport, TraceStart};
use crate::{
    judge::still_open::Book,
    model::{Fate, Holdings, Hop, Judged, LookedAt, TableLook, Tally},
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

/// What is said of a trace that leaves open where descriptors went.
const NO_INSTALLS: &str =
    "what receivers get is not watched here, so fates are unknown: `fdtrace doctor` says why";

/// One trace on its way into a report.
pub struct Session<'a> {
    selection: Selection,
    report: Box<dyn TraceReport + 'a>,
    tally: Tally,
    /// What was delivered, until it is known to be closed.
    book: Book,
    /// Why tables could not be looked through.
    not_looked: Option<String>,
    /// How many transfers to show, at most.
    limit: u64,
    /// It is seen what receivers get.
    sees_installs: bool,
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
            functions_unnamed: header.coverage.unnamed,
        })?;
        Ok(Self {
            selection: Selection {
                wanted: header.filtered,
                ..selection
            },
            report,
            tally: Tally::default(),
            book: Book::default(),
            not_looked: None,
            limit: limits.transfers,
            sees_installs: header.coverage.watches(Hop::Install),
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
                self.book.note(judged);
            }
            self.report.transfer(judged)?;
        }
        for (t_ns, later) in self.book.take_late() {
            self.report.looked(&Looked {
                t_ns,
                at: LookedAt::ProcessEnd,
                later: &[later],
                holdings: None,
            })?;
        }
        match transfers {
            [] => Ok(()),
            _ => self.report.flush(),
        }
    }

    /// What was delivered so far, as far as it is not known to be closed.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Processes that have taken part since this was asked last.
    pub fn take_new_pids(&mut self) -> Vec<u32> {
        self.book.take_new_pids()
    }

    /// Whether a look through the tables of processes is of use now.
    pub fn asks_for_look(&mut self) -> bool {
        self.book.asks_for_look()
    }

    /// Takes in what a look through the tables of processes found.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn looked(&mut self, look: &TableLook) -> io::Result<()> {
        let later = self.book.look(look);
        let holdings = (look.at == LookedAt::Every).then(|| self.book.holdings());
        if later.is_empty() && holdings.is_none() {
            return Ok(());
        }
        self.report.looked(&Looked {
            t_ns: look.t_ns,
            at: look.at,
            later: &later,
            holdings: holdings.as_ref(),
        })?;
        self.report.flush()
    }

    /// Notes why tables could not be looked through.
    pub fn note_not_looked(&mut self, why: String) {
        self.not_looked = Some(why);
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
        mut ended: Ended,
        exit_code: impl FnOnce(&Tally, &Ended) -> u8,
    ) -> io::Result<u8> {
        self.show(&ended.transfers)?;
        self.tally.note_forgotten(ended.forgotten);
        if !self.sees_installs && self.tally.fates().of(Fate::Unknown) > 0 {
            ended
                .incomplete
                .get_or_insert_with(|| NO_INSTALLS.to_owned());
        }
        let exit_code = exit_code(&self.tally, &ended);
        let end = TraceEnd {
            t_ns: ended.t_ns,
            command_status: ended.command_status,
            incomplete: ended.incomplete,
            unread: ended.unread,
            programs: ended.programs,
            exit_code,
            empty_rights: ended.empty_rights,
            holdings: Holdings {
                not_looked: self.not_looked,
                ..self.book.holdings()
            },
        };
        self.report.summary(&self.tally, &ended.losses, &end)?;
        self.report.flush()?;
        Ok(exit_code)
    }
}
