//! Facts: what the actors of a scenario report to the verifier, one JSON object a line.
//!
//! Actors say what they asked the kernel and what it answered, never what they make of it. Some
//! facts are checkpoints: the actor stands still until the verifier has looked.

use serde::{Deserialize, Serialize};

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Process id in the initial pid namespace, whatever namespace the actor is in.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
}

/// One report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// A process plays a part in the scenario.
    Joined {
        /// The process.
        actor: Actor,
    },
    /// Checkpoint: about to send these descriptors.
    Sending {
        /// The sender.
        actor: Actor,
        /// Name of the message within the scenario.
        message: String,
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
        message: String,
        /// Descriptors, in order.
        fds: Vec<i32>,
        /// When it was called and when it returned, CLOCK_MONOTONIC nanoseconds.
        span: (u64, u64),
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
    /// Checkpoint: `recvmsg` returned, and the descriptors are open.
    Received {
        /// The receiver.
        actor: Actor,
        /// Name of the message.
        message: String,
        /// New descriptors, in order.
        fds: Vec<i32>,
        /// When it was called and when it returned, CLOCK_MONOTONIC nanoseconds.
        span: (u64, u64),
        /// Which of them are close-on-exec, by F_GETFD.
        cloexec: Vec<bool>,
        /// MSG_CTRUNC was set.
        truncated: bool,
    },
    /// Checkpoint: a descriptor that somebody might take for a file of a message and that is not.
    Mistakable {
        /// Who has it.
        actor: Actor,
        /// The descriptor.
        fd: i32,
        /// The message it might be taken to come from.
        message: String,
        /// The file in that message it might be taken for.
        index: usize,
    },
    /// A file's reference count at a hop can be nothing else than this.
    Refs {
        /// Name of the message.
        message: String,
        /// Name of the hop.
        hop: String,
        /// The count.
        refs: i64,
    },
    /// Nobody but the kernel's path takes or gives up references to the message's files while it
    /// is under way, so the ledger must come out even.
    Undisturbed {
        /// Name of the message.
        message: String,
    },
    /// Checkpoint, with a question: did the kernel give two files, one after the other, the same
    /// address?
    AddressReused {
        /// Messages that carried the two.
        messages: (String, String),
    },
    /// The scenario needs what this machine lacks.
    Skipped {
        /// What is lacking.
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
