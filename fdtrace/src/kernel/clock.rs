//! Clocks: the time that the kernel half stamps its records with, and the time that people have.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use super::sys;

/// CLOCK_MONOTONIC, nanoseconds, as the kernel half reads it.
#[must_use]
pub fn now_ns() -> u64 {
    // A clock that every kernel has does not fail.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
    })
}

/// Wall-clock time, nanoseconds since 1970.
#[must_use]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// What local time is ahead of UTC at a wall-clock time (nanoseconds since 1970), in seconds.
#[must_use]
pub fn utc_offset_s(wall_ns: u64) -> i32 {
    sys::utc_offset_s(wall_ns / 1_000_000_000)
}
