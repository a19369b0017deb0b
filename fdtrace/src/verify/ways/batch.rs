//! `sendmmsg` and `recvmmsg`: several messages in a call.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::header::Buffers;
use crate::kernel::passing::Received;

/// Sends the messages in one call, each with its data and descriptors; returns how many were sent.
pub(in crate::verify) fn send(socket: RawFd, messages: &[(&str, &[RawFd])]) -> nix::Result<usize> {
    let outbound = |(data, fds): &(&str, &[RawFd])| Buffers::outbound(data.as_bytes(), fds);
    let mut buffers: Vec<Buffers> = messages.iter().map(outbound).collect();
    let mut headers = headers(&mut buffers);
    let count = headers.len() as u32;
    // SAFETY: the headers point to buffers that are still there.
    let sent = unsafe { libc::sendmmsg(socket, headers.as_mut_ptr(), count, 0) };
    Ok(Errno::result(sent)? as usize)
}

/// Receives up to `count` messages with room for one descriptor each in one call.
pub(in crate::verify) fn receive(socket: RawFd, count: usize) -> nix::Result<Vec<Received>> {
    let mut buffers: Vec<Buffers> = (0..count).map(|_| Buffers::inbound(1)).collect();
    let mut headers = headers(&mut buffers);
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

/// Headers that point to the buffers, good for as long as they are there.
fn headers(buffers: &mut [Buffers]) -> Vec<libc::mmsghdr> {
    let header = |buffers: &mut Buffers| libc::mmsghdr {
        msg_hdr: buffers.header(),
        msg_len: 0,
    };
    buffers.iter_mut().map(header).collect()
}
