//! Tracker: from events to messages, transfers and fates.
//!
//! Pure: no clock, no `/proc`, no kernel. The same events give the same transfers, live or from a
//! recording, whatever order the CPUs' records of one message come in.
//!
//! All messages that are on their way are in [`messages`], each in one phase. A message is found by the
//! address of its list while that list is alive. The address is reused right after, so an earlier hop
//! of the same address is a new message, and nothing is ever matched by a *file's* pointer across
//! messages.
//!
//! Mechanisms differ in two places. *Who sent it* is seen as the numbers are copied ([`by_copy`]), or
//! guessed by a look at the queue ([`by_look`]). *What was installed* is seen file by file
//! ([`by_install`]), or found in the receiver's table ([`by_table`]). What became of the rest is
//! concluded in [`conclude`].

mod by_copy;
mod by_install;
mod by_look;
mod by_table;
mod conclude;
mod found;
mod known;
mod lists;
mod message;
mod messages;
mod put_off;
mod receives;
mod recent;
mod sends;
mod wanted;

use by_look::{Gathering, Senders, Turns};
use conclude::{Called, Ended};
use found::LastLook;
use known::Known;
use message::Message;
use messages::{Entry, Id, Key, Messages, Phase};
use recent::Recent;
use wanted::WantedSenders;

use crate::{
    model::{Cause, Context, Fate, FileDescription, FileIdentity, Occasion, Transfer},
    wire::{Event, List, Stamp},
};

/// Names the kernel function that an address lies in; the tracker itself knows no kernel.
pub type Symbolizer = Box<dyn Fn(u64) -> Option<String>>;

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

/// The latest losses.
#[derive(Clone, Copy, Default)]
struct Lost {
    /// CLOCK_MONOTONIC of the latest that events tell of.
    epoch: u64,
    /// CLOCK_MONOTONIC by which the latest that counters tell of had happened.
    by_ns: u64,
}

impl Lost {
    /// Whether something may have been lost since this was seen.
    fn is_since(self, stamp: &Stamp) -> bool {
        self.epoch > stamp.at.epoch || self.by_ns >= stamp.at.ns
    }
}

/// Follows lists from their first hop to their end.
pub struct Tracker {
    /// All that is on its way.
    messages: Messages,
    /// Duplicates that have neither been attached nor detached yet, each with the address of the list
    /// that it was made from, and the number of the message that was there.
    duplicates: Recent<List, (List, u64)>,
    /// Senders whose lists were gone, until all their records have come.
    late: Gathering,
    /// Who sends on which socket.
    senders: Senders,
    wanted_senders: WantedSenders,
    /// Lists that are being read and had no sender when that began.
    reads_without_sender: Recent<List, List>,
    /// When each thread that receives read a message or returned with one.
    reads: Turns,
    /// Sends that say their own numbers, until all their records have come.
    failing: Gathering,
    /// In which functions a list ends, ahead of its end.
    called: Recent<CallOf, Vec<u64>>,
    /// Whether the end of every list is in the events.
    sees_every_end: bool,
    /// Whether what a send returned is, whose list was given back.
    sees_failed_sends: bool,
    /// Whether the events describe files.
    sees_descriptions: bool,
    /// What was told of files and tasks.
    known: Known,
    /// Socket names that came ahead of their list.
    names: Recent<List, String>,
    closed: Vec<Transfer>,
    /// Messages so far.
    count: u64,
    /// Transfers so far.
    transfers: u64,
    /// Messages, or parts of one, that had to leave for others before they had ended.
    forgotten: u64,
    /// CLOCK_MONOTONIC by which that had happened last.
    forgotten_at: u64,
    /// The latest time of any event.
    latest: u64,
    lost: Lost,
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
            messages: Messages::with_room(files),
            duplicates: Recent::new(parts),
            late: Gathering::default(),
            senders: Senders::default(),
            wanted_senders: WantedSenders::default(),
            reads_without_sender: Recent::new(READS_MAX),
            reads: Turns::of(READERS_MAX),
            failing: Gathering::default(),
            called: Recent::new(parts),
            sees_every_end: true,
            sees_failed_sends: false,
            sees_descriptions: false,
            known: Known::default(),
            names: Recent::new(parts),
            closed: Vec::new(),
            count: 0,
            transfers: 0,
            forgotten: 0,
            forgotten_at: 0,
            latest: 0,
            lost: Lost::default(),
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
        self.lost.epoch = self.lost.epoch.max(at.epoch);
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
            Event::ListCopied(seen) => self.copied(list, &seen),
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
        while let Some(entry) = self.messages.excess() {
            self.forgotten += 1;
            self.end_unseen(entry);
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

    /// Ends a message of which nothing more is to be seen, though that is not its end.
    fn end_unseen(&mut self, entry: Entry) {
        match entry.phase {
            Phase::Listed(_) | Phase::Returning { .. } | Phase::PutOff { .. } => {
                self.close_unseen(&entry.message, Fate::Unknown);
            }
            Phase::PeekOf { .. } => self.end_peek(&entry.message),
            // Nothing was seen of it that is not of the other reader's.
            Phase::Overtaken { .. } => {}
            Phase::AwaitingReturn { .. } => self.close_unreturned(entry.message),
            Phase::AwaitingSender { last, .. } => self.end_receive(&entry.message, &last),
        }
    }

    /// Lets a message go on to another phase.
    fn enter(&mut self, id: Id, phase: Phase) {
        let displaced = self.messages.enter(id, phase);
        self.end_displaced(displaced);
    }

    /// Takes in a message that begins.
    fn begin(&mut self, message: Message, phase: Phase) {
        let displaced = self.messages.add(message, phase);
        self.end_displaced(displaced);
    }

    /// Ends what another message has taken the place of.
    fn end_displaced(&mut self, displaced: Option<Entry>) {
        let Some(entry) = displaced else {
            return;
        };
        match entry.phase {
            Phase::PutOff { last, .. } => self.give_up(entry.message, &last),
            // Another part of the same send, or of the same peek, was seen.
            Phase::AwaitingReturn { .. } | Phase::PeekOf { .. } => {}
            _ => self.end_unseen(entry),
        }
    }

    /// The number of the next message.
    fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Hands over the transfers that have ended since the last call.
    pub fn take_closed(&mut self) -> Vec<Transfer> {
        std::mem::take(&mut self.closed)
    }

    /// Every event up to `t_ns` has come: ends what waits for one that would have come by then. Returns
    /// whether anything has ended for that.
    pub fn settle(&mut self, t_ns: u64) -> bool {
        let closed = self.closed.len();
        self.settle_senders(t_ns);
        self.give_up_passed(t_ns);
        self.closed.len() > closed
    }

    /// Whether a look through the queues would tell which messages are still there since before `t_ns`.
    #[must_use]
    pub fn asks_what_is_overdue(&self, t_ns: u64) -> bool {
        let mut listed = self.messages.listed();
        listed.any(|message| {
            message.is_overdue(t_ns) && !(self.sees_every_end && message.is_seen_since(self.lost))
        })
    }

    /// The transfers that are in a queue since before `t_ns` and have not been told of by this yet.
    /// They go on, and end as others do.
    pub fn take_overdue(&mut self, t_ns: u64) -> Vec<Transfer> {
        let (lost, sees_every_end) = (self.lost, self.sees_every_end);
        // What left its queue may be among what was lost, or have no hook.
        let is_there = |message: &Message| {
            message.still_there || sees_every_end && message.is_seen_since(lost)
        };
        let mut overdue: Vec<&mut Message> = self
            .messages
            .listed_mut()
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
        self.lost.by_ns = self.lost.by_ns.max(t_ns);
    }

    /// Closes every message that is still open. One is `queued` if it was in its queue when all were
    /// looked through at last. Where nobody looked, it is if nothing was seen of it since, and nothing
    /// can have gone unseen. Of others it is not known what became of them.
    pub fn close_open(&mut self) {
        self.close_open_where(|_| true);
        self.messages.take_all(|_| true);
        self.late.clear();
        self.failing.clear();
        self.called.clear();
        self.duplicates.clear();
        self.names.clear();
    }

    /// Closes the open messages in which one of these processes had a part.
    pub fn close_open_of(&mut self, is_one: impl Fn(u32) -> bool) {
        self.close_open_where(|message| message.pids().any(&is_one));
    }

    fn close_open_where(&mut self, is_meant: impl Fn(&Message) -> bool) {
        let goes_on =
            |phase: &Phase| matches!(phase, Phase::PeekOf { .. } | Phase::Overtaken { .. });
        let meant = |entry: &Entry| !goes_on(&entry.phase) && is_meant(&entry.message);
        for entry in self.messages.take_all(meant) {
            match entry.phase {
                Phase::Listed(_) | Phase::Returning { .. } => {
                    let otherwise = match self.is_queued(&entry.message) {
                        true => Fate::Queued,
                        false => Fate::Unknown,
                    };
                    self.close_unseen(&entry.message, otherwise);
                }
                Phase::AwaitingSender { last, .. } => self.end_settled(entry.message, &last),
                Phase::PutOff { last, .. } => self.give_up(entry.message, &last),
                _ => self.end_unseen(entry),
            }
        }
    }

    /// Ends a message whose end went unseen. What was installed is delivered all the same.
    fn close_unseen(&mut self, message: &Message, otherwise: Fate) {
        self.close(message, |index| match message.is_installed(index) {
            true => (Fate::Delivered, None),
            false => (otherwise, None),
        });
    }

    fn close(&mut self, message: &Message, fate: impl Fn(usize) -> (Fate, Option<Cause>)) {
        let mut transfers = message.transfers(|index| Some(fate(index)));
        self.want_possibly_wanted(message, &mut transfers);
        self.number_and_push(transfers);
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
