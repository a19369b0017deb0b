//! `recvmmsg`: several messages in a call.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::header::Buffers;
use crate::kernel::passing::Received;

/// Receives up to `count` messages with room for one descriptor each in one call.
pub(in crate::verify) fn receive(socket: RawFd, count: usize) -> nix::Result<Vec<Received>> {
    let mut buffers: Vec<Buffers> = (0..count).map(|_| Buffers::inbound(1)).collect();
    let header = |buffers: &mut Buffers| libc::mmsghdr {
        msg_hdr: buffers.header(),
        msg_len: 0,
    };
    let mut headers: Vec<libc::mmsghdr> = buffers.iter_mut().map(header).collect();
    let (room, flags, timeout) = (headers.len() as u32, 0, std::ptr::null_mut());
    // SAFETY: the headers point to buffers that are still there.
    let received = unsafe { libc::recvmmsg(socket, headers.as_mut_ptr(), room, flags, timeout) };
    let received = Errno::result(received)? as usize;
    let messages = buffers.into_iter().zip(&headers).take(received);
    Ok(messages
        .map(|(buffers, header)| {
            // SAFETY: each header belongs to the buffers at its place, and has a message.
            unsafe { buffers.received(&header.msg_hdr, header.msg_len as usize) }
        })
        .collect())
}
