//! Balance: when a scenario is over, nobody but the verifier refers to the originals it holds.
//!
//! The count is the kernel's own, through `iter/task_file`, which takes a reference of its own
//! while it looks: a file that certainly nobody else has shows how many that are.

use std::{collections::HashMap, fs::File, io, os::fd::AsRawFd};

use super::Originals;
use crate::model::Snapshot;

/// Counts the references of files that this process holds.
pub struct Balance {
    /// A file that nobody else has.
    control: File,
}

/// A file of a message that somebody still refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// Its place in the message.
    pub index: usize,
    /// References beside the verifier's.
    pub refs: i64,
}

impl Balance {
    /// Opens the file that nobody else has.
    ///
    /// # Errors
    /// If there is no room for temporary files.
    pub fn new() -> io::Result<Self> {
        let control = tempfile::tempfile()?;
        Ok(Self { control })
    }

    /// Files of `originals` with more references than those of the verifier, by a snapshot of its
    /// own process `pid`. `None` if the snapshot does not show the files.
    #[must_use]
    pub fn surplus(
        &self,
        pid: u32,
        originals: &Originals,
        snapshot: &Snapshot,
    ) -> Option<Vec<Surplus>> {
        let control = snapshot.get(&(pid, self.control.as_raw_fd()))?;
        let iterators_own = control.refs - 1;
        let mut ours: HashMap<u64, i64> = HashMap::new();
        for ((holder, _), file) in snapshot {
            *ours.entry(file.ptr).or_default() += i64::from(*holder == pid);
        }
        let mut surplus = Vec::new();
        for (index, held) in originals.all_held().enumerate() {
            let file = snapshot.get(&(pid, held.as_raw_fd()))?;
            let refs = file.refs - iterators_own - ours.get(&file.ptr).copied().unwrap_or_default();
            if refs != 0 {
                surplus.push(Surplus { index, refs });
            }
        }
        Some(surplus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OpenFile;

    const PID: u32 = 100;

    #[test]
    fn what_nobody_else_has_is_balanced_and_any_other_reference_is_not() {
        let balance = Balance::new().unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut originals = Originals::default();
        originals
            .hold(std::process::id(), &[file.as_raw_fd(), file.as_raw_fd()])
            .unwrap();
        let held: Vec<i32> = originals.all_held().map(AsRawFd::as_raw_fd).collect();
        // The iterator holds one itself; the verifier has the file twice.
        let snapshot = |refs, held_refs, elsewhere: Option<i32>| {
            let of = |ptr, refs| OpenFile { ptr, refs };
            let mut snapshot = Snapshot::from([((PID, balance.control.as_raw_fd()), of(1, refs))]);
            snapshot.extend(held.iter().map(|fd| ((PID, *fd), of(2, held_refs))));
            snapshot.extend(elsewhere.map(|fd| ((PID + 1, fd), of(2, held_refs))));
            snapshot
        };
        let surplus = |snapshot| balance.surplus(PID, &originals, &snapshot);
        assert_eq!(surplus(snapshot(2, 3, None)), Some(Vec::new()));
        assert_eq!(surplus(snapshot(1, 2, None)), Some(Vec::new()));
        let both = |refs| [0, 1].map(|index| Surplus { index, refs }).to_vec();
        assert_eq!(surplus(snapshot(2, 4, None)), Some(both(1)));
        assert_eq!(surplus(snapshot(2, 4, Some(held[0]))), Some(both(1)));
        assert_eq!(surplus(snapshot(2, 2, None)), Some(both(-1)));
        assert_eq!(
            balance.surplus(PID + 1, &originals, &snapshot(2, 3, None)),
            None
        );
    }
}
