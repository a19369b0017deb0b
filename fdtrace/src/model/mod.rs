//! Model: the nouns that every phase speaks of. No I/O, no clock, and nothing of how the kernel half
//! lays out its records.

mod actor;
mod coverage;
mod digits;
mod doubt;
mod earlier;
mod end;
mod failed_send;
mod fate;
mod file;
mod hop;
mod losses;
pub mod lossless;
mod machine;
mod mark;
mod named;
mod pointers;
mod queue;
mod socket;
mod still_open;
mod summary;
mod table;
mod transfer;
mod verdict;

pub use actor::{Receiver, Sender, Task};
pub use coverage::{Coverage, PlanEntry};
pub use digits::{Digits, EXACT_MAX};
pub use doubt::Doubt;
pub use earlier::{Again, Earlier, Relay};
pub use end::{End, Loss, Lost};
pub use failed_send::{FailedSend, HeldBy, UserInFlight};
pub use fate::{Cause, CauseMissing, Fate};
pub use file::{
    DescriptionMissing, Device, FileDescription, FileIdentity, FileKind, FilePath,
    SocketDescription, VsockAddr,
};
pub use hop::{Hop, Mechanism};
pub use losses::{Losses, ProgramCost};
pub use machine::Machine;
pub use mark::{Mark, Marks};
pub(crate) use named::named;
pub use pointers::{Pointer, PointerStyle, Pointers};
pub use queue::{
    FoundFile, Gaps, Holder, Identity, Occasion, Pass, Queue, QueueFact, QueuedFile, QueuedPart,
    UnixSocket,
};
pub use socket::{Socket, SocketType, socket_name};
pub use still_open::{
    Also, FileHolder, FileKey, FullTable, Holding, Holdings, Later, LookedAt, OpenNumber, Side,
    Sole, StillOpen, StillOpenMissing, Table, TableLook,
};
pub use summary::{Counts, EmptyRights, Pair, QueueTime, Tally, UnreadQueues};
pub use table::{OpenFile, Snapshot};
pub use transfer::{Chain, Context, HopSeen, Transfer, Way};
pub use verdict::{Judged, Verdict};
