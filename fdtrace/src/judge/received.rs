//! Received: who has received which open file, so that a transfer of one of these can be told to hand it on,
//! or to hand it over again.
//!
//! The kernel gives the address of a file to the next one as soon as it is closed, and a file that is opened
//! anew has the same inode. So two transfers are of one open file only if
//!
//! - the inode has one open file, ever, as a socket's has; or
//! - both were on their way at the same time, so that their lists kept the address from being given away.
//!
//! Of anything else nothing is said. What a process sends it has received before only if that receive was
//! over by then, and if it is not a later process of the same number.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::model::{
    Again, Doubt, Earlier, Fate, FileKey, Hop, Judged, LookedAt, Relay, Sole, TableLook, Transfer,
    Verdict,
};

/// Pairs of an open file and a receiver that are remembered; the oldest are let go of.
const PAIRS_MAX: usize = 1 << 16;

/// Receives of one pair that are remembered: events may come in another order than things happened.
const RECEIPTS_MAX: usize = 4;

/// An open file's key, and a process.
type Pair = (FileKey, u32);

/// Who has received which open file.
#[derive(Debug)]
pub struct Received {
    pairs: HashMap<Pair, SmallVec<[Receipt; 1]>>,
    /// In the order in which they came.
    order: VecDeque<Pair>,
    pairs_max: usize,
    /// When processes ended, CLOCK_MONOTONIC, nanoseconds, by their numbers.
    ended: HashMap<u32, u64>,
}

/// One receive of one open file.
#[derive(Clone, Debug)]
struct Receipt {
    transfer: u64,
    message: u64,
    t_ns: u64,
    tid: u32,
    from: Option<(SmolStr, u32)>,
    file: OneFile,
}

/// What tells the open file of a transfer from others of the same key.
#[derive(Clone, Copy, Debug)]
struct OneFile {
    /// Its inode has no other.
    is_sole: bool,
    /// From when to when its list is known to have held it.
    held_ns: Option<(u64, u64)>,
}

impl Default for Received {
    fn default() -> Self {
        Self::with_room(PAIRS_MAX)
    }
}

impl Received {
    /// One that remembers so many pairs of an open file and a receiver.
    #[must_use]
    pub fn with_room(pairs_max: usize) -> Self {
        Self {
            pairs: HashMap::new(),
            order: VecDeque::new(),
            pairs_max,
            ended: HashMap::new(),
        }
    }

    /// By which transfers the open file of this one, which has ended, came here before. It is remembered.
    pub fn note(&mut self, judged: &Judged) -> Earlier {
        let transfer = &judged.transfer;
        let key = FileKey::of(&transfer.file);
        // What was lost may have told two messages apart.
        let is_sure = !matches!(judged.verdict, Some(Verdict::Lost | Verdict::Different))
            && transfer.doubt != Some(Doubt::AddressReused);
        if transfer.overdue || !is_sure || key.file == 0 || key.ino == 0 {
            return Earlier::default();
        }
        let file = OneFile::of(judged);
        Earlier {
            relay: self.relay(transfer, key, file),
            again: self.receive(transfer, key, file),
        }
    }

    /// Takes in what was found as a process ended: whoever has its number later is another.
    pub fn look(&mut self, look: &TableLook) {
        if look.at != LookedAt::ProcessEnd {
            return;
        }
        if self.ended.len() + look.tables.len() > self.pairs_max {
            // Without their ends, no process can be told from a later one.
            *self = Self::with_room(self.pairs_max);
        }
        let ends = look.tables.iter().map(|table| (table.pid, look.t_ns));
        self.ended.extend(ends);
    }

    /// How the sender had come by it, if it had received it.
    fn relay(&self, transfer: &Transfer, key: FileKey, file: OneFile) -> Option<Relay> {
        let sender = transfer.sender.as_ref()?;
        // What failed went nowhere.
        if transfer.fate() == Fate::Failed {
            return None;
        }
        let receipts = self.pairs.get(&(key, sender.pid))?;
        let had = receipts.iter().filter_map(|receipt| {
            let sent_ns = sent_ns(transfer, receipt)?;
            let is_it = receipt.file.is(file)
                && receipt.t_ns < sent_ns
                && !self.has_ended(sender.pid, receipt.t_ns, sent_ns)
                // What it had sent itself it had anyway.
                && receipt.from.as_ref().is_none_or(|(_, pid)| *pid != sender.pid);
            is_it.then_some((receipt, sent_ns))
        });
        let (receipt, sent_ns) = had.max_by_key(|(receipt, _)| receipt.t_ns)?;
        Some(Relay {
            transfer: receipt.transfer,
            from: receipt.from.clone(),
            after_ns: sent_ns - receipt.t_ns,
        })
    }

    /// How the receiver had come by it before, if it had; remembers that it has it now.
    fn receive(&mut self, transfer: &Transfer, key: FileKey, file: OneFile) -> Option<Again> {
        if !transfer.fate().installs() {
            return None;
        }
        let receiver = transfer.receiver()?;
        let install = transfer.hops.iter().find(|seen| seen.hop == Hop::Install);
        let t_ns = install?.t_ns;
        let pair = (key, receiver.pid);
        let receipts = match self.pairs.get_mut(&pair) {
            Some(receipts) => receipts,
            None => {
                self.order.push_back(pair);
                self.pairs.entry(pair).or_default()
            }
        };
        let had = receipts.iter().filter(|receipt| {
            // A message is received again after a peek, and may have a file twice.
            receipt.message != transfer.message && receipt.file.is(file) && receipt.t_ns < t_ns
        });
        let had = had.max_by_key(|receipt| receipt.t_ns);
        let again = had.map(|receipt| Again {
            transfer: receipt.transfer,
            after_ns: t_ns - receipt.t_ns,
        });
        if receipts.len() == RECEIPTS_MAX {
            receipts.remove(0);
        }
        let from = transfer.sender.as_ref();
        receipts.push(Receipt {
            transfer: transfer.id,
            message: transfer.message,
            t_ns,
            tid: receiver.tid,
            from: from.map(|sender| (sender.comm.clone(), sender.pid)),
            file,
        });
        if self.pairs.len() > self.pairs_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.pairs.remove(&oldest);
        }
        again.filter(|again| !self.has_ended(receiver.pid, t_ns - again.after_ns, t_ns))
    }

    /// Whether a process of that number ended in between.
    fn has_ended(&self, pid: u32, from_ns: u64, to_ns: u64) -> bool {
        let ended = self.ended.get(&pid);
        ended.is_some_and(|ended| (from_ns..to_ns).contains(ended))
    }
}

impl OneFile {
    fn of(judged: &Judged) -> Self {
        let transfer = &judged.transfer;
        // The list has them until its files are installed; by then it may be gone.
        let in_list = |hop| hop <= Hop::Detach;
        let hops = transfer.hops.iter();
        let held = hops.filter(|seen| in_list(seen.hop) && seen.file == transfer.file.ptr);
        let times = || held.clone().map(|seen| seen.t_ns);
        Self {
            is_sole: transfer.file.sole() == Sole::Always,
            held_ns: times()
                .min()
                .zip(times().max())
                .filter(|_| judged.verdict == Some(Verdict::Same)),
        }
    }

    /// Whether both, of the same key, are of one open file for certain.
    fn is(self, other: Self) -> bool {
        let overlap = |((from, to), (other_from, other_to)): ((u64, u64), (u64, u64))| {
            from.max(other_from) <= to.min(other_to)
        };
        let both_held = self.held_ns.zip(other.held_ns);
        (self.is_sole && other.is_sole) || both_held.is_some_and(overlap)
    }
}

/// When a transfer was sent, and not before that, as far as it matters to whoever received this. A sender's
/// look at the queue comes after the fact; but a thread does one thing after the other.
fn sent_ns(transfer: &Transfer, receipt: &Receipt) -> Option<u64> {
    let sender = transfer.sender.as_ref()?;
    let mut hops = transfer.hops.iter();
    let look = hops.find(|seen| seen.hop == Hop::Queue);
    match look.filter(|look| sender.tid == Some(receipt.tid) && look.tid == receipt.tid) {
        Some(look) => Some(look.t_ns),
        None => transfer.begin_ns(),
    }
}
