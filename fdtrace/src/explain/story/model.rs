//! What a story consists of, as `fdtrace explain --format json` writes it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    model::{Cause, Digits, Fate, Hop},
    verify::ScenarioResult,
};

/// One scenario's run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Story {
    /// The scenario.
    pub scenario: String,
    /// What it shows, in a line.
    pub about: String,
    /// The kernel that it ran on.
    pub kernel: String,
    /// Hops that are watched on this kernel.
    pub watched: Vec<Hop>,
    /// Why the others are not, as far as all of them have the same reasons.
    pub blind_because: Vec<String>,
    /// The files that were passed, in the order in which they were first seen.
    pub files: Vec<NamedFile>,
    /// In order of time.
    pub parts: Vec<Part>,
    /// Messages that it leaves out, because they went like others in it.
    pub messages_left_out: usize,
    /// What became of the files of each message.
    pub endings: Vec<Ending>,
    /// Files that a receiver handed on, and their ways.
    pub ways: Vec<Way>,
    /// How the scenario ended, in the words of `verify`; null where nobody judged it.
    pub result: Option<ScenarioResult>,
    /// Why it did not pass.
    pub reason: Option<String>,
}

/// A file, and the letter that the story calls it by.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NamedFile {
    /// The letter.
    pub name: String,
    /// Address of the `struct file`, or an alias.
    pub file: String,
    /// What kind of file it is.
    pub kind: String,
    /// Inode number.
    pub ino: u64,
}

/// A part of the story.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Part {
    /// The state at a checkpoint, where an actor was held.
    Moment(Moment),
    /// A call through the kernel.
    Call(Call),
}

impl Part {
    pub(super) fn t_ns(&self) -> Digits {
        match self {
            Self::Moment(moment) => moment.t_ns,
            Self::Call(call) => call.t_ns,
        }
    }
}

/// The state at a checkpoint, where an actor was held.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Moment {
    /// `moment`.
    pub part: &'static str,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// What has come and what comes next.
    pub title: String,
    /// The tables of the scenario's processes.
    pub tables: Vec<Table>,
    /// What is in flight.
    pub queues: Vec<Queue>,
    /// Where each file that was or will be passed shows.
    pub whereabouts: Vec<Whereabouts>,
}

/// One process's table.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Table {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The rows that matter here.
    pub rows: Vec<Row>,
    /// How many others there are.
    pub others: usize,
}

/// One descriptor.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row {
    /// The number.
    pub fd: i32,
    /// The letter of the file behind it, if it is one of those that are passed.
    pub file: Option<String>,
    /// What /proc/PID/fd shows.
    pub link: String,
}

/// A receiving socket's queue.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Queue {
    /// Inode number of the socket.
    pub socket_ino: u64,
    /// Who holds it, and under which number, if somebody does.
    pub held_by: Option<Place>,
    /// Letters of the files in it, going by the trace.
    pub files: Vec<String>,
    /// How many descriptors fdinfo says are in it (`scm_fds`); null where the kernel does not say.
    pub scm_fds: Option<u64>,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Place {
    /// Whose.
    pub pid: u32,
    /// Its number.
    pub fd: i32,
}

/// Where one file shows at a moment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Whereabouts {
    /// The file's letter.
    pub file: String,
    /// Process and number of each descriptor that the scenario's processes have for it.
    pub descriptors: Vec<Place>,
    /// Its reference count; null where no descriptor leads to it.
    pub refs: Option<i64>,
}

/// A call through the kernel, function by function.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Call {
    /// `call`.
    pub part: &'static str,
    /// CLOCK_MONOTONIC of its first hop, nanoseconds.
    pub t_ns: Digits,
    /// Which message, counted from 1.
    pub message: u64,
    /// `send`, `receive`, `peek` or `drop`.
    pub kind: &'static str,
    /// Who does what.
    pub title: String,
    /// Its functions, in the order in which they are called; only those with a hop if an earlier
    /// call has shown the others.
    pub steps: Vec<Step>,
}

/// One function.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// How many of the functions before it are its callers.
    pub depth: usize,
    /// Its name in the source.
    pub function: String,
    /// `function`, `clone` or `inlined`: what is left of it in this kernel.
    pub standing: &'static str,
    /// The name of the clone.
    pub clone: Option<String>,
    /// What it does.
    pub does: String,
    /// What happened in it this time that turned the message's way.
    pub turn: Option<String>,
    /// The hop that happens in it.
    pub hop: Option<StoryHop>,
}

/// A hop, and how it was seen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StoryHop {
    /// The hop.
    pub hop: Hop,
    /// Whether fdtrace watches it on this kernel.
    pub is_watched: bool,
    /// Where it does; or else why not, but for what [`Story::blind_because`] has said.
    pub watched: String,
    /// What happens right after it was seen.
    pub next: Option<&'static str>,
    /// What was seen; null where nothing was.
    pub seen: Option<Sighting>,
}

/// What was seen at a hop.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sighting {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: Digits,
    /// Nanoseconds since the message was first seen.
    pub after_ns: u64,
    /// CPU.
    pub cpu: u32,
    /// Process, its thread and its name.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name of the task.
    pub comm: String,
    /// Address or alias of the `scm_fp_list`.
    pub list: String,
    /// Address or alias of the skb; null before there is one.
    pub skb: Option<String>,
    /// Address or alias of the sending `sock`, where it was read.
    pub sender_sock: Option<String>,
    /// Address or alias of the receiving `sock`, where it was read.
    pub receiver_sock: Option<String>,
    /// The first files of the message.
    pub files: Vec<FileAtHop>,
    /// How many more there are.
    pub more_files: usize,
}

/// One file at a hop.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FileAtHop {
    /// Its letter.
    pub name: String,
    /// Its address or alias as it was read there.
    pub file: String,
    /// Its number in this task's table, where it has one.
    pub fd: Option<i32>,
    /// Its reference count before, as last seen.
    pub refs_before: Option<i64>,
    /// Its reference count as read there.
    pub refs: Option<i64>,
    /// What moved the count, going by the source.
    pub changes: Vec<Moved>,
    /// What the changes do not account for: somebody else's doing.
    pub unaccounted: i64,
}

/// References taken or given back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Moved {
    /// How many; negative if they were given back.
    pub by: i64,
    /// Whose they are.
    pub whose: &'static str,
}

/// What became of one file in one message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ending {
    /// Which message, counted from 1.
    pub message: u64,
    /// The file's letter.
    pub file: String,
    /// The sender's number for it.
    pub sender_fd: Option<i32>,
    /// The receiver's.
    pub receiver_fd: Option<i32>,
    /// How it ended.
    pub fate: Fate,
    /// Why it ended so.
    pub cause: Option<Cause>,
    /// What that means.
    pub means: String,
}

/// One file's way from process to process, by several messages.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Way {
    /// The file's letter.
    pub file: String,
    /// The processes, from the first that sent it to the last that received it.
    pub stations: Vec<Station>,
}

/// A process on a file's way.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Station {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The message that it received it by, counted from 1; null at the first.
    pub message: Option<u64>,
    /// The number that it received it under.
    pub received_fd: Option<i32>,
    /// The number that it sent it from; null at the last.
    pub sent_fd: Option<i32>,
}
