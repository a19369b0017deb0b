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
mod empty;
mod ends;
mod found;
mod list;
mod lists;
mod message;
mod messages;
mod put_off;
mod receives;
mod sends;
mod wanted;
mod whole;

pub(crate) use by_look::{PREEMPTED_MAX_NS, Sharing};
use by_look::{Senders, Turns};
use empty::EmptySends;
pub use ends::Ended;
pub(crate) use ends::Ending;
pub(crate) use message::{File, Message, Seen};
use messages::{Entry, Id, Key, Messages, Phase};
use wanted::WantedSenders;

use std::collections::VecDeque;

use crate::{
    model::{Coverage, EmptyRights},
    wire::{Event, EventKind, List, Recent, Sighting, Stamp},
};

/// Reads under way of messages without a sender that are kept, at most; the rest can only be known
/// less well.
const READS_MAX: usize = 256;

/// Threads whose reads are remembered: those that race a sender do so within microseconds.
const READERS_MAX: usize = 4096;

/// Files of messages that are on their way at once, at most, each message counting as one more:
/// some 100 MiB. What came first is forgotten then, and counted.
const FILES_MAX: usize = 131_072;

/// Duplicates that are neither on an skb nor about to be installed yet, at most. Either follows at once,
/// unless it was lost.
const DUPLICATES_MAX: usize = 16_384;

/// Messages that have ended whose memory is kept for others, at most.
const SPARE_MAX: usize = 64;

/// What such a message weighs, at most.
const SPARE_WEIGHT_MAX: usize = 32;

/// The latest losses.
#[derive(Clone, Copy, Default)]
struct Lost {
    /// CLOCK_MONOTONIC of the latest loss that an event carries.
    epoch: u64,
    /// CLOCK_MONOTONIC by which the latest loss that counters show had happened.
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
    /// What the events can show.
    coverage: Coverage,
    /// All that is on its way.
    messages: Messages,
    /// Duplicates that have neither been attached nor detached yet, each with the address of the list
    /// that it was made from, and the number of the message that was there.
    duplicates: Recent<List, (List, u64)>,
    /// Who sends on which socket.
    senders: Senders,
    wanted_senders: WantedSenders,
    /// Lists that are being read and had no sender when that began.
    reads_without_sender: Recent<List, List>,
    /// When each thread that receives read a message or returned with one.
    reads: Turns,
    ended: VecDeque<Ended>,
    empty_sends: EmptySends,
    /// Memory for messages that begin.
    #[expect(clippy::vec_box, reason = "messages are handed around by their boxes")]
    spare: Vec<Box<Message>>,
    /// Messages so far.
    count: u64,
    /// Messages, or parts of one, that had to leave for others before they had ended.
    forgotten: u64,
    /// CLOCK_MONOTONIC by which that had happened last.
    forgotten_at: u64,
    /// The latest time of any event.
    latest: u64,
    lost: Lost,
    /// A send has failed of which it would be known why if what sends return were watched.
    asks_for_returns: bool,
    /// When the look through all queues at the trace's end began, if every one of them could be read.
    looked_at_all: Option<u64>,
}

impl Tracker {
    /// A tracker for events that show what `coverage` says.
    #[must_use]
    pub fn new(coverage: Coverage) -> Self {
        Self::with_room(FILES_MAX, coverage)
    }

    /// A tracker that keeps at most `files` files of messages on their way.
    #[must_use]
    pub fn with_room(files: usize, coverage: Coverage) -> Self {
        Self {
            coverage,
            messages: Messages::with_room(files),
            duplicates: Recent::new(files.min(DUPLICATES_MAX)),
            senders: Senders::default(),
            wanted_senders: WantedSenders::default(),
            reads_without_sender: Recent::new(READS_MAX),
            reads: Turns::of(READERS_MAX),
            ended: VecDeque::new(),
            empty_sends: EmptySends::default(),
            spare: Vec::new(),
            count: 0,
            forgotten: 0,
            forgotten_at: 0,
            latest: 0,
            lost: Lost::default(),
            asks_for_returns: false,
            looked_at_all: None,
        }
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: &mut Event) {
        let Event { kind, seen } = event;
        let at = &mut seen.stamp.at;
        self.latest = self.latest.max(at.ns);
        self.lost.epoch = self.lost.epoch.max(at.epoch);
        if at.ns > self.forgotten_at {
            // What was forgotten is as good as lost: nothing is proved across that moment.
            at.epoch = at.epoch.max(self.forgotten_at);
        }
        self.take_in(*kind, seen);
        self.forget_excess();
    }

    fn take_in(&mut self, kind: EventKind, seen: &mut Sighting) {
        match (kind, seen.stamp.list) {
            (EventKind::QueuesRead { every }, _) => {
                self.looked_at_all = every.then_some(seen.stamp.at.ns);
            }
            (EventKind::SenderWanted, _) => {
                self.senders.note_unread(&seen.stamp);
                self.wanted_senders.note(&seen.stamp);
            }
            (EventKind::ListQueued(look), _) => self.queued(seen, look),
            (EventKind::Sent(copied_ns), Some(list)) => self.sent_whole(list, seen, copied_ns),
            (EventKind::Unsent(unsent), Some(list)) => self.unsent(list, seen, unsent),
            (EventKind::Received(received), Some(list)) => {
                self.received_whole(list, seen, received);
            }
            (EventKind::SendReturned(returned), _) => self.send_returned(seen, &returned),
            (EventKind::RightsIgnored, _) => self.rights_ignored(seen),
            // Without a descriptor there is no message to follow.
            (EventKind::RightsEmpty, _) => self.empty_sends.note(&seen.stamp),
            // Of a list that it does not name: the kernel half makes none.
            (_, None) | (EventKind::ListDuplicated(None), _) => {}
            (EventKind::ListCopied, Some(list)) => self.copied(list, seen),
            (EventKind::ListAttached(from), Some(list)) => self.attached(list, seen, from),
            (EventKind::ListFound(occasion), Some(list)) => self.found(list, seen, occasion),
            (EventKind::ListDequeued, Some(list)) => self.dequeued(list, seen),
            (EventKind::ListDuplicated(Some(from)), Some(list)) => {
                self.duplicated(list, seen, from);
            }
            (EventKind::ListDetached(room), Some(list)) => self.detached(list, seen, room),
            (EventKind::FileReceived, Some(list)) => self.received(list, seen),
            (EventKind::FdInstalled(outcome), Some(list)) => self.installed(list, seen, outcome),
            (EventKind::ReceiveReturned(returned), Some(list)) => {
                self.returned(list, seen, &returned);
            }
            (EventKind::ListReleased(given), Some(list)) => self.released(list, seen, &given),
            (EventKind::ListDestroyed { is_late, .. }, Some(list)) => {
                self.destroyed(list, seen, is_late);
            }
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

    /// Whether a send has failed of which it would be known why if what sends return were watched.
    #[must_use]
    pub fn asks_for_returns(&self) -> bool {
        self.asks_for_returns
    }

    /// Who has sent SCM_RIGHTS that name no descriptor, most first.
    #[must_use]
    pub fn empty_rights(&self) -> Vec<EmptyRights> {
        self.empty_sends.told()
    }

    /// A message that begins, with this many files.
    fn new_message(&mut self, count: u16) -> Box<Message> {
        let number = self.next_number();
        let mut message = self.spare.pop().unwrap_or_default();
        message.begin_anew(number, count);
        message
    }

    /// Takes back the memory of a message that has ended.
    pub fn reuse(&mut self, ended: Ended) {
        if self.spare.len() < SPARE_MAX && ended.message.weight() <= SPARE_WEIGHT_MAX {
            self.spare.push(ended.message);
        }
    }

    /// The number of the next message.
    fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Hands over what has ended since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended).into()
    }

    /// Hands over what has ended first, if anything has that was not handed over.
    pub fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// Every event up to `t_ns` has come: ends what waits for one that would have come by then. Returns
    /// whether anything has ended for that.
    pub fn settle(&mut self, t_ns: u64) -> bool {
        let before = self.ended.len();
        self.settle_senders(t_ns);
        self.give_up_passed(t_ns);
        self.ended.len() > before
    }

    /// Whether a look through the queues would tell which messages are still there since before `t_ns`.
    #[must_use]
    pub fn asks_what_is_overdue(&self, t_ns: u64) -> bool {
        let (lost, every_end) = (self.lost, self.coverage.every_end);
        let mut listed = self.messages.listed();
        listed.any(|it| it.is_overdue(t_ns) && !(every_end && it.is_seen_since(lost)))
    }

    /// Hands over what is in a queue since before `t_ns` and has not been handed over by this yet. It goes
    /// on, and ends as others do.
    pub fn take_overdue(&mut self, t_ns: u64) -> Vec<Ended> {
        let (lost, every_end) = (self.lost, self.coverage.every_end);
        // What left its queue may be among what was lost, or have no hook.
        let is_there = |it: &Message| it.still_there || every_end && it.is_seen_since(lost);
        let mut overdue = Vec::new();
        for message in self.messages.listed_mut().filter(|it| it.is_overdue(t_ns)) {
            message.overdue = true;
            if is_there(message) {
                overdue.push(Box::new(message.clone()));
            }
        }
        overdue.sort_by_key(|message| message.id);
        let overdue = overdue.into_iter().map(|message| Ended {
            may_be_wanted: self.wanted_senders.may_have_sent(&message),
            message,
            ending: Ending::Overdue,
            is_peek: false,
        });
        overdue.collect()
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
        self.duplicates.clear();
    }

    /// Closes the open messages in which one of these processes had a part.
    pub fn close_open_of(&mut self, is_one: impl Fn(u32) -> bool) {
        self.close_open_where(|message| message.pids().any(&is_one));
    }
}
