//! What became of the numbers of transfers, by what looks through tables told.

use std::collections::HashMap;

use crate::model::{Fate, FileKey, Judged, Later, Side, StillOpen};

/// One send from a number: when, of which transfer, and which file.
type Sent = (u64, u64, FileKey);

/// Answers for each transfer.
pub(super) struct Afterwards {
    /// The latest that was told, by end and transfer.
    told: HashMap<(Side, u64), StillOpen>,
    /// When each number was given to a thread last.
    received: HashMap<(u32, u32, i32), u64>,
    /// What was sent from each number of a process, in order of time.
    sent: HashMap<(u32, i32), Vec<Sent>>,
}

impl Afterwards {
    pub(super) fn new(transfers: &[Judged], later: &[Later]) -> Self {
        let told = later.iter();
        let told = told.map(|later| ((later.side, later.transfer), later.state));
        let mut afterwards = Self {
            told: told.collect(),
            received: HashMap::new(),
            sent: HashMap::new(),
        };
        for judged in transfers {
            if judged.fate() != Fate::Delivered {
                continue;
            }
            if let Some(number) = received(judged) {
                let last = afterwards.received.entry(number).or_default();
                *last = judged.last_ns().max(*last);
            }
            if let Some((number, sent)) = sent(judged) {
                afterwards.sent.entry(number).or_default().push(sent);
            }
        }
        for sent in afterwards.sent.values_mut() {
            sent.sort_unstable();
        }
        afterwards
    }

    /// What became of the receiver's number; `None` if nobody looked.
    pub(super) fn of_receiver(&self, judged: &Judged) -> Option<StillOpen> {
        let told = self.told.get(&(Side::Receiver, judged.id)).copied();
        // Given to the same thread again, it was closed before.
        let again = || {
            let last = *self.received.get(&received(judged)?)?;
            (last > judged.last_ns()).then_some(StillOpen::Closed)
        };
        told.or_else(again)
    }

    /// What became of the sender's number; `None` if nobody looked, or it was not known.
    pub(super) fn of_sender(&self, judged: &Judged) -> Option<StillOpen> {
        let (number, own) = sent(judged)?;
        let all = self.sent.get(&number)?;
        let later = &all[all.partition_point(|sent| *sent < own)..];
        if later.iter().any(|(.., key)| *key != own.2) {
            return Some(StillOpen::Closed);
        }
        // Of a number that is sent again, the latest transfer is told of.
        let mut latest = later.iter().rev();
        latest.find_map(|(_, id, _)| self.told.get(&(Side::Sender, *id)).copied())
    }
}

fn received(judged: &Judged) -> Option<(u32, u32, i32)> {
    let receiver = judged.receiver()?;
    Some((receiver.pid, receiver.tid, receiver.fd?))
}

fn sent(judged: &Judged) -> Option<((u32, i32), Sent)> {
    let sender = judged.sender.as_ref()?;
    let sent = (sender.t_ns, judged.id, FileKey::of(&judged.file));
    Some(((sender.pid, sender.fd?), sent))
}
