//! SCM_RIGHTS control messages: in the memory of the current task, or in the copy that the kernel
//! makes of a sender's.
//!
//! User memory proves nothing: another thread may change it at any time, and a buffer may hold
//! what an earlier call left there. Hops use its numbers only together with the task's table. The
//! kernel's copy is what the kernel itself goes by.

use fdtrace_common::records::LIST_MAX;

use crate::{
    emit::FDS_MAX,
    kernel::{self, Msghdr},
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

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const CMSG_HEADER: u64 = size_of::<Cmsghdr>() as u64;

/// Reads the descriptor numbers of the message that `msghdr` describes in user memory, in the
/// order in which the kernel joins the SCM_RIGHTS parts to one list. Returns how many there are.
#[inline(always)]
pub(crate) fn read_fds(msghdr: u64, fds: &mut [i32; FDS_MAX]) -> u32 {
    let message: UserMsghdr = kernel::read_user(msghdr);
    walk(
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

/// The same from the kernel's copy of a sender's control messages.
#[inline(always)]
pub(crate) fn read_copied_fds(message: Msghdr, fds: &mut [i32; FDS_MAX]) -> u32 {
    let (control, len) = message.control();
    walk(control, len, fds, kernel::read_copied, |to, len, from| {
        // SAFETY: `walk` gives room for the length.
        unsafe { kernel::copy_from_kernel(to, len, from) }
    })
}

#[inline(always)]
fn walk(
    control: u64,
    control_len: u64,
    fds: &mut [i32; FDS_MAX],
    header: impl Fn(u64) -> Cmsghdr,
    copy: impl Fn(*mut u8, u32, u64),
) -> u32 {
    if control_len < CMSG_HEADER {
        return 0;
    }
    let mut total = 0_u32;
    let mut at = control;
    let end = at + control_len;
    for _ in 0..CMSGS_MAX {
        if at + CMSG_HEADER > end {
            break;
        }
        let cmsg = header(at);
        if cmsg.len < CMSG_HEADER {
            break;
        }
        if cmsg.level == SOL_SOCKET && cmsg.kind == SCM_RIGHTS {
            let count = (cmsg.len - CMSG_HEADER) / 4;
            if count > LIST_MAX as u64 || total > LIST_MAX as u32 {
                break;
            }
            // There is room for two full lists, and both counts were just checked.
            let to = fds.as_mut_ptr().wrapping_add(total as usize);
            copy(to.cast(), count as u32 * 4, at + CMSG_HEADER);
            total += count as u32;
        }
        at += (cmsg.len + 7) & !7;
    }
    total
}
