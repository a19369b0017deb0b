//! Clocks: the time that the kernel half stamps its records with, and the time that people have.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

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
    // SAFETY: both structures are this function's own, and all-zero is a valid start.
    let offset = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        let time = (wall_ns / 1_000_000_000).cast_signed();
        if libc::localtime_r(&raw const time, &raw mut local).is_null() {
            0
        } else {
            local.tm_gmtoff
        }
    };
    i32::try_from(offset).unwrap_or(0)
}
