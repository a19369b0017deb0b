//! Finding: what the judge found that keeps a scenario from passing. Its text is for people.

use std::fmt;

use super::sight::Blind;
use crate::{
    model::{Cause, Fate, FileKind, Hop, Verdict},
    verify::fact::MessageName,
    witness::Witness,
};

/// How a transfer ended, or must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its fate.
    pub fate: Fate,
    /// Why it ended so.
    pub cause: Option<Cause>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Some(cause) => write!(f, "{} ({cause})", self.fate),
            None => self.fate.fmt(f),
        }
    }
}

/// Who gives a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The trace, of a message's file.
    Trace(MessageName),
    /// The trace, of a file that might be taken for a message's.
    TraceOfAnother,
    /// A witness.
    Witness(Witness),
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(message) => write!(f, "the trace, of {message},"),
            Self::TraceOfAnother => f.write_str("the trace, of another file,"),
            Self::Witness(witness) => f.write_str(witness.name()),
        }
    }
}

/// Something that keeps a scenario from passing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The verifier itself could not do something.
    #[error("{0}")]
    Trouble(String),
    /// An actor found that the scenario did not go as it must.
    #[error("{0}")]
    Failed(String),
    /// This machine lacks what the scenario needs.
    #[error("{0}")]
    Lacking(String),
    /// The verifier or an actor would have had more descriptors than it may.
    #[error("{0}")]
    Short(String),
    /// References to a file were left when the actors were gone, or fewer than there must be.
    #[error("{}", left(message, *index, *refs))]
    Left {
        /// The message.
        message: MessageName,
        /// The file's place in it.
        index: usize,
        /// How many too many; negative if there are too few.
        refs: i64,
    },
    /// The references that were left cannot be counted.
    #[error("the references of {message} cannot be counted")]
    Uncounted {
        /// The message.
        message: MessageName,
    },
    /// The trace or a witness gives a verdict that is not true.
    #[error("{who} says {found} where {truth} is true")]
    Verdict {
        /// Who gives it.
        who: Speaker,
        /// What it is.
        found: Verdict,
        /// What is true.
        truth: Verdict,
    },
    /// A hop shows a file without a reference, where the list or the new descriptor holds one.
    #[error("{message} has {refs} references at {hop}")]
    Unreferenced {
        /// The message.
        message: MessageName,
        /// The hop.
        hop: Hop,
        /// The count.
        refs: i64,
    },
    /// A reference count is not what the scenario knows it to be.
    #[error("{message} has {} references at {hop}, not {expected}", known(*found))]
    References {
        /// The message.
        message: MessageName,
        /// The hop.
        hop: Hop,
        /// The count, if it was read.
        found: Option<i64>,
        /// What it is.
        expected: i64,
    },
    /// A reference count does not follow from the one at the hop before.
    #[error("{message} has {} references at {hop}, and {} follow from the hop before", known(*found), known(*expected))]
    Ledger {
        /// The message.
        message: MessageName,
        /// The hop.
        hop: Hop,
        /// The count, if it was read.
        found: Option<i64>,
        /// What follows.
        expected: Option<i64>,
    },
    /// The trace names another kind of file.
    #[error("the trace calls file {} of {message} {found}, and it is {kind}", index + 1)]
    Kind {
        /// The message.
        message: MessageName,
        /// The file's place in it.
        index: usize,
        /// What the trace names.
        found: FileKind,
        /// What it is.
        kind: FileKind,
    },
    /// MSG_CTRUNC was set where it must not be, or not set where it must.
    #[error("{message} came {} MSG_CTRUNC", if *.set { "with" } else { "without" })]
    Ctrunc {
        /// The message.
        message: MessageName,
        /// Whether it was set.
        set: bool,
    },
    /// A file was received that must not be.
    #[error("{message}'s {fd} came where it must not")]
    Unexpected {
        /// The message.
        message: MessageName,
        /// The sender's number.
        fd: i32,
    },
    /// A file was not received that must be.
    #[error("{message}'s {fd} was sent and not received")]
    NotReceived {
        /// The message.
        message: MessageName,
        /// The sender's number.
        fd: i32,
    },
    /// The trace has the transfer without the sender's number.
    #[error("the number of {message} is not in the trace")]
    SenderNumber {
        /// The message.
        message: MessageName,
    },
    /// The trace has the transfer without the receiver's number.
    #[error("the new number of {message} is not in the trace")]
    ReceiverNumber {
        /// The message.
        message: MessageName,
    },
    /// The trace says otherwise whether the new descriptor is close-on-exec.
    #[error("the trace is wrong about close-on-exec of {message}")]
    Cloexec {
        /// The message.
        message: MessageName,
    },
    /// The trace says otherwise how a file's transfer ended.
    #[error("the trace says {found} of {message}'s {fd} where {truth} is true")]
    Ended {
        /// The message.
        message: MessageName,
        /// The sender's number.
        fd: i32,
        /// What the trace says.
        found: Ended,
        /// What is true.
        truth: Ended,
    },
    /// A file's transfer is not in the trace.
    #[error("{}", missing(message, *fd, *number, *more, *expected))]
    Missing {
        /// The message.
        message: MessageName,
        /// The sender's number.
        fd: i32,
        /// The receiver's, if it got one.
        number: Option<i32>,
        /// How many more of the message's are missing.
        more: usize,
        /// How it ended.
        expected: Ended,
    },
    /// The trace has a transfer of the scenario's processes that no actor made.
    #[error("the trace has a transfer that no actor made ({} of {count}, {ended})", index + 1)]
    Unmade {
        /// Its place in its message.
        index: u16,
        /// Files in its message.
        count: u16,
        /// How it ended.
        ended: Ended,
    },
    /// The plan does not show what the scenario needs.
    #[error(transparent)]
    NotWatched(#[from] Blind),
}

/// A count, or `?` where it was not read.
fn known(refs: Option<i64>) -> String {
    refs.map_or_else(|| "?".to_owned(), |refs| refs.to_string())
}

fn left(message: &MessageName, index: usize, refs: i64) -> String {
    let file = index + 1;
    match refs {
        1.. => format!("file {file} of {message} still has {refs} references when all are gone"),
        _ => format!("file {file} of {message} has {} references too few", -refs),
    }
}

fn missing(
    message: &MessageName,
    fd: i32,
    number: Option<i32>,
    more: usize,
    expected: Ended,
) -> String {
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more of its descriptors"),
    };
    match number {
        Some(number) => {
            format!("{message}'s {fd} → {number}{more} not in the trace from end to end")
        }
        None => format!("{message}'s {fd}{more} not in the trace as {expected}"),
    }
}
