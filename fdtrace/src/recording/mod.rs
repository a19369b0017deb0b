//! Recording: the raw records of a trace in a file, with all that is needed to read them anywhere.
//!
//! It stands between the ring buffer and decoding: what [`Writer`] is given are the kernel half's
//! bytes and what a look through the queues found, and what [`Reader`] gives goes through the same
//! decoder, tracker and reports as in a live trace. It interprets nothing, and neither half knows the
//! other's machine: the names of code addresses, the plan and the clocks are in the file.
//!
//! ```text
//! MAGIC, then chunks:
//!   u32  length of the payload         all numbers are little-endian
//!   u16  kind of the chunk
//!   u16  zero
//!   u32  CRC-32 of kind, zero and payload
//!   …    payload
//! ```
//!
//! The first chunk is a [`Header`]. Its `format` changes only when older readers would go wrong;
//! chunks of a kind that a reader does not know are skipped. Records only ever grow at the end of
//! their parts (`Head`, `FileSeen`), and the header has the parts' sizes, so that records of
//! another version are brought to this one's form (`layout.rs`): what they lack is zero. A header that has
//! no coverage gets one that its plan shows (`earlier.rs`).

mod earlier;
mod layout;
mod reader;
mod tables;
mod writer;

use serde::{Deserialize, Serialize};

pub use reader::{Item, ReadError, Reader};
pub use writer::Writer;

use crate::model::{Coverage, Losses, Machine, PlanEntry};

/// What a recording begins with.
const MAGIC: &[u8; 18] = b"fdtrace recording\n";

/// Version of the file's form.
pub const FORMAT: u32 = 4;

/// No chunk is longer: a length beyond it is damage.
const PAYLOAD_MAX: u32 = 1 << 20;

/// Bytes of a chunk before its payload.
const CHUNK_HEAD: usize = 12;

/// Kinds of chunks; the numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Chunk {
    /// A [`Header`], as JSON.
    Header = 1,
    /// A record of the ring buffer, as it is.
    Event = 2,
    /// A code address (u64) and the name of the function that it lies in.
    Symbol = 3,
    /// CLOCK_MONOTONIC (u64) of a moment when every record had been taken out.
    Pause = 4,
    /// [`Losses`] as JSON, whenever they have changed.
    Losses = 5,
    /// An [`End`], as JSON.
    End = 6,
    /// A [`QueueFact`](crate::model::QueueFact), as JSON. Up to format 2 it was made into records.
    Found = 7,
    /// Part of a [`TableLook`](crate::model::TableLook), as JSON; earlier versions of fdtrace pass it over.
    Tables = 8,
}

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Version of fdtrace.
    pub fdtrace: String,
    /// Kernel release.
    pub kernel: String,
    /// Wall-clock time of the start, nanoseconds since 1970.
    pub wall_ns: u64,
    /// CLOCK_MONOTONIC of the same moment, nanoseconds.
    pub t_ns: u64,
    /// What local time was ahead of UTC there and then, seconds.
    pub utc_offset_s: i32,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: u8,
    /// How each hop was watched.
    pub plan: Vec<PlanEntry>,
    /// What that shows. Earlier versions left it to be concluded from the plan.
    pub coverage: Coverage,
    /// Which machine it was, and which of its boots; earlier versions did not note it.
    #[serde(default)]
    pub machine: Machine,
    /// Whether a filter was on: then only transfers that it wanted are of interest.
    #[serde(default)]
    pub filtered: bool,
    /// What could not be read of what lay in queues as the trace began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_at_start: Option<String>,
    /// Bytes of a record's head.
    pub head_bytes: u32,
    /// Bytes of a file in a record.
    pub file_bytes: u32,
}

impl Header {
    /// Sizes of this version's records.
    #[must_use]
    pub fn record_sizes() -> (u32, u32) {
        use fdtrace_common::records::{FileSeen, Head};
        (size_of::<Head>() as u32, size_of::<FileSeen>() as u32)
    }
}

/// How a recording ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// What the traced command returned, as a shell would say it; absent if there was none or it
    /// was still running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_status: Option<i32>,
    /// What could not be read of what lay in queues then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_at_end: Option<String>,
    /// The losses by then.
    pub losses: Losses,
}

fn checksum(kind: u16, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind.to_le_bytes());
    hasher.update(&0_u16.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}
