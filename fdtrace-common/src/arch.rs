//! What differs between processor architectures: the numbers of system calls.
//!
//! Userspace tells by the kernel's types which architecture it is, and tells the programs by the fact
//! `ARCH`. So one object holds the programs of all: the verifier knows the fact, and drops what is
//! another's.

/// An architecture that fdtrace knows. Its number is what the fact `ARCH` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Arch {
    /// Also of 32-bit processes there, which make i386's calls.
    X86_64 = 1,
    /// Also of 32-bit processes there, which make arm's calls.
    Aarch64 = 2,
}

/// Numbers of system calls. Those of a 32-bit process stand beside the others: to a 64-bit one each of
/// them means nothing, or a call that passes nothing over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// `sendmsg` and `sendmmsg`; then a 32-bit process's, and its `socketcall`.
    pub sending: [i32; 5],
    /// `recvmsg` and `recvmmsg`; then a 32-bit process's, its `recvmmsg` with 64-bit times, and its
    /// `socketcall`.
    pub receiving: [i32; 6],
    /// Those that have no place for descriptors: `read`, `readv` and `recvfrom`; then a 32-bit
    /// process's, and its `recv`.
    pub reading: [i32; 7],
}

/// There is no such call.
const NONE: i32 = i32::MIN;

/// Places in [`Calls::sending`] and [`Calls::receiving`].
pub mod place {
    /// `sendmsg`.
    pub const SENDMSG: u32 = 0;
    /// `sendmmsg`.
    pub const SENDMMSG: u32 = 1;
    /// `socketcall`, which keeps its arguments in user memory.
    pub const SEND_BY_SOCKETCALL: u32 = 4;
    /// `recvmsg`.
    pub const RECVMSG: u32 = 0;
}

/// `io_uring_enter` has the same number on every architecture.
pub const IO_URING_ENTER: i32 = 426;

impl Arch {
    /// The numbers of its system calls.
    #[must_use]
    pub const fn calls(self) -> Calls {
        match self {
            Self::X86_64 => Calls {
                sending: [46, 307, 370, 345, 102],
                receiving: [47, 299, 372, 337, 417, 102],
                reading: [0, 19, 45, 3, 145, 371, NONE],
            },
            Self::Aarch64 => Calls {
                sending: [211, 269, 296, 374, NONE],
                receiving: [212, 243, 297, 365, 417, NONE],
                reading: [63, 65, 207, 3, 145, 292, 291],
            },
        }
    }
}
