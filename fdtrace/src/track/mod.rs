//! Tracker: from events to messages, transfers and fates.
//!
//! Pure: no clock, no `/proc`, no kernel. The same events give the same transfers, live or from a
//! recording, whatever order the CPUs' records of one message come in.
//!
//! All messages that are on their way are in `messages`, an arena, each in one phase. A message is found by the
//! address of its list while that list is alive. The address is reused right after, so an earlier hop
//! of the same address is a new message, and nothing is ever matched by a *file's* pointer across
//! messages.
//!
//! Mechanisms differ in two places. *Who sent it* is seen as the numbers are copied (`by_copy`), or
//! guessed by a look at the queue (`by_look`). *What was installed* is seen file by file
//! (`by_install`), or found in the receiver's table (`by_table`). What became of the rest is
//! concluded in `conclude`.

mod by_copy;
mod by_install;
mod by_look;
mod by_table;
mod conclude;
mod ends;
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
use ends::complete;
use found::LastLook;
use known::Known;
use message::Message;
use messages::{Entry, Id, Key, Messages, Phase};
use recent::Recent;
use wanted::WantedSenders;

use crate::{
    model::{Fate, Transfer},
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
        let at = &mut event.stamp_mut().at;
        self.latest = self.latest.max(at.ns);
        self.lost.epoch = self.lost.epoch.max(at.epoch);
        if at.ns > self.forgotten_at {
            // What was forgotten is as good as lost: nothing is proved across that moment.
            at.epoch = at.epoch.max(self.forgotten_at);
        }
        self.take_in(event);
        self.forget_excess();
    }

    fn take_in(&mut self, mut event: Event) {
        let list = event.stamp_mut().list;
        match (event, list) {
            (Event::FileDescribed { of, described }, _) => self.known.note_file(&of, described),
            (Event::TaskDescribed { of, task }, _) => self.known.note_task(of.by.tid, task),
            (Event::QueuesRead { of, every }, _) => self.looked_through(of.at.ns, every),
            (Event::Called { of, addresses }, _) => self.called.insert(CallOf::of(&of), addresses),
            (Event::SenderWanted(of), _) => {
                self.senders.note_unread(&of);
                self.wanted_senders.note(&of);
            }
            (Event::ListQueued(seen, look), _) => self.queued(&seen, look),
            (Event::SendReturned(seen, returned), _) => self.send_returned(&seen, &returned),
            (Event::SocketNamed { name, .. }, Some(list)) => self.names.insert(list, name),
            (Event::ListCopied(seen), Some(list)) => self.copied(list, &seen),
            (Event::ListAttached(seen, from), Some(list)) => self.attached(list, &seen, from),
            (Event::ListFound(seen, occasion), Some(list)) => self.found(list, &seen, occasion),
            (Event::ListDequeued(seen), Some(list)) => self.dequeued(list, &seen),
            (Event::ListDuplicated(seen, Some(from)), Some(list)) => {
                self.duplicated(list, &seen, from);
            }
            (Event::ListDetached(seen, room), Some(list)) => self.detached(list, &seen, room),
            (Event::FileReceived(seen), Some(list)) => self.received(list, &seen),
            (Event::FdInstalled(seen, outcome), Some(list)) => {
                self.installed(list, &seen, outcome);
            }
            (Event::ReceiveReturned(seen, returned), Some(list)) => {
                self.returned(list, seen, &returned);
            }
            (Event::ListReleased(seen, given), Some(list)) => self.released(list, &seen, &given),
            (
                Event::ListDestroyed {
                    seen,
                    freed_by,
                    is_late,
                },
                Some(list),
            ) => self.destroyed(list, &seen, freed_by, is_late),
            // Of a list that it does not name: the kernel half makes none.
            (_, None) | (Event::ListDuplicated(_, None), _) => {}
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
}
