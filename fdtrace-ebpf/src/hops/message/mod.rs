//! Two records for a message, where nobody asked for each hop: `Sent` as its list gets into a queue, and
//! `Received` as a receiver gives it back, having installed its files. What is found out in between waits in
//! the thread's [slot](crate::slots).
//!
//! All of these functions run for messages with descriptors alone. `__scm_destroy` is the one end of every
//! list, be it installed, dropped, or still its sender's; one that was not installed is reported as by
//! [`super::end`]. Each file is described once, as its list ends.

mod received;
mod sent;

use fdtrace_common::records::{FILES_PER_RECORD, FLAG_DESCRIBED, FileSeen};

use crate::{describe, emit::Scratch};

/// A row of the record that is put together in the scratch.
#[inline(always)]
fn row(scratch: &mut Scratch, place: u64) -> *mut FileSeen {
    let rows = scratch.seen.as_mut_ptr();
    rows.wrapping_add(place as usize % FILES_PER_RECORD)
}

/// Describes the files of these rows, ahead of their record.
#[inline(always)]
fn describe_rows(scratch: &mut Scratch, first: u64, count: u64) {
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    if !describe::is_on() {
        return;
    }
    scratch.head.flags |= FLAG_DESCRIBED;
    let mut place = 0;
    while place < FILES_PER_RECORD as u64 && place < count {
        let seen = row(scratch, place);
        // SAFETY: the row is within the scratch.
        let (file, magic) = unsafe { ((*seen).file, (*seen).magic) };
        if file != 0 && magic != PIPEFS_MAGIC {
            describe::one(scratch, first + place);
        }
        place += 1;
    }
}
