//! Passing descriptors: `sendmsg` and `recvmsg` with SCM_RIGHTS, as small as they get.
//!
//! The self-test and verify's actors use it. What arrives is owned at once, so that nothing leaks
//! whatever the caller does with it.

use std::{
    io::IoSlice,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
};

/// What one `recvmsg` gave.
#[derive(Debug)]
pub struct Received {
    /// The data.
    pub data: Vec<u8>,
    /// The new descriptors, in the order of the message.
    pub fds: Vec<OwnedFd>,
    /// MSG_CTRUNC: some descriptors did not fit.
    pub truncated: bool,
}

/// Sends `data` with `fds`, one SCM_RIGHTS control message for each slice of `parts`.
///
/// # Errors
/// What `sendmsg` says.
pub fn send(socket: RawFd, data: &[u8], parts: &[&[RawFd]]) -> nix::Result<usize> {
    let data = [IoSlice::new(data)];
    let rights: Vec<ControlMessage<'_>> = parts
        .iter()
        .map(|fds| ControlMessage::ScmRights(fds))
        .collect();
    sendmsg::<()>(socket, &data, &rights, MsgFlags::empty(), None)
}

/// Receives up to 4096 bytes of data and `room` descriptors.
///
/// nix's own `recvmsg` gives up the descriptors that did arrive when others did not fit, which
/// would leak them, so this walks the control messages itself.
///
/// # Errors
/// What `recvmsg` says.
pub fn receive(socket: RawFd, room: usize, flags: MsgFlags) -> nix::Result<Received> {
    const DATA_ROOM: usize = 4096;
    let mut data = vec![0_u8; DATA_ROOM];
    // SAFETY: CMSG_SPACE only computes.
    let space = unsafe { libc::CMSG_SPACE((room * size_of::<RawFd>()) as u32) } as usize;
    // Words, because control messages are aligned as such.
    let mut control = vec![0_u64; space.div_ceil(size_of::<u64>())];
    let mut buffer = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a zeroed msghdr is an empty one; the pointers are to buffers that outlive the call.
    let (mut header, bytes) = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut buffer;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = space;
        let bytes = libc::recvmsg(socket, &raw mut header, flags.bits());
        (header, Errno::result(bytes)?)
    };
    let mut fds = Vec::new();
    // SAFETY: the kernel has set the length of what it wrote, and the macros stay within it; the
    // numbers it wrote are new descriptors that nobody else has.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(message) = at.as_ref() {
            if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let bytes = message.cmsg_len - libc::CMSG_LEN(0) as usize;
                let first: *const RawFd = libc::CMSG_DATA(at).cast();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(first.add(index).read_unaligned()));
                }
            }
            at = libc::CMSG_NXTHDR(&raw mut header, at);
        }
    }
    data.truncate(bytes.cast_unsigned());
    Ok(Received {
        data,
        fds,
        truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
    })
}
