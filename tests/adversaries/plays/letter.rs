//! Letters: messages in memory that stays where it is, for those who change it while a call is under
//! way. Nothing of them is ever freed.

use std::{
    mem,
    os::fd::{IntoRawFd as _, OwnedFd, RawFd},
    ptr::{self, NonNull},
};

use fdtrace::passing;
use nix::errno::Errno;

/// A message in memory that stays where it is, for those who change it while a call is under way.
#[derive(Clone, Copy)]
pub(super) struct Letter(NonNull<Sheet>);

// SAFETY: that threads write to it at once is what it is for, and all is done through pointers.
unsafe impl Send for Letter {}
// SAFETY: that threads write to it at once is what it is for, and all is done through pointers.
unsafe impl Sync for Letter {}

#[repr(C)]
struct Sheet {
    header: libc::msghdr,
    iov: libc::iovec,
    data: [u8; 64],
    control: [u64; 512],
}

impl Letter {
    fn new() -> Self {
        // SAFETY: all of it may be zero.
        let sheet: Box<Sheet> = Box::new(unsafe { mem::zeroed() });
        let sheet = NonNull::from(Box::leak(sheet));
        let at = sheet.as_ptr();
        // SAFETY: it was just made, and is never freed.
        unsafe {
            (*at).iov.iov_base = (&raw mut (*at).data).cast();
            (*at).iov.iov_len = 1;
            (*at).header.msg_iov = &raw mut (*at).iov;
            (*at).header.msg_iovlen = 1;
        }
        Self(sheet)
    }

    /// One byte of data with these descriptors.
    pub(super) fn with(fds: &[RawFd]) -> Self {
        if fds.is_empty() {
            return Self::new();
        }
        Self::with_control(&passing::rights(&[fds]))
    }

    /// One byte of data with this control buffer.
    pub(super) fn with_control(control: &[u8]) -> Self {
        let letter = Self::new();
        letter.set_control(control);
        letter
    }

    fn set_control(self, control: &[u8]) {
        assert!(control.len() <= size_of::<[u64; 512]>());
        let to = self.control();
        // SAFETY: there is room.
        unsafe { ptr::copy_nonoverlapping(control.as_ptr(), to, control.len()) };
        self.set_control_at(to, control.len());
    }

    /// Says which it is.
    pub(super) fn saying(self, data: u8) -> Self {
        // SAFETY: it is never freed.
        unsafe { (&raw mut (*self.0.as_ptr()).data[0]).write_volatile(data) };
        self
    }

    /// Of no data at all.
    pub(super) fn empty(self) -> Self {
        self.set_data(ptr::null_mut(), 0);
        self
    }

    /// Room for this many descriptors, and up to 64 bytes.
    pub(super) fn room(fds: usize) -> Self {
        let space = if fds == 0 { 0 } else { passing::space(fds * 4) };
        Self::room_of(space)
    }

    /// Room for this many descriptors, and not for half of one more.
    pub(super) fn exactly(fds: usize) -> Self {
        Self::room_of(16 + 4 * fds)
    }

    pub(super) fn room_of(bytes: usize) -> Self {
        let letter = Self::new();
        letter.set_data(letter.data_at().cast(), 64);
        if bytes > 0 {
            letter.set_control_at(letter.control(), bytes);
        }
        letter
    }

    fn data_at(self) -> *mut u8 {
        // SAFETY: it is never freed.
        unsafe { (&raw mut (*self.0.as_ptr()).data).cast() }
    }

    /// What came first.
    pub(super) fn data(self) -> u8 {
        // SAFETY: it is never freed.
        unsafe { self.data_at().read_volatile() }
    }

    /// Lets the data be there.
    pub(super) fn set_data(self, base: *mut libc::c_void, len: usize) {
        let at = self.0.as_ptr();
        // SAFETY: it is never freed; where it points to is the kernel's to find out.
        unsafe {
            (&raw mut (*at).iov.iov_base).write_volatile(base);
            (&raw mut (*at).iov.iov_len).write_volatile(len);
        }
    }

    /// Lets the data be in these places.
    pub(super) fn set_iovecs(self, iovecs: &'static [libc::iovec]) {
        let header = self.header();
        // SAFETY: it is never freed.
        unsafe {
            (*header).msg_iov = iovecs.as_ptr().cast_mut();
            (*header).msg_iovlen = iovecs.len();
        }
    }

    pub(super) fn set_control_at(self, control: *mut u8, len: usize) {
        let header = self.header();
        // SAFETY: it is never freed.
        unsafe { (&raw mut (*header).msg_control).write_volatile(control.cast()) };
        self.set_control_len(len);
    }

    pub(super) fn set_control_len(self, len: usize) {
        // SAFETY: it is never freed.
        unsafe { (&raw mut (*self.header()).msg_controllen).write_volatile(len) };
    }

    pub(super) fn set_address(self, address: &'static libc::sockaddr_un) {
        let header = self.header();
        let len = address_len(address);
        // SAFETY: it is never freed.
        unsafe {
            (*header).msg_name = ptr::from_ref(address).cast_mut().cast();
            (*header).msg_namelen = len;
        }
    }

    pub(super) fn header(self) -> *mut libc::msghdr {
        // SAFETY: it is never freed.
        unsafe { &raw mut (*self.0.as_ptr()).header }
    }

    pub(super) fn control(self) -> *mut u8 {
        // SAFETY: it is never freed.
        unsafe { (&raw mut (*self.0.as_ptr()).control).cast() }
    }

    /// Where the number of that place in the first control message is.
    pub(super) fn slot(self, index: usize) -> Slot {
        Slot(self.control().wrapping_add(16 + 4 * index).cast())
    }

    pub(super) fn send(self, socket: RawFd) -> nix::Result<usize> {
        self.send_with(socket, 0)
    }

    pub(super) fn send_with(self, socket: RawFd, flags: i32) -> nix::Result<usize> {
        let flags = flags | libc::MSG_NOSIGNAL;
        // SAFETY: the kernel checks what it is given.
        let sent = unsafe { libc::sendmsg(socket, self.header(), flags) };
        Errno::result(sent).map(isize::cast_unsigned)
    }

    pub(super) fn receive(self, socket: RawFd, flags: i32) -> nix::Result<usize> {
        // SAFETY: the kernel checks what it is given.
        let got = unsafe { libc::recvmsg(socket, self.header(), flags) };
        Errno::result(got).map(isize::cast_unsigned)
    }

    /// Receives by `recvmmsg`, of one message.
    pub(super) fn receive_by_recvmmsg(self, socket: RawFd) -> nix::Result<usize> {
        // SAFETY: a copy of the header, which is put back.
        unsafe {
            let mut header = libc::mmsghdr {
                msg_hdr: self.header().read(),
                msg_len: 0,
            };
            let count = libc::recvmmsg(socket, &raw mut header, 1, 0, ptr::null_mut());
            self.header().write(header.msg_hdr);
            Errno::result(count).map(|_| header.msg_len as usize)
        }
    }

    /// The numbers that came.
    pub(super) fn numbers(self) -> Vec<RawFd> {
        // SAFETY: the kernel has filled it in, and the numbers are nobody else's.
        let received = unsafe { passing::take_control(&*self.header()) };
        let fds = received.fds.into_iter();
        fds.map(OwnedFd::into_raw_fd).collect()
    }
}

/// Sends several by one `sendmmsg`.
pub(super) fn send_batch(socket: RawFd, letters: &[Letter]) {
    let headers = letters.iter().map(|letter| libc::mmsghdr {
        // SAFETY: a copy of a header whose buffers stay.
        msg_hdr: unsafe { letter.header().read() },
        msg_len: 0,
    });
    let mut headers: Vec<libc::mmsghdr> = headers.collect();
    // SAFETY: they are as many as it says.
    let sent = unsafe { libc::sendmmsg(socket, headers.as_mut_ptr(), headers.len() as u32, 0) };
    assert_eq!(sent, letters.len() as i32, "{}", Errno::last());
}

/// A number in memory, which the kernel reads or writes.
#[derive(Clone, Copy)]
pub(super) struct Slot(*mut RawFd);

// SAFETY: that threads write to it at once is what it is for.
unsafe impl Send for Slot {}

impl Slot {
    pub(super) fn of(at: *mut u8) -> Self {
        Self(at.cast())
    }

    pub(super) fn get(self) -> RawFd {
        // SAFETY: slots are in memory that is never freed.
        unsafe { self.0.read_volatile() }
    }

    pub(super) fn set(self, fd: RawFd) {
        // SAFETY: slots are in memory that is never freed.
        unsafe { self.0.write_volatile(fd) };
    }
}

/// The length of a Unix address, whose name ends where only zeros follow.
pub(super) fn address_len(address: &libc::sockaddr_un) -> libc::socklen_t {
    let last = address.sun_path.iter().rposition(|byte| *byte != 0);
    let name = last.map_or(0, |last| last + 1);
    (mem::offset_of!(libc::sockaddr_un, sun_path) + name) as libc::socklen_t
}
