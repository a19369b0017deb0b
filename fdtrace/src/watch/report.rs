//! What a report on a trace is given, whatever its format.

use std::io;

use crate::model::{
    EmptyRights, Holdings, Judged, Later, LookedAt, Losses, Machine, PlanEntry, ProgramCost, Tally,
    UnreadQueues,
};

/// What is known before the first transfer.
#[derive(Clone, Copy, Debug)]
pub struct TraceStart<'a> {
    /// Version of the fdtrace that traced.
    pub version: &'a str,
    /// Kernel release.
    pub kernel: &'a str,
    /// Wall-clock time, nanoseconds since 1970.
    pub wall_ns: u64,
    /// CLOCK_MONOTONIC of the same moment, nanoseconds.
    pub t_ns: u64,
    /// Which machine it was, and which of its boots.
    pub machine: &'a Machine,
    /// What local time is ahead of UTC, seconds.
    pub utc_offset_s: i32,
    /// How each hop is watched.
    pub plan: &'a [PlanEntry],
    /// The functions under way as a list ends have no names there.
    pub functions_unnamed: bool,
}

/// How the trace ended.
#[derive(Clone, Debug, Default)]
pub struct TraceEnd {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// What the traced command returned, as a shell would say it.
    pub command_status: Option<i32>,
    /// Why this is not all there was to see, if it is not: what is wrong with a recording.
    pub incomplete: Option<String>,
    /// What could not be read of what lay in queues.
    pub unread: UnreadQueues,
    /// What each program has cost, if somebody wants to know.
    pub programs: Option<Vec<ProgramCost>>,
    /// What fdtrace exits with.
    pub exit_code: u8,
    /// What is still open of what was passed.
    pub holdings: Holdings,
    /// Who has sent SCM_RIGHTS that name no descriptor.
    pub empty_rights: Vec<EmptyRights>,
}

/// What a look through tables told.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// When it began: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// Why somebody looked.
    pub at: LookedAt,
    /// What became of each number that was open until then, as far as was known.
    pub later: &'a [Later],
    /// What that comes to; of a look by `--every`.
    pub holdings: Option<&'a Holdings>,
}

/// A format of a trace.
pub trait TraceReport {
    /// Everything is attached.
    ///
    /// # Errors
    /// If the report cannot be written.
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()>;

    /// A transfer has ended.
    ///
    /// # Errors
    /// If the report cannot be written.
    fn transfer(&mut self, judged: &Judged) -> io::Result<()>;

    /// Somebody has looked at what is still open.
    ///
    /// # Errors
    /// If the report cannot be written.
    fn looked(&mut self, looked: &Looked<'_>) -> io::Result<()> {
        let _ = looked;
        Ok(())
    }

    /// No more transfers for now: whoever reads along wants to see those so far.
    ///
    /// # Errors
    /// If the report cannot be written.
    fn flush(&mut self) -> io::Result<()>;

    /// The trace is over.
    ///
    /// # Errors
    /// If the report cannot be written.
    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()>;
}
