//! The kernel half of fdtrace: programs that turn what passes a hop into records.
//!
//! `hops/` has a module per hop, each one program or two. They decide *whether* something is worth
//! a record; [`kernel`] alone dereferences kernel and user memory, and [`ring`] alone writes the
//! ring buffer. Nothing here judges: what belongs together is userspace's question.
//!
//! On any other target than BPF this crate is an empty program, so that workspace-wide commands
//! (`fmt`, `clippy`, `test`) need no eBPF toolchain.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// For the one instruction that the language has no words for on this target, see `filter::held`.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod calls;
#[cfg(target_arch = "bpf")]
mod control;
#[cfg(target_arch = "bpf")]
mod describe;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod header;
#[cfg(target_arch = "bpf")]
mod hops;
#[cfg(target_arch = "bpf")]
mod inflight;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod log;
#[cfg(target_arch = "bpf")]
mod offsets;
#[cfg(target_arch = "bpf")]
mod ring;
#[cfg(target_arch = "bpf")]
mod slots;
#[cfg(target_arch = "bpf")]
mod snapshot;
#[cfg(target_arch = "bpf")]
mod sockets;
#[cfg(target_arch = "bpf")]
mod tables;

/// The kernel lets only GPL-compatible programs call the helpers used here.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop, so a program that could panic does not load.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
