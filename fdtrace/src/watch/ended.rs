//! How a trace ended, live or recorded.

use crate::model::{EmptyRights, Judged, Losses, ProgramCost, UnreadQueues};

/// What is known once a trace is over.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// What ended last, and what was still on its way.
    pub transfers: Vec<Judged>,
    /// CLOCK_MONOTONIC of the end, nanoseconds.
    pub t_ns: u64,
    /// What the traced command returned, as a shell would say it.
    pub command_status: Option<i32>,
    /// Why this is not all there was to see, if it is not: what is wrong with a recording.
    pub incomplete: Option<String>,
    /// What could not be read of what lay in queues.
    pub unread: UnreadQueues,
    /// What was lost.
    pub losses: Losses,
    /// Messages, or parts of one, that had to leave before they had ended, for want of memory.
    pub forgotten: u64,
    /// Who has sent SCM_RIGHTS that name no descriptor.
    pub empty_rights: Vec<EmptyRights>,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// What each program has cost, if the kernel timed them.
    pub programs: Option<Vec<ProgramCost>>,
}
