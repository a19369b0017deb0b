//! The trace held against the truth.
//!
//! A transfer is matched with a call by thread and time alone, which no address and no number can
//! confuse; then everything that the trace says of it has to be what the actors know.

use std::collections::{BTreeMap, HashMap, HashSet};

use fdtrace::{
    judge::Meanwhile,
    model::{Fate, Hop, Judged, Transfer, Verdict},
    plan::Plan,
};

use crate::truth::{Call, Fact, Received, Sent};

/// What came of the transfers of one or more rounds.
#[derive(Default)]
pub(crate) struct Tally {
    /// Descriptors that receivers got, as they know themselves.
    pub(crate) arrived: usize,
    /// Of these, how many transfers have each verdict.
    pub(crate) verdicts: BTreeMap<Verdict, usize>,
    /// Of these, how many are `same` and leave their sender's thread open.
    pub(crate) doubted: usize,
    /// Of these, how many transfers say that their end was not seen.
    pub(crate) unknown: usize,
    /// Of these, how many no transfer tells of.
    pub(crate) untold: usize,
    /// Descriptors that were sent and never arrived.
    pub(crate) undelivered: usize,
    /// What the trace says and is not so.
    pub(crate) wrong: Vec<Wrong>,
}

/// One thing that is not so.
pub(crate) struct Wrong {
    /// What is wrong, with the transfer's fate and verdict.
    pub(crate) what: String,
    /// All of the transfer.
    pub(crate) transfer: String,
}

impl Tally {
    pub(crate) fn verdict(&self, verdict: Verdict) -> usize {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.arrived += other.arrived;
        self.doubted += other.doubted;
        self.unknown += other.unknown;
        self.untold += other.untold;
        self.undelivered += other.undelivered;
        self.wrong.extend(other.wrong);
        for (verdict, count) in other.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
    }
}

/// A descriptor that arrived: the receiving thread, when its call began, and the place in the list.
type Arrival = (u32, u64, u16);

/// All that the actors know of a round.
pub(crate) struct Truth {
    sent: HashMap<u64, Sent>,
    /// Each thread's sends, in the order of time.
    sends: HashMap<u32, Vec<u64>>,
    /// Each thread's receives, in the order of time.
    received: HashMap<u32, Vec<Received>>,
    processes: HashSet<u32>,
}

impl Truth {
    pub(crate) fn of(facts: Vec<Fact>) -> Self {
        let mut truth = Self {
            sent: HashMap::new(),
            sends: HashMap::new(),
            received: HashMap::new(),
            processes: HashSet::new(),
        };
        for fact in facts {
            match fact {
                Fact::Sent(sent) => {
                    truth.processes.insert(sent.call.pid);
                    let thread = truth.sends.entry(sent.call.tid).or_default();
                    thread.push(sent.id);
                    truth.sent.insert(sent.id, sent);
                }
                Fact::Received(received) => {
                    truth.processes.insert(received.call.pid);
                    let thread = truth.received.entry(received.call.tid).or_default();
                    thread.push(received);
                }
            }
        }
        truth
            .received
            .values_mut()
            .for_each(|calls| calls.sort_by_key(|received| received.call.from));
        let sent = &truth.sent;
        truth
            .sends
            .values_mut()
            .for_each(|ids| ids.sort_by_key(|id| sent[id].call.from));
        truth
    }

    /// Whether the transfer is of this round's processes.
    pub(crate) fn concerns(&self, transfer: &Transfer) -> bool {
        let hops = transfer.hops.iter().map(|seen| seen.pid);
        hops.chain(transfer.sender.iter().map(|sender| sender.pid))
            .any(|pid| self.processes.contains(&pid))
    }

    /// The receive that this thread was in at that time.
    fn receive_at(&self, tid: u32, t_ns: u64) -> Option<&Received> {
        let calls = self.received.get(&tid)?;
        let after = calls.partition_point(|received| received.call.from <= t_ns);
        let received = &calls[after.checked_sub(1)?];
        received.call.covers(t_ns).then_some(received)
    }

    /// The send that this thread was in at that time.
    fn send_at(&self, tid: u32, t_ns: u64) -> Option<&Sent> {
        let ids = self.sends.get(&tid)?;
        let after = ids.partition_point(|id| self.sent[id].call.from <= t_ns);
        let sent = &self.sent[&ids[after.checked_sub(1)?]];
        sent.call.covers(t_ns).then_some(sent)
    }

    fn receives(&self) -> impl Iterator<Item = &Received> {
        self.received.values().flatten()
    }

    /// Messages that were taken out of their queue with descriptors, each with that receive.
    fn taken(&self) -> HashMap<u64, &Received> {
        self.receives()
            .filter(|received| !received.peeked && !received.fds.is_empty())
            .map(|received| (received.id, received))
            .collect()
    }

    /// Holds `transfers` against what is known, each with what was seen meanwhile.
    pub(crate) fn check(&self, transfers: &[(Transfer, Meanwhile)], plan: &Plan) -> Tally {
        let mut tally = Tally::default();
        let taken = self.taken();
        let mut found = HashSet::new();
        let mut unknown = HashSet::new();
        for (transfer, meanwhile) in transfers {
            let watches = |hop| plan.watches(hop);
            let Judged {
                transfer, verdict, ..
            } = Judged::of(transfer.clone(), watches, *meanwhile);
            let transfer = &transfer;
            let mut complain = |what: String| {
                tally.wrong.push(Wrong {
                    what: format!("{what} ({}, {verdict:?})", transfer.fate()),
                    transfer: format!("{transfer:#?}"),
                });
            };
            if !matches!(transfer.fate(), Fate::Delivered | Fate::Peeked) {
                let arrival = self.arrival(transfer, &taken);
                // What the trace says may have been lost, it does not say.
                if transfer.fate() == Fate::Unknown || verdict == Some(Verdict::Lost) {
                    unknown.extend(arrival);
                } else if arrival.is_some() {
                    complain("it did arrive".to_owned());
                }
                continue;
            }
            let received = match self.receipt(transfer) {
                Ok(received) => received,
                Err(why) => {
                    complain(why);
                    continue;
                }
            };
            if !found.insert((received.call.tid, received.call.from, transfer.index)) {
                complain("a second transfer for one descriptor".to_owned());
                continue;
            }
            if let Err(why) = self.agrees(transfer, received) {
                complain(why);
            }
            // Nothing ever is another file here.
            if verdict == Some(Verdict::Different) {
                complain("said to be different".to_owned());
            }
            if verdict == Some(Verdict::Same) && transfer.doubt.is_some() {
                tally.doubted += 1;
            }
            if let Some(verdict) = verdict {
                *tally.verdicts.entry(verdict).or_default() += 1;
            }
        }
        let arrived = self.receives().map(|received| received.fds.len());
        tally.arrived = arrived.sum();
        tally.unknown = unknown.difference(&found).count();
        tally.untold = tally.arrived - found.len() - tally.unknown;
        let never = self
            .sent
            .values()
            .filter(|sent| !taken.contains_key(&sent.id));
        tally.undelivered = never.map(|sent| sent.fds.len()).sum();
        tally
    }

    /// Where a transfer that is not said to have been delivered came out all the same: in the
    /// receive that it was read in or, if it was not seen there, of the message that was sent then.
    fn arrival(&self, transfer: &Transfer, taken: &HashMap<u64, &Received>) -> Option<Arrival> {
        let read = transfer.hops.iter().rfind(|seen| seen.hop == Hop::Dequeue);
        let received = match (read, &transfer.sender) {
            (Some(read), _) => self.receive_at(read.tid, read.t_ns)?,
            (None, Some(sender)) => taken.get(&self.send_at(sender.tid?, sender.t_ns)?.id)?,
            (None, None) => return None,
        };
        // Of a peek's duplicates nothing is told but that they came, or that it is not known.
        let told = !received.peeked || transfer.fate() == Fate::Unknown;
        let came = told && usize::from(transfer.index) < received.fds.len();
        came.then_some((received.call.tid, received.call.from, transfer.index))
    }

    /// The receive that the transfer tells of.
    fn receipt(&self, transfer: &Transfer) -> Result<&Received, String> {
        let receiver = transfer.receiver().ok_or("delivered to nobody")?;
        // Where another thread has closed the number meanwhile, only the read of it was seen.
        let at = |hop| transfer.hops.iter().rfind(|seen| seen.hop == hop);
        let install = at(Hop::Install)
            .or_else(|| at(Hop::Dequeue))
            .ok_or("delivered and never installed")?;
        if (install.pid, install.tid) != (receiver.pid, receiver.tid) {
            return Err("installed by another than the receiver".to_owned());
        }
        let received = self
            .receive_at(receiver.tid, install.t_ns)
            .ok_or("this thread received nothing at that time")?;
        if received.peeked != (transfer.fate() == Fate::Peeked) {
            return Err("a peek is no delivery".to_owned());
        }
        Ok(received)
    }

    /// Whether all that the transfer says is so.
    fn agrees(&self, transfer: &Transfer, received: &Received) -> Result<(), String> {
        let index = usize::from(transfer.index);
        let sent = &self.sent[&received.id];
        let same = |what: &str, traced: Option<u64>, known: Option<u64>| match traced {
            Some(traced) if Some(traced) != known => {
                Err(format!("{what} is {traced}, in truth {known:?}"))
            }
            _ => Ok(()),
        };
        let number = |fd: i32| u64::from(fd.cast_unsigned());
        let at = |list: &[i32]| list.get(index).map(|fd| number(*fd));
        let pid = |call: &Call| Some(u64::from(call.pid));

        let receiver = transfer.receiver();
        same(
            "the receiver's number",
            receiver.and_then(|receiver| receiver.fd).map(number),
            at(&received.fds),
        )?;
        same(
            "the receiving process",
            receiver.map(|receiver| receiver.pid.into()),
            pid(&received.call),
        )?;
        same(
            "the number of files",
            Some(transfer.count.into()),
            Some(sent.fds.len() as u64),
        )?;
        let ino = sent.inos.get(index).copied();
        same("the file sent", Some(transfer.file.ino), ino)?;
        if !received.inos.is_empty() {
            same(
                "the file received",
                Some(transfer.file.ino),
                received.inos.get(index).copied(),
            )?;
        }
        same(
            "the sender's socket",
            transfer.socket.sender_ino,
            Some(sent.call.socket_ino),
        )?;
        same(
            "the receiver's socket",
            transfer.socket.receiver_ino,
            Some(received.call.socket_ino),
        )?;
        if let Some(sender) = &transfer.sender {
            same(
                "the sending process",
                Some(sender.pid.into()),
                pid(&sent.call),
            )?;
            same(
                "the sending thread",
                sender.tid.map(u64::from),
                Some(sent.call.tid.into()),
            )?;
            same("the sender's number", sender.fd.map(number), at(&sent.fds))?;
            same(
                "the sender's number of its socket",
                sender.socket_fd.map(number),
                Some(number(sent.call.socket_fd)),
            )?;
            // Where the thread is not certain, neither is the time, which is told nobody.
            if sender.tid.is_some() && !sent.call.covers(sender.t_ns) {
                return Err("sent at another time".to_owned());
            }
        }
        let senders = [Hop::Copy, Hop::Attach, Hop::Queue];
        for seen in &transfer.hops {
            let sending = senders.contains(&seen.hop);
            let call = if sending { &sent.call } else { &received.call };
            if seen.tid != call.tid || !call.covers(seen.t_ns) {
                return Err(format!("{:?} is of another call", seen.hop));
            }
        }
        Ok(())
    }
}
