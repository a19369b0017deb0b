//! The `iter/task_file` snapshot: the kernel's own list of which file is behind each descriptor.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use fdtrace_common::records::TaskFile;

use super::{
    ProbeError,
    loaded::{Iterator, take_map},
};
use crate::{
    kernel::Types,
    model::{OpenFile, Snapshot},
};

const PROGRAM: Iterator = Iterator {
    program: "snapshot_task_file",
    target: "iter/task_file",
};

/// The processes whose files are listed.
const PIDS: &str = "SNAPSHOT_PIDS";

/// Takes snapshots.
pub(super) struct TaskFiles {
    pids: HashMap<MapData, u32, u8>,
}

impl TaskFiles {
    pub(super) fn load(ebpf: &mut Ebpf, types: &Types) -> Result<Self, ProbeError> {
        PROGRAM.load(ebpf, types)?;
        Ok(Self {
            pids: take_map(ebpf, PIDS)?,
        })
    }

    pub(super) fn snapshot(
        &mut self,
        ebpf: &mut Ebpf,
        processes: &[u32],
    ) -> Result<Snapshot, ProbeError> {
        let failed = ProbeError::of_map(PIDS);
        let old: Vec<u32> = self
            .pids
            .keys()
            .collect::<Result<_, _>>()
            .map_err(&failed)?;
        for pid in old {
            self.pids.remove(&pid).map_err(&failed)?;
        }
        for pid in processes {
            self.pids.insert(pid, 1, 0).map_err(&failed)?;
        }
        let rows: Vec<TaskFile> = PROGRAM.rows(ebpf)?;
        let files = rows.into_iter().map(|row| {
            let file = OpenFile {
                ptr: row.file,
                refs: row.refs,
            };
            ((row.pid, row.fd.cast_signed()), file)
        });
        Ok(files.collect())
    }
}
