//! Pages where the kernel stands still until the play lets it go on: userfaultfd, and pages that
//! cannot be read or written.

use std::{os::fd::RawFd, ptr};

use super::stage::{check, wait_until};

pub(super) const PAGE: usize = 4096;

/// Pages of their own.
#[derive(Clone, Copy)]
pub(super) struct Pages(*mut u8);

// SAFETY: that threads write to them at once is what they are for.
unsafe impl Send for Pages {}

impl Pages {
    pub(super) fn new(count: usize) -> Self {
        Self::mapped(count, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// Of this file, or of none.
    pub(super) fn mapped(count: usize, flags: i32, fd: RawFd) -> Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(ptr::null_mut(), count * PAGE, access, flags, fd, 0) };
        assert_ne!(at, libc::MAP_FAILED, "there is memory");
        Self(at.cast())
    }

    /// So many bytes from its beginning.
    pub(super) fn at(self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }

    /// Has the page there, with zeros.
    pub(super) fn touch(self, page: usize) {
        // SAFETY: the page is part of the mapping.
        unsafe { self.at(page * PAGE).write_bytes(0, PAGE) };
    }

    pub(super) fn protect(self, page: usize, access: i32) {
        // SAFETY: the page is part of the mapping.
        check(unsafe { libc::mprotect(self.at(page * PAGE).cast(), PAGE, access) })
            .expect("it is mapped");
    }
}

#[repr(C)]
pub(super) struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
pub(super) struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
pub(super) struct Copy {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

nix::ioctl_readwrite!(uffdio_api, 0xaa, 0x3f, Api);
nix::ioctl_readwrite!(uffdio_register, 0xaa, 0x00, Register);
nix::ioctl_readwrite!(uffdio_copy, 0xaa, 0x03, Copy);

/// A watch on pages that are not there yet: who touches one stands still.
#[derive(Clone, Copy)]
pub(super) struct Watch(RawFd);

impl Watch {
    /// # Errors
    /// If this kernel has none.
    pub(super) fn on(pages: *mut u8, count: usize) -> Result<Self, String> {
        // SAFETY: the calls get what they expect.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
            let fd = i32::try_from(fd).expect("a number, or an error");
            check(fd).map_err(|errno| format!("userfaultfd: {errno}"))?;
            let mut api = Api {
                api: 0xaa,
                features: 0,
                ioctls: 0,
            };
            uffdio_api(fd, &raw mut api).map_err(|errno| format!("UFFDIO_API: {errno}"))?;
            let mut register = Register {
                start: pages as u64,
                len: (count * PAGE) as u64,
                mode: 1,
                ioctls: 0,
            };
            uffdio_register(fd, &raw mut register).expect("they are pages");
            Ok(Self(fd))
        }
    }

    /// Waits until somebody stands still.
    pub(super) fn wait(self) {
        let mut message = [0_u64; 4];
        wait_until("somebody touches the page", || {
            // SAFETY: there is room for one message.
            let got = unsafe { libc::read(self.0, message.as_mut_ptr().cast(), 32) };
            got == 32
        });
    }

    /// Has the page there, with zeros, and lets go on who waits for it.
    pub(super) fn release(self, page: *mut u8) {
        #[repr(align(4096))]
        struct Zeros([u8; PAGE]);
        static ZEROS: Zeros = Zeros([0; PAGE]);
        let mut copy = Copy {
            to: page as u64,
            from: ZEROS.0.as_ptr() as u64,
            len: PAGE as u64,
            mode: 0,
            copied: 0,
        };
        // SAFETY: the page is watched, and not there.
        unsafe { uffdio_copy(self.0, &raw mut copy) }.expect("it is watched");
    }
}
