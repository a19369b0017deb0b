//! The last line: what all transfers and scenarios come to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::StillOpenSummary;
use crate::model::{EmptyRights, QueueTime, UnreadQueues};

/// What all results come to.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// Scenarios by result.
    pub scenarios: BTreeMap<String, u64>,
    /// Transfers by fate.
    pub fates: BTreeMap<String, u64>,
    /// Transfers by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Records that found no room, by hop.
    pub lost_events: BTreeMap<String, u64>,
    /// Runs of a program that the kernel skipped, and returns that it did not follow.
    pub recursion_misses: u64,
    /// Sends that were not seen in the queue because the receiver was faster.
    pub raced: u64,
    /// Failed sends of tasks with an io_uring that may have passed descriptors: which, could not be read.
    pub unread_sends: u64,
    /// Receives for which there was no room to remember them by: their installs went unseen.
    pub window_full: u64,
    /// What the filter wanted, or might have come to want, and had no room to note.
    pub filter_full: u64,
    /// Descriptions of files and tasks that found no room: these stay unnamed, and no verdict
    /// depends on them.
    pub lost_descriptions: u64,
    /// Transfers without a description, by why it is missing; of a trace, absent if each has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undescribed: Option<BTreeMap<String, u64>>,
    /// Messages, or parts of one, that were let go of before they had ended, because more were on
    /// their way at once than are followed; of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<u64>,
    /// Transfers by the programs at both ends, most first; of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Vec<Pair>>,
    /// Transfers of pairs beyond those that are counted one by one; of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_pairs: Option<u64>,
    /// Time from queue to dequeue; of a trace in which both were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_time: Option<QueueTime>,
    /// What could not be read of what lay in queues; of a trace, absent if all was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_queues: Option<UnreadQueues>,
    /// What is still open of what was passed; of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_open: Option<StillOpenSummary>,
    /// Sends whose SCM_RIGHTS name no descriptor, by process, most first; of a trace, absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_rights: Option<Vec<EmptyRights>>,
    /// Why this is not all that there was to see; of a trace, absent if it is. The exit status is 3 then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// What the traced command returned, as a shell would say it: 128 and the signal's number, if
    /// one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_status: Option<i32>,
    /// What each program cost; with `--stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<Vec<Program>>,
    /// Whether it was ended before all was done.
    pub interrupted: bool,
    /// Scenarios that were asked for and not run.
    pub not_run: u64,
    /// What fdtrace exits with.
    pub exit_code: u8,
}

/// What an eBPF program of fdtrace's cost this machine.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Program {
    /// Its name.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long that took in all, nanoseconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub run_ns: u64,
    /// How long one run took on average, nanoseconds; null if there was none.
    pub ns_per_run: Option<u64>,
    /// Runs that the kernel skipped because the program was already running on that CPU.
    pub recursion_misses: u64,
}

/// Transfers from one program to another.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pair {
    /// Name of the sender; null if it was not seen.
    pub sender: Option<String>,
    /// Name of the receiver; null if nobody received them.
    pub receiver: Option<String>,
    /// How many.
    pub transfers: u64,
}
