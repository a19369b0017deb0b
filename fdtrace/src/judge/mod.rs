//! Judge: what the evidence of a transfer allows to say. No I/O, no clock.

mod conclude;
pub mod ledger;
mod outcome;
mod received;
mod sender;
pub mod still_open;
mod unseen;
pub mod verdict;

pub use outcome::Outcomes;
pub use received::Received;
pub use unseen::{Meanwhile, Unseen};
pub use verdict::{missing_hops, of_transfer};
