//! Trace: from the records of a machine, live or recorded, to transfers as they end.
//!
//! A [`Session`] is what `fdtrace trace` and `fdtrace replay` have in common, so both print the
//! same. It reads no clock and asks no kernel: whoever feeds it says what time it is and what was
//! lost, and a recording says it again.

pub mod command;
pub mod found;
pub mod live;
pub mod looks;
mod report;
mod selection;

use std::io;

pub use report::{TraceEnd, TraceReport, TraceStart};
pub use selection::Selection;

use crate::{
    judge::{Meanwhile, Unseen},
    model::{Hop, Judged, Losses, QueueFact, Tally, Transfer},
    track::Tracker,
    wire::{self, decode},
};

/// One trace on its way from records to a report.
pub struct Session<'a> {
    tracker: Tracker,
    selection: Selection,
    report: Box<dyn TraceReport + 'a>,
    tally: Tally,
    watched: Vec<Hop>,
    unseen: Unseen,
    /// Ended, and not judged yet.
    ended: Vec<Transfer>,
    /// How many transfers to show, at most.
    limit: u64,
    /// What has been queued for so long is told of while it is.
    overdue_ns: Option<u64>,
    undecodable: u64,
}

/// Where to stop, and what not to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many transfers to show.
    pub transfers: u64,
    /// What is in a queue for longer than this, nanoseconds, is told of before it ends.
    pub overdue_ns: Option<u64>,
}

impl Limits {
    /// All there is, and each when it ends.
    pub const NONE: Self = Self {
        transfers: u64::MAX,
        overdue_ns: None,
    };
}

impl<'a> Session<'a> {
    /// Begins a trace, and its report.
    ///
    /// # Errors
    /// What writing says, here and below.
    pub fn begin(
        tracker: Tracker,
        selection: Selection,
        mut report: Box<dyn TraceReport + 'a>,
        start: &TraceStart<'_>,
        limits: Limits,
    ) -> io::Result<Self> {
        report.start(start)?;
        let watched = Hop::ALL.into_iter().filter(|hop| {
            let mut entries = start.plan.iter();
            entries.any(|entry| entry.hop == hop.name() && !entry.skipped)
        });
        Ok(Self {
            tracker,
            selection,
            report,
            tally: Tally::default(),
            watched: watched.collect(),
            unseen: Unseen::default(),
            ended: Vec::new(),
            limit: limits.transfers,
            overdue_ns: limits.overdue_ns,
            undecodable: 0,
        })
    }

    /// Takes in one record of the ring buffer.
    pub fn record(&mut self, record: &[u8]) {
        match decode(record) {
            Ok(event) => self.tracker.apply(event),
            Err(_) => self.undecodable += 1,
        }
        self.ended.extend(self.tracker.take_closed());
    }

    /// Takes in what a look through the queues found.
    pub fn found(&mut self, fact: QueueFact) {
        for event in wire::found(fact) {
            self.tracker.apply(event);
        }
        self.ended.extend(self.tracker.take_closed());
    }

    /// Every record up to `t_ns` has come: what waits for a record that would have come by then waits
    /// no longer. Returns whether anything has ended for that; [`Session::pause`] is next.
    pub fn settle(&mut self, t_ns: u64) -> bool {
        let settled = self.tracker.settle(t_ns);
        self.ended.extend(self.tracker.take_closed());
        settled
    }

    /// Whether something has ended, which cannot be judged without knowing what was lost until now.
    #[must_use]
    pub fn asks_for_losses(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Says what has been lost by `t_ns`. Only a change makes a difference; returns whether there
    /// was one.
    pub fn lost(&mut self, losses: &Losses, t_ns: u64) -> bool {
        if !self.unseen.losses().same_gaps(losses) {
            self.tracker.note_loss(t_ns.max(losses.read_ns));
        }
        self.unseen.read(losses, t_ns)
    }

    /// Every record up to `t_ns` has come: judges and reports what has ended, and what is in a
    /// queue for too long by then. Returns whether there was anything of the latter.
    ///
    /// # Errors
    /// As above.
    pub fn pause(&mut self, t_ns: u64) -> io::Result<bool> {
        let ended = std::mem::take(&mut self.ended);
        let mut anything = !ended.is_empty();
        for transfer in ended {
            self.report_transfer(transfer)?;
        }
        let overdue = match self.overdue_ns {
            Some(ns) => self.tracker.take_overdue(t_ns.saturating_sub(ns)),
            None => Vec::new(),
        };
        let any_overdue = !overdue.is_empty();
        anything |= any_overdue;
        for transfer in overdue {
            if self.selection.accepts(&transfer) {
                let verdict = None;
                self.report.transfer(&Judged { transfer, verdict })?;
            }
        }
        if anything {
            self.report.flush()?;
        }
        Ok(any_overdue)
    }

    /// Whether a look through the queues would tell what is still there for too long by `t_ns`.
    #[must_use]
    pub fn asks_what_is_overdue(&self, t_ns: u64) -> bool {
        self.overdue_ns
            .is_some_and(|ns| self.tracker.asks_what_is_overdue(t_ns.saturating_sub(ns)))
    }

    /// Whether a look through the queues would tell more of what has been seen so far.
    #[must_use]
    pub fn asks_for_queues(&self) -> bool {
        self.tracker.awaits_a_reader()
    }

    /// Whether the message with this list is on its way.
    #[must_use]
    pub fn follows(&self, list: u64) -> bool {
        self.tracker.follows(list)
    }

    /// Whether as many transfers were shown as were asked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tally.transfers() >= self.limit
    }

    /// Ends the trace: what is still on its way is so for good. `end` is asked once all has been
    /// counted.
    ///
    /// # Errors
    /// As above.
    pub fn end(mut self, end: impl FnOnce(&Tally) -> TraceEnd) -> io::Result<()> {
        // What is still queued then is told of as such.
        self.overdue_ns = None;
        self.pause(0)?;
        self.tracker.close_open();
        self.ended = self.tracker.take_closed();
        self.pause(0)?;
        self.tally.note_forgotten(self.tracker.forgotten());
        let end = end(&self.tally);
        self.report
            .summary(&self.tally, self.unseen.losses(), &end)?;
        self.report.flush()
    }

    /// Records that could not be decoded.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// What was lost, as far as is known.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        self.unseen.losses()
    }

    fn report_transfer(&mut self, transfer: Transfer) -> io::Result<()> {
        if self.is_full() {
            return Ok(());
        }
        let meanwhile = match self.unseen.meanwhile(&transfer) {
            Meanwhile::AllSeen if self.was_forgotten(&transfer) => Meanwhile::RecordsLost,
            meanwhile => meanwhile,
        };
        let judged = Judged::of(transfer, |hop| self.watched.contains(&hop), meanwhile);
        if !self.selection.accepts(&judged.transfer) {
            return Ok(());
        }
        self.tally.add(&judged);
        self.report.transfer(&judged)
    }

    /// Whether the tracker has let go of something since it began.
    fn was_forgotten(&self, transfer: &Transfer) -> bool {
        let forgotten = self.tracker.forgotten_at();
        forgotten > 0 && transfer.begin_ns().is_none_or(|begin| begin <= forgotten)
    }
}
