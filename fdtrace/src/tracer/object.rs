//! The compiled eBPF object and the constants it is loaded with.

use aya::{Ebpf, EbpfError, EbpfLoader, maps::MapError};

use super::{
    TracerError,
    filter::{self, Filter},
};
use crate::plan::Offsets;

/// The object as `cargo xtask ebpf` committed it.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/fdtrace.bpf.o"));

/// Name of the map that holds the records.
pub(super) const RING: &str = "EVENTS";

/// Overrides the object with the file of this name: how a fresh build is tested.
const OBJECT_VARIABLE: &str = "FDTRACE_BPF_OBJECT";

/// What the kernel makes of a ring buffer's size, in bytes.
pub(super) fn ring_bytes(asked: u32) -> u32 {
    asked.next_power_of_two()
}

/// Creates the maps, with this kernel's constants in place. Programs are loaded one by one later.
pub(super) fn load(
    offsets: &Offsets,
    buffer_bytes: u32,
    filter: &Filter,
) -> Result<Ebpf, TracerError> {
    let filter_facts = filter.facts();
    let mut loader = EbpfLoader::new();
    // Constants stand for CO-RE relocations, so aya need not parse the kernel's BTF itself.
    loader.btf(None);
    let bytes = ring_bytes(buffer_bytes);
    loader.map_max_entries(RING, bytes);
    for (name, value) in offsets.facts() {
        loader.override_global(name, value, true);
    }
    for (name, value) in &filter_facts {
        loader.override_global(name, value, true);
    }
    if !filter.is_on() {
        // What nobody uses need not take memory.
        for name in filter::MAPS {
            loader.map_max_entries(name, 1);
        }
    }
    let loaded = match std::env::var_os(OBJECT_VARIABLE) {
        Some(path) => loader.load_file(path),
        None => loader.load(OBJECT),
    };
    loaded.map_err(|error| explain(error, bytes))
}

/// The ring buffer is the one map that an old kernel lacks, and whose size is the user's choice.
fn explain(error: EbpfError, bytes: u32) -> TracerError {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error }) if name == RING => {
            TracerError::RingBuffer {
                bytes,
                source: io_error,
            }
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(name: &str, errno: i32) -> TracerError {
        let io_error = io::Error::from_raw_os_error(errno);
        let error = MapError::CreateError {
            name: name.to_owned(),
            io_error,
        };
        explain(EbpfError::MapError(error), 4096)
    }

    #[test]
    fn a_kernel_without_ring_buffers_is_told_by_its_version() {
        let error = refused(RING, libc::EINVAL);
        assert_eq!(
            error.to_string(),
            "this kernel makes no BPF ring buffer of 4096 bytes"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("5.8")));
        let error = refused(RING, libc::ENOMEM);
        assert!(error.hint().is_some_and(|hint| hint.contains("--buffer")));
        assert!(matches!(
            refused("OTHER", libc::EINVAL),
            TracerError::Object(_)
        ));
    }
}
