//! What `cargo xtask vm` and the first process of its VM say to each other.
//!
//! The host leaves a [`Job`] in the initramfs; init answers with [`Frame`]s on a serial port that
//! nothing else writes to. Both directions are here, so that neither side can be changed alone.

mod frame;
mod job;

pub use frame::{Decoder, Frame, Garbled};
pub use job::{Job, NotAJob};

/// Where the job lies in the initramfs.
pub const JOB: &str = "/job";
