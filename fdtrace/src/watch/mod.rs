//! Watch: the one way from a machine or a recording to judged transfers, which every command goes.
//!
//! ```text
//! Options::start ──▶ Live ──records──▶ ┐
//!   privileges, plan,  the kernel, and │            ┌─▶ Session ──▶ a report
//!   self-test, first   a recording of  ├─▶ Pipeline ┼─▶ verify's judge
//!   look               what it says    │            └─▶ whoever uses the library
//!              a file ─▶ Replay ─────▶ ┘
//! ```
//!
//! A [`Pipeline`] is pure: the time and the losses are given to it. [`Live`] drains the ring
//! buffer and reads the counters, looks through queues where that shows more, and ends with a last
//! look; [`Replay`] does the same from a recording. Both hand over what has ended, judged, and how all
//! ended ([`Ended`]).

pub mod account;
pub mod command;
mod ended;
pub mod found;
mod intake;
mod live;
mod looks;
mod pipeline;
mod receivers;
mod recorder;
mod refusal;
mod replay;
mod report;
mod selection;
mod session;
mod start;

use std::error::Error;

pub use ended::Ended;
pub use live::{Bounds, Live, LiveError, Stopped};
pub use pipeline::Pipeline;
pub use refusal::Refusal;
pub use replay::Replay;
pub use report::{Looked, TraceEnd, TraceReport, TraceStart};
pub use selection::Selection;
pub use session::{Limits, Session};
pub use start::{
    Options, StartError, Took, check_own_privileges, check_privileges, find_cgroup, obstacles,
    what_works,
};

/// An error with its causes, in one line: of a cause the first, because the log of the kernel's verifier
/// may follow.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        text.push_str(": ");
        text.push_str(cause_text.lines().next().unwrap_or_default());
        source = cause.source();
    }
    text
}
