//! The JSON that fdtrace writes: JSON Lines, one object a line, told apart by `type`.
//!
//! These types are the contract, and `fdtrace schema` prints the JSON Schema made from them. A
//! field is never renamed or removed within one `schema_version`; new ones may come, and new values
//! of an enumeration.
//!
//! No reader loses digits. A moment (`wall_ns`, `mono_ns`, `t_ns`), the inode number of a file and
//! the id of a cgroup may exceed 2^53, so each is a string of decimal digits ([`Digits`]). Every other
//! number is at most 2^53 - 1, which a double holds; a time span that is longer, 104 days, is that.

mod inflight;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    model::{
        Cause, CauseMissing, DescriptionMissing, Digits, Doubt, Fate, FileKind, Mark, PlanEntry,
        QueueTime, SocketType, UnreadQueues, Verdict, Way,
    },
    verify::{Group, ScenarioResult},
};

pub use inflight::{
    InFlight, InFlightGaps, InFlightIdentity, InFlightReceiver, InFlightSenderSocket,
    InFlightSocket, InFlightSummary,
};

/// Version of this contract.
pub const SCHEMA_VERSION: u32 = 2;

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// The first line: what runs, where, and how each hop is watched.
    Start(Start),
    /// One file at one hop.
    Hop(Hop),
    /// One file's way in one message.
    Transfer(Transfer),
    /// One behaviour that was verified.
    Scenario(Scenario),
    /// The last line.
    Summary(Summary),
    /// What `fdtrace explain` tells of one scenario.
    Story(crate::explain::Story),
    /// One file that `fdtrace inflight` found in a queue.
    InFlight(InFlight),
    /// What one look of `fdtrace inflight` came to, its last line.
    InFlightSummary(InFlightSummary),
    /// What `fdtrace doctor` found, its only line.
    Doctor(Doctor),
    /// What `fdtrace verify --list` lists, its only line.
    Catalogue(Catalogue),
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
}

/// What stands where, and what stands in the way.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Doctor {
    /// Version of this contract.
    pub schema_version: u32,
    /// Version of fdtrace.
    pub fdtrace: String,
    /// Kernel release.
    pub kernel: String,
    /// How each hop is watched, or would be.
    pub plan: Vec<PlanEntry>,
    /// Whether the self-test was made: then every hook in the plan was seen to fire, and an entry
    /// whose hook did not says so. Otherwise the plan is what types and symbols promise.
    pub tested: bool,
    /// The constants that the programs take, by name.
    pub offsets: std::collections::BTreeMap<String, u32>,
    /// Security modules in force; empty where that is not visible.
    pub lsms: Vec<String>,
    /// Lockdown mode; null where that is not visible.
    pub lockdown: Option<String>,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: u8,
    /// What keeps fdtrace from running; empty if nothing does.
    pub obstacles: Vec<String>,
}

/// The scenarios that there are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Catalogue {
    /// Version of this contract.
    pub schema_version: u32,
    /// In the order in which they are run.
    pub scenarios: Vec<Listed>,
}

/// One scenario of the catalogue.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Its name, which will not change.
    pub name: String,
    /// The group it is in, which selects all of it.
    pub group: Group,
    /// What it shows, in a line.
    pub summary: String,
    /// What it needs that not every machine has; where that is lacking, it is skipped.
    pub needs: Vec<String>,
}

/// One file at one hop.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hop {
    /// Id of the transfer.
    pub transfer: u64,
    /// The hop.
    pub hop: crate::model::Hop,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// CPU.
    pub cpu: u32,
    /// Process that was running.
    pub pid: u32,
    /// Thread that was running.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Address or alias of the file.
    pub file: String,
    /// Address or alias of the skb.
    pub skb: String,
    /// Address or alias of the `scm_fp_list`.
    pub fpl: String,
    /// The file's reference count as read there.
    pub refs: Option<i64>,
    /// What the count should be, going by the hop before and this kernel's source, if nobody else
    /// took or gave up a reference in between; null at the first hop.
    pub expected_refs: Option<i64>,
}

/// One file's way in one message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Transfer {
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
    pub file: File,
    /// Who sent it; null if that was not seen.
    pub sender: Option<Sender>,
    /// Who received it; null if nobody did.
    pub receiver: Option<Receiver>,
    /// The sockets between them.
    pub socket: Socket,
    /// How it ended.
    pub fate: Fate,
    /// Why it was truncated, refused, discarded, collected or failed; null where that is not known, and
    /// of a fate that has no cause.
    pub cause: Option<Cause>,
    /// Why the cause is not known, of a fate that has one; absent where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_missing: Option<CauseMissing>,
    /// Whether it is the same file object that came out; null if nothing came out to compare.
    pub verdict: Option<Verdict>,
    /// Why something of it is left open; null where nothing is, or where `missing` hops say it all.
    /// With `two-threads-send` the sender's process is certain, and its thread and the time are not.
    pub doubt: Option<Doubt>,
    /// From queue to dequeue, nanoseconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub queued_ns: Option<u64>,
    /// From copy to install, nanoseconds; null where one of them is not watched.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub total_ns: Option<u64>,
    /// Hops where it was seen, in order of time.
    pub hops: Vec<crate::model::Hop>,
    /// Hops where it was not.
    pub missing: Vec<crate::model::Hop>,
    /// What to notice. One that is `still-queued` has not ended, and comes again under another id.
    pub marks: Vec<Mark>,
    /// Id of an earlier transfer of the same file object, such as the first half of a relay; absent
    /// where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_object_as: Option<u64>,
    /// Whether the receiver still has it open; absent where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_open: Option<bool>,
    /// Who has it open; absent where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<Holder>>,
}

/// A process that has a file open.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Holder {
    /// Process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its numbers for the file.
    pub fds: Vec<u32>,
}

/// A file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct File {
    /// Address or alias; it identifies the file only while the transfer lasts.
    pub ptr: String,
    /// What kind of file it is.
    pub kind: FileKind,
    /// Device of its file system, `major:minor`.
    pub dev: String,
    /// Inode number.
    pub ino: Digits,
    /// Path; null where it has none, or it was not resolved. A byte that is not UTF-8 is U+FFFD and
    /// its two hexadecimal digits, and U+FFFD itself is written twice, here and in every other name.
    pub path: Option<String>,
    /// A socket's addresses, and of other files what `readlink /proc/PID/fd/N` showed, as the message
    /// was received, or else as it ended; null where that is not known, or was not asked for. `fdtrace
    /// trace` asks.
    pub description: Option<String>,
    /// Why a description that was asked for is not there; absent where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description_missing: Option<DescriptionMissing>,
    /// Whether the name that it was opened by is gone; null where that is not known.
    pub deleted: Option<bool>,
    /// Open flags, as in `open(2)`.
    pub flags: u32,
    /// Type and permissions, as in `stat(2)`.
    pub mode: u16,
}

/// The sending side.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sender {
    /// Process.
    pub pid: u32,
    /// Thread; null where only the process is certain.
    pub tid: Option<u32>,
    /// The thread's name, or that of one of the process's threads that send on this socket.
    pub comm: String,
    /// The number it passed; null where that could not be read, or is not certain.
    pub fd: Option<i32>,
    /// The socket it sent on; null where that could not be read, or is not certain.
    pub socket_fd: Option<i32>,
    /// What else is known of it.
    #[serde(flatten)]
    pub task: Task,
}

/// The receiving side.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Receiver {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// The new number; null if there is none, or if `fd_inferred` and other threads use the table:
    /// they may have made a duplicate and closed the number.
    pub fd: Option<i32>,
    /// Whether the new descriptor is close-on-exec; null without a number.
    pub cloexec: Option<bool>,
    /// What came out was found by the file behind it and not in the receiver's control message.
    pub fd_inferred: bool,
    /// What else is known of it.
    #[serde(flatten)]
    pub task: Task,
}

/// What tells a task from others; each is absent where it is not known.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Task {
    /// The program that it runs, as in `/proc/PID/exe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Effective user id, in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Id of its cgroup (version 2): the inode number of the cgroup's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<Digits>,
    /// Path of its cgroup, below the place where cgroups are mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The container that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The systemd unit that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// The sockets that a message goes through.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Socket {
    /// Type; null if it was not seen in the queue.
    #[serde(rename = "type")]
    pub kind: Option<SocketType>,
    /// Path that the receiver, or else the sender, is bound to; `@` and an abstract name. A path that
    /// begins with `@` is `./@` here.
    pub path: Option<String>,
    /// Inode number of the sender's socket.
    pub sender_ino: Option<u64>,
    /// Inode number of the receiver's socket; null before it is accepted.
    pub receiver_ino: Option<u64>,
}

/// One behaviour that was verified.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: Group,
    /// Which of the rounds (`--repeat`) it belongs to, from 1.
    pub round: u32,
    /// How it ended.
    pub result: ScenarioResult,
    /// Why, unless it passed.
    pub reason: Option<String>,
    /// Why each earlier run of this round was repeated: what was lost left it open. All else is of the
    /// last run.
    pub retried: Vec<String>,
    /// Ids of its transfers.
    pub transfers: Vec<u64>,
    /// What the witnesses said.
    pub witnesses: Vec<Witness>,
    /// How long it took, nanoseconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub elapsed_ns: u64,
}

/// What one witness said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Witness {
    /// `trace`, `iter/task_file`, `kcmp`, `offset` or `scm_fds`.
    pub name: String,
    /// What it said.
    pub verdict: Verdict,
    /// What it was asked about: `passed`, the descriptors that were passed, or `mistakable`, one
    /// that only looks like them.
    pub about: String,
}

/// What all results come to.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// Scenarios by result.
    pub scenarios: std::collections::BTreeMap<String, u64>,
    /// Transfers by fate.
    pub fates: std::collections::BTreeMap<String, u64>,
    /// Transfers by verdict.
    pub verdicts: std::collections::BTreeMap<String, u64>,
    /// Records that found no room, by hop.
    pub lost_events: std::collections::BTreeMap<String, u64>,
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
    pub undescribed: Option<std::collections::BTreeMap<String, u64>>,
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

/// The JSON Schema of one line.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Line).to_value()
}
