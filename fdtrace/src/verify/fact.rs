//! Facts: what the actors of a scenario report to the verifier, one JSON object a line.
//!
//! Actors say what they asked the kernel and what it answered, never what they make of it. Some
//! facts are checkpoints: the actor stands still until the verifier has looked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Cause, Fate, FileKind, Hop};

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Process id in the initial pid namespace, whatever namespace the actor is in.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
}

/// Name of a message within its scenario.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageName(String);

impl From<&str> for MessageName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for MessageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// A process takes part in the scenario.
    Joined {
        /// The process.
        actor: Actor,
    },
    /// Checkpoint: about to send these descriptors.
    Sending {
        /// The sender.
        actor: Actor,
        /// Name of the message within the scenario.
        message: MessageName,
        /// Descriptors, in order.
        fds: Vec<i32>,
        /// Whether the verifier may hold duplicates, so that someone still has the original.
        hold: bool,
    },
    /// `sendmsg` returned.
    Sent {
        /// The sender.
        actor: Actor,
        /// Name of the message.
        message: MessageName,
        /// Descriptors, in order.
        fds: Vec<i32>,
        /// When it was called and when it returned, CLOCK_MONOTONIC nanoseconds.
        span: (u64, u64),
    },
    /// `sendmsg` failed, as it must.
    SendFailed {
        /// The sender.
        actor: Actor,
        /// Name of the message.
        message: MessageName,
        /// Descriptors, in order.
        fds: Vec<i32>,
        /// When it was called and when it returned, CLOCK_MONOTONIC nanoseconds.
        span: (u64, u64),
        /// What it returned.
        errno: i32,
    },
    /// What must become of files of a message. Of a file of which nothing is said: that it is
    /// delivered, once; or, where the send failed, that it failed with that errno. What is said of
    /// one file more than once must happen as often, such as a peek before a delivery.
    Fate {
        /// Name of the message.
        message: MessageName,
        /// Which of its files: the first, and one past the last.
        files: (usize, usize),
        /// How they must end.
        fate: Fate,
        /// Why.
        cause: Option<Cause>,
    },
    /// Checkpoint: the message is in the queue of this socket.
    InFlight {
        /// A process that holds the receiving socket.
        actor: Actor,
        /// Its number for the socket.
        socket: i32,
        /// Descriptors that should be queued there.
        expected: u64,
    },
    /// Checkpoint: a receive of the message returned, and what it brought is open. A message may
    /// be received more than once: peeked at first, or its data in parts.
    Received {
        /// The receiver.
        actor: Actor,
        /// Name of the message.
        message: MessageName,
        /// What was written for each of its files, in order: a new descriptor, or the negative
        /// errno that a refused one left in its place. Files that left nothing are not here.
        fds: Vec<i32>,
        /// When it was called and when it returned, CLOCK_MONOTONIC nanoseconds.
        span: (u64, u64),
        /// Which of them are close-on-exec, by F_GETFD.
        cloexec: Vec<bool>,
        /// Whether MSG_CTRUNC was set; `None` for a call that has no such flags.
        truncated: Option<bool>,
        /// MSG_CTRUNC must be set for another reason than the message's descriptors.
        truncates: bool,
        /// It was done with MSG_PEEK.
        peek: bool,
    },
    /// Checkpoint: a descriptor that somebody might take for a file of a message and that is not.
    Mistakable {
        /// Who has it.
        actor: Actor,
        /// The descriptor.
        fd: i32,
        /// The message it might be taken to come from.
        message: MessageName,
        /// The file in that message it might be taken for.
        index: usize,
    },
    /// What kind of file the trace must say that a message's is.
    Kind {
        /// Name of the message.
        message: MessageName,
        /// The file's place in it.
        index: usize,
        /// The kind.
        kind: FileKind,
    },
    /// A file's reference count at a hop can be nothing else than this.
    Refs {
        /// Name of the message.
        message: MessageName,
        /// The hop.
        hop: Hop,
        /// The count.
        refs: i64,
    },
    /// Nobody but the kernel's path takes or gives up references to the message's files while it
    /// is under way, so the ledger must come out even; unless other scenarios run meanwhile.
    Undisturbed {
        /// Name of the message.
        message: MessageName,
    },
    /// Checkpoint, with a question: did the kernel give two files, one after the other, the same
    /// address?
    AddressReused {
        /// Messages that carried the two.
        messages: (MessageName, MessageName),
    },
    /// The scenario needs what this machine lacks.
    Skipped {
        /// What is lacking.
        why: String,
    },
    /// An actor could not go on: it would have had more descriptors than it may.
    Short {
        /// How many it may have, and at what.
        why: String,
    },
    /// The scenario did not go as it must.
    Failed {
        /// What went otherwise.
        why: String,
    },
}

impl Fact {
    /// Whether the actor waits for the verifier's answer.
    #[must_use]
    pub fn is_checkpoint(&self) -> bool {
        matches!(
            self,
            Self::Sending { .. }
                | Self::InFlight { .. }
                | Self::Received { .. }
                | Self::Mistakable { .. }
                | Self::AddressReused { .. }
        )
    }
}

/// What the verifier answers at a checkpoint, as one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// The verifier has looked.
    GoOn = b'.',
    /// It has, and what the actor asked is so.
    Yes = b'y',
}
