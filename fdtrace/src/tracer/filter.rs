//! The filter in the kernel: whose transfers are reported at all.

use std::path::PathBuf;

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
    programs::RawTracePoint,
};

use super::{
    ProbeError,
    loaded::{Iterator, map_mut, program},
};
use crate::{kernel::Types, plan::Offsets};

/// Maps that only a filter uses.
pub(super) const MAPS: [&str; 9] = [
    WANTED_PROCESSES,
    NAMED_PIDS,
    WANTED_COMMS,
    "WANTED_SOCKS",
    MARKED,
    HELD,
    "HELD_BY_USER",
    UNHELD,
    BUCKETS,
];
/// What waits by the address of its list, where two records tell of a message.
pub(super) const BUCKETS: &str = "HELD_BUCKETS";
pub(super) const WANTED_PROCESSES: &str = "WANTED_PROCESSES";
const NAMED_PIDS: &str = "NAMED_PIDS";
const WANTED_COMMS: &str = "WANTED_COMMS";
pub(super) const MARKED: &str = "MARKED_LISTS";
pub(super) const HELD: &str = "HELD_RECORDS";
pub(super) const UNHELD: &str = "UNHELD_LISTS";

/// Programs that keep the wanted processes up to date, and their tracepoints.
const PROGRAMS: [(&str, &str); 2] = [FORKS, ("filter_free", "sched_process_free")];
/// The one whose skipped runs are a loss: a child goes unseen with all that it does.
pub(super) const FORKS: (&str, &str) = ("filter_fork", "sched_process_fork");

/// The program that finds who is wanted from the start, as the kernel walks through all tasks.
const BEGIN: Iterator = Iterator {
    program: "filter_begin",
    target: "iter/task",
};

/// TASK_COMM_LEN.
const COMM_LEN: usize = 16;

/// Which tasks are wanted: those that meet every condition that is there. A transfer is reported
/// if a wanted task is at either end. Without any condition all are.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// It is of one of these processes, or of a descendant of theirs.
    pub pids: Vec<u32>,
    /// It has one of these names.
    pub comms: Vec<String>,
    /// It is in this cgroup (version 2), or in one below.
    pub cgroup: Option<Cgroup>,
    /// Whether to tell, too, what the files and tasks of transfers are.
    pub describe: bool,
}

/// A cgroup of version 2.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Its folder.
    pub path: PathBuf,
    /// Its id, which is the folder's inode number.
    pub id: u64,
}

impl Filter {
    /// Whether there is any condition.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.pids.is_empty() || !self.comms.is_empty() || self.cgroup.is_some()
    }

    /// Whether the programs can apply it here: they would take every task for one of another cgroup
    /// where they cannot tell.
    pub(super) fn check(&self, offsets: &Offsets) -> Result<(), ProbeError> {
        match self.cgroup {
            Some(_) if !offsets.show_cgroups() => Err(ProbeError::NoCgroups),
            _ => Ok(()),
        }
    }

    /// The constants that switch it on.
    pub(super) fn facts(&self) -> Vec<(&'static str, u32)> {
        let cgroup = self.cgroup.as_ref().map_or(0, |cgroup| cgroup.id);
        vec![
            ("DESCRIBE", u32::from(self.describe)),
            ("FILTER_BY_PID", u32::from(!self.pids.is_empty())),
            ("FILTER_BY_COMM", u32::from(!self.comms.is_empty())),
            ("FILTER_BY_CGROUP", u32::from(self.cgroup.is_some())),
            ("FILTER_CGROUP_LOW", cgroup as u32),
            ("FILTER_CGROUP_HIGH", (cgroup >> 32) as u32),
        ]
    }

    /// Has the programs look at every transfer for the self-test, until [`Filter::set`].
    pub(super) fn suspend(&self, ebpf: &mut Ebpf) -> Result<(), ProbeError> {
        suspended(ebpf, true)
    }

    /// Says who is wanted.
    pub(super) fn set(&self, ebpf: &mut Ebpf, types: &Types) -> Result<(), ProbeError> {
        suspended(ebpf, false)?;
        if !self.comms.is_empty() {
            let mut wanted: HashMap<_, [u8; COMM_LEN], u8> = map_mut(ebpf, WANTED_COMMS)?;
            for comm in &self.comms {
                insert(&mut wanted, WANTED_COMMS, padded(comm))?;
            }
        }
        if self.pids.is_empty() {
            return Ok(());
        }
        for (name, target) in PROGRAMS {
            attach(ebpf, name, target)?;
        }
        let mut named: HashMap<_, u32, u8> = map_mut(ebpf, NAMED_PIDS)?;
        for pid in &self.pids {
            insert(&mut named, NAMED_PIDS, *pid)?;
        }
        // Whoever is forked from now on is noted by the programs. Who was there before is found by
        // walks through all tasks, from parents to children, until one finds no more.
        BEGIN.load(ebpf, types)?;
        while !BEGIN.read(ebpf)?.is_empty() {}
        Ok(())
    }
}

fn suspended(ebpf: &mut Ebpf, is_suspended: bool) -> Result<(), ProbeError> {
    const NAME: &str = "SELF_TEST";
    let mut switch: Array<_, u64> = map_mut(ebpf, NAME)?;
    let set = switch.set(0, u64::from(is_suspended), 0);
    set.map_err(ProbeError::of_map(NAME))
}

/// A task's name as the kernel keeps it: cut to 15 bytes, and padded with NULs.
pub(super) fn padded(comm: &str) -> [u8; COMM_LEN] {
    let mut padded = [0; COMM_LEN];
    let len = comm.len().min(COMM_LEN - 1);
    padded[..len].copy_from_slice(&comm.as_bytes()[..len]);
    padded
}

fn insert<K: aya::Pod>(
    map: &mut HashMap<&mut MapData, K, u8>,
    name: &'static str,
    key: K,
) -> Result<(), ProbeError> {
    map.insert(key, 1, 0).map_err(ProbeError::of_map(name))
}

fn attach(ebpf: &mut Ebpf, name: &'static str, target: &'static str) -> Result<(), ProbeError> {
    let failed = |action| ProbeError::of_program(action, name, target);
    let program = program(ebpf, name)?;
    let program: &mut RawTracePoint = program.try_into().map_err(failed("load"))?;
    program.load().map_err(failed("load"))?;
    program.attach(target).map_err(failed("attach"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelView;

    #[test]
    fn names_are_cut_as_the_kernel_cuts_them() {
        assert_eq!(&padded("nginx"), b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&padded("a-rather-long-name"), b"a-rather-long-n\0");
    }

    #[test]
    fn a_cgroup_is_refused_where_the_kernels_types_do_not_lead_to_it() {
        // A fixture has only the types that a plan needs.
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = dir.join("../tests/fixtures/kernels/6.18");
        let offsets = Offsets::resolve(&KernelView::fixture(&dir).unwrap()).unwrap();
        let filter = Filter {
            cgroup: Some(Cgroup {
                path: PathBuf::from("/sys/fs/cgroup"),
                id: 1,
            }),
            ..Filter::default()
        };
        assert!(matches!(filter.check(&offsets), Err(ProbeError::NoCgroups)));
        assert!(Filter::default().check(&offsets).is_ok());
    }

    #[test]
    fn a_filter_without_conditions_is_off() {
        let filter = Filter::default();
        assert!(!filter.is_on());
        assert!(filter.facts().iter().all(|(_, value)| *value == 0));
    }
}
