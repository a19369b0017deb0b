//! System calls that neither the standard library nor nix nor rustix offers, or that they offer as
//! `unsafe`, behind functions that are safe to call.
//!
//! Everything else goes through those crates. Nothing here decides anything: each function makes one
//! call and returns what the kernel said.

pub mod bpf;
pub mod perf;
mod process;

pub(crate) use process::{
    compare_files, duplicate_inherited, exit_now, fork, give_heap_back, is_single_threaded,
    open_process, set_ignored, utc_offset_s, wait_on,
};
