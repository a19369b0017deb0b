//! Which transfers to show.

use crate::tracker::{Fate, Transfer};

/// What the user asked to see. Within one list any will do; every list that is not empty must
/// agree.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Processes, one of which sends or receives.
    pub pids: Vec<u32>,
    /// Names of tasks, likewise.
    pub comms: Vec<String>,
    /// How it ended.
    pub fates: Vec<Fate>,
    /// What kind of file it is.
    pub kinds: Vec<String>,
}

impl Selection {
    /// Whether to show this transfer.
    #[must_use]
    pub fn accepts(&self, transfer: &Transfer) -> bool {
        let sender = transfer.sender.as_ref();
        let receiver = transfer.receiver.as_ref();
        let pid = |pid: &u32| {
            sender.is_some_and(|sender| sender.pid == *pid)
                || receiver.is_some_and(|receiver| receiver.pid == *pid)
        };
        let comm = |comm: &String| {
            sender.is_some_and(|sender| sender.comm == *comm)
                || receiver.is_some_and(|receiver| receiver.comm == *comm)
        };
        (self.pids.is_empty() || self.pids.iter().any(pid))
            && (self.comms.is_empty() || self.comms.iter().any(comm))
            && (self.fates.is_empty() || self.fates.contains(&transfer.fate))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == transfer.file.kind()))
    }
}
