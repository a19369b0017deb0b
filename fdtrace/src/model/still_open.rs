//! Still open: what became of a descriptor after it was handed over, and what processes have open.

use serde::{Deserialize, Serialize};

use super::{FileIdentity, named};

named! { "kebab-case";
/// What became of a number that stood for an open file when that was passed.
#[non_exhaustive]
pub enum StillOpen {
    /// It still stands for that open file.
    Open,
    /// It does not; its process has the open file under another number, which it neither received nor sent.
    Moved,
    /// It stands for nothing: it was closed.
    Closed,
    /// It stands for another file: it was closed, and opened anew or replaced by `dup2`.
    Replaced,
    /// Its process has ended, and whether it was closed before that was not seen.
    Ended,
    /// That cannot be told.
    Unknown,
}
}

named! { "kebab-case";
/// Why it is not known what became of a number.
#[non_exhaustive]
pub enum StillOpenMissing {
    /// It stands for a file of the same inode at the same address: the same open file, or one that was
    /// opened since, when the first was closed.
    MayBeAnother,
    /// The number was not known, and the process has such a file, which may be another.
    NoNumber,
    /// It does not stand for the open file. The process has that under another number, and may have had it
    /// there before, or by another delivery.
    OtherNumber,
    /// The process has more numbers than were looked at.
    TableTooLong,
    /// Threads of the process had tables of their own, or may have had, and not all were looked at.
    OwnTables,
    /// What would have told was lost.
    Lost,
}
}

impl StillOpen {
    /// Whether its process has the open file; `None` if that is not known.
    #[must_use]
    pub fn is_held(self) -> Option<bool> {
        match self {
            Self::Open | Self::Moved => Some(true),
            Self::Closed | Self::Replaced | Self::Ended => Some(false),
            Self::Unknown => None,
        }
    }

    /// Whether it can never be another.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Closed | Self::Replaced | Self::Ended)
    }
}

/// A number of a process, and the open file that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenNumber {
    /// The number.
    pub fd: i32,
    /// Address of the file.
    pub file: u64,
    /// Its inode number.
    pub ino: u64,
    /// Device of its file system, kernel encoding.
    pub dev: u32,
    /// It was opened with `O_PATH`: it only says where the file is.
    #[serde(default)]
    pub path: bool,
    /// The kernel made the file and its inode at once, so that no other open file of that inode was made
    /// so; false where it was opened by a path, or where this is not known.
    pub made: bool,
}

/// What stands behind a process's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The process.
    pub pid: u32,
    /// When it began: CLOCK_MONOTONIC, nanoseconds; 0 if that is not known.
    pub start_ns: u64,
    /// Its parent.
    pub parent: u32,
    /// Its name.
    pub comm: String,
    /// Those of its numbers that were asked about, or all, in their order. A number may be here twice:
    /// threads may have tables of their own.
    pub numbers: Vec<OpenNumber>,
}

named! { "kebab-case";
/// Why somebody looked.
#[non_exhaustive]
pub enum LookedAt {
    /// Time was up for another look (`--every`).
    Every,
    /// So much was delivered that what is closed had to be let go of.
    Crowded,
    /// The trace ended.
    Last,
    /// A process ended: there is its table alone, as it was right before that.
    ProcessEnd,
}
}

/// What a look through tables found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLook {
    /// When it began: CLOCK_MONOTONIC, nanoseconds. It did not take place at one moment.
    pub t_ns: u64,
    /// Why.
    pub at: LookedAt,
    /// Numbers from this one on were not looked at; `None` if all were.
    pub below: Option<i32>,
    /// What would have told more was lost.
    pub lost: bool,
    /// Threads had tables of their own, or may have had, and one of them is here.
    #[serde(default)]
    pub apart: bool,
    /// What was found, each process once.
    pub tables: Vec<Table>,
}

/// What makes an open file of a later look the one that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// Its address.
    pub file: u64,
    /// Its inode number.
    pub ino: u64,
    /// Device of its file system.
    pub dev: u32,
    /// It was opened with `O_PATH`, which is another file at that address than one that was not.
    pub path: bool,
}

/// How far an inode tells one open file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sole {
    /// It has one open file, ever: a socket.
    Always,
    /// Those that were made with it are told apart by their addresses: a memfd, a pipe's ends.
    IfMade,
    /// It may be opened again and again.
    Never,
}

impl FileKey {
    /// That of a file that was passed.
    #[must_use]
    pub fn of(file: &FileIdentity) -> Self {
        Self {
            file: file.ptr,
            ino: file.ino,
            dev: file.dev,
            path: file.is_path(),
        }
    }
}

impl From<&OpenNumber> for FileKey {
    fn from(number: &OpenNumber) -> Self {
        Self {
            file: number.file,
            ino: number.ino,
            dev: number.dev,
            path: number.path,
        }
    }
}

/// What became of one number, by a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// Id of the transfer: of the one that was delivered there, or of the latest that was sent from there.
    pub transfer: u64,
    /// Whose number it is.
    pub side: Side,
    /// Its process.
    pub pid: u32,
    /// Its process's name.
    pub comm: String,
    /// The number, if it was known.
    pub fd: Option<i32>,
    /// What became of it.
    pub state: StillOpen,
    /// Why that is not known.
    pub missing: Option<StillOpenMissing>,
    /// Processes that have the same open file, this one among them; `None` if they were not looked for,
    /// or cannot be told from those of another.
    pub holders: Option<Vec<FileHolder>>,
    /// Processes that have it too and are not among these: there were too many.
    pub holders_more: u64,
}

named! { "kebab-case";
/// One of both ends of a transfer.
pub enum Side {
    /// The one that sent.
    Sender,
    /// The one that received.
    Receiver,
}
}

/// A process that has an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHolder {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its numbers for it, the lowest first.
    pub fds: Vec<i32>,
    /// Numbers that are not among these: there were too many.
    pub fds_more: u64,
    /// It is a child of the process whose number this is, began after that had it, and has the same
    /// number.
    pub inherited: bool,
}

/// What one process has, or had as it ended, of what it received or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Which end it was.
    pub side: Side,
    /// It has ended: the figures are of that moment.
    pub ended: bool,
    /// Numbers that it received under, or sent.
    pub all: u64,
    /// Of these, those that it has open.
    pub open: u64,
    /// Those of which it cannot be told.
    pub unknown: u64,
    /// Those that ended with it, without anybody having looked.
    pub unseen: u64,
    /// Names of what it has open, most first, and how often each.
    pub files: Vec<(String, u64)>,
    /// When the oldest of it was passed: CLOCK_MONOTONIC, nanoseconds.
    pub oldest_ns: Option<u64>,
    /// Other processes that have some of it: their name and id, how many, and whether all was inherited.
    pub also: Vec<Also>,
}

/// Another process that has what a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Also {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Open files that it has too.
    pub files: u64,
    /// All were inherited.
    pub inherited: bool,
}

/// A table without a number left, and what came into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTable {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// When that was seen: CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// When its table was looked at first after that: CLOCK_MONOTONIC, nanoseconds.
    pub looked_ns: Option<u64>,
    /// Of its numbers, those that stood then for what it had received; 0 if nobody looked.
    pub received: u64,
    /// Names of that, most first, and how often each.
    pub files: Vec<(String, u64)>,
}

/// What is known at the end of what is still open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// By process and side, those that hold most first.
    pub processes: Vec<Holding>,
    /// Of processes that are not in there: they had closed all, or there are too many.
    pub others: u64,
    /// Tables that were full.
    pub full: Vec<FullTable>,
    /// Delivered descriptors that were let go of for want of memory, and not looked up any more.
    pub let_go: u64,
    /// When tables were looked through last: CLOCK_MONOTONIC, nanoseconds.
    pub looked_ns: Option<u64>,
    /// Why they could not be.
    pub not_looked: Option<String>,
}
