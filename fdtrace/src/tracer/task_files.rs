//! The `iter/task_file` snapshot: the kernel's own list of which file is behind each descriptor.

use std::io::Read as _;

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
    programs::{Iter, ProgramError},
};
use fdtrace_common::records::TaskFile;
use zerocopy::FromBytes as _;

use super::{TracerError, type_ids};
use crate::{
    kernel::{Target, Types},
    model::{OpenFile, Snapshot},
};

const PROGRAM: &str = "snapshot_task_file";

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The kernel refuses the iterator.
    #[error("cannot run iter/task_file")]
    Program(#[from] Box<ProgramError>),
    /// The kernel has no such iterator.
    #[error("cannot tell what iter/task_file is")]
    Types(#[from] Box<TracerError>),
    /// The filter of processes cannot be set.
    #[error("cannot choose processes for iter/task_file")]
    Map(#[from] MapError),
    /// Reading the iterator failed.
    #[error("cannot read iter/task_file")]
    Read(#[from] std::io::Error),
    /// The object is not the one this fdtrace was built with.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
}

/// Takes snapshots.
pub(super) struct TaskFiles {
    pids: HashMap<MapData, u32, u8>,
}

impl TaskFiles {
    pub(super) fn load(ebpf: &mut Ebpf, types: &Types) -> Result<Self, SnapshotError> {
        let pids = ebpf
            .take_map("SNAPSHOT_PIDS")
            .ok_or(SnapshotError::Missing("map SNAPSHOT_PIDS"))?;
        let pids = HashMap::try_from(pids)?;
        let btf = type_ids(types, &[Target::Function("bpf_iter_task_file")]).map_err(Box::new)?;
        program(ebpf)?.load("task_file", &btf).map_err(Box::new)?;
        Ok(Self { pids })
    }

    pub(super) fn snapshot(
        &mut self,
        ebpf: &mut Ebpf,
        processes: &[u32],
    ) -> Result<Snapshot, SnapshotError> {
        let old: Vec<u32> = self.pids.keys().collect::<Result<_, _>>()?;
        for pid in old {
            self.pids.remove(&pid)?;
        }
        for pid in processes {
            self.pids.insert(pid, 1, 0)?;
        }
        let program = program(ebpf)?;
        let link = program.attach().map_err(Box::new)?;
        let link = program.take_link(link).map_err(Box::new)?;
        let mut rows = Vec::new();
        link.into_file()
            .map_err(std::io::Error::other)?
            .read_to_end(&mut rows)?;
        Ok(rows
            .chunks_exact(size_of::<TaskFile>())
            .filter_map(|row| TaskFile::read_from_bytes(row).ok())
            .map(|row| {
                let file = OpenFile {
                    ptr: row.file,
                    refs: row.refs,
                };
                ((row.pid, row.fd.cast_signed()), file)
            })
            .collect())
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Iter, SnapshotError> {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or(SnapshotError::Missing(PROGRAM))
}
