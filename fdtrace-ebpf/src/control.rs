//! SCM_RIGHTS control messages: in the memory of the current task, or in the copy that the kernel
//! makes of a sender's.
//!
//! User memory proves nothing: another thread may change it at any time, and a buffer may hold
//! what an earlier call left there. Hops use its numbers only together with the task's table. The
//! kernel's copy is what the kernel itself goes by.

use core::{mem::offset_of, ptr::read_volatile};

use fdtrace_common::records::LIST_MAX;

use crate::{
    emit::{self, FDS_MAX, Program},
    kernel::{self, Msghdr, Pointer},
};

/// Control messages to look at in one call.
const CMSGS_MAX: usize = 4;

/// The user-space form of `struct msghdr`.
#[derive(Clone, Copy)]
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

/// The same as a 32-bit process has them.
#[derive(Clone, Copy)]
#[repr(C)]
struct CompatMsghdr {
    name: u32,
    name_len: u32,
    iov: u32,
    iov_len: u32,
    control: u32,
    control_len: u32,
    flags: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct CompatCmsghdr {
    len: u32,
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

/// `struct mmsghdr`, an entry of what `sendmmsg` is given, begins with a `msghdr`.
pub(crate) const MMSGHDR: u64 = size_of::<UserMsghdr>() as u64 + 8;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// Lengths of a control message's header, and what they are rounded up to.
#[derive(Clone, Copy)]
struct Layout {
    header: u64,
    align: u64,
}

const NATIVE: Layout = Layout {
    header: size_of::<Cmsghdr>() as u64,
    align: 8,
};

const COMPAT: Layout = Layout {
    header: size_of::<CompatCmsghdr>() as u64,
    align: 4,
};

/// Where control messages are, and how many bytes they take.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Control {
    at: u64,
    len: u64,
}

impl Control {
    pub(crate) const NONE: Self = Self { at: 0, len: 0 };

    /// Those of the message that `msghdr` describes in user memory.
    #[inline(always)]
    pub(crate) fn of(msghdr: u64) -> Self {
        let [at, len] = kernel::read_user(msghdr + offset_of!(UserMsghdr, control) as u64);
        Self { at, len }
    }

    /// Those of a message in the form that a 32-bit process gives it.
    #[inline(always)]
    pub(crate) fn of_compat(msghdr: u32) -> Self {
        let message: CompatMsghdr = kernel::read_user(u64::from(msghdr));
        Self {
            at: u64::from(message.control),
            len: u64::from(message.control_len),
        }
    }

    /// The kernel's copy of a sender's.
    #[inline(always)]
    pub(crate) fn copied(message: Msghdr<impl Pointer>) -> Self {
        let (at, len) = message.control();
        Self { at, len }
    }

    /// Whether there is no room for anything.
    #[inline(always)]
    pub(crate) fn is_empty(self) -> bool {
        self.at == 0 || self.len < COMPAT.header
    }
}

/// What a control buffer says of descriptors.
#[derive(Clone, Copy)]
pub(crate) struct Rights {
    /// Numbers that were read; a full list at most from each SCM_RIGHTS part.
    pub(crate) read: u32,
    /// Numbers that there are.
    pub(crate) named: u32,
    /// How many the buffer has room for where the first SCM_RIGHTS part is, or would be.
    pub(crate) room: u32,
}

impl Rights {
    /// As one number, which is all that a global function can return.
    #[inline(always)]
    fn pack(self) -> u64 {
        u64::from(self.read) | u64::from(self.named) << 16 | u64::from(self.room) << 32
    }

    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        Self {
            read: (packed & 0xffff) as u32,
            named: (packed >> 16 & 0xffff) as u32,
            room: (packed >> 32 & 0xffff) as u32,
        }
    }
}

const _: () = assert!(CMSGS_MAX as u64 * NAMED_MAX <= 0xffff && FDS_MAX <= 0xffff);

/// Reads the descriptor numbers of a message to the program's `fds`, in the order in which the
/// kernel joins the SCM_RIGHTS parts to one list.
#[inline(always)]
pub(crate) fn read_fds(program: Program, control: Control) -> Rights {
    Rights::unpack(read_user_fds(program as u64, control.at, control.len, 0))
}

/// [`read_fds`] to the program's `told`.
#[inline(always)]
pub(crate) fn read_told_fds(program: Program, control: Control) -> Rights {
    Rights::unpack(read_user_fds(program as u64, control.at, control.len, 1))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_user_fds(program: u64, at: u64, len: u64, told: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    let fds = if told == 0 {
        &mut scratch.fds
    } else {
        &mut scratch.told
    };
    let header = |at, end| {
        if at + NATIVE.header + FIRST_BYTES <= end {
            let Start { cmsg, first } = kernel::read_user(at);
            (cmsg, Some(first))
        } else {
            (kernel::read_user(at), None)
        }
    };
    walk(NATIVE, at, len, fds, header, |to, len, from| {
        // SAFETY: `walk` gives room for the length.
        unsafe { kernel::copy_from_user(to, len, from) }
    })
    .pack()
}

/// Whether the message that `msghdr` describes has an address of its own to be sent to.
#[inline(always)]
pub(crate) fn is_addressed(msghdr: u64) -> bool {
    let message: UserMsghdr = kernel::read_user(msghdr);
    // An int; what comes after it is padding.
    message.name_len as u32 != 0
}

/// The first number of the message that `msghdr` describes, if its first control message is an
/// SCM_RIGHTS with `count` descriptors; else -1.
#[inline(always)]
pub(crate) fn first_fd(msghdr: u64, count: u32) -> i32 {
    let control = Control::of(msghdr);
    if control.len < NATIVE.header {
        return -1;
    }
    let cmsg: Cmsghdr = kernel::read_user(control.at);
    let len = NATIVE.header + u64::from(count) * 4;
    if cmsg.level != SOL_SOCKET || cmsg.kind != SCM_RIGHTS || cmsg.len != len || count == 0 {
        return -1;
    }
    kernel::read_user(control.at + NATIVE.header)
}

/// [`read_fds`] of a message in the form that a 32-bit process gives it.
#[inline(always)]
pub(crate) fn read_compat_fds(program: Program, control: Control) -> Rights {
    Rights::unpack(read_user_compat_fds(
        program as u64,
        control.at,
        control.len,
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_user_compat_fds(program: u64, at: u64, len: u64) -> u64 {
    let Some(scratch) = emit::scratch(program as u32) else {
        return 0;
    };
    walk(
        COMPAT,
        at,
        len,
        &mut scratch.fds,
        |at, _| {
            let CompatCmsghdr { len, level, kind } = kernel::read_user(at);
            let len = u64::from(len);
            // Volatile, so that the compiler does not know that it has 32 bits: what it makes of
            // that is beyond the verifier.
            // SAFETY: a local variable.
            let len = unsafe { read_volatile(&raw const len) };
            (Cmsghdr { len, level, kind }, None)
        },
        |to, len, from| {
            // SAFETY: `walk` gives room for the length.
            unsafe { kernel::copy_from_user(to, len, from) }
        },
    )
    .pack()
}

/// [`read_fds`] from the kernel's copy of a sender's control messages.
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
        if at + NATIVE.header + FIRST_BYTES <= end {
            let Start { cmsg, first } = kernel::read_copied(at);
            (cmsg, Some(first))
        } else {
            (kernel::read_copied(at), None)
        }
    };
    walk(
        NATIVE,
        at,
        len,
        &mut scratch.fds,
        header,
        |to, len, from| {
            // SAFETY: `walk` gives room for the length.
            unsafe { kernel::copy_from_kernel(to, len, from) }
        },
    )
    .pack()
}

#[inline(always)]
fn walk(
    layout: Layout,
    control: u64,
    control_len: u64,
    fds: &mut [i32; FDS_MAX],
    header: impl Fn(u64, u64) -> (Cmsghdr, Option<[i32; FIRST]>),
    copy: impl Fn(*mut u8, u32, u64),
) -> Rights {
    let mut rights = Rights {
        read: 0,
        named: 0,
        room: 0,
    };
    if control == 0 || control_len < layout.header {
        return rights;
    }
    let mut at = control;
    let end = at + control_len;
    rights.room = room(layout, at, end);
    for _ in 0..CMSGS_MAX {
        if at + layout.header > end {
            break;
        }
        let (cmsg, first) = header(at, end);
        // As the kernel has it (CMSG_OK); it refuses the whole message.
        if cmsg.len < layout.header || cmsg.len > end - at {
            break;
        }
        if cmsg.level == SOL_SOCKET && cmsg.kind == SCM_RIGHTS {
            let count = (cmsg.len - layout.header) / 4;
            rights.named += clamp(count, NAMED_MAX);
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
                _ => copy(to.cast(), read * 4, at + layout.header),
            }
            rights.read += read;
        }
        at += (cmsg.len + layout.align - 1) & !(layout.align - 1);
        if rights.named == 0 {
            rights.room = room(layout, at, end);
        }
    }
    rights
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

/// Descriptors for which there is room in a control message from `at` to `end`.
#[inline(always)]
fn room(layout: Layout, at: u64, end: u64) -> u32 {
    if at + layout.header > end {
        return 0;
    }
    clamp((end - at - layout.header) / 4, NAMED_MAX)
}
