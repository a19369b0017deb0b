//! Follows open files through Unix sockets, hop by hop. Each module is one phase of the data's way.

pub mod cli;
pub mod explain;
pub mod inflight;
pub mod judge;
pub mod kernel;
#[cfg(test)]
mod layers;
pub mod model;
pub mod plan;
pub mod recording;
pub mod report;
pub mod tracer;
pub mod track;
pub mod verify;
pub mod watch;
pub mod wire;
pub mod witness;

pub use kernel::passing;
