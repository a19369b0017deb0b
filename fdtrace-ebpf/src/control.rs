//! SCM_RIGHTS control messages: in the copy that the kernel makes of a sender's, or in the memory of
//! the current task.
//!
//! The kernel's copy is what the kernel itself goes by. User memory proves nothing: another thread
//! may change it at any time, a buffer may hold what an earlier call left there, and a page that
//! cannot be read says nothing at all. Of a receiver's numbers it is asked only whether they speak
//! against what the table shows.

use core::{mem::offset_of, ptr::read_volatile};

use fdtrace_common::records::LIST_MAX;

use crate::{
    emit::{self, FDS_MAX, Program},
    kernel::{self, Msghdr, Pointer},
};

/// Control messages to look at in one call.
const CMSGS_MAX: usize = 32;

/// The user-space form of `struct msghdr`.
#[repr(C)]
struct UserMsghdr {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u64,
}

/// `struct cmsghdr`; its data follows.
#[derive(Clone, Copy)]
#[repr(C)]
struct Cmsghdr {
    len: u64,
    level: i32,
    kind: i32,
}

/// Numbers that are read together with the header before them, where there is as much.
const FIRST: usize = 2;
const FIRST_BYTES: u64 = size_of::<[i32; FIRST]>() as u64;

#[derive(Clone, Copy)]
#[repr(C)]
struct Start {
    cmsg: Cmsghdr,
    first: [i32; FIRST],
}

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// Bytes of a control message's header.
const HEADER: u64 = size_of::<Cmsghdr>() as u64;

/// Where control messages are, and how many bytes they take.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Control {
    at: u64,
    len: u64,
}

impl Control {
    /// Those of the message that `msghdr` describes in user memory, if that can be read.
    #[inline(always)]
    pub(crate) fn of(msghdr: u64) -> Option<Self> {
        let at_len = kernel::read_user(msghdr + offset_of!(UserMsghdr, control) as u64);
        at_len.map(|[at, len]: [u64; 2]| Self { at, len })
    }

    /// The kernel's copy of a sender's.
    #[inline(always)]
    pub(crate) fn copied(message: Msghdr<impl Pointer>) -> Self {
        let (at, len) = message.control();
        Self { at, len }
    }

    /// The control message at `at`, in the kernel's copy, if it is an SCM_RIGHTS.
    #[inline(always)]
    pub(crate) fn rights_at(at: u64) -> Option<Self> {
        let cmsg: Cmsghdr = kernel::read_copied(at);
        let is_rights = cmsg.level == SOL_SOCKET && cmsg.kind == SCM_RIGHTS;
        is_rights.then_some(Self { at, len: cmsg.len })
    }

    /// The number, if these are in the kernel's memory, and all that they say is one.
    #[inline(always)]
    pub(crate) fn only_number(self) -> Option<i32> {
        const ONE: u64 = HEADER + 4;
        if self.at == 0 || self.len < ONE || self.len > HEADER + FIRST_BYTES {
            return None;
        }
        let cmsg: Cmsghdr = kernel::read_copied(self.at);
        let is_one = cmsg.len == ONE && cmsg.level == SOL_SOCKET && cmsg.kind == SCM_RIGHTS;
        is_one.then(|| kernel::read_copied(self.at + HEADER))
    }

    /// Whether there is none.
    #[inline(always)]
    pub(crate) fn is_empty(self) -> bool {
        self.at == 0 || self.len < HEADER
    }

    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.at
    }
}

/// What a control buffer says of descriptors.
#[derive(Clone, Copy)]
pub(crate) struct Rights {
    /// Numbers that were read; a full list at most from each SCM_RIGHTS part.
    pub(crate) read: u32,
    /// Numbers that there are, as far as that was looked at.
    pub(crate) named: u32,
    /// Whether all control messages were looked at.
    pub(crate) whole: bool,
    /// SCM_RIGHTS parts without a number.
    pub(crate) empty: u32,
}

impl Rights {
    /// As one number, which is all that a global function can return.
    #[inline(always)]
    fn pack(self) -> u64 {
        u64::from(self.read)
            | u64::from(self.named) << 16
            | u64::from(self.whole) << 48
            | u64::from(self.empty) << 49
    }

    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        Self {
            read: (packed & 0xffff) as u32,
            named: (packed >> 16 & 0xffff_ffff) as u32,
            whole: packed >> 48 & 1 != 0,
            empty: (packed >> 49) as u32,
        }
    }
}

const _: () = assert!(CMSGS_MAX as u64 * NAMED_MAX <= 0xffff_ffff && FDS_MAX <= 0xffff);

/// Reads the descriptor numbers of a receiver's control messages to the program's `told`; gives how
/// many there are, or 0 if not all can be read.
#[inline(always)]
pub(crate) fn read_told_fds(program: Program, control: Control) -> u32 {
    Rights::unpack(read_user_fds(program as u64, control.at, control.len)).read
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_user_fds(program: u64, at: u64, len: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    let header = |at, _| kernel::read_user(at).map(|cmsg| (cmsg, None));
    let rights = walk(at, len, &mut scratch.told, header, |to, len, from| {
        // SAFETY: `walk` gives room for the length.
        unsafe { kernel::copy_from_user(to, len, from) }
    });
    rights.map_or(0, Rights::pack)
}

/// Reads the descriptor numbers in the kernel's copy of a sender's control messages to the program's
/// `fds`, in the order in which the kernel joins the SCM_RIGHTS parts to one list.
#[inline(always)]
pub(crate) fn read_copied_fds(program: Program, control: Control) -> Rights {
    let Some(scratch) = emit::scratch(program as u32) else {
        return Rights::unpack(0);
    };
    // Through memory: where the verifier knows what an address points to (7.3), it is no number to
    // hand over.
    scratch.control = control;
    Rights::unpack(read_kernel_fds(program as u64))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_kernel_fds(program: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    let Control { at, len } = scratch.control;
    let header = |at, end| {
        if at + HEADER + FIRST_BYTES <= end {
            let Start { cmsg, first } = kernel::read_copied(at);
            Some((cmsg, Some(first)))
        } else {
            Some((kernel::read_copied(at), None))
        }
    };
    let rights = walk(at, len, &mut scratch.fds, header, |to, len, from| {
        // SAFETY: `walk` gives room for the length.
        unsafe { kernel::copy_from_kernel(to, len, from) };
        true
    });
    rights.map_or(0, Rights::pack)
}

/// Goes through control messages; `None` if one of them cannot be read.
#[inline(always)]
fn walk(
    control: u64,
    control_len: u64,
    fds: &mut [i32; FDS_MAX],
    header: impl Fn(u64, u64) -> Option<(Cmsghdr, Option<[i32; FIRST]>)>,
    copy: impl Fn(*mut u8, u32, u64) -> bool,
) -> Option<Rights> {
    let mut rights = Rights {
        read: 0,
        named: 0,
        whole: false,
        empty: 0,
    };
    let mut at = control;
    let end = at + control_len;
    for _ in 0..CMSGS_MAX {
        if control == 0 || at + HEADER > end {
            rights.whole = true;
            break;
        }
        let (cmsg, first) = header(at, end)?;
        // As the kernel has it (CMSG_OK); it refuses the whole message.
        if cmsg.len < HEADER || cmsg.len > end - at {
            rights.whole = true;
            break;
        }
        if cmsg.level == SOL_SOCKET && cmsg.kind == SCM_RIGHTS {
            let count = (cmsg.len - HEADER) / 4;
            rights.named += clamp(count, NAMED_MAX);
            rights.empty += u32::from(count == 0);
            if rights.read > LIST_MAX as u32 {
                break;
            }
            // There is room for two full lists, and both counts were just checked.
            let read = clamp(count, LIST_MAX as u64);
            // The compiler knows the bounds and leaves them to comparisons that the verifier does not
            // connect with these values; a mask on what comes from memory is plain to both.
            // SAFETY: plain locals.
            let (read, place) = unsafe {
                (
                    read_volatile(&raw const read) & 0xff,
                    read_volatile(&raw const rights.read) & 0xff,
                )
            };
            let to = fds.as_mut_ptr().wrapping_add(place as usize);
            match first {
                Some(first) if count <= FIRST as u64 => {
                    for (place, fd) in first.into_iter().enumerate() {
                        // SAFETY: there is room for two full lists.
                        unsafe { to.add(place).write(fd) };
                    }
                }
                _ => {
                    if !copy(to.cast(), read * 4, at + HEADER) {
                        return None;
                    }
                }
            }
            rights.read += read;
        }
        at += (cmsg.len + 7) & !7;
    }
    rights.whole |= at + HEADER > end;
    Some(rights)
}

/// More numbers than that in one part are not told apart.
const NAMED_MAX: u64 = 4096;

#[inline(always)]
fn clamp(count: u64, max: u64) -> u32 {
    if count > max {
        max as u32
    } else {
        count as u32
    }
}
