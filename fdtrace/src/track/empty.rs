//! Sends whose SCM_RIGHTS name no descriptor: no message to follow, only to be counted.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::{
    model::EmptyRights,
    wire::{Actor, Stamp},
};

/// Processes that are counted one by one.
const PROCESSES_MAX: usize = 1024;

/// How many such sends each process has made.
#[derive(Default)]
pub(super) struct EmptySends {
    by: HashMap<(u32, SmolStr), u64>,
    /// Those of processes that came when there was no room for another.
    others: u64,
}

impl EmptySends {
    pub(super) fn note(&mut self, stamp: &Stamp) {
        let by: &Actor = &stamp.by;
        let process = (by.pid, by.name());
        if let Some(sends) = self.by.get_mut(&process) {
            *sends += 1;
        } else if self.by.len() < PROCESSES_MAX {
            self.by.insert(process, 1);
        } else {
            self.others += 1;
        }
    }

    /// Most first; the last one without a process is all those that were not counted by themselves.
    pub(super) fn told(&self) -> Vec<EmptyRights> {
        let told = self.by.iter().map(|((pid, comm), sends)| EmptyRights {
            pid: Some(*pid),
            comm: Some(comm.clone()),
            sends: *sends,
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by(|one, two| {
            (two.sends, one.pid, &one.comm).cmp(&(one.sends, two.pid, &two.comm))
        });
        told.extend((self.others > 0).then_some(EmptyRights {
            pid: None,
            comm: None,
            sends: self.others,
        }));
        told
    }
}
