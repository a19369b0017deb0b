//! Passing descriptors: `sendmsg` and `recvmsg` with SCM_RIGHTS, as small as they get.
//!
//! The self-test and verify's actors use it. What arrives is owned at once, so that nothing leaks
//! whatever the caller does with it.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg,
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
    let rights: Vec<ControlMessage<'_>> =
        parts.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
    sendmsg::<()>(socket, &data, &rights, MsgFlags::empty(), None)
}

/// Receives up to 4096 bytes of data and `room` descriptors.
///
/// # Errors
/// What `recvmsg` says.
pub fn receive(socket: RawFd, room: usize, flags: MsgFlags) -> nix::Result<Received> {
    let mut data = vec![0; 4096];
    // SAFETY: CMSG_SPACE only computes.
    let space = unsafe { libc::CMSG_SPACE((room * size_of::<RawFd>()) as u32) } as usize;
    let mut control = Vec::with_capacity(space);
    let mut buffers = [IoSliceMut::new(&mut data)];
    let message = recvmsg::<()>(socket, &mut buffers, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just put these numbers into our table; nobody else has them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let bytes = message.bytes;
    let truncated = message.flags.contains(MsgFlags::MSG_CTRUNC);
    data.truncate(bytes);
    Ok(Received { data, fds, truncated })
}
