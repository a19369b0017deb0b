//! Judge: what the evidence of a transfer allows to say. No I/O, no clock.

pub mod ledger;
mod unseen;
pub mod verdict;

pub use unseen::{Meanwhile, Unseen};
pub use verdict::{missing_hops, of_transfer};
