//! The JSON that fdtrace writes: JSON Lines, one object a line, told apart by `type`.
//!
//! These types are the contract, and `fdtrace schema` prints the JSON Schema made from them. A
//! field is never renamed or removed within one `schema_version`; new ones may come, and new values
//! of an enumeration.
//!
//! No reader loses digits. A moment (`wall_ns`, `mono_ns`, `t_ns`), the inode number of a file and
//! the id of a cgroup may exceed 2^53, so each is a string of decimal digits ([`Digits`]). Every other
//! number is at most 2^53 - 1, which a double holds; a time span that is longer, 104 days, is that.

mod doctor;
mod inflight;
mod parties;
mod still_open;
mod summary;
mod verify;

use std::borrow::Cow;

use arrayvec::ArrayVec;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use smol_str::SmolStr;

use crate::model::{
    self, Cause, CauseMissing, DescriptionMissing, Device, Digits, Doubt, FailedSend, Fate,
    FileKind, Hop, Mark, Marks, PlanEntry, Pointer, Socket, Verdict, Way,
};

pub use doctor::{Doctor, Functions, Place, PlaceKind, Process};
pub use inflight::{
    InFlight, InFlightGaps, InFlightIdentity, InFlightReceiver, InFlightSenderSocket,
    InFlightSocket, InFlightSummary,
};
pub use parties::{Receiver, Sender, Task};
pub use still_open::{Also, FullTable, Holding, NameCount, StillOpen, StillOpenSummary};
pub use summary::{Pair, Program, Summary};
pub use verify::{Catalogue, Listed, Scenario, Witness};

/// Version of this contract.
pub const SCHEMA_VERSION: u32 = 2;

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line<'a> {
    /// The first line: what runs, where, and how each hop is watched.
    Start(Start),
    /// One file at one hop.
    Hop(HopSeen),
    /// One file's way in one message.
    Transfer(Box<Transfer<'a>>),
    /// What became of one descriptor after it was passed.
    StillOpen(StillOpen),
    /// One behaviour that was verified.
    Scenario(Scenario),
    /// The last line.
    Summary(Summary),
    /// What `fdtrace explain` tells of one scenario.
    #[cfg(feature = "explain")]
    Story(crate::explain::Story),
    /// One file that `fdtrace inflight` found in a queue.
    InFlight(InFlight<'a>),
    /// What one look of `fdtrace inflight` came to, its last line.
    InFlightSummary(InFlightSummary),
    /// What `fdtrace doctor` found, its only line.
    Doctor(Doctor),
    /// What `fdtrace verify --list` lists, its only line.
    Catalogue(Catalogue),
    /// What came of one expectation of `fdtrace check`; these follow the summary.
    Check(Check),
}

/// What came of one expectation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Check {
    /// What it is called.
    pub name: String,
    /// What came of it.
    pub result: CheckResult,
    /// Why it does not hold, or has no answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<CheckFinding>,
}

/// What came of an expectation.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// Something that would tell was lost, or is not watched.
    Inconclusive,
}

/// One thing that is not as expected, or cannot be said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckFinding {
    /// What, in words.
    pub what: String,
    /// It leaves the answer open, and does not speak against it.
    pub open: bool,
    /// The `id` of the transfer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<u64>,
    /// The `id`s of transfers that are nearly what was expected, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<u64>,
}

/// What runs, and where.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Start {
    /// Version of this contract.
    pub schema_version: u32,
    /// Version of fdtrace.
    pub fdtrace: String,
    /// Kernel release.
    pub kernel: String,
    /// The processor's architecture, such as `x86_64` or `aarch64`; null where the recording does not say
    /// it.
    pub arch: Option<String>,
    /// Host name; null where the recording does not say it.
    pub host: Option<String>,
    /// Id of the boot, as in `/proc/sys/kernel/random/boot_id`: times of two boots do not compare; null
    /// where the recording does not say it.
    pub boot_id: Option<String>,
    /// Wall-clock time of the start, nanoseconds since 1970.
    pub wall_ns: Digits,
    /// CLOCK_MONOTONIC of the same moment, nanoseconds: what every `t_ns` is counted by.
    pub mono_ns: Digits,
    /// How each hop is watched, in the order of the path; a hop with two hooks has two entries.
    pub plan: Vec<PlanEntry>,
    /// The kernel hides where its functions are, and names none of them: how a list ended that nobody
    /// received is not known. Absent where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub functions_unnamed: bool,
}

/// One file at one hop.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HopSeen {
    /// Id of the transfer.
    pub transfer: u64,
    /// The hop.
    pub hop: Hop,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// CPU.
    pub cpu: u32,
    /// Process that was running.
    pub pid: u32,
    /// Thread that was running.
    pub tid: u32,
    /// Its name.
    pub comm: SmolStr,
    /// Address or alias of the file.
    #[schemars(with = "String")]
    pub file: Pointer,
    /// Address or alias of the skb.
    #[schemars(with = "String")]
    pub skb: Pointer,
    /// Address or alias of the `scm_fp_list`.
    #[schemars(with = "String")]
    pub fpl: Pointer,
    /// The file's reference count as read there.
    pub refs: Option<i64>,
    /// What the count should be, going by the hop before and this kernel's source, if nobody else
    /// took or gave up a reference in between; null at the first hop.
    pub expected_refs: Option<i64>,
}

/// One file's way in one message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Transfer<'a> {
    /// Counts transfers from 1.
    pub id: u64,
    /// Counts messages from 1.
    pub message: u64,
    /// Place in the message, from 0.
    pub index: u16,
    /// Files in the message.
    pub count: u16,
    /// When it was last seen: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// How it is handed over.
    pub way: Way,
    /// The file.
    pub file: File<'a>,
    /// Who sent it; null if that was not seen.
    pub sender: Option<Sender<'a>>,
    /// Who received it; null if nobody did.
    pub receiver: Option<Receiver<'a>>,
    /// The sockets between them.
    pub socket: &'a Socket,
    /// How it ended.
    pub fate: Fate,
    /// Why it was truncated, refused, discarded, collected or failed; null where that is not known, and
    /// of a fate that has no cause.
    pub cause: Option<Cause>,
    /// Why the cause is not known, of a fate that has one; absent where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_missing: Option<CauseMissing>,
    /// What its send had to do with, which failed: where it was to go, how full that was, and what its user has
    /// in flight. Absent of others, and where that was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_send: Option<&'a FailedSend>,
    /// Whether it is the same file object that came out; null if nothing came out to compare.
    pub verdict: Option<Verdict>,
    /// Why something of it is left open; null where nothing is, or where `missing` hops say it all.
    /// With `two-threads-send` the sender's process is certain, and its thread and the time are not.
    pub doubt: Option<Doubt>,
    /// From queue to dequeue, or to detach where dequeue is not watched, nanoseconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub queued_ns: Option<u64>,
    /// From copy to install, nanoseconds; null where one of them is not watched. Where the install has the
    /// time of the list's end, which comes right after it, to that.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub total_ns: Option<u64>,
    /// Hops where it was seen, in order of time.
    #[serde(serialize_with = "hops")]
    #[schemars(with = "Vec<Hop>")]
    pub hops: &'a [model::HopSeen],
    /// Hops where it was not.
    #[schemars(with = "Vec<Hop>")]
    pub missing: ArrayVec<Hop, { Hop::ALL.len() }>,
    /// What to notice. One that is `still-queued` has not ended, and comes again under another id.
    #[schemars(with = "Vec<Mark>")]
    pub marks: Marks,
    /// Id of an earlier transfer of the same file object, of that in `relay` or else in `again`; absent
    /// where none is known. A filter may have left that one out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_object_as: Option<u64>,
    /// The transfer by which the sender had received it before it handed it on; absent where none is
    /// known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Earlier>,
    /// The transfer by which the receiver had received it before; absent where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<Earlier>,
    /// Whether the receiver still has it open; absent where nobody had looked when this line was written.
    /// `trace` tells that later, in lines of type `still_open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_open: Option<bool>,
    /// Who has it open; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<Holder>>,
}

/// An earlier transfer of the same file object.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Earlier {
    /// Its id.
    pub transfer: u64,
    /// From its receive to when this one was sent (`relay`), or received (`again`), nanoseconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub after_ns: u64,
}

/// A process that has a file open.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Holder {
    /// Process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its numbers for the file, the lowest first.
    pub fds: Vec<u32>,
    /// How many numbers are not among `fds`, which has 64 at most.
    pub fds_more: u64,
    /// It is a child of the process whose number is told of, began after that had it, and has the same
    /// number.
    pub inherited: bool,
}

/// A file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct File<'a> {
    /// Address or alias; it identifies the file only while the transfer lasts.
    #[schemars(with = "String")]
    pub ptr: Pointer,
    /// What kind of file it is.
    pub kind: FileKind,
    /// Device of its file system, `major:minor`.
    #[schemars(with = "String")]
    pub dev: Device,
    /// Inode number.
    pub ino: Digits,
    /// Path; null where it has none, or it was not resolved. A byte that is not UTF-8 is U+FFFD and
    /// its two hexadecimal digits, and U+FFFD itself is written twice, here and in every other name.
    pub path: Option<&'a str>,
    /// A socket's addresses, and of other files what `readlink /proc/PID/fd/N` showed, as the message
    /// was received, or else as it ended; null where that is not known, or was not asked for. `fdtrace
    /// trace` asks.
    pub description: Option<Cow<'a, str>>,
    /// Why a description that was asked for is not there; absent where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description_missing: Option<DescriptionMissing>,
    /// Whether the name that it was opened by is gone; null where that is not known.
    pub deleted: Option<bool>,
    /// Open flags, as in `open(2)`: some have other numbers on another architecture, which `start` tells.
    pub flags: u32,
    /// Type and permissions, as in `stat(2)`.
    pub mode: u16,
}

fn hops<S: Serializer>(seen: &&[model::HopSeen], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(seen.iter().map(|seen| seen.hop))
}

/// The JSON Schema of one line.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Line).to_value()
}
