//! What the tests of fdtrace share: made-up events and outcomes, recorded kernels, the command and
//! its JSON contract, a browser, and whose turn it is on the machine.
//!
//! For tests alone: what goes wrong here panics. A test that uses something of its own keeps it
//! beside itself; what two test files would write twice belongs here.

pub mod browser;
pub mod command;
pub mod contract;
pub mod kernels;
pub mod outcomes;
mod passing;
pub mod recordings;
mod tracking;
pub mod turn;

pub use passing::{Event, OTHER_CALL, PLAIN_READ, Passing, RECVMSG, Sighting, files_mut, head_mut};
pub use tracking::{
    SKB_QUEUE_PURGE, Tracker, UNIX_GC, UNIX_RELEASE_SOCK, address_of, track, track_without_names,
    tracker, tracker_covering, tracker_with_room,
};
