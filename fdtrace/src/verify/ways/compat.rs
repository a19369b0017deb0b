//! System calls as a 32-bit process makes them: through `int $0x80`, with 32-bit headers in memory
//! below 4 GiB. The kernel does not care what the rest of the process looks like.

use std::{
    arch::asm,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    ptr::NonNull,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
};

use crate::kernel::passing::Received;

const SYS_GETPID: u32 = 20;
const SYS_SENDMSG: u32 = 370;
const SYS_RECVMSG: u32 = 372;

const CONTROL_ROOM: usize = 256;
const DATA_ROOM: usize = 256;
/// `sizeof(struct cmsghdr)` to a 32-bit process.
const CMSG_HEADER: usize = 12;

/// What a call needs in memory, with the types of the 32-bit ABI.
#[repr(C)]
struct Memory {
    header: Msghdr,
    iov: Iovec,
    control: [u8; CONTROL_ROOM],
    data: [u8; DATA_ROOM],
}

#[repr(C)]
struct Msghdr {
    name: u32,
    name_len: u32,
    iov: u32,
    iov_len: u32,
    control: u32,
    control_len: u32,
    flags: u32,
}

#[repr(C)]
struct Iovec {
    base: u32,
    len: u32,
}

/// Memory that a 32-bit pointer reaches.
pub(in crate::verify) struct Compat(NonNull<Memory>);

impl Compat {
    /// # Errors
    /// If there is no memory below 4 GiB.
    pub(in crate::verify) fn new() -> Result<Self> {
        let len = size_of::<Memory>().try_into()?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe {
            mmap_anonymous(
                None,
                len,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT,
            )
        }
        .context("no memory below 4 GiB")?;
        Ok(Self(memory.cast()))
    }

    /// Sends `data` with `fds`.
    pub(in crate::verify) fn send(
        &mut self,
        socket: RawFd,
        data: &[u8],
        fds: &[RawFd],
    ) -> nix::Result<usize> {
        let len = CMSG_HEADER + size_of_val(fds);
        let memory = self.lay_out(len, data.len());
        memory.data[..data.len()].copy_from_slice(data);
        let fields = [len as i32, libc::SOL_SOCKET, libc::SCM_RIGHTS];
        let words = fields.iter().chain(fds);
        for (word, place) in words.zip(memory.control.chunks_exact_mut(4)) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        self.call(SYS_SENDMSG, socket)
    }

    /// Receives a message with room for `room` descriptors.
    pub(in crate::verify) fn receive(
        &mut self,
        socket: RawFd,
        room: usize,
    ) -> nix::Result<Received> {
        self.lay_out(CMSG_HEADER + room * size_of::<RawFd>(), DATA_ROOM);
        let bytes = self.call(SYS_RECVMSG, socket)?;
        // SAFETY: the mapping is ours, and nobody else has a reference to it.
        let memory = unsafe { self.0.as_ref() };
        let control = &memory.control[..memory.header.control_len as usize];
        let word = |bytes: &[u8]| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let words: Vec<i32> = control.chunks_exact(4).map(word).collect();
        let slots = match words[..] {
            [len, libc::SOL_SOCKET, libc::SCM_RIGHTS, ref slots @ ..] => {
                let count = (len as usize).saturating_sub(CMSG_HEADER) / size_of::<RawFd>();
                slots.iter().copied().take(count).collect()
            }
            _ => Vec::new(),
        };
        // SAFETY: new descriptors that the kernel has just written there.
        let own = |fd: &RawFd| unsafe { OwnedFd::from_raw_fd(*fd) };
        let flags = memory.header.flags.cast_signed();
        Ok(Received {
            data: memory.data[..bytes].to_vec(),
            fds: slots.iter().filter(|slot| **slot >= 0).map(own).collect(),
            slots,
            truncated: flags & libc::MSG_CTRUNC != 0,
            flags,
            ..Received::default()
        })
    }

    fn lay_out(&mut self, control_len: usize, data_len: usize) -> &mut Memory {
        // SAFETY: the mapping is ours, large enough, and for all of `Memory` any bytes will do.
        let memory = unsafe { self.0.as_mut() };
        memory.iov = Iovec {
            base: memory.data.as_ptr() as u32,
            len: data_len as u32,
        };
        memory.header = Msghdr {
            name: 0,
            name_len: 0,
            iov: (&raw const memory.iov) as u32,
            iov_len: 1,
            control: memory.control.as_ptr() as u32,
            control_len: control_len as u32,
            flags: 0,
        };
        memory
    }

    fn call(&mut self, number: u32, socket: RawFd) -> nix::Result<usize> {
        let header = self.0.as_ptr() as u32;
        // SAFETY: the header and what it points to are laid out as the ABI wants them.
        let result = unsafe { int80(number, socket.cast_unsigned(), header, 0) };
        match usize::try_from(result) {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(Errno::from_raw(-result)),
        }
    }
}

impl Drop for Compat {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and used by nobody any more.
        let _ = unsafe { munmap(self.0.cast(), size_of::<Memory>()) };
    }
}

/// Makes the simplest 32-bit call there is. A kernel that takes none answers with SIGSEGV.
pub(in crate::verify) fn try_call() -> nix::Result<()> {
    // SAFETY: getpid takes nothing.
    let result = unsafe { int80(SYS_GETPID, 0, 0, 0) };
    if result < 0 {
        return Err(Errno::from_raw(-result));
    }
    Ok(())
}

/// # Safety
/// As for the system call of this number.
unsafe fn int80(number: u32, first: u32, second: u32, third: u32) -> i32 {
    let result: u64;
    // SAFETY: the caller's promise. rbx is not to be named as an operand, so it is swapped in.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("rax") u64::from(number) => result,
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            // Cleared by some kernels on the way back.
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result as i32
}
