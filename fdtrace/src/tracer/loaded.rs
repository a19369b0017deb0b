//! The object once it is loaded: its maps and programs by their names, and its iterators.

use std::io::{self, Read as _};

use aya::{
    Btf, Ebpf, Endianness,
    maps::{Map, MapError},
    programs::{Iter, Program, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use zerocopy::FromBytes;

use super::ProbeError;
use crate::kernel::{Target, Types};

/// What programs are for that are run by hand.
const BY_HAND: &str = "BPF_PROG_RUN";

/// A map to read.
pub(super) fn map<'a, T>(ebpf: &'a Ebpf, name: &'static str) -> Result<T, ProbeError>
where
    T: TryFrom<&'a Map, Error = MapError>,
{
    let map = ebpf.map(name).ok_or(ProbeError::Missing { name })?;
    T::try_from(map).map_err(ProbeError::of_map(name))
}

/// A map to write.
pub(super) fn map_mut<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<T, ProbeError>
where
    T: TryFrom<&'a mut Map, Error = MapError>,
{
    let map = ebpf.map_mut(name).ok_or(ProbeError::Missing { name })?;
    T::try_from(map).map_err(ProbeError::of_map(name))
}

/// A map to keep.
pub(super) fn take_map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, ProbeError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(ProbeError::Missing { name })?;
    T::try_from(map).map_err(ProbeError::of_map(name))
}

/// A program of whatever type.
pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Program, ProbeError> {
    ebpf.program_mut(name).ok_or(ProbeError::Missing { name })
}

/// The BTF ids of `targets`, in the form in which aya wants them.
pub(super) fn type_ids(types: &Types, targets: &[Target<'_>]) -> Result<Btf, ProbeError> {
    let excerpt = types.excerpt(targets)?;
    Ok(Btf::parse(&excerpt, Endianness::default())?)
}

/// Loads a program that is run by hand.
pub(super) fn load_by_hand(ebpf: &mut Ebpf, name: &'static str) -> Result<(), ProbeError> {
    let failed = ProbeError::of_program("load", name, BY_HAND);
    let program: &mut RawTracePoint = program(ebpf, name)?.try_into().map_err(&failed)?;
    program.load().map_err(failed)
}

/// Runs a program once; returns what it returned.
pub(super) fn run_by_hand(
    ebpf: &Ebpf,
    name: &'static str,
    arguments: &[u64],
) -> Result<u32, ProbeError> {
    let failed = ProbeError::of_program("run", name, BY_HAND);
    let program = ebpf.program(name).ok_or(ProbeError::Missing { name })?;
    let program: &RawTracePoint = program.try_into().map_err(&failed)?;
    let mut options = RawTracePointRunOptions::new();
    for (slot, argument) in options.args.iter_mut().zip(arguments) {
        *slot = *argument;
    }
    Ok(program.test_run(options).map_err(failed)?.return_value)
}

/// A program that the kernel runs for each thing of one kind when it is read from.
#[derive(Clone, Copy)]
pub(super) struct Iterator {
    pub(super) program: &'static str,
    /// `iter/` and the kind of thing.
    pub(super) target: &'static str,
}

impl Iterator {
    pub(super) fn load(self, ebpf: &mut Ebpf, types: &Types) -> Result<(), ProbeError> {
        let kind = self.target.trim_start_matches("iter/");
        let function = format!("bpf_iter_{kind}");
        let btf = type_ids(types, &[Target::Function(&function)])?;
        let failed = ProbeError::of_program("load", self.program, self.target);
        let program: &mut Iter = program(ebpf, self.program)?.try_into().map_err(&failed)?;
        program.load(kind, &btf).map_err(failed)
    }

    /// Has the kernel go through all things; returns what the program wrote.
    pub(super) fn read(self, ebpf: &mut Ebpf) -> Result<Vec<u8>, ProbeError> {
        let failed = ProbeError::of_program("attach", self.program, self.target);
        let program: &mut Iter = program(ebpf, self.program)?.try_into().map_err(&failed)?;
        let link = program.attach().map_err(&failed)?;
        let link = program.take_link(link).map_err(failed)?;
        let mut written = Vec::new();
        let read = || {
            let mut file = link.into_file().map_err(io::Error::other)?;
            loop {
                match file.read_to_end(&mut written) {
                    // After a million things without a word the kernel wants to be asked again.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
            }
        };
        read().map_err(|source| ProbeError::Iterator {
            program: self.program,
            source,
        })?;
        Ok(written)
    }

    /// Has the kernel go through all things; returns the rows, all of one type, that the program wrote.
    pub(super) fn rows<T: FromBytes>(self, ebpf: &mut Ebpf) -> Result<Vec<T>, ProbeError> {
        let written = self.read(ebpf)?;
        let rows = written.chunks_exact(size_of::<T>());
        Ok(rows
            .filter_map(|row| T::read_from_bytes(row).ok())
            .collect())
    }
}
