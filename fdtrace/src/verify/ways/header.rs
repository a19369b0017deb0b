//! The headers of messages together with the buffers they point to, for calls that take several or
//! read them later.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::kernel::passing::{self, Received};

/// Bytes of data that a receive has room for.
const DATA_ROOM: usize = 4096;

/// A message to send, or room for one to receive.
pub(super) struct Buffers {
    data: Vec<u8>,
    /// Words, because control messages are aligned as such.
    control: Vec<u64>,
    control_len: usize,
    /// In a place of its own, because headers point to it.
    iov: Box<libc::iovec>,
}

impl Buffers {
    /// `data` with `fds` in one control message.
    pub(super) fn outbound(data: &[u8], fds: &[RawFd]) -> Self {
        let rights = passing::rights(&[fds]);
        Self::new(data.to_vec(), passing::words(&rights), rights.len())
    }

    /// Room for `fds` descriptors.
    pub(super) fn inbound(fds: usize) -> Self {
        let space = passing::space(fds * size_of::<RawFd>());
        let control = vec![0; space.div_ceil(size_of::<u64>())];
        Self::new(vec![0; DATA_ROOM], control, space)
    }

    fn new(mut data: Vec<u8>, control: Vec<u64>, control_len: usize) -> Self {
        Self {
            iov: Box::new(libc::iovec {
                iov_base: data.as_mut_ptr().cast(),
                iov_len: data.len(),
            }),
            data,
            control,
            control_len,
        }
    }

    /// A header that points to the buffers, good for as long as they are there.
    pub(super) fn header(&mut self) -> libc::msghdr {
        // SAFETY: a zeroed msghdr is an empty one.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut *self.iov;
        header.msg_iovlen = 1;
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = self.control_len;
        header
    }

    /// What came with `bytes` of data.
    ///
    /// # Safety
    /// `header` is one of these buffers', and the kernel has received into it.
    pub(super) unsafe fn received(mut self, header: &libc::msghdr, bytes: usize) -> Received {
        // SAFETY: the caller's promise.
        let mut received = unsafe { passing::take_control(header) };
        self.data.truncate(bytes);
        received.data = self.data;
        received
    }
}

/// Sends `data` with a control message at an address that nobody has mapped.
///
/// # Errors
/// EFAULT, and what else `sendmsg` says.
pub(in crate::verify) fn send_from_nowhere(socket: RawFd, data: &[u8]) -> nix::Result<usize> {
    let mut buffers = Buffers::outbound(data, &[socket]);
    let mut header = buffers.header();
    header.msg_control = std::ptr::without_provenance_mut(size_of::<u64>());
    // SAFETY: the data is there for the call. The kernel cannot read the page at address zero, which
    // nobody maps.
    let sent = unsafe { libc::sendmsg(socket, &raw const header, 0) };
    Ok(Errno::result(sent)?.cast_unsigned())
}
