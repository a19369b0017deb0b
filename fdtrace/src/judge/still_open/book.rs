//! Book: every descriptor that was delivered, at both ends, until it is known to be closed.

mod looking;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::{
    answer::Asked,
    names::Names,
    party::{Entry, Party},
};
use crate::model::{
    Cause, Fate, FileKey, FullTable, Holding, Holdings, Hop, Judged, Later, OpenNumber, Side,
    TableLook, Transfer, Verdict,
};

/// Numbers that are remembered; the oldest are let go of, and counted.
const ENTRIES_MAX: usize = 1 << 16;

/// Closed ones that may be left in the order, beside as many as there are entries.
const ORDER_SLACK: usize = 1024;

/// Processes that are remembered one by one.
const PARTIES_MAX: usize = 4096;

/// Processes that have ended with something open, told one by one.
const FINISHED_MAX: usize = 256;

/// Tables of processes that have ended, kept for transfers of theirs that are told of later.
const ENDINGS_MAX: usize = 256;

/// Full tables that are told of.
const FULL_MAX: usize = 64;

type Key = (Side, u32);

/// Where an entry is, and what tells it from one that was there before.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: Key,
    fd: Option<i32>,
    file: FileKey,
    /// A number that is sent again keeps it.
    since_ns: u64,
    transfer: u64,
}

impl Place {
    fn is_at_number(&self, party: &Party) -> bool {
        let entry = self.fd.and_then(|fd| party.numbers.get(&(fd, self.file)));
        entry.is_some_and(|entry| entry.asked.since_ns == self.since_ns)
    }

    fn is_unnumbered(&self, party: &Party) -> bool {
        self.fd.is_none() && party.unnumbered.iter().any(|entry| self.is_of(entry))
    }

    fn is_of(&self, entry: &Entry) -> bool {
        entry.transfer == self.transfer
    }
}

/// What was delivered, and what is known of it since.
#[derive(Debug)]
pub struct Book {
    parties: HashMap<Key, Party>,
    names: Names,
    /// In the order in which they came, some of the closed ones too.
    order: VecDeque<Place>,
    entries: usize,
    entries_max: usize,
    /// Noted since the latest look.
    news: usize,
    endings: VecDeque<TableLook>,
    finished: Vec<Holding>,
    /// Processes that are not told of one by one.
    others: u64,
    full: Vec<FullTable>,
    /// A table was found full, and no look was asked for since.
    full_is_new: bool,
    let_go: u64,
    looked_ns: Option<u64>,
    /// Processes that are new here.
    new_pids: Vec<u32>,
    /// Processes of which something was told after they had ended.
    late_pids: BTreeSet<u32>,
    /// What became of that, and when.
    late: Vec<(u64, Later)>,
}

impl Default for Book {
    fn default() -> Self {
        Self::with_room(ENTRIES_MAX)
    }
}

impl Book {
    /// One that remembers so many numbers.
    #[must_use]
    pub fn with_room(entries_max: usize) -> Self {
        Self {
            parties: HashMap::new(),
            names: Names::default(),
            order: VecDeque::new(),
            entries: 0,
            entries_max,
            news: 0,
            endings: VecDeque::new(),
            finished: Vec::new(),
            others: 0,
            full: Vec::new(),
            full_is_new: false,
            let_go: 0,
            looked_ns: None,
            new_pids: Vec::new(),
            late_pids: BTreeSet::new(),
            late: Vec::new(),
        }
    }

    /// Processes that have come since this was asked last: their end will be of interest.
    pub fn take_new_pids(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.new_pids)
    }

    /// What became of numbers that were told of after their processes had ended, and when those did.
    pub fn take_late(&mut self) -> Vec<(u64, Later)> {
        for pid in std::mem::take(&mut self.late_pids) {
            self.settle(pid);
        }
        std::mem::take(&mut self.late)
    }

    /// Takes in a transfer that has ended.
    pub fn note(&mut self, judged: &Judged) {
        let transfer = &judged.transfer;
        if transfer.overdue {
            return;
        }
        if transfer.cause() == Some(Cause::RlimitNofile) {
            self.note_full(transfer);
        }
        if !transfer.fate().installs() {
            return;
        }
        let is_sure = !matches!(judged.verdict, Some(Verdict::Lost | Verdict::Different));
        let name = self.names.place(transfer);
        let of = |fd, since_ns| Entry {
            transfer: transfer.id,
            asked: Asked {
                fd,
                key: FileKey::of(&transfer.file),
                sole: transfer.file.sole(),
                since_ns,
            },
            name,
            state: None,
        };
        if let Some(receiver) = transfer.receiver() {
            let install = transfer.hops.iter().find(|seen| seen.hop == Hop::Install);
            let since_ns = install.map_or_else(|| transfer.last_ns(), |seen| seen.t_ns);
            let entry = of(receiver.fd, since_ns);
            self.add(
                (Side::Receiver, receiver.pid),
                &receiver.comm,
                entry,
                is_sure,
            );
        }
        // What a peek leaves behind is delivered again.
        if let Some(sender) = &transfer.sender
            && transfer.fate() == Fate::Delivered
            && sender.fd.is_some()
        {
            let entry = of(sender.fd, sender.t_ns);
            self.add((Side::Sender, sender.pid), &sender.comm, entry, is_sure);
        }
        while self.entries > self.entries_max {
            self.let_go_of_the_oldest();
        }
        if self.order.len() > 2 * self.entries + ORDER_SLACK {
            self.forget_closed();
        }
    }

    /// Takes those out of the order that are not there any more.
    fn forget_closed(&mut self) {
        let parties = &self.parties;
        self.order.retain(|place| {
            parties
                .get(&place.key)
                .is_some_and(|party| place.is_at_number(party) || place.is_unnumbered(party))
        });
    }

    fn add(&mut self, key: Key, comm: &str, entry: Entry, is_sure: bool) {
        self.make_room_for(key, entry.asked.since_ns);
        if !self.parties.contains_key(&key) {
            let mut party = Party::new(comm);
            // It may be told of after its process has ended.
            let ending = ending(&self.endings, key.1, entry.asked.since_ns);
            party.ended_ns = ending.map(|look| look.t_ns);
            if party.ended_ns.is_none() {
                self.new_pids.push(key.1);
            }
            self.parties.insert(key, party);
        }
        let Some(party) = self.parties.get_mut(&key) else {
            return;
        };
        // What it executes may have another name.
        comm.clone_into(&mut party.comm);
        if !is_sure {
            party.all += 1;
            party.unknown += 1;
            return;
        }
        if party.ended_ns.is_some() {
            self.late_pids.insert(key.1);
        }
        let len = party.len();
        party.add(entry, key.0);
        self.entries = self.entries + party.len() - len;
        let place = Place {
            key,
            fd: entry.asked.fd,
            file: entry.asked.key,
            since_ns: entry.asked.since_ns,
            transfer: entry.transfer,
        };
        if place.fd.is_none() || place.is_at_number(party) {
            self.order.push_back(place);
        }
        self.news += 1;
    }

    /// Sees to it that the party of this key is the process that has that number at `since_ns`, and that
    /// there are not too many.
    fn make_room_for(&mut self, key: Key, since_ns: u64) {
        let has_ended = |party: &Party| party.ended_ns.is_some_and(|ended| ended < since_ns);
        if self.parties.get(&key).is_some_and(has_ended) {
            self.finish(key);
        }
        if self.parties.len() < PARTIES_MAX || self.parties.contains_key(&key) {
            return;
        }
        let idle = |(_, party): &(&Key, &Party)| party.ended_ns.is_some() || party.len() == 0;
        let all = || self.parties.iter();
        let leaving = all()
            .find(idle)
            .or_else(|| all().min_by_key(|(_, party)| party.len()));
        if let Some(leaving) = leaving.map(|(key, _)| *key) {
            let party = &self.parties[&leaving];
            if party.ended_ns.is_none() {
                self.let_go += party.len() as u64;
            }
            self.finish(leaving);
        }
    }

    /// Takes a process out, and keeps its figures if it had anything open.
    fn finish(&mut self, key: Key) {
        if self.late_pids.contains(&key.1) {
            self.settle(key.1);
        }
        let Some(party) = self.parties.remove(&key) else {
            return;
        };
        self.entries -= party.len();
        if party.all == 0 {
            return;
        }
        let holding = party.holding(key.1, key.0, &self.names);
        if holding.open + holding.unknown + holding.unseen > 0 && self.finished.len() < FINISHED_MAX
        {
            self.finished.push(holding);
        } else {
            self.others += 1;
        }
    }

    fn let_go_of_the_oldest(&mut self) {
        let Some(place) = self.order.pop_front() else {
            self.entries = 0;
            return;
        };
        let Some(party) = self.parties.get_mut(&place.key) else {
            return;
        };
        let len = party.len();
        match place.fd {
            Some(fd) if place.is_at_number(party) => {
                party.numbers.remove(&(fd, place.file));
            }
            Some(_) => {}
            None => party.unnumbered.retain(|entry| !place.is_of(entry)),
        }
        let gone = len - party.len();
        party.unknown += gone as u64;
        self.entries -= gone;
        self.let_go += gone as u64;
    }

    /// Notes what came into a table that has no number left.
    fn note_full(&mut self, transfer: &Transfer) {
        let Some(receiver) = transfer.receiver() else {
            return;
        };
        if self.full.len() >= FULL_MAX || self.full.iter().any(|full| full.pid == receiver.pid) {
            return;
        }
        let party = self.parties.get(&(Side::Receiver, receiver.pid));
        match party.map(|party| party.ended_ns) {
            Some(Some(_)) => drop(self.late_pids.insert(receiver.pid)),
            Some(None) => self.full_is_new = true,
            // It has nothing that came here.
            None => {}
        }
        // What it has there is not known before somebody looks.
        self.full.push(FullTable {
            pid: receiver.pid,
            comm: receiver.comm.to_string(),
            t_ns: transfer.last_ns(),
            looked_ns: None,
            received: 0,
            files: Vec::new(),
        });
    }

    /// Whether a look would make room, or tell what a full table has in it. It is asked for once: one that
    /// fails, or does not find the process, is not tried again with every message.
    pub fn asks_for_look(&mut self) -> bool {
        let is_crowded =
            self.entries > self.entries_max / 4 * 3 && self.news > self.entries_max / 4;
        if is_crowded {
            self.news = 0;
        }
        std::mem::take(&mut self.full_is_new) || is_crowded
    }

    /// Whether anything is in it that a look would tell of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Processes whose tables tell what became of it.
    #[must_use]
    pub fn pids(&self) -> HashSet<u32> {
        let living = self
            .parties
            .iter()
            .filter(|(_, party)| party.ended_ns.is_none());
        living.map(|((_, pid), _)| *pid).collect()
    }

    /// Addresses of the files.
    #[must_use]
    pub fn files(&self) -> HashSet<u64> {
        let living = self
            .parties
            .values()
            .filter(|party| party.ended_ns.is_none());
        let entries = living.flat_map(Party::entries);
        entries.map(|entry| entry.asked.key.file).collect()
    }

    /// What a look has found that is of any use: numbers that are asked about, and files wherever they are.
    #[must_use]
    pub fn relevant(&self, look: TableLook) -> TableLook {
        let files = self.files();
        let asked: HashSet<(u32, Option<i32>)> = self
            .parties
            .iter()
            .flat_map(|((_, pid), party)| party.entries().map(move |entry| (*pid, entry.asked.fd)))
            .collect();
        let pids = self.pids();
        let tables = look.tables.into_iter().filter_map(|mut table| {
            let pid = table.pid;
            let is_relevant = |number: &OpenNumber| {
                files.contains(&number.file) || asked.contains(&(pid, Some(number.fd)))
            };
            table.numbers.retain(is_relevant);
            (pids.contains(&pid) || !table.numbers.is_empty()).then_some(table)
        });
        TableLook {
            tables: tables.collect(),
            ..look
        }
    }

    /// What there is to say at the end.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let parties = self.parties.iter();
        let living = parties.map(|((side, pid), party)| party.holding(*pid, *side, &self.names));
        let all: Vec<Holding> = living.chain(self.finished.iter().cloned()).collect();
        let any = |holding: &Holding| holding.all > 0;
        let mut processes: Vec<Holding> = all.into_iter().filter(any).collect();
        processes.sort_by(|one, two| {
            (two.open.cmp(&one.open))
                .then(one.side.cmp(&two.side).reverse())
                .then(two.all.cmp(&one.all))
                .then(one.pid.cmp(&two.pid))
        });
        Holdings {
            processes,
            others: self.others,
            full: self.full.clone(),
            let_go: self.let_go,
            looked_ns: self.looked_ns,
            not_looked: None,
        }
    }
}

/// The look that was taken as a process of this number ended that was there at `since_ns`.
fn ending(endings: &VecDeque<TableLook>, pid: u32, since_ns: u64) -> Option<&TableLook> {
    let is_its = |look: &&TableLook| {
        let mut tables = look.tables.iter();
        look.t_ns >= since_ns && tables.any(|table| table.pid == pid && table.start_ns <= since_ns)
    };
    endings.iter().find(is_its)
}
