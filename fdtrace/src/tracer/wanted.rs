//! What a look through the queues needs of the filter in the kernel: who is wanted at this moment,
//! and what is kept of senders that are not.

use std::{collections::HashSet, fs, path::Path};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapError},
};
use fdtrace_common::records::{
    FILES_PER_RECORD, FLAG_RACED, FileSeen, Head, LIST_MAX, RecordKind, SocketName,
};
use zerocopy::FromBytes as _;

use super::{
    ProbeError,
    filter::{Filter, HELD, MARKED, UNHELD, WANTED_PROCESSES, padded},
    loaded::{map, map_mut},
};
use crate::model::{Holder, QueuedFile};

/// Most records of one kind that a list has.
const RUNS_MAX: usize = LIST_MAX.div_ceil(FILES_PER_RECORD);

/// Which processes the filter wants, as of one moment.
#[derive(Clone, Debug)]
pub struct WantedProcesses {
    /// Each that is there must be met.
    pids: Option<HashSet<u32>>,
    comms: Vec<[u8; 16]>,
    members: Option<HashSet<u32>>,
}

impl WantedProcesses {
    pub(super) fn of(filter: &Filter, ebpf: &Ebpf) -> Result<Self, ProbeError> {
        let pids = match filter.pids.is_empty() {
            true => None,
            false => {
                let wanted: HashMap<_, u64, u32> = map(ebpf, WANTED_PROCESSES)?;
                let pids = wanted.iter().map(|entry| entry.map(|(_, pid)| pid));
                Some(
                    pids.collect::<Result<_, _>>()
                        .map_err(ProbeError::of_map(WANTED_PROCESSES))?,
                )
            }
        };
        let members = filter.cgroup.as_ref().map(|cgroup| {
            let mut members = HashSet::new();
            add_members(&cgroup.path, &mut members);
            members
        });
        Ok(Self {
            pids,
            comms: filter.comms.iter().map(|comm| padded(comm)).collect(),
            members,
        })
    }

    /// Whether this process is one.
    #[must_use]
    pub fn is(&self, process: &Holder) -> bool {
        let within = |pids: &HashSet<u32>| pids.contains(&process.pid);
        self.pids.as_ref().is_none_or(within)
            && self.members.as_ref().is_none_or(within)
            && (self.comms.is_empty() || self.comms.contains(&padded(&process.comm)))
    }
}

/// The processes of a cgroup and of those below it, which come and go meanwhile.
fn add_members(cgroup: &Path, members: &mut HashSet<u32>) {
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    members.extend(listed.lines().filter_map(|pid| pid.parse::<u32>().ok()));
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_members(&entry.path(), members);
        }
    }
}

/// Has everything reported that is done from now on with the list at this address.
pub(super) fn mark(ebpf: &mut Ebpf, list: u64, t_ns: u64) -> Result<(), ProbeError> {
    let mut marked: HashMap<_, u64, u64> = map_mut(ebpf, MARKED)?;
    marked
        .insert(list, t_ns, 0)
        .map_err(ProbeError::of_map(MARKED))
}

/// Which record of which list, as the kernel half keeps them.
#[derive(Clone, Copy)]
#[repr(C)]
struct Key {
    list: u64,
    kind: u32,
    first: u32,
}

const RECORD_BYTES: usize = size_of::<Head>() + FILES_PER_RECORD * size_of::<FileSeen>();

/// A record, and whose share of the room it takes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Held {
    record: [u8; RECORD_BYTES],
    user: [u8; 8],
}

// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Key {}
// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Held {}

/// Whether the message that `file` is in is of an unwanted sender of whom the kernel half had no room
/// to keep everything.
pub(super) fn is_unheld(ebpf: &Ebpf, file: &QueuedFile) -> Result<bool, ProbeError> {
    let noted: HashMap<_, u64, u64> = map(ebpf, UNHELD)?;
    match noted.get(&file.list, 0) {
        Ok(skb) => Ok(skb == 0 || skb == file.skb),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) => Err(ProbeError::of_map(UNHELD)(error)),
    }
}

/// The records of an unwanted sender's message that `file` is in, in the order in which they were
/// made. The kernel half keeps them until a receiver takes the list.
pub(super) fn held(ebpf: &Ebpf, file: &QueuedFile) -> Result<Vec<Vec<u8>>, ProbeError> {
    let held: HashMap<_, Key, Held> = map(ebpf, HELD)?;
    let find = |list, kind: RecordKind, first: usize| -> Result<Option<Vec<u8>>, ProbeError> {
        let (kind, first) = (kind as u32, first as u32);
        match held.get(&Key { list, kind, first }, 0) {
            Ok(held) => Ok(whole(&held.record)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(ProbeError::of_map(HELD)(error)),
        }
    };
    // What a sender that looked too late has left is not of this list.
    let is_its = |record: &Vec<u8>| {
        head(record).is_some_and(|head| {
            u32::from(head.count) == file.count
                && (head.skb == 0 || head.skb == file.skb)
                && head.flags & FLAG_RACED == 0
        })
    };
    if !find(file.list, RecordKind::ListQueued, 0)?
        .as_ref()
        .is_some_and(is_its)
    {
        return Ok(Vec::new());
    }
    let attached = find(file.list, RecordKind::ListAttached, 0)?;
    // Up to 6.9 the list in the queue is a duplicate of the one that was copied.
    let origin = attached
        .as_ref()
        .and_then(|record| Some(head(record)?.origin));
    let origin = origin.filter(|origin| *origin != 0).unwrap_or(file.list);
    let mut records = Vec::new();
    for (list, kind) in [
        (origin, RecordKind::ListCopied),
        (file.list, RecordKind::ListAttached),
        (file.list, RecordKind::SocketNamed),
        (file.list, RecordKind::ListQueued),
    ] {
        for run in 0..RUNS_MAX {
            let Some(record) = find(list, kind, run * FILES_PER_RECORD)? else {
                break;
            };
            records.push(record);
        }
    }
    Ok(records)
}

fn head(record: &[u8]) -> Option<Head> {
    Head::read_from_prefix(record).ok().map(|(head, _)| head)
}

/// As much of a record as its head says that it has.
fn whole(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = head(bytes)?;
    let rest = match head.kind == RecordKind::SocketNamed as u16 {
        true => size_of::<SocketName>(),
        false => usize::from(head.files) * size_of::<FileSeen>(),
    };
    bytes.get(..size_of::<Head>() + rest).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pid: u32, comm: &str) -> Holder {
        Holder {
            pid,
            comm: comm.to_owned(),
            fds: Vec::new(),
        }
    }

    #[test]
    fn a_process_is_wanted_that_meets_every_condition() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(folder.path().join("cgroup.procs"), "1\n2\n").unwrap();
        fs::write(below.join("cgroup.procs"), "3\n").unwrap();
        let mut members = HashSet::new();
        add_members(folder.path(), &mut members);
        assert_eq!(members, HashSet::from([1, 2, 3]));

        let wanted = WantedProcesses {
            pids: Some(HashSet::from([2, 3, 4])),
            comms: vec![padded("a-rather-long-name")],
            members: Some(members),
        };
        let comm = "a-rather-long-n";
        assert!(wanted.is(&holder(2, comm)) && wanted.is(&holder(3, comm)));
        for other in [holder(1, comm), holder(4, comm), holder(2, "another")] {
            assert!(!wanted.is(&other), "{other:?}");
        }
    }

    #[test]
    fn a_record_is_as_long_as_its_head_says() {
        let mut record = vec![0; RECORD_BYTES];
        let files = std::mem::offset_of!(Head, files);
        record[files] = 2;
        let len = size_of::<Head>() + 2 * size_of::<FileSeen>();
        assert_eq!(whole(&record).map(|record| record.len()), Some(len));
        record[files] = 255;
        assert_eq!(whole(&record), None);
        assert_eq!(whole(&record[..10]), None);
    }
}
