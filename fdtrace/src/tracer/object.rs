//! The compiled eBPF object and the constants it is loaded with.

use std::borrow::Cow;

use aya::{Ebpf, EbpfError, EbpfLoader, maps::MapError};
use aya_obj::generated::BPF_PSEUDO_KFUNC_CALL;
use fdtrace_common::offsets::CAST_MARKER;

use super::{
    ProbeError,
    filter::{self, Filter},
};
use crate::{
    kernel::{self, give_memory_back},
    plan::Offsets,
};

/// The object as `cargo xtask ebpf` committed it.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/fdtrace.bpf.o"));

/// Name of the map that holds the records.
pub(super) const RING: &str = "EVENTS";

/// Name of the map that has a slot for each thread.
const SLOTS: &str = "THREADS";

/// Name of the map by which the reader asks to be woken.
pub(super) const WAKE: &str = "WAKE";

/// Overrides the object with the file of this name: how a fresh build is tested.
const OBJECT_VARIABLE: &str = "FDTRACE_BPF_OBJECT";

/// What the kernel makes of a ring buffer's size, in bytes.
pub(super) fn ring_bytes(asked: u32) -> u32 {
    asked.next_power_of_two()
}

/// Loads the object. aya reads all of the kernel's types as it makes one, which are of no use here: 18 MB
/// for a moment. So one is made before anything else takes memory.
pub struct Loader(EbpfLoader<'static>);

impl Loader {
    /// One that holds no types.
    #[must_use]
    pub fn new() -> Self {
        let mut loader = EbpfLoader::new();
        // Constants stand for CO-RE relocations, so aya need not know the kernel's types.
        loader.btf(None);
        give_memory_back();
        Self(loader)
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

/// Creates the maps, with this kernel's constants in place. Programs are loaded one by one later.
pub(super) fn load(
    Loader(loader): Loader,
    offsets: &Offsets,
    buffer_bytes: u32,
    filter: &Filter,
) -> Result<Ebpf, ProbeError> {
    filter.check(offsets)?;
    let filter_facts = filter.facts();
    let mut loader: EbpfLoader<'_> = loader;
    let bytes = ring_bytes(buffer_bytes);
    loader.map_max_entries(RING, bytes);
    for (name, value) in offsets.facts() {
        loader.override_global(name, value, true);
    }
    for (name, value) in &filter_facts {
        loader.override_global(name, value, true);
    }
    // What nobody uses need not take memory.
    if !offsets.use_slots() {
        loader.map_max_entries(SLOTS, 1);
        loader.map_max_entries(filter::BUCKETS, 1);
    }
    if !filter.is_on() {
        for name in filter::MAPS {
            loader.map_max_entries(name, 1);
        }
    }
    let mut object = match std::env::var_os(OBJECT_VARIABLE) {
        Some(path) => Cow::Owned(std::fs::read(&path).map_err(|error| EbpfError::FileError {
            path: path.into(),
            error,
        })?),
        None => Cow::Borrowed(OBJECT),
    };
    if let Some(cast) = offsets.rdonly_cast() {
        call_casts(object.to_mut(), cast);
    }
    let is_exchanging = filter.is_on() && offsets.use_slots();
    if !(is_exchanging && kernel::exchanges()) {
        leave_out_exchanges(object.to_mut());
    }
    loader.load(&object).map_err(|error| explain(error, bytes))
}

/// Has the programs call the kernel's function with the BTF id `cast` where they call the helper
/// that stands for it; returns how many calls there are. aya does not relocate such calls.
fn call_casts(object: &mut [u8], cast: u32) -> usize {
    let marked = call(0, CAST_MARKER);
    let calling = call(BPF_PSEUDO_KFUNC_CALL as u8, cast);
    let mut calls = 0;
    // Programs lie at multiples of an instruction's length.
    for instruction in object.chunks_exact_mut(marked.len()) {
        if instruction == marked {
            instruction.copy_from_slice(&calling);
            calls += 1;
        }
    }
    calls
}

/// Takes out the atomic exchanges, which claim buckets for what waits; returns how many there were. Without
/// them no bucket is ever claimed, and all waits in maps. A kernel before 5.12 refuses a program that has one,
/// even where a constant tells the verifier that it never gets there.
fn leave_out_exchanges(object: &mut [u8]) -> usize {
    const BPF_STX_ATOMIC_DW: u8 = 0xdb;
    const BPF_CMPXCHG: [u8; 4] = 0xf1_u32.to_le_bytes();
    /// Another than was expected.
    const R0_IS_ALL_ONES: [u8; 8] = [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let mut exchanges = 0;
    for instruction in object.chunks_exact_mut(R0_IS_ALL_ONES.len()) {
        if instruction[0] == BPF_STX_ATOMIC_DW && instruction[4..] == BPF_CMPXCHG {
            instruction.copy_from_slice(&R0_IS_ALL_ONES);
            exchanges += 1;
        }
    }
    exchanges
}

/// The instruction that calls `number`, of the kind that `source` tells.
fn call(source: u8, number: u32) -> [u8; 8] {
    const BPF_JMP_CALL: u8 = 0x85;
    let mut instruction = [BPF_JMP_CALL, source << 4, 0, 0, 0, 0, 0, 0];
    instruction[4..].copy_from_slice(&number.to_le_bytes());
    instruction
}

/// The ring buffer is the one map that an old kernel lacks, and whose size is the user's choice.
fn explain(error: EbpfError, bytes: u32) -> ProbeError {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error }) if name == RING => {
            ProbeError::RingBuffer {
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

    fn refused(name: &str, errno: i32) -> ProbeError {
        let io_error = io::Error::from_raw_os_error(errno);
        let error = MapError::CreateError {
            name: name.to_owned(),
            io_error,
        };
        explain(EbpfError::MapError(error), 4096)
    }

    #[test]
    fn each_cast_of_the_object_is_called_once_the_kernel_has_it() {
        let mut object = OBJECT.to_vec();
        let calls = call_casts(&mut object, 7);
        assert!(calls > 0, "the programs cast nothing");
        assert_eq!(call_casts(&mut object, 7), 0);
        let changed = object.chunks(8).zip(OBJECT.chunks(8));
        let changed: Vec<_> = changed.filter(|(new, old)| new != old).collect();
        assert_eq!(changed.len(), calls);
        assert_eq!(changed[0].0, [0x85, 0x20, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn exchanges_are_left_out_for_kernels_that_lack_them() {
        let mut object = OBJECT.to_vec();
        let exchanges = leave_out_exchanges(&mut object);
        // Claimed in one program, given back in a function of all.
        assert!((1..10).contains(&exchanges), "{exchanges}");
        assert_eq!(leave_out_exchanges(&mut object), 0);
    }

    #[test]
    fn a_kernel_without_ring_buffers_is_told_by_its_version() {
        let error = refused(RING, libc::EINVAL);
        assert_eq!(
            error.to_string(),
            "cannot make a BPF ring buffer of 4096 bytes"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("5.8")));
        let error = refused(RING, libc::ENOMEM);
        assert!(error.hint().is_some_and(|hint| hint.contains("--buffer")));
        assert!(matches!(
            refused("OTHER", libc::EINVAL),
            ProbeError::Object(_)
        ));
    }
}
