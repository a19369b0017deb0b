//! Self-test: fdtrace passes a descriptor to itself through each socket type, and lets three
//! lists die unread, to see which hooks fire. A symbol that exists proves nothing: on some kernels a
//! function loads, attaches and is never called on this path.

use std::os::fd::AsRawFd as _;

use aya::Ebpf;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};

use super::{ProbeError, counters};
use crate::{
    kernel::passing,
    plan::{Hook, Plan},
};

const TYPES: [SockType; 3] = [SockType::Stream, SockType::Datagram, SockType::SeqPacket];

/// Runs the test with everything attached; returns the hooks that saw nothing.
pub(super) fn run(ebpf: &Ebpf, plan: &Plan) -> Result<Vec<&'static Hook>, ProbeError> {
    exercise().map_err(|source| ProbeError::System {
        action: "pass a descriptor to itself",
        source: source.into(),
    })?;
    counters::silent(ebpf, plan)
}

fn exercise() -> nix::Result<()> {
    for kind in TYPES {
        let (sender, receiver) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
        passing::send(sender.as_raw_fd(), b"x", &[&[sender.as_raw_fd()]])?;
        // A peek duplicates the list.
        drop(passing::receive(
            receiver.as_raw_fd(),
            1,
            MsgFlags::MSG_PEEK,
        )?);
        drop(passing::receive(
            receiver.as_raw_fd(),
            1,
            MsgFlags::empty(),
        )?);
        // The second list dies with its socket: kfree_skb.
        passing::send(sender.as_raw_fd(), b"x", &[&[sender.as_raw_fd()]])?;
        drop(receiver);
        // The third finds nobody there.
        let rights = passing::rights(&[&[sender.as_raw_fd()]]);
        let _ = passing::send_with(sender.as_raw_fd(), b"x", &rights, MsgFlags::MSG_NOSIGNAL);
    }
    consume_unread()
}

/// Lets a list die in `consume_skb`: a datagram whose data has nowhere to go is consumed with its
/// list still on it.
fn consume_unread() -> nix::Result<()> {
    let (sender, receiver) = socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    passing::send(sender.as_raw_fd(), b"x", &[&[sender.as_raw_fd()]])?;
    let nowhere = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(1),
        iov_len: 1,
    };
    // SAFETY: a zeroed msghdr is empty. The kernel cannot write to the address above, which
    // belongs to nobody, and says EFAULT: that is what this is for.
    let result = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = (&raw const nowhere).cast_mut();
        header.msg_iovlen = 1;
        libc::recvmsg(receiver.as_raw_fd(), &raw mut header, 0)
    };
    match nix::errno::Errno::result(result) {
        Err(nix::errno::Errno::EFAULT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(_) => Ok(()),
    }
}
