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

/// Reads the descriptor numbers of the message that `msghdr` describes in user memory, in the
/// order in which the kernel joins the SCM_RIGHTS parts to one list. Returns how many there are.
#[inline(always)]
pub(crate) fn read_fds(msghdr: u64, fds: &mut [i32; FDS_MAX]) -> u32 {
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
pub(crate) fn read_compat_fds(msghdr: u32, fds: &mut [i32; FDS_MAX]) -> u32 {
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
pub(crate) fn read_copied_fds(message: Msghdr<impl Pointer>, fds: &mut [i32; FDS_MAX]) -> u32 {
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
) -> u32 {
    if control_len < layout.header {
        return 0;
    }
    let mut total = 0_u32;
    let mut at = control;
    let end = at + control_len;
    for _ in 0..CMSGS_MAX {
        if at + layout.header > end {
            break;
        }
        let cmsg = header(at);
        if cmsg.len < layout.header {
            break;
        }
        if cmsg.level == SOL_SOCKET && cmsg.kind == SCM_RIGHTS {
            let count = (cmsg.len - layout.header) / 4;
            if count > LIST_MAX as u64 || total > LIST_MAX as u32 {
                break;
            }
            // There is room for two full lists, and both counts were just checked.
            let to = fds.as_mut_ptr().wrapping_add(total as usize);
            copy(to.cast(), count as u32 * 4, at + layout.header);
            total += count as u32;
        }
        at += (cmsg.len + layout.align - 1) & !(layout.align - 1);
    }
    total
}
