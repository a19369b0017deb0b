//! Model: the nouns that every phase speaks of. No I/O, no clock, and nothing of how the kernel half
//! lays out its records.

mod actor;
mod coverage;
mod doubt;
mod fate;
mod file;
mod hop;
mod losses;
pub mod lossless;
mod mark;
mod pointers;
mod queue;
mod socket;
mod summary;
mod table;
mod transfer;
mod verdict;

pub use actor::{Receiver, Sender, Task};
pub use coverage::PlanEntry;
pub use doubt::Doubt;
pub use fate::{Cause, CauseMissing, Fate};
pub use file::{
    DescriptionMissing, FileDescription, FileIdentity, FilePath, SocketDescription, VsockAddr,
};
pub use hop::{Hop, Mechanism};
pub use losses::{Losses, ProgramCost};
pub use mark::Mark;
pub use pointers::{PointerStyle, Pointers};
pub use queue::{
    FoundFile, Gaps, Holder, Identity, Occasion, Pass, Queue, QueueFact, QueuedFile, QueuedPart,
    UnixSocket,
};
pub use socket::{Socket, SocketType, socket_name};
pub use summary::{Pair, QueueTime, Tally, UnreadQueues};
pub use table::{OpenFile, Snapshot};
pub use transfer::{Chain, Context, HopSeen, Transfer};
pub use verdict::{Judged, Verdict};
