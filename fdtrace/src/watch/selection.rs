//! Which transfers to show.

use crate::model::{Fate, FileKind, Transfer};

/// What the user asked to see. Within one list any will do; every list that is not empty must
/// agree.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only what the filter in the kernel wanted, of what it let through.
    pub wanted: bool,
    /// Processes; one end is of them, and has one of the names.
    pub pids: Vec<u32>,
    /// Names of tasks.
    pub comms: Vec<String>,
    /// How it ended.
    pub fates: Vec<Fate>,
    /// What kind of file it is.
    pub kinds: Vec<FileKind>,
}

impl Selection {
    /// Whether to show this transfer.
    #[must_use]
    pub fn accepts(&self, transfer: &Transfer) -> bool {
        let sender = transfer.sender.as_ref();
        let sender = sender.map(|sender| (sender.pid, sender.comm.as_str()));
        let receiver = transfer.receiver.as_ref();
        let receiver = receiver.map(|receiver| (receiver.pid, receiver.comm.as_str()));
        (!self.wanted || transfer.wanted)
            && (self.accepts_anyone()
                || [sender, receiver]
                    .into_iter()
                    .flatten()
                    .any(|(pid, comm)| self.accepts_end(pid, comm)))
            && (self.fates.is_empty() || self.fates.contains(&transfer.fate))
            && (self.kinds.is_empty() || self.kinds.contains(&transfer.file.kind()))
    }

    fn accepts_anyone(&self) -> bool {
        self.pids.is_empty() && self.comms.is_empty()
    }

    fn accepts_end(&self, pid: u32, comm: &str) -> bool {
        (self.pids.is_empty() || self.pids.contains(&pid))
            && (self.comms.is_empty() || self.comms.iter().any(|wanted| wanted == comm))
    }
}
