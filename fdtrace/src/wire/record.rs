//! Records: what one record of the ring buffer says, of which an event may take several.

use super::{Described, Event, Stamp};
use crate::model::{FailedSend, Task};

/// What one record says.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are events, for each of which a box would take memory"
)]
pub enum Record {
    /// Something of a hop whose own record is still to come.
    Aside(Stamp, AsideKind),
    /// What happened, to all files or to a part of them.
    Event(Event),
}

/// What is said ahead of a hop.
#[derive(Clone, Debug)]
pub enum AsideKind {
    /// The name that a socket of it is bound to, as users write it.
    SocketName(String),
    /// What one of its files is.
    File(Described),
    /// What separates its task from others.
    Task(Task),
    /// What a failed send had to do with.
    FailedSend(Box<FailedSend>),
    /// The functions under way, innermost first, by return addresses.
    Backtrace(Vec<u64>),
}
