//! io_uring: the kernel calls `sendmsg` and `recvmsg` for us, here or in a worker thread of its own.

use std::{io, os::fd::RawFd};

use io_uring::{IoUring, opcode, squeue, types};
use nix::errno::Errno;

use super::header::Buffers;
use crate::kernel::passing::Received;

/// Who makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) enum Caller {
    /// The thread that submits.
    Submitter,
    /// A worker of the kernel's.
    Worker,
}

/// A ring for one call at a time.
pub(in crate::verify) struct Ring(IoUring);

impl Ring {
    pub(in crate::verify) fn new() -> io::Result<Self> {
        Ok(Self(IoUring::new(2)?))
    }

    pub(in crate::verify) fn send(
        &mut self,
        caller: Caller,
        socket: RawFd,
        data: &[u8],
        fds: &[RawFd],
    ) -> nix::Result<usize> {
        let mut message = Buffers::outbound(data, fds);
        let header = message.header();
        let entry = opcode::SendMsg::new(types::Fd(socket), &raw const header).build();
        // SAFETY: header and buffers outlive the call, which waits for the completion.
        unsafe { self.call(caller, entry) }
    }

    pub(in crate::verify) fn receive(
        &mut self,
        caller: Caller,
        socket: RawFd,
        room: usize,
    ) -> nix::Result<Received> {
        let mut message = Buffers::inbound(room);
        let mut header = message.header();
        let entry = opcode::RecvMsg::new(types::Fd(socket), &raw mut header).build();
        // SAFETY: header and buffers are there until the call has been completed.
        let bytes = unsafe { self.call(caller, entry) }?;
        // SAFETY: the header is this message's, and the call is complete.
        Ok(unsafe { message.received(&header, bytes) })
    }

    /// Receives data alone, which has no place for descriptors.
    pub(in crate::verify) fn receive_data(
        &mut self,
        caller: Caller,
        socket: RawFd,
        data: &mut [u8],
    ) -> nix::Result<usize> {
        let room = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
        let entry = opcode::Recv::new(types::Fd(socket), data.as_mut_ptr(), room).build();
        // SAFETY: the buffer outlives the call, which waits for the completion.
        unsafe { self.call(caller, entry) }
    }

    /// # Safety
    /// What the entry points to must stay until this returns.
    unsafe fn call(&mut self, caller: Caller, entry: squeue::Entry) -> nix::Result<usize> {
        let entry = match caller {
            Caller::Submitter => entry,
            Caller::Worker => entry.flags(squeue::Flags::ASYNC),
        };
        // SAFETY: the caller's promise.
        unsafe { self.0.submission().push(&entry) }.map_err(|_| Errno::EBUSY)?;
        loop {
            match self.0.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
            }
            if let Some(completion) = self.0.completion().next() {
                let result = completion.result();
                return match usize::try_from(result) {
                    Ok(bytes) => Ok(bytes),
                    Err(_) => Err(Errno::from_raw(-result)),
                };
            }
        }
    }
}
