//! Receives: what became of the files that one took and did not install.

use fdtrace_common::records::{
    FLAG_TABLE_FULL, FLAG_TABLE_SHARED, FLAG_WINDOW_SHORT, Head, RecordKind,
};

use super::{
    Cause, Fate,
    fate::{self, Called},
    message::{Message, SYS_RECVMSG},
};
use crate::plan::Hop;

/// Calls that have no place for descriptors: read, readv, recvfrom, and what 32-bit processes
/// call them, whose numbers stand for calls that receive nothing in others.
const READS: [i32; 6] = [0, 19, 45, 3, 145, 371];

/// What became of a file that a receive took and did not install. `last` is the record with which
/// the receive ended, in the functions of `called`.
pub(super) fn undelivered(
    message: &Message,
    index: usize,
    last: &Head,
    called: &Called,
) -> (Fate, Option<Cause>) {
    if last.flags & FLAG_WINDOW_SHORT != 0 {
        // New numbers may lie beyond what was looked at.
        return (Fate::Unknown, None);
    }
    if let Some(refused) = message.refusal(index) {
        return fate::of_refusal(refused.errno);
    }
    if let Some(before) = message.gave_up_before(index) {
        let (_, cause) = fate::of_refusal(before.errno);
        return (Fate::Truncated, cause);
    }
    if message.has(Hop::Detach) {
        (Fate::Truncated, Some(Cause::NoControlRoom))
    } else if last.result < 0 {
        (Fate::Discarded, Some(Cause::ReceiveFailed))
    } else if !message.is_being_received() {
        called.given_back()
    } else if READS.contains(&last.syscall) || called.by_plain_read() {
        (Fate::Discarded, Some(Cause::PlainRead))
    } else if may_hide_behind_an_old_number(index, last) {
        (Fate::Unknown, None)
    } else if last.kind == RecordKind::ReceiveReturned as u16 && last.syscall == SYS_RECVMSG {
        missing_in_table(message, index, last)
    } else {
        (Fate::Truncated, Some(Cause::NoControlRoom))
    }
}

/// Whether the file may have been installed under a number that was open before: another thread
/// closed it meanwhile. Then it is not new, though the receiver's control message names it.
fn may_hide_behind_an_old_number(index: usize, last: &Head) -> bool {
    let told = usize::try_from(last.location).unwrap_or(usize::MAX);
    last.flags & FLAG_TABLE_SHARED != 0 && (last.syscall != SYS_RECVMSG || index < told)
}

/// The same where installs are looked for in the receiver's table, and the function that refused
/// one is not seen: what the kernel looks at says which it was.
fn missing_in_table(message: &Message, index: usize, last: &Head) -> (Fate, Option<Cause>) {
    if index >= usize::from(last.room) {
        (Fate::Truncated, Some(Cause::NoControlRoom))
    } else if last.flags & FLAG_TABLE_FULL != 0 {
        (Fate::Truncated, Some(Cause::RlimitNofile))
    } else if message.is_vanished(index) {
        // Closed by another thread, or the number is left over from an earlier receive.
        (Fate::Unknown, None)
    } else if message.lacks_before(index) {
        (Fate::Truncated, Some(Cause::Lsm))
    } else {
        (Fate::Refused, Some(Cause::Lsm))
    }
}
