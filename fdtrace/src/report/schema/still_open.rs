//! What becomes of descriptors after they were passed.

use schemars::JsonSchema;
use serde::Serialize;

use super::Holder;
use crate::model::{Digits, LookedAt, Side, StillOpen as State, StillOpenMissing};

/// What became of one descriptor at one end, by a look through tables. Where the same open file is passed again
/// under the same number of the process, there is one for the latest transfer alone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StillOpen {
    /// Id of the transfer: of the latest that passed this open file under this number.
    pub transfer: u64,
    /// At which end.
    pub side: Side,
    /// The process there.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The number; null if it was not known.
    pub fd: Option<i32>,
    /// What became of it. One that is `closed`, `replaced` or `ended` is not told of again.
    pub state: State,
    /// Why it is `unknown`; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_missing: Option<StillOpenMissing>,
    /// Why somebody looked: with `process-end` it is what the process had as it ended.
    pub at: LookedAt,
    /// When the look began: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// Every process that has the same open file; absent where that was not asked, or open files of this
    /// kind cannot be told from each other for certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<Holder>>,
    /// How many processes are not among `holders`, which has 64 at most.
    pub holders_more: u64,
}

/// What is still open at the end of a trace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StillOpenSummary {
    /// By process and end, those that have most open first.
    pub processes: Vec<Holding>,
    /// Processes at either end that are not among these: there were too many, or they had closed all.
    pub others: u64,
    /// Receivers whose table had no number left.
    pub full: Vec<FullTable>,
    /// Descriptors that were let go of for want of memory: what became of them is not known.
    pub let_go: u64,
    /// When tables were looked through last: CLOCK_MONOTONIC, nanoseconds; null if they were not.
    pub looked_ns: Option<Digits>,
    /// Why they could not be; absent where they could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_looked: Option<String>,
}

/// What one process has of what it received or sent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Holding {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Whether it received or sent them.
    pub side: Side,
    /// It has ended: the figures are of that moment.
    pub ended: bool,
    /// Descriptors that it received, or its numbers that it sent from.
    pub all: u64,
    /// Of these, those that it has open for certain.
    pub open: u64,
    /// Those of which it cannot be told.
    pub unknown: u64,
    /// Those that were open or closed as it ended, which nobody saw.
    pub unseen: u64,
    /// What it has open, by name, most first; figures are stars where there are many names.
    pub files: Vec<NameCount>,
    /// When the oldest of it was passed: CLOCK_MONOTONIC, nanoseconds.
    pub oldest_ns: Option<Digits>,
    /// Processes that have some of it too, and were seen neither to send nor to receive it.
    pub also: Vec<Also>,
}

/// A name, and how many files have it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NameCount {
    /// The name.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// Another process that has some of what a process holds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Also {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Open files that it has too.
    pub files: u64,
    /// It is a child of that process, and has all of them under the same numbers.
    pub inherited: bool,
}

/// A table without a number left.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FullTable {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// When it was seen to be full: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// When its table was looked at first after that: CLOCK_MONOTONIC, nanoseconds; null if it was not.
    pub looked_ns: Option<Digits>,
    /// Of its numbers, those that stood then for what it had received; 0 if nobody looked.
    pub received: u64,
    /// What that was, by name, most first.
    pub files: Vec<NameCount>,
}
