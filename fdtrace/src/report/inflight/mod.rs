//! What is in flight, as text and as JSON Lines.

mod json;
mod table;
mod text;

use std::io;

pub use json::InFlightJson;
pub use table::TotalBy;
pub use text::InFlightText;

use crate::inflight::{Census, Selection, Sightings};

/// One look at all queues.
#[derive(Debug)]
pub struct Round<'a> {
    /// All that is in flight.
    pub census: &'a Census,
    /// What of it to show.
    pub selection: &'a Selection,
    /// How old it is.
    pub sightings: &'a Sightings,
    /// Wall-clock time, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Whether everything was asked for.
    pub unfiltered: bool,
    /// What fdtrace exits with if this is the last one.
    pub exit_code: u8,
}

/// A format of what is in flight.
pub trait InFlightReport {
    /// Writes one round.
    ///
    /// # Errors
    /// What writing says.
    fn round(&mut self, round: &Round<'_>) -> io::Result<()>;
}
