//! Pipeline: from events to transfers that have ended and are judged.
//!
//! It reads no clock and asks no kernel: whoever feeds it says what time it is and what was lost. So a
//! machine ([`super::Live`]) and a recording ([`super::Replay`]) go through the same steps: records,
//! [settling](Pipeline::settle), [losses](Pipeline::lost), and then what has ended.

use std::mem;

use crate::{
    judge::{Meanwhile, Outcomes, Received, Unseen},
    model::{Coverage, Earlier, EmptyRights, Judged, Losses, QueueFact, TableLook, Transfer},
    track::Tracker,
    wire::{self, Assembler, Decoder, Record, Symbolizer},
};

/// Transfers whose room is kept for others, at most: those of 10 ms of 200,000 a second.
const KEPT_MAX: usize = 2048;

/// Follows messages, and judges what has ended.
pub struct Pipeline {
    decoder: Decoder,
    assembler: Assembler,
    tracker: Tracker,
    outcomes: Outcomes,
    coverage: Coverage,
    unseen: Unseen,
    received: Received,
    /// Ended, and not judged yet.
    ended: Vec<Transfer>,
    /// Room for what is judged.
    batch: Vec<Judged>,
    /// After how long in a queue a message is shown though it has not ended, nanoseconds.
    overdue_ns: Option<u64>,
    undecodable: u64,
}

impl Pipeline {
    /// A pipeline for events that show what `coverage` says; `symbolize` names code addresses.
    #[must_use]
    pub fn new(coverage: Coverage, symbolize: Symbolizer) -> Self {
        Self {
            decoder: Decoder::default(),
            assembler: Assembler::new(symbolize),
            tracker: Tracker::new(coverage.clone()),
            outcomes: Outcomes::new(coverage.descriptions),
            coverage,
            unseen: Unseen::default(),
            received: Received::default(),
            ended: Vec::new(),
            batch: Vec::new(),
            overdue_ns: None,
            undecodable: 0,
        }
    }

    /// What the events show.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Shows what is in a queue for longer than `ns` nanoseconds before it ends; `None` shows nothing early.
    pub fn tell_overdue(&mut self, ns: Option<u64>) {
        self.overdue_ns = ns;
    }

    /// Takes in the bytes of one record of the ring buffer; `hear` is called with what they say first.
    pub fn record(&mut self, record: &[u8], hear: &mut dyn FnMut(&Record)) {
        match self.decoder.decode(record) {
            Ok(record) => self.take_in(record, hear),
            Err(_) => self.undecodable += 1,
        }
    }

    /// Takes in what a look through the queues found; `hear` is called with it first.
    pub fn found(&mut self, fact: QueueFact, hear: &mut dyn FnMut(&Record)) {
        self.take_in(Record::Event(wire::found(fact)), hear);
    }

    /// Takes in one record; `hear` is called with it first.
    pub fn take_in(&mut self, record: Record, hear: &mut dyn FnMut(&Record)) {
        hear(&record);
        let tracker = &mut self.tracker;
        self.assembler
            .take(record, &mut |event| tracker.apply(event));
        self.conclude();
    }

    fn conclude(&mut self) {
        while let Some(ended) = self.tracker.next_ended() {
            self.outcomes.add(&ended, &mut self.ended);
            self.tracker.reuse(ended);
        }
    }

    /// Says that every record up to `t_ns` (CLOCK_MONOTONIC) has come: what waits for one that would
    /// have come by then ends. Returns whether anything did.
    pub fn settle(&mut self, t_ns: u64) -> bool {
        let tracker = &mut self.tracker;
        self.assembler
            .settle(t_ns, &mut |event| tracker.apply(event));
        let settled = self.tracker.settle(t_ns);
        self.conclude();
        settled
    }

    /// Whether something has ended, which cannot be judged without knowing what was lost until now.
    #[must_use]
    pub fn asks_for_losses(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Says what has been lost by `t_ns` (CLOCK_MONOTONIC). Returns whether that is more than before.
    pub fn lost(&mut self, losses: &Losses, t_ns: u64) -> bool {
        if !self.unseen.losses().same_gaps(losses) {
            self.tracker.note_loss(t_ns.max(losses.read_ns));
        }
        self.unseen.read(losses, t_ns)
    }

    /// What was lost, as far as is known.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        self.unseen.losses()
    }

    /// Hands over what has ended, with what is known of losses while it was on its way. The losses
    /// must have been read since.
    pub fn take_ended(&mut self) -> Vec<(Transfer, Meanwhile)> {
        let ended = mem::take(&mut self.ended).into_iter();
        ended
            .map(|transfer| {
                let meanwhile = self.meanwhile(&transfer);
                (transfer, meanwhile)
            })
            .collect()
    }

    fn meanwhile(&self, transfer: &Transfer) -> Meanwhile {
        match self.unseen.meanwhile(transfer) {
            Meanwhile::AllSeen if self.was_forgotten(transfer) => Meanwhile::RecordsLost,
            meanwhile => meanwhile,
        }
    }

    /// Judges and hands over what has ended. The losses must have been read since.
    pub fn take_judged(&mut self) -> Vec<Judged> {
        let mut judged = mem::take(&mut self.batch);
        let mut ended = mem::take(&mut self.ended);
        for transfer in ended.drain(..) {
            let meanwhile = self.meanwhile(&transfer);
            let watches = |hop| self.coverage.watches(hop);
            let mut transfer = Judged::of(transfer, watches, meanwhile);
            transfer.earlier = self.received.note(&transfer);
            judged.push(transfer);
        }
        ended.shrink_to(KEPT_MAX);
        self.ended = ended;
        judged
    }

    /// Takes back the memory of what was handed over.
    pub fn reuse(&mut self, mut batch: Vec<Judged>) {
        for judged in batch.drain(..) {
            self.outcomes.reuse(judged.transfer);
        }
        batch.shrink_to(KEPT_MAX);
        self.batch = batch;
    }

    /// Whether a look through the queues would tell what is still there for too long by `t_ns`
    /// (CLOCK_MONOTONIC).
    #[must_use]
    pub fn asks_what_is_overdue(&self, t_ns: u64) -> bool {
        self.overdue_ns
            .is_some_and(|ns| self.tracker.asks_what_is_overdue(t_ns.saturating_sub(ns)))
    }

    /// Hands over what is in a queue for too long by `t_ns` (CLOCK_MONOTONIC), once. It has no verdict,
    /// goes on, and ends as others do.
    pub fn take_overdue(&mut self, t_ns: u64) -> Vec<Judged> {
        let Some(ns) = self.overdue_ns else {
            return Vec::new();
        };
        let overdue = self.tracker.take_overdue(t_ns.saturating_sub(ns));
        let transfers = overdue.iter().flat_map(|ended| self.outcomes.of(ended));
        let judged = transfers.map(|transfer| Judged {
            transfer,
            verdict: None,
            earlier: Earlier::default(),
        });
        judged.collect()
    }

    /// Takes in what a look through the tables of processes found.
    pub fn looked(&mut self, look: &TableLook) {
        self.received.look(look);
    }

    /// Whether a send has failed of which it would be known why if what sends return were watched.
    #[must_use]
    pub fn asks_for_returns(&self) -> bool {
        self.tracker.asks_for_returns()
    }

    /// Who has sent SCM_RIGHTS that name no descriptor, most first.
    #[must_use]
    pub fn empty_rights(&self) -> Vec<EmptyRights> {
        self.tracker.empty_rights()
    }

    /// Whether a look through the queues would tell more of what has been seen so far.
    #[must_use]
    pub fn asks_for_queues(&self) -> bool {
        self.tracker.awaits_a_reader()
    }

    /// Whether the message with this list is on its way.
    #[must_use]
    pub fn follows(&self, list: u64) -> bool {
        self.tracker.follows(list)
    }

    /// Ends everything that is still on its way.
    pub fn end(&mut self) {
        let tracker = &mut self.tracker;
        self.assembler.end(&mut |event| tracker.apply(event));
        self.tracker.close_open();
        self.conclude();
    }

    /// Ends what is still on its way and has one of these processes at an end.
    pub fn end_of(&mut self, is_one: impl Fn(u32) -> bool) {
        self.tracker.close_open_of(is_one);
        self.conclude();
    }

    /// Messages, or parts of one, that had to leave before they had ended, for want of memory.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.tracker.forgotten()
    }

    /// Records that could not be decoded.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Whether the tracker has let go of something since it began.
    fn was_forgotten(&self, transfer: &Transfer) -> bool {
        let forgotten = self.tracker.forgotten_at();
        forgotten > 0 && transfer.begin_ns().is_none_or(|begin| begin <= forgotten)
    }
}
