//! What was left of a receiver's control buffer, by the kernel's own message header.

use std::ops::RangeInclusive;

use fdtrace_common::records::{FLAG_CONTROL_SEEN, Head, NO_CONTROL, ROOM_UNKNOWN};

use super::event::Call;

/// A control buffer as a receive returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Bytes that are left.
    left: u64,
    /// Something did not fit, or was not installed (MSG_CTRUNC).
    pub truncated: bool,
    /// There is no buffer.
    pub absent: bool,
    /// A 32-bit process's, whose parts are not padded.
    compat: bool,
    /// How far what was written ends behind a multiple of eight from the buffer's beginning.
    ends: Option<u16>,
    /// The room that an earlier version noted, which it took from the receiver's memory.
    noted: Option<u16>,
}

impl Control {
    /// What the record of a receive that returned says of it, if the header was found.
    pub(super) fn of(returned: &Head, call: Option<Call>) -> Option<Self> {
        const MSG_CMSG_COMPAT: u64 = 1 << 31;
        let known = Some(returned.room).filter(|room| *room != ROOM_UNKNOWN);
        if returned.flags & FLAG_CONTROL_SEEN == 0 {
            let noted = known.filter(|_| call == Some(Call::Recvmsg))?;
            return Some(Self {
                left: 0,
                truncated: true,
                absent: false,
                compat: false,
                ends: None,
                noted: Some(noted),
            });
        }
        let (left, flags) = (
            returned.location & u64::from(u32::MAX),
            returned.location >> 32,
        );
        let absent = left == NO_CONTROL;
        Some(Self {
            left: if absent { 0 } else { left },
            truncated: flags & libc::MSG_CTRUNC as u64 != 0,
            absent,
            compat: flags & MSG_CMSG_COMPAT != 0,
            ends: known,
            noted: None,
        })
    }

    /// How many descriptors there was room for, of which `installed` were: at least and at most. The
    /// kernel moves on behind what it has written, unless its header could not be written.
    #[must_use]
    pub fn room(self, installed: usize) -> RangeInclusive<usize> {
        const FD: u64 = size_of::<i32>() as u64;
        if let Some(noted) = self.noted {
            return usize::from(noted)..=usize::from(noted);
        }
        let header = if self.compat { 12 } else { 16 };
        let room = |bytes: u64| (bytes.saturating_sub(header) / FD) as usize;
        if installed == 0 {
            return room(self.left)..=room(self.left);
        }
        let written = header + installed as u64 * FD;
        let padded = if self.compat {
            written
        } else {
            written.next_multiple_of(8)
        };
        let stayed = room(self.left);
        let moved = if self.left > 0 || padded == written {
            room(padded + self.left)..=room(padded + self.left)
        } else {
            // The padding was cut off, as far as that shows.
            match self.ends {
                Some(0) => room(padded)..=room(padded),
                Some(_) => installed..=installed,
                None => installed..=room(padded),
            }
        };
        if stayed < installed {
            return moved;
        }
        stayed.min(*moved.start())..=stayed.max(*moved.end())
    }
}
