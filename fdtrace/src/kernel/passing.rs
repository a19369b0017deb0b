//! Passing descriptors: `sendmsg` and `recvmsg` with SCM_RIGHTS, as small as they get.
//!
//! The self-test and verify's actors use it. What arrives is owned at once, so that nothing leaks
//! whatever the caller does with it. nix's own functions are no help at the edges: its `recvmsg`
//! gives up the descriptors that did arrive when others did not fit, and its `sendmsg` sends no
//! malformed control message.

use std::{
    mem,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use nix::{errno::Errno, sys::socket::MsgFlags};

/// SCM_PIDFD (6.5), which libc does not have for every target.
const SCM_PIDFD: i32 = 4;

/// Room for data where nobody says how much.
const DATA_ROOM: usize = 4096;

/// What one `recvmsg` gave.
#[derive(Debug, Default)]
pub struct Received {
    /// The data.
    pub data: Vec<u8>,
    /// The new descriptors, in the order of the message.
    pub fds: Vec<OwnedFd>,
    /// The numbers of the SCM_RIGHTS message as they were written: new descriptors, or negative
    /// errnos for files that were refused (SO_RIGHTS_NOTRUNC).
    pub slots: Vec<RawFd>,
    /// MSG_CTRUNC: some descriptors did not fit.
    pub truncated: bool,
    /// What `msg_flags` came to.
    pub flags: i32,
    /// Who sent it, where SO_PASSCRED is on.
    pub credentials: Option<libc::ucred>,
    /// A pidfd of the sender, where SO_PASSPIDFD is on. It is no transfer.
    pub pidfd: Option<OwnedFd>,
}

/// What to offer a message that is received.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes for data.
    pub data: usize,
    /// Bytes for control messages; `None` for no control buffer at all.
    pub control: Option<usize>,
    /// Flags of the call.
    pub flags: MsgFlags,
}

impl Room {
    /// Room for `count` descriptors and 4096 bytes.
    #[must_use]
    pub fn for_fds(count: usize) -> Self {
        Self {
            data: DATA_ROOM,
            control: Some(space(count * size_of::<RawFd>())),
            flags: MsgFlags::empty(),
        }
    }
}

/// CMSG_SPACE: what a control message with `bytes` of data takes up.
#[must_use]
pub fn space(bytes: usize) -> usize {
    // SAFETY: CMSG_SPACE only computes.
    unsafe { libc::CMSG_SPACE(bytes as u32) as usize }
}

/// Control messages with these descriptors: one SCM_RIGHTS for each slice of `parts`.
#[must_use]
pub fn rights(parts: &[&[RawFd]]) -> Vec<u8> {
    let mut control = Vec::new();
    for fds in parts {
        let bytes = size_of_val(*fds);
        // SAFETY: CMSG_LEN only computes.
        let len = unsafe { libc::CMSG_LEN(bytes as u32) } as usize;
        let end = control.len() + space(bytes);
        control.extend(len.to_ne_bytes());
        control.extend(libc::SOL_SOCKET.to_ne_bytes());
        control.extend(libc::SCM_RIGHTS.to_ne_bytes());
        control.extend(fds.iter().flat_map(|fd| fd.to_ne_bytes()));
        control.resize(end, 0);
    }
    control
}

/// A control message with these credentials.
#[must_use]
pub fn credentials(credentials: &libc::ucred) -> Vec<u8> {
    let libc::ucred { pid, uid, gid } = *credentials;
    let bytes = size_of::<libc::ucred>();
    // SAFETY: CMSG_LEN only computes.
    let len = unsafe { libc::CMSG_LEN(bytes as u32) } as usize;
    let mut control = len.to_ne_bytes().to_vec();
    control.extend(libc::SOL_SOCKET.to_ne_bytes());
    control.extend(libc::SCM_CREDENTIALS.to_ne_bytes());
    control.extend(pid.to_ne_bytes());
    control.extend(uid.to_ne_bytes());
    control.extend(gid.to_ne_bytes());
    control.resize(space(bytes), 0);
    control
}

/// Sets an option of SOL_SOCKET that nix or libc may not know.
///
/// # Errors
/// What `setsockopt` says.
pub fn set_option(socket: RawFd, option: i32, value: i32) -> nix::Result<()> {
    // SAFETY: the kernel reads the value within its size.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as u32,
        )
    };
    Errno::result(result).map(drop)
}

/// Sends `data` with `fds`, one SCM_RIGHTS control message for each slice of `parts`.
///
/// # Errors
/// What `sendmsg` says.
pub fn send(socket: RawFd, data: &[u8], parts: &[&[RawFd]]) -> nix::Result<usize> {
    send_with(socket, data, &rights(parts), MsgFlags::empty())
}

/// Sends `data` with control messages that may be any bytes.
///
/// # Errors
/// What `sendmsg` says.
pub fn send_with(
    socket: RawFd,
    data: &[u8],
    control: &[u8],
    flags: MsgFlags,
) -> nix::Result<usize> {
    // Words, because control messages are aligned as such.
    let mut words = vec![0_u64; control.len().div_ceil(size_of::<u64>())];
    // SAFETY: the words have room for the bytes.
    unsafe {
        ptr::copy_nonoverlapping(control.as_ptr(), words.as_mut_ptr().cast(), control.len());
    }
    let buffer = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a zeroed msghdr is an empty one; the pointers are to buffers that outlive the call,
    // which only reads them.
    let sent = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = (&raw const buffer).cast_mut();
        header.msg_iovlen = 1;
        header.msg_control = words.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        libc::sendmsg(socket, &raw const header, flags.bits())
    };
    Ok(Errno::result(sent)?.cast_unsigned())
}

/// Receives up to 4096 bytes of data and `room` descriptors.
///
/// # Errors
/// What `recvmsg` says.
pub fn receive(socket: RawFd, room: usize, flags: MsgFlags) -> nix::Result<Received> {
    let room = Room {
        flags,
        ..Room::for_fds(room)
    };
    receive_into(socket, room)
}

/// Receives what there is room for.
///
/// # Errors
/// What `recvmsg` says.
pub fn receive_into(socket: RawFd, room: Room) -> nix::Result<Received> {
    let mut data = vec![0_u8; room.data];
    let space = room.control.unwrap_or_default();
    // Words, because control messages are aligned as such.
    let mut control = vec![0_u64; space.div_ceil(size_of::<u64>())];
    let mut buffer = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a zeroed msghdr is an empty one; the pointers are to buffers that outlive the call.
    let (header, bytes) = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &raw mut buffer;
        header.msg_iovlen = 1;
        if room.control.is_some() {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = space;
        }
        let bytes = libc::recvmsg(socket, &raw mut header, room.flags.bits());
        (header, Errno::result(bytes)?)
    };
    data.truncate(bytes.cast_unsigned());
    // SAFETY: the kernel has filled in the header, and nobody has taken what it installed.
    let mut received = unsafe { take_control(&header) };
    received.data = data;
    Ok(received)
}

/// Takes over what the control messages of a received message hold.
///
/// # Safety
/// The kernel has filled in `header`, its control buffer is still there, and the descriptors in
/// it are nobody else's.
#[must_use]
pub unsafe fn take_control(header: &libc::msghdr) -> Received {
    let mut received = Received {
        truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
        flags: header.msg_flags,
        ..Received::default()
    };
    // SAFETY: the kernel has set the length of what it wrote, and the macros stay within it; the
    // numbers it wrote are new descriptors that nobody else has.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let bytes = message.cmsg_len - libc::CMSG_LEN(0) as usize;
                    let first: *const RawFd = data.cast();
                    for index in 0..bytes / size_of::<RawFd>() {
                        received.slots.push(first.add(index).read_unaligned());
                    }
                }
                // The kernel cuts them off where the buffer ends.
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
                    if message.cmsg_len
                        >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize =>
                {
                    received.credentials = Some(data.cast::<libc::ucred>().read_unaligned());
                }
                (libc::SOL_SOCKET, SCM_PIDFD) => {
                    let pidfd = data.cast::<RawFd>().read_unaligned();
                    received.pidfd = (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd));
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
        let new = received.slots.iter().filter(|slot| **slot >= 0);
        received.fds = new.map(|slot| OwnedFd::from_raw_fd(*slot)).collect();
    }
    received
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn parts_come_as_one_list_and_no_room_is_truncation() {
        let (sender, receiver) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let fd = sender.as_raw_fd();
        for (room, arrived) in [
            (Some(space(12)), 3),
            (Some(space(4)), 2),
            (Some(16), 0),
            (None, 0),
        ] {
            send(fd, b"x", &[&[fd], &[fd, fd]]).unwrap();
            let room = Room {
                control: room,
                ..Room::for_fds(0)
            };
            let received = receive_into(receiver.as_raw_fd(), room).unwrap();
            assert_eq!(received.data, b"x");
            assert_eq!(received.fds.len(), arrived, "with {room:?}");
            assert_eq!(received.truncated, arrived < 3);
        }
    }

    #[test]
    fn a_malformed_control_message_is_sent_as_it_is() {
        let (sender, _receiver) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let mut control = rights(&[&[sender.as_raw_fd()]]);
        control[0] = 1;
        let sent = send_with(sender.as_raw_fd(), b"x", &control, MsgFlags::empty());
        assert_eq!(sent, Err(Errno::EINVAL));
    }
}
