//! What became of a number after the hand-over, and why that is not known.

use super::{Said, said};
use crate::model::{StillOpen, StillOpenMissing};

pub(super) fn state(state: StillOpen) -> Said {
    match state {
        StillOpen::Open => said!(
            "as somebody looked, the number still stood for the open file that was passed",
            cure: "if it should have been closed, the summary of `fdtrace trace` counts by process and file \
                   what is still open, and --every 10s shows whether that grows"
        ),
        StillOpen::Moved => said!(
            "the number does not stand for the open file that was passed, but its process has that under \
             another one, which it neither received nor sent: mostly a duplicate, as libdbus makes, whose first \
             number was closed"
        ),
        StillOpen::Closed => said!(
            "the number stands for nothing: it was closed, and no other number that may stand for the open \
             file is left to be accounted for"
        ),
        StillOpen::Replaced => said!(
            "the number stands for another file: it was closed and given away again, or replaced by dup2"
        ),
        StillOpen::Ended => said!(
            "its process has ended, which closed what it had open; whether it had closed this one before was \
             not seen"
        ),
        StillOpen::Unknown => said!(
            "it cannot be told whether the open file that was passed is still open there: `state_missing` \
             says why"
        ),
    }
}

pub(super) fn missing(why: StillOpenMissing) -> Said {
    match why {
        StillOpenMissing::MayBeAnother => said!(
            "the number stands for a file of the same inode at the same address: the open file that was \
             passed, or, if that was closed, another one of the same file, because the kernel gives an address \
             away again at once. Sockets are told for certain, and memfds, pipes and dma-bufs unless they were \
             opened through /proc"
        ),
        StillOpenMissing::NoNumber => said!(
            "the number was not known, and its process has a file of the same inode at the same address, \
             which may be another open file, or have come there by another transfer"
        ),
        StillOpenMissing::OtherNumber => said!(
            "the number does not stand for the open file that was passed. Its process has that under another \
             number, which may be a duplicate of this one, or may have been there before: the process sent the \
             file too, or received it more often than it has it"
        ),
        StillOpenMissing::OwnTables => said!(
            "threads of the process had descriptor tables of their own as it ended (unshare(CLONE_FILES)), or \
             may have had, and the one that was looked at does not have it",
            cure: "look while it runs: `fdtrace trace --every 10s`"
        ),
        StillOpenMissing::TableTooLong => said!(
            "as a process ends, only its numbers below 16,384 are looked at, and what was asked for may be beyond them",
            cure: "look while it runs: `fdtrace trace --every 10s`"
        ),
        StillOpenMissing::Lost => said!(
            "there was no room for what would have told, because many processes ended at once",
            cure: "trace less: --pid, --comm, --cgroup; or look while they run: `fdtrace trace --every 10s`"
        ),
    }
}
