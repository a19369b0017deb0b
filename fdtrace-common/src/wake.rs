//! What the reader of the ring buffer asks of the programs as it goes to sleep. Waking it costs
//! whoever passes a descriptor more than all that is recorded, so each request is met once. Zero: it
//! reads, or has been woken.

/// To be woken by the next record; then [`WHEN_HALF_FULL`], for it lets others gather.
pub const BY_NEXT: u64 = 1;
/// To be woken if the ring buffer is more than half full before it comes by itself.
pub const WHEN_HALF_FULL: u64 = 2;
