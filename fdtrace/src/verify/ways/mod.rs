//! Ways: how else than by `sendmsg` and `recvmsg` a scenario's actors send and receive.
//!
//! Each way returns what the system call returned. A way that this kernel does
//! not have shows when it is tried, never by the version.

pub(super) mod batch;
#[cfg(target_arch = "x86_64")]
pub(super) mod compat;
pub(super) mod header;
pub(super) mod sockmap;
pub(super) mod uring;
