//! What the two halves of fdtrace agree on: the records that eBPF programs write and userspace
//! decodes, and the names of the kernel offsets that userspace resolves and eBPF programs read.
//!
//! Nothing here touches a kernel or a process; both halves compile it.

#![no_std]

pub mod arch;
pub mod counters;
pub mod descriptions;
pub mod offsets;
pub mod paths;
pub mod queues;
pub mod records;
pub mod refused;
pub mod tables;
pub mod wake;
