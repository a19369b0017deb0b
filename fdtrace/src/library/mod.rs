//! Library: the few types that other programs use, over the same pipeline that the commands go.
//!
//! Nothing here watches or judges by itself; what a type does is said once, in [`crate::watch`].

mod assert;
mod error;
mod expected;
mod recording;
mod seen;
mod skip;
mod trace;
mod watch;

pub use assert::{AssertionError, Handover};
pub use error::Error;
pub use expected::Expected;
pub use recording::{Recording, Transfers};
pub use seen::Seen;
pub use skip::{Skipped, check_privileges, note_skipped};
pub use trace::{Item, Trace, TraceBuilder};
pub use watch::{Watch, Watching};
