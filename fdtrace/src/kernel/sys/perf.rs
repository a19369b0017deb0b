//! `perf_event_open(2)`, by which kprobes are made.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_sw_ids, perf_type_id};

/// An event of this process that never happens.
///
/// # Errors
/// The errno of `perf_event_open`.
pub fn open_dummy() -> io::Result<OwnedFd> {
    // SAFETY: a structure of integers; the kernel takes zero for "not given".
    let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
    attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
    attr.set_disabled(1);
    attr.set_exclude_kernel(1);
    let (this_process, any_cpu, no_group) = (0, -1, -1);
    // SAFETY: the kernel reads `attr` as far as it says that it is long.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            this_process,
            any_cpu,
            no_group,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made it, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
