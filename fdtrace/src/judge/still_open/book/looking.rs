//! Looking: what a look says of all that is in the book.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        answer::Process,
        holders::Holders,
        names::Names,
        party::{Entry, Party},
    },
    Book, ENDINGS_MAX, Key,
};
use crate::model::{
    FileHolder, FileKey, FullTable, Later, LookedAt, Side, StillOpen, Table, TableLook,
};

impl Book {
    /// Takes in what a look found, and says what became of each number that it tells of.
    pub fn look(&mut self, look: &TableLook) -> Vec<Later> {
        match look.at {
            LookedAt::ProcessEnd => self.process_ended(look),
            LookedAt::Every | LookedAt::Crowded | LookedAt::Last => self.look_at_all(look),
        }
    }

    fn process_ended(&mut self, look: &TableLook) -> Vec<Later> {
        let (mut told, mut nexts) = (Vec::new(), Vec::new());
        for table in &look.tables {
            let pid = table.pid;
            let process = process(&self.parties, pid, Some(table), look);
            for key in Side::ALL.map(|side| (side, pid)) {
                let party = self.parties.get_mut(&key);
                // Of an earlier process of that number nothing is to be learned here.
                let Some(party) = party.filter(|party| party.ended_ns.is_none()) else {
                    continue;
                };
                let next = party.split_off(look.t_ns);
                party.ended_ns = Some(look.t_ns);
                party.look_anew();
                told.extend(judge(party, key, &process, |_| true));
                self.entries -= party.drop_closed();
                // What came after that is the next one's.
                if next.len() > 0 {
                    self.entries -= next.len();
                    nexts.push((key, next));
                }
            }
            tell_full(&mut self.full, &self.parties, &self.names, table, look);
        }
        for (key, next) in nexts {
            self.finish(key);
            self.entries += next.len();
            self.new_pids.push(key.1);
            self.parties.insert(key, next);
        }
        self.endings.push_back(look.clone());
        if self.endings.len() > ENDINGS_MAX {
            self.endings.pop_front();
        }
        told
    }

    fn look_at_all(&mut self, look: &TableLook) -> Vec<Later> {
        self.looked_ns = Some(look.t_ns);
        self.news = 0;
        let tables: HashMap<u32, &Table> =
            look.tables.iter().map(|table| (table.pid, table)).collect();
        let holders = Holders::by(look);
        // Who sent or received it has a line of its own.
        let known: HashSet<(u32, FileKey)> = self
            .parties
            .iter()
            .flat_map(|((_, pid), party)| party.entries().map(move |entry| (*pid, entry.asked.key)))
            .collect();
        let processes: HashMap<u32, Process<'_>> = self
            .pids()
            .into_iter()
            .map(|pid| {
                let table = tables.get(&pid).copied();
                (pid, process(&self.parties, pid, table, look))
            })
            .collect();
        let mut told = Vec::new();
        for (key, party) in &mut self.parties {
            let Some(process) = processes.get(&key.1).filter(|_| party.ended_ns.is_none()) else {
                continue;
            };
            party.look_anew();
            let mut its = judge(party, *key, process, |_| true);
            let asked = party.entries().map(|entry| entry.asked);
            for (later, asked) in its.iter_mut().zip(asked.collect::<Vec<_>>()) {
                let Some((holders, more)) = holders.of(&asked, key.1, later.state) else {
                    continue;
                };
                let unknown = |holder: &&FileHolder| !known.contains(&(holder.pid, asked.key));
                let others = holders.iter().filter(unknown);
                party.note_also(others.map(|holder| (asked.key, holder)));
                later.holders = Some(holders);
                later.holders_more = more;
            }
            told.extend(its);
            let ended = |entry: &Entry| entry.state == Some(StillOpen::Ended);
            // Some may be of an earlier process of that number, whose end nobody saw.
            if party.len() > 0 && party.entries().all(ended) {
                party.ended_ns = Some(look.t_ns);
            }
            self.entries -= party.drop_closed();
        }
        for table in &look.tables {
            tell_full(&mut self.full, &self.parties, &self.names, table, look);
        }
        told.sort_by_key(|later| (later.transfer, later.side, later.pid));
        told
    }

    /// Says what became of what was told of a process after it had ended.
    pub(super) fn settle(&mut self, pid: u32) {
        let Self {
            parties,
            endings,
            late,
            full,
            names,
            ..
        } = self;
        for look in endings.iter() {
            let Some(table) = look.tables.iter().find(|table| table.pid == pid) else {
                continue;
            };
            let process = process(parties, pid, Some(table), look);
            for key in Side::ALL.map(|side| (side, pid)) {
                let Some(party) = parties.get_mut(&key).filter(|it| it.ended_ns.is_some()) else {
                    continue;
                };
                let was_there = table.start_ns..=look.t_ns;
                let is_late = |entry: &Entry| {
                    entry.state.is_none() && was_there.contains(&entry.asked.since_ns)
                };
                let told = judge(party, key, &process, is_late).into_iter();
                late.extend(told.map(|later| (look.t_ns, later)));
            }
            tell_full(full, parties, names, table, look);
        }
        for key in Side::ALL.map(|side| (side, pid)) {
            let Some(party) = parties.get_mut(&key).filter(|it| it.ended_ns.is_some()) else {
                continue;
            };
            for entry in party.entries_mut().filter(|entry| entry.state.is_none()) {
                entry.state = Some(StillOpen::Ended);
            }
            self.entries -= party.drop_closed();
        }
    }
}

/// What a look found of a process, for all that is known to have been passed there.
fn process<'a>(
    parties: &HashMap<Key, Party>,
    pid: u32,
    table: Option<&'a Table>,
    look: &'a TableLook,
) -> Process<'a> {
    let both = Side::ALL.into_iter();
    let both = both.filter_map(|side| parties.get(&(side, pid)).map(|party| (side, party)));
    let is_whole = both.clone().all(|(_, party)| party.unknown == 0);
    let asked =
        both.flat_map(|(side, party)| party.entries().map(move |entry| (side, entry.asked)));
    Process::of(table, look, asked, is_whole)
}

/// What a look says of those numbers of a party that are wanted, which it is noted at.
fn judge(
    party: &mut Party,
    (side, pid): Key,
    process: &Process<'_>,
    wanted: impl Fn(&Entry) -> bool,
) -> Vec<Later> {
    let comm = party.comm.clone();
    let entries = party.entries_mut().filter(|entry| wanted(entry));
    let told = entries.map(|entry| {
        let (state, missing) = process.answer(&entry.asked, side);
        entry.state = Some(state);
        Later {
            transfer: entry.transfer,
            side,
            pid,
            comm: comm.clone(),
            fd: entry.asked.fd,
            state,
            missing,
            holders: None,
            holders_more: 0,
        }
    });
    told.collect()
}

/// Tells of a table that was full what it had of what was received, by the first look at it since.
fn tell_full(
    full: &mut [FullTable],
    parties: &HashMap<Key, Party>,
    names: &Names,
    table: &Table,
    look: &TableLook,
) {
    let is_its = |full: &&mut FullTable| {
        let was_there = table.start_ns..=look.t_ns;
        full.looked_ns.is_none() && full.pid == table.pid && was_there.contains(&full.t_ns)
    };
    for full in full.iter_mut().filter(is_its) {
        let party = parties.get(&(Side::Receiver, full.pid));
        let held: Vec<u32> = party
            .iter()
            .flat_map(|party| party.held().map(|entry| entry.name))
            .collect();
        full.looked_ns = Some(look.t_ns);
        full.received = held.len() as u64;
        full.files = names.count(held.into_iter());
    }
}
