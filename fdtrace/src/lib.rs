//! Follows open files through Unix sockets, hop by hop. Each module is one phase of the data's way.

pub mod cli;
pub mod description;
pub mod event;
pub mod explain;
pub mod inflight;
pub mod inherited;
pub mod kernel;
pub mod ledger;
pub mod lossless;
pub mod passing;
pub mod path;
pub mod plan;
pub mod recording;
pub mod report;
pub mod trace;
pub mod tracer;
pub mod tracker;
pub mod unseen;
pub mod verdict;
pub mod verify;
pub mod witness;
