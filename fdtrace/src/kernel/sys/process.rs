//! This process and others: forking, signals, descriptors, and the C library's clock and heap.

use std::{
    cmp::Ordering,
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::signal::{SigHandler, Signal, signal},
    unistd::ForkResult,
};
use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::io::unix::AsyncFd;

/// Whether this process has no thread but the calling one, so that no other could start a further one.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn is_single_threaded() -> io::Result<bool> {
    Ok(fs::read_dir("/proc/self/task")?.count() == 1)
}

/// Forks, in a process of one thread: the child may do all that its parent may.
///
/// # Errors
/// If this process has other threads, whose locks would stay closed in the child, and the errno of
/// `fork`.
pub(crate) fn fork() -> io::Result<ForkResult> {
    if !is_single_threaded()? {
        return Err(io::Error::other("this process has other threads"));
    }
    // SAFETY: there is one thread, and only it could start another.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Ends this process without running what was registered for its end.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: the call takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Ignores a signal, or gives it its default disposition. Returns whether it was ignored.
///
/// # Errors
/// EINVAL for a signal whose disposition is fixed.
pub(crate) fn set_ignored(which: Signal, ignored: bool) -> nix::Result<bool> {
    let disposition = match ignored {
        true => SigHandler::SigIgn,
        false => SigHandler::SigDfl,
    };
    // SAFETY: neither disposition is a handler.
    let before = unsafe { signal(which, disposition) }?;
    Ok(matches!(before, SigHandler::SigIgn))
}

/// `kcmp(KCMP_FILE)`: whether a descriptor of this process and one of another stand for the same
/// `struct file`. Unequal files have an order, the same at each call.
///
/// # Errors
/// ENOSYS or EOPNOTSUPP in a kernel without it, EPERM where this process may not look at the other,
/// EBADF and ESRCH where there is no such descriptor or process.
pub(crate) fn compare_files(ours: BorrowedFd<'_>, pid: u32, fd: RawFd) -> io::Result<Ordering> {
    /// From `linux/kcmp.h`.
    const KCMP_FILE: libc::c_long = 0;
    let ours = libc::c_long::from(ours.as_raw_fd());
    let own_pid = libc::c_long::from(std::process::id());
    let (pid, fd) = (libc::c_long::from(pid), libc::c_long::from(fd));
    // SAFETY: kcmp takes numbers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, own_pid, pid, KCMP_FILE, ours, fd) } {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 | 3 => Ok(Ordering::Greater),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A descriptor for a process, readable once the process has ended.
///
/// # Errors
/// ESRCH if there is no such process, EMFILE if there is no room for another descriptor.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(Errno::ESRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Lets a descriptor be waited for.
///
/// # Errors
/// If the runtime's `epoll` does not take it.
pub(crate) fn wait_on(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open and the same until it is dropped.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Another descriptor for what this process was started with under `number`. What it has opened
/// itself is close-on-exec, and not to be had by its number.
///
/// # Errors
/// EBADF if there is no such descriptor, or if it was not inherited.
pub(crate) fn duplicate_inherited(number: RawFd) -> io::Result<OwnedFd> {
    const ABOVE_STANDARD: RawFd = 3;
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: it is used for calls that fail if it is not open, and nothing here closes it.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(inherited)?.contains(FdFlags::CLOEXEC) {
        return Err(Errno::EBADF.into());
    }
    Ok(fcntl_dupfd_cloexec(inherited, ABOVE_STANDARD)?)
}

/// How far local time is ahead of UTC at a moment, seconds; 0 where that is not known.
#[must_use]
pub(crate) fn utc_offset_s(unix_s: u64) -> i32 {
    let time = unix_s.cast_signed();
    // SAFETY: both structures are this function's own, and all-zero is a valid start.
    let offset = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        match libc::localtime_r(&raw const time, &raw mut local).is_null() {
            true => 0,
            false => local.tm_gmtoff,
        }
    };
    i32::try_from(offset).unwrap_or(0)
}

/// Gives memory that the allocator keeps, and that nobody has allocated, back to the kernel.
pub(crate) fn give_heap_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn two_descriptors_of_one_file_are_equal_and_two_files_are_not() {
        let pid = std::process::id();
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let copy = one.try_clone().unwrap();
        let compare = |fd| compare_files(one.as_fd(), pid, fd);
        if let Err(error) = compare(one.as_raw_fd()) {
            // CONFIG_KCMP may be off, and a container may forbid it.
            let expected = [Some(libc::ENOSYS), Some(libc::EPERM)];
            assert!(expected.contains(&error.raw_os_error()), "{error}");
            return;
        }
        assert_eq!(compare(copy.as_raw_fd()).unwrap(), Ordering::Equal);
        assert_ne!(compare(other.as_raw_fd()).unwrap(), Ordering::Equal);
        assert_eq!(compare(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn only_inherited_descriptors_are_had_by_their_number() {
        let own = tempfile::tempfile().unwrap();
        for number in [own.as_raw_fd(), -1, RawFd::MAX] {
            let error = duplicate_inherited(number).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{number}");
        }
        assert!(duplicate_inherited(libc::STDERR_FILENO).is_ok());
    }

    #[test]
    fn a_process_with_other_threads_does_not_fork() {
        // The test runner's main thread is another.
        std::thread::scope(|scope| {
            let (end, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let refused = fork().map(drop).unwrap_err();
            assert_eq!(refused.to_string(), "this process has other threads");
            drop(end);
        });
    }
}
