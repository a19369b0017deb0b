//! Tracker: from events to messages, transfers and fates.
//!
//! Pure: no clock, no `/proc`, no kernel. The same events give the same transfers, live or from a
//! recording, whatever order the CPUs' records of one message come in.
//!
//! A message is keyed by the address of its list while that list is alive. The address is reused
//! right after, so an earlier hop of the same address is a new message, and nothing is ever
//! matched by a *file's* pointer across messages.

mod fate;
mod found;
mod gathering;
mod known;
mod looks;
mod message;
mod put_off;
mod receives;
mod recent;
mod senders;
mod sends;
mod turns;
mod wanted;

use std::collections::VecDeque;

use fate::Called;
use found::LastLook;
use gathering::Gathering;
use known::Known;
use message::Message;
use put_off::PutOff;
use receives::Ended;
use recent::Recent;
use senders::Senders;
use turns::Turns;
use wanted::WantedSenders;

use crate::{
    model::{Cause, Context, Fate, FileDescription, FileIdentity, Hop, Occasion, Transfer},
    wire::{Event, Given, List, Return, Sighting, Stamp},
};

/// Names the kernel function that an address lies in; the tracker itself knows no kernel.
pub type Symbolizer = Box<dyn Fn(u64) -> Option<String>>;

/// Messages whose sender is not certain that are kept, at most: a hook that lost its race tells
/// within microseconds.
const ORPHANS_MAX: usize = 64;

/// Reads under way of messages without a sender that are kept, at most; the rest can only be known
/// less well.
const READS_MAX: usize = 256;

/// Threads whose reads are remembered: those that race a sender do so within microseconds.
const READERS_MAX: usize = 4096;

/// Files of messages that are on their way at once, at most, each message counting as one more:
/// some 100 MiB. What came first is forgotten then, and counted.
const FILES_MAX: usize = 131_072;

/// Parts of messages that wait for the rest, of each kind: at most so many. The rest follows at
/// once, unless it was lost.
const PARTS_MAX: usize = 16_384;

/// Whether something was lost since this record was made, with the latest loss that records tell of,
/// and that counters do.
fn has_lost_since(head: &Stamp, epoch: u64, lost_at: u64) -> bool {
    epoch > head.at.epoch || lost_at >= head.at.ns
}

/// Which call it is whose functions wait for the event that they are for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum CallOf {
    List(List),
    /// Of the thread, where there is no list.
    Thread(u32),
}

impl CallOf {
    fn of(stamp: &Stamp) -> Self {
        stamp.list.map_or(Self::Thread(stamp.by.tid), Self::List)
    }
}

/// A message that was received and whose sender a look may still tell.
struct Orphan {
    message: Message,
    /// When its receive returned.
    returned_ns: u64,
    last: Return,
}

/// Follows lists from their first hop to their end.
pub struct Tracker {
    /// Messages whose list is alive, by its address.
    open: Recent<List, Message>,
    /// What MSG_PEEK made of messages that stay, by the address of the duplicate, each with the
    /// address of the list that it was made from.
    peeks: Recent<List, (List, Message)>,
    /// Duplicates that have neither been attached nor detached yet, each with the address of the list
    /// that it was made from, and the message that was there.
    duplicates: Recent<List, (List, u64)>,
    /// Messages that a thread was reading when another began to, by the first: it only peeks, unless
    /// the second reads another message at the same address.
    overtaken: Recent<u32, Message>,
    /// Messages that are being received and whose list's address is another's by now, by the
    /// reading thread, with that address.
    returning: Recent<u32, (List, Message)>,
    /// Messages that were received and whose sender a look may still tell.
    orphans: VecDeque<Orphan>,
    /// Senders whose lists were gone, until all their records have come.
    late: Gathering,
    senders: Senders,
    wanted_senders: WantedSenders,
    /// Addresses of open messages that are being read and had no sender when that began.
    reads_without_sender: Recent<List, List>,
    /// When each thread that receives read a message or returned with one.
    reads: Turns,
    /// Messages that did not get into a queue, by the sending thread, until its call has returned
    /// and says why.
    unsent: Recent<u32, Message>,
    /// Sends that say their own numbers, likewise.
    failing: Gathering,
    /// Sends that may come back.
    put_off: PutOff,
    /// In which functions a list ends, ahead of its end, by the list's address, or the thread's number
    /// where there is no list.
    called: Recent<CallOf, Vec<u64>>,
    /// Whether the end of every list is in the events.
    sees_every_end: bool,
    /// Whether what a send returned is, whose list was given back.
    sees_failed_sends: bool,
    /// Whether the events describe files.
    sees_descriptions: bool,
    /// What was told of files and tasks.
    known: Known,
    /// Socket names that came ahead of their list, by the list's address.
    names: Recent<List, String>,
    closed: Vec<Transfer>,
    messages: u64,
    transfers: u64,
    /// Messages, or parts of one, that had to leave for others before they had ended.
    forgotten: u64,
    /// CLOCK_MONOTONIC by which that had happened last.
    forgotten_at: u64,
    /// The latest time of any record.
    latest: u64,
    /// The latest loss that records tell of.
    epoch: u64,
    /// CLOCK_MONOTONIC by which the latest loss that counters tell of had happened.
    lost_at: u64,
    /// When all queues were looked through at last.
    looked_last: Option<LastLook>,
    symbolize: Symbolizer,
}

impl Tracker {
    /// A tracker that names code addresses with `symbolize`.
    #[must_use]
    pub fn new(symbolize: Symbolizer) -> Self {
        Self::with_room(FILES_MAX, symbolize)
    }

    /// A tracker that keeps so many files of messages on their way, and of each message's parts no
    /// more.
    #[must_use]
    pub fn with_room(files: usize, symbolize: Symbolizer) -> Self {
        let parts = files.min(PARTS_MAX);
        Self {
            open: Recent::weighing(files, Message::weight),
            peeks: Recent::weighing(files, |(_, peek)| peek.weight()),
            duplicates: Recent::new(parts),
            overtaken: Recent::weighing(files, Message::weight),
            returning: Recent::weighing(files, |(_, message)| message.weight()),
            orphans: VecDeque::new(),
            late: Gathering::default(),
            senders: Senders::default(),
            wanted_senders: WantedSenders::default(),
            reads_without_sender: Recent::new(READS_MAX),
            reads: Turns::of(READERS_MAX),
            unsent: Recent::weighing(files, Message::weight),
            failing: Gathering::default(),
            put_off: PutOff::default(),
            called: Recent::new(parts),
            sees_every_end: true,
            sees_failed_sends: false,
            sees_descriptions: false,
            known: Known::default(),
            names: Recent::new(parts),
            closed: Vec::new(),
            messages: 0,
            transfers: 0,
            forgotten: 0,
            forgotten_at: 0,
            latest: 0,
            epoch: 0,
            lost_at: 0,
            looked_last: None,
            symbolize,
        }
    }

    /// Takes into account whether the end of every list is in the events. Where it may not be, a
    /// message that is still open is not called queued.
    #[must_use]
    pub fn seeing_every_end(self, sees_every_end: bool) -> Self {
        Self {
            sees_every_end,
            ..self
        }
    }

    /// Takes into account whether the events tell what a send returned whose list was given back. Where
    /// they do and did not, something went unseen: the kernel has room for so many returns at a time
    /// alone, and does not say which it skipped. That list may be in a queue.
    #[must_use]
    pub fn seeing_failed_sends(self, sees_failed_sends: bool) -> Self {
        Self {
            sees_failed_sends,
            ..self
        }
    }

    /// Takes into account whether the events describe files. Where they do, it is said why one is not.
    #[must_use]
    pub fn seeing_descriptions(self, sees_descriptions: bool) -> Self {
        Self {
            sees_descriptions,
            ..self
        }
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: impl Into<Event>) {
        let mut event = event.into();
        let at = event.stamp().at;
        self.latest = self.latest.max(at.ns);
        self.epoch = self.epoch.max(at.epoch);
        if at.ns > self.forgotten_at {
            // What was forgotten is as good as lost: nothing is proved across that moment.
            event.note_epoch(self.forgotten_at);
        }
        self.take_in(event);
        self.forget_excess();
    }

    fn take_in(&mut self, event: Event) {
        let list = event.stamp().list;
        match event {
            Event::FileDescribed { of, described } => self.known.note_file(&of, described),
            Event::TaskDescribed { of, task } => self.known.note_task(of.by.tid, task),
            Event::QueuesRead { of, every } => self.looked_through(of.at.ns, every),
            Event::Called { of, addresses } => self.called.insert(CallOf::of(&of), addresses),
            Event::SenderWanted(of) => {
                self.senders.note_unread(&of);
                self.wanted_senders.note(&of);
            }
            Event::ListQueued(seen, look) => self.queued(&seen, look),
            Event::SendReturned(seen, returned) => self.send_returned(&seen, &returned),
            // All others are of a list.
            event => {
                if let Some(list) = list {
                    self.take_in_of(list, event);
                }
            }
        }
    }

    fn take_in_of(&mut self, list: List, event: Event) {
        match event {
            Event::SocketNamed { name, .. } => self.names.insert(list, name),
            Event::ListCopied(seen) => {
                self.take_up(&seen);
                self.end_unsent_before(&seen.stamp);
                self.sent(list, Hop::Copy, &seen);
            }
            Event::ListAttached(seen, from) => self.attached(list, &seen, from),
            Event::ListFound(seen, Occasion::First) => self.found_first(list, &seen),
            Event::ListFound(seen, occasion) => self.found_again(list, &seen, occasion),
            Event::ListDequeued(seen) => self.dequeued(list, &seen),
            Event::ListDuplicated(seen, from) => {
                if let Some(from) = from {
                    self.duplicated(list, &seen, from);
                }
            }
            Event::ListDetached(seen, room) => self.detached(list, &seen, room),
            Event::FileReceived(seen) => self.received(list, &seen),
            Event::FdInstalled(seen, outcome) => self.installed(list, &seen, outcome),
            Event::ReceiveReturned(seen, returned) => self.returned(list, seen, &returned),
            Event::ListReleased(seen, given) => self.released(list, &seen, &given),
            Event::ListDestroyed {
                seen,
                freed_by,
                is_late,
            } => self.destroyed(list, &seen, freed_by, is_late),
            // Those of no list have been taken in.
            Event::FileDescribed { .. }
            | Event::TaskDescribed { .. }
            | Event::QueuesRead { .. }
            | Event::Called { .. }
            | Event::SenderWanted(_)
            | Event::ListQueued(..)
            | Event::SendReturned(..) => {}
        }
    }

    /// Messages, or parts of one, that had to leave before they had ended, because more were on
    /// their way than are kept. The transfers among them have ended as `unknown`.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// CLOCK_MONOTONIC by which something was forgotten last, as after a loss; 0 if never.
    #[must_use]
    pub fn forgotten_at(&self) -> u64 {
        self.forgotten_at
    }

    /// Lets go of what came first where there is too much. What it was part of can only be known
    /// less well for it.
    fn forget_excess(&mut self) {
        let before = self.forgotten;
        while let Some(message) = self
            .open
            .excess()
            .or_else(|| self.returning.excess().map(|(_, message)| message))
        {
            self.forgotten += 1;
            self.close_unseen(&message, Fate::Unknown);
        }
        while let Some((_, peek)) = self.peeks.excess() {
            self.forgotten += 1;
            self.end_peek(&peek);
        }
        while self.overtaken.excess().is_some() {
            self.forgotten += 1;
        }
        while let Some(message) = self.unsent.excess() {
            self.forgotten += 1;
            self.close_unreturned(message);
        }
        while let Some(message) = self.put_off_excess() {
            self.forgotten += 1;
            self.close_unseen(&message, Fate::Unknown);
        }
        while self.duplicates.excess().is_some()
            || self.called.excess().is_some()
            || self.names.excess().is_some()
        {
            self.forgotten += 1;
        }
        if self.forgotten > before {
            self.forgotten_at = self.latest;
        }
    }

    /// Hands over the transfers that have ended since the last call.
    pub fn take_closed(&mut self) -> Vec<Transfer> {
        std::mem::take(&mut self.closed)
    }

    /// Whether a look through the queues would tell which messages are still there since before `t_ns`.
    #[must_use]
    pub fn asks_what_is_overdue(&self, t_ns: u64) -> bool {
        let mut open = self.open.values();
        open.any(|message| {
            message.is_overdue(t_ns)
                && !(self.sees_every_end && message.is_seen_since(self.epoch, self.lost_at))
        })
    }

    /// The transfers that are in a queue since before `t_ns` and have not been told of by this yet.
    /// They go on, and end as others do.
    pub fn take_overdue(&mut self, t_ns: u64) -> Vec<Transfer> {
        let (epoch, lost_at, sees_every_end) = (self.epoch, self.lost_at, self.sees_every_end);
        // What left its queue may be among what was lost, or have no hook.
        let is_there = |message: &Message| {
            message.still_there || sees_every_end && message.is_seen_since(epoch, lost_at)
        };
        let mut overdue: Vec<&mut Message> = self
            .open
            .values_mut()
            .filter_map(|message| message.becomes_overdue(t_ns).then_some(message))
            .filter(|message| is_there(message))
            .collect();
        overdue.sort_by_key(|message| message.id);
        let mut transfers = Vec::new();
        for message in overdue {
            for mut transfer in message.transfers(|_| Some((Fate::Queued, None))) {
                self.transfers += 1;
                transfer.id = self.transfers;
                transfer.overdue = true;
                complete(
                    &mut transfer.context,
                    &transfer.file,
                    self.sees_descriptions,
                );
                transfers.push(transfer);
            }
        }
        transfers
    }

    /// Notes that something was lost by `t_ns`, as counters tell: not every loss is in a record.
    pub fn note_loss(&mut self, t_ns: u64) {
        self.lost_at = self.lost_at.max(t_ns);
    }

    /// Whether something may have been lost since this record was made.
    fn has_lost_since(&self, head: &Stamp) -> bool {
        has_lost_since(head, self.epoch, self.lost_at)
    }

    /// Closes every message that is still open. One is `queued` if it was in its queue when all were
    /// looked through at last. Where nobody looked, it is if nothing was seen of it since, and nothing
    /// can have gone unseen. Of others it is not known what became of them.
    pub fn close_open(&mut self) {
        self.close_open_where(|_| true);
        self.late.clear();
        self.failing.clear();
        self.called.clear();
        self.peeks.clear();
        self.overtaken.clear();
        self.duplicates.clear();
        self.names.clear();
    }

    /// Closes the open messages in which one of these processes had a part, likewise.
    pub fn close_open_of(&mut self, is_one: impl Fn(u32) -> bool) {
        self.close_open_where(|message| message.pids().any(&is_one));
    }

    fn close_open_where(&mut self, is_meant: impl Fn(&Message) -> bool) {
        let orphans = std::mem::take(&mut self.orphans);
        let (meant, others): (VecDeque<_>, _) = orphans
            .into_iter()
            .partition(|orphan| is_meant(&orphan.message));
        self.orphans = others;
        for orphan in meant {
            self.end_settled(orphan);
        }
        let returning = self.returning.extract(|(_, message)| is_meant(message));
        let mut open: Vec<Message> = returning.into_iter().map(|(_, message)| message).collect();
        open.extend(self.open.extract(&is_meant));
        open.sort_by_key(|message| message.id);
        for message in open {
            let otherwise = match self.is_queued(&message) {
                true => Fate::Queued,
                false => Fate::Unknown,
            };
            self.close_unseen(&message, otherwise);
        }
        let mut unsent = self.unsent.extract(&is_meant);
        unsent.sort_by_key(|message| message.id);
        for message in unsent {
            self.close_unreturned(message);
        }
        self.give_up_put_off(is_meant);
    }

    fn open_message(&mut self, list: List, head: &Stamp) -> &mut Message {
        let messages = &mut self.messages;
        // A record that is older than the last forgetting may be what is left of a message that is
        // gone.
        let is_rest = head.at.ns <= self.forgotten_at;
        self.open.get_or_insert(list, || {
            *messages += 1;
            let mut message = Message::new(*messages, head.count);
            if is_rest {
                message.doubt();
            }
            message
        })
    }

    /// Joins what was told of the files at this hop to the message.
    fn describe(&mut self, list: List, seen: &Sighting) {
        if let Some(message) = self.open.get_mut(list) {
            message.describe(&self.known, seen);
        }
        self.known.done_with(seen);
    }

    /// Makes room for another message at this list's address.
    ///
    /// Where installs are looked for in the receiver's table, that is after the list was freed: its
    /// address may be queued anew before the receive has returned. The message then waits for its
    /// reader. Otherwise its end went unseen.
    fn retire(&mut self, list: List) {
        let Some(stale) = self.open.remove(list) else {
            return;
        };
        match stale.reader() {
            Some(tid) => {
                self.end_waiting(tid);
                self.returning.insert(tid, (list, stale));
            }
            None => self.close_unseen(&stale, Fate::Unknown),
        }
    }

    /// Likewise if the list at this address has other files by now.
    fn retire_unless_of(&mut self, list: List, seen: &Sighting) {
        if self
            .open
            .get(list)
            .is_some_and(|message| message.shares_nothing_with(seen))
        {
            self.retire(list);
        }
    }

    /// Ends a message whose end went unseen. What was installed is delivered all the same.
    fn close_unseen(&mut self, message: &Message, otherwise: Fate) {
        self.close(message, |index| {
            let installed = message.is_installed(index);
            (
                if installed {
                    Fate::Delivered
                } else {
                    otherwise
                },
                None,
            )
        });
    }

    /// A hop on the sender's side. These come once and in order, so one that does not fit the
    /// message that is open at this address begins another.
    fn sent(&mut self, list: List, hop: Hop, seen: &Sighting) {
        let head = &seen.stamp;
        self.make_way_for(list, seen);
        let fits = self.open.get(list).is_none_or(|message| {
            message.same_sighting(hop, head)
                || message.latest_hop().is_none_or(|latest| latest < hop)
                // The sender's look at the queue may come after the receiver's at the skb.
                || (hop == Hop::Queue
                    && message.is_read_before_queue(head)
                    && !message.shares_nothing_with(seen))
        });
        let mut doubtful = false;
        if !fits {
            doubtful = self.open.get(list).is_some_and(Message::is_doubtful);
            self.retire(list);
        }
        let message = self.open_message(list, head);
        if doubtful {
            message.doubt();
        }
        message.record(hop, seen);
    }

    fn attached(&mut self, list: List, seen: &Sighting, from: Option<List>) {
        self.duplicates.remove(list);
        if let Some(from) = from.filter(|from| *from != list) {
            self.move_to_duplicate(from, list, seen);
        }
        self.sent(list, Hop::Attach, seen);
    }

    /// The skb has a duplicate of the sender's list: from here on the message is that.
    fn move_to_duplicate(&mut self, from: List, list: List, seen: &Sighting) {
        if let Some(message) = self.open.remove(from) {
            self.make_way_for(list, seen);
            self.retire(list);
            self.open.insert(list, message);
        }
    }

    /// A list was duplicated: by its sender for the skb, or by a peek, which leaves the message where
    /// it is. What was not seen at that address is of no message that is there later.
    fn duplicated(&mut self, list: List, seen: &Sighting, from: List) {
        let of = &seen.stamp;
        let Some(message) = self.open.get_mut(from) else {
            return;
        };
        if message.is_being_sent_by(of.by.tid) {
            if from != list {
                self.move_to_duplicate(from, list, seen);
            }
            return;
        }
        message.note_peek(of);
        self.duplicates.insert(list, (from, message.id));
    }

    /// What the duplicate at `list` was made of, unless another message is there by now.
    fn take_origin(&mut self, list: List) -> Option<List> {
        let (origin, id) = self.duplicates.remove(list)?;
        let is_it = |message: &Message| message.id == id;
        self.open.get(origin).is_some_and(is_it).then_some(origin)
    }

    /// A call is done with a list.
    fn released(&mut self, list: List, seen: &Sighting, given: &Given) {
        if self.peeks.contains(list) {
            if seen.is_last()
                && let Some((origin, peek)) = self.peeks.remove(list)
            {
                let called = self.called_at(CallOf::List(list), None);
                self.end_peek_with(&peek, Ended::Gave(given), &called);
                self.put_back(origin);
            }
            return;
        }
        if let Some(origin) = self.take_origin(list) {
            // Peeked at by a call that took no descriptors.
            let called = self.called_at(CallOf::List(list), None);
            if let Some(peek) = self.open.get(origin).cloned() {
                self.end_peek_with(&peek, Ended::Gave(given), &called);
            }
            self.put_back(origin);
            return;
        }
        self.retire_unless_of(list, seen);
        let Some(message) = self.open.get_mut(list) else {
            // A sender's own list, after the skb got a duplicate.
            return;
        };
        message.record(Hop::End, seen);
        message.describe(&self.known, seen);
        self.known.done_with(seen);
        if !seen.is_last() {
            return;
        }
        let Some(message) = self.open.remove(list) else {
            return;
        };
        let called = self.called_at(CallOf::List(list), None);
        if message.is_being_received() {
            self.end_receive_in(&message, Ended::Gave(given), &called);
        } else if message.was_queued() {
            // Without such a function it may have been read and installed: the kernel skips programs
            // on a CPU where a task was preempted in them.
            let ended = called.given_back().unwrap_or((Fate::Unknown, None));
            self.close(&message, |_| ended);
        } else {
            self.unsent.insert(seen.stamp.by.tid, message);
        }
    }

    fn destroyed(&mut self, list: List, seen: &Sighting, freed_by: Option<u64>, is_late: bool) {
        let head = seen.stamp;
        if is_late && !self.open.contains(list) {
            // Told by the hook on its freeing, or older than the trace.
            self.called.remove(CallOf::List(list));
            self.known.done_with(seen);
            return;
        }
        self.retire_unless_of(list, seen);
        self.open_message(list, &head).record(Hop::End, seen);
        self.describe(list, seen);
        if !seen.is_last() {
            return;
        }
        let called = self.called_at(CallOf::List(list), freed_by);
        let Some(mut message) = self.open.remove(list) else {
            return;
        };
        if !message.was_queued() && called.by_sender() {
            // What the call returns says why.
            message.given_up = true;
            self.unsent.insert(head.by.tid, message);
        } else {
            self.close(&message, |_| called.destroyed());
        }
    }

    /// The functions in which the list of this record ends.
    fn called_at(&mut self, call: CallOf, freed_by: Option<u64>) -> Called {
        let addresses = self.called.remove(call).unwrap_or_default();
        match freed_by {
            Some(address) if addresses.is_empty() => Called::by((self.symbolize)(address)),
            _ => self.named(addresses),
        }
    }

    fn named(&self, addresses: Vec<u64>) -> Called {
        let addresses = addresses.into_iter();
        Called::new(addresses.filter_map(|address| (self.symbolize)(address)))
    }

    fn close(&mut self, message: &Message, fate: impl Fn(usize) -> (Fate, Option<Cause>)) {
        let mut transfers = message.transfers(|index| Some(fate(index)));
        self.want_possibly_wanted(message, &mut transfers);
        self.number_and_push(transfers);
    }

    /// What was sent by nobody knows whom may be a wanted sender's.
    fn want_possibly_wanted(&self, message: &Message, transfers: &mut [Transfer]) {
        for transfer in transfers {
            transfer.wanted |= transfer.sender.is_none()
                && transfer.found_ns.is_none()
                && self.wanted_senders.may_have_sent(message);
        }
    }

    fn number_and_push(&mut self, transfers: Vec<Transfer>) {
        for mut transfer in transfers {
            self.transfers += 1;
            transfer.id = self.transfers;
            complete(
                &mut transfer.context,
                &transfer.file,
                self.sees_descriptions,
            );
            self.closed.push(transfer);
        }
    }
}

/// Says what a file is where the hops themselves show it, and nothing of what is missing where nobody
/// asked for it.
fn complete(context: &mut Context, file: &FileIdentity, sees_descriptions: bool) {
    if !sees_descriptions {
        context.missing = None;
    } else if context.file.is_none()
        && let Some(shown) = FileDescription::of_identity(file)
    {
        (context.file, context.missing) = (Some(shown.into()), None);
    }
}
