//! SCM_RIGHTS control messages: in the memory of the current task, or in the copy that the kernel
//! makes of a sender's.
//!
//! User memory proves nothing: another thread may change it at any time, and a buffer may hold
//! what an earlier call left there. Hops use its numbers only together with the task's table. The
//! kernel's copy is what the kernel itself goes by.

use core::ptr::read_volatile;

use fdtrace_common::records::LIST_MAX;

use crate::{
    emit::FDS_MAX,
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

/// Reads the descriptor numbers of the message that `msghdr` describes in user memory, in the
/// order in which the kernel joins the SCM_RIGHTS parts to one list.
#[inline(always)]
pub(crate) fn read_fds(msghdr: u64, fds: &mut [i32; FDS_MAX]) -> Rights {
    let message: UserMsghdr = kernel::read_user(msghdr);
    walk(
        NATIVE,
        message.control,
        message.control_len,
        fds,
        kernel::read_user,
        |to, len, from| {
            // SAFETY: `walk` gives room for the length.
            unsafe { kernel::copy_from_user(to, len, from) }
        },
    )
}

/// The first number of the message that `msghdr` describes, if its first control message is an
/// SCM_RIGHTS with `count` descriptors; else -1.
#[inline(always)]
pub(crate) fn first_fd(msghdr: u64, count: u32) -> i32 {
    let message: UserMsghdr = kernel::read_user(msghdr);
    if message.control_len < NATIVE.header {
        return -1;
    }
    let cmsg: Cmsghdr = kernel::read_user(message.control);
    let len = NATIVE.header + u64::from(count) * 4;
    if cmsg.level != SOL_SOCKET || cmsg.kind != SCM_RIGHTS || cmsg.len != len || count == 0 {
        return -1;
    }
    kernel::read_user(message.control + NATIVE.header)
}

/// [`read_fds`] of a message in the form that a 32-bit process gives it.
#[inline(always)]
pub(crate) fn read_compat_fds(msghdr: u32, fds: &mut [i32; FDS_MAX]) -> Rights {
    let message: CompatMsghdr = kernel::read_user(u64::from(msghdr));
    walk(
        COMPAT,
        u64::from(message.control),
        u64::from(message.control_len),
        fds,
        |at| {
            let CompatCmsghdr { len, level, kind } = kernel::read_user(at);
            let len = u64::from(len);
            // Volatile, so that the compiler does not know that it has 32 bits: what it makes of
            // that is beyond the verifier.
            // SAFETY: a local variable.
            let len = unsafe { read_volatile(&raw const len) };
            Cmsghdr { len, level, kind }
        },
        |to, len, from| {
            // SAFETY: `walk` gives room for the length.
            unsafe { kernel::copy_from_user(to, len, from) }
        },
    )
}

/// [`read_fds`] from the kernel's copy of a sender's control messages.
#[inline(always)]
pub(crate) fn read_copied_fds(message: Msghdr<impl Pointer>, fds: &mut [i32; FDS_MAX]) -> Rights {
    let (control, len) = message.control();
    let header = kernel::read_copied;
    walk(NATIVE, control, len, fds, header, |to, len, from| {
        // SAFETY: `walk` gives room for the length.
        unsafe { kernel::copy_from_kernel(to, len, from) }
    })
}

#[inline(always)]
fn walk(
    layout: Layout,
    control: u64,
    control_len: u64,
    fds: &mut [i32; FDS_MAX],
    header: impl Fn(u64) -> Cmsghdr,
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
        let cmsg = header(at);
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
            // The compiler knows the bound and leaves it to a comparison that the verifier does
            // not connect with this value; a mask on what comes from memory is plain to both.
            // SAFETY: a plain local.
            let read = unsafe { read_volatile(&raw const read) } & 0xff;
            let to = fds.as_mut_ptr().wrapping_add(rights.read as usize);
            copy(to.cast(), read * 4, at + layout.header);
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
