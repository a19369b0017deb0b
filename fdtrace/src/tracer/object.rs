//! The compiled eBPF object and the constants it is loaded with.

use aya::{Ebpf, EbpfLoader};

use super::TracerError;
use crate::plan::Plan;

/// The object as `cargo xtask ebpf` committed it.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/fdtrace.bpf.o"));

/// Overrides the object with the file of this name: how a fresh build is tested.
const OBJECT_VARIABLE: &str = "FDTRACE_BPF_OBJECT";

/// Creates the maps, with this kernel's constants in place. Programs are loaded one by one later.
pub(super) fn load(plan: &Plan, buffer_bytes: u32) -> Result<Ebpf, TracerError> {
    let mut loader = EbpfLoader::new();
    // Constants stand for CO-RE relocations, so aya need not parse the kernel's BTF itself.
    loader.btf(None);
    loader.map_max_entries("EVENTS", buffer_bytes.next_power_of_two());
    for (name, value) in plan.offsets.facts() {
        loader.override_global(name, value, true);
    }
    let ebpf = match std::env::var_os(OBJECT_VARIABLE) {
        Some(path) => loader.load_file(path)?,
        None => loader.load(OBJECT)?,
    };
    Ok(ebpf)
}

/// Sends what the programs log to stderr; objects without log statements have nothing to send.
#[cfg(feature = "log")]
pub(super) fn forward_logs(ebpf: &mut Ebpf) {
    if let Err(error) = aya_log::EbpfLogger::init(ebpf) {
        eprintln!("fdtrace: the eBPF object does not log: {error}");
    }
}
