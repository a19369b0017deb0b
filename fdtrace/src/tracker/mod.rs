//! Tracker: from events to messages, transfers and fates.
//!
//! Pure: no clock, no `/proc`, no kernel. The same events give the same transfers, live or from a
//! recording, whatever order the CPUs' records of one message come in.
//!
//! A message is keyed by the address of its list while that list is alive. The address is reused
//! right after, so a second sighting of the same address in a queue is a new message, and nothing
//! is ever matched by a *file's* pointer across messages.

mod transfer;

use std::collections::HashMap;

use fdtrace_common::records::{FLAG_PEEK, FLAG_RACED, FLAG_WINDOW_SHORT, FileSeen, Head, LIST_MAX};

pub use transfer::{
    Cause, Chain, Fate, FileIdentity, HopSeen, Receiver, Sender, Socket, SocketType, Transfer,
};

use crate::{
    event::{Event, Sighting, comm},
    plan::Hop,
};

/// Names the kernel function that an address lies in; the tracker itself knows no kernel.
pub type Symbolizer = Box<dyn Fn(u64) -> Option<String>>;

/// Follows lists from their queue to their end.
pub struct Tracker {
    /// Messages whose list is alive, by its address.
    open: HashMap<u64, Message>,
    /// Socket names that came ahead of their list, by the list's address.
    names: HashMap<u64, Vec<u8>>,
    closed: Vec<Transfer>,
    messages: u64,
    transfers: u64,
    symbolize: Symbolizer,
}

/// A message on its way.
struct Message {
    id: u64,
    count: u16,
    queued: Option<Head>,
    dequeued: Option<Head>,
    socket_name: Option<Vec<u8>>,
    files: Vec<Slots>,
    /// Records of the receive that is returning, until all have come.
    returned: Vec<FileSeen>,
}

/// One file of a message, as each hop saw it.
#[derive(Clone, Default)]
struct Slots {
    queued: Option<FileSeen>,
    dequeued: Option<FileSeen>,
}

impl Message {
    fn new(id: u64, count: u16) -> Self {
        Self {
            id,
            count,
            queued: None,
            dequeued: None,
            socket_name: None,
            files: vec![Slots::default(); usize::from(count).min(LIST_MAX)],
            returned: Vec::new(),
        }
    }
}

impl Tracker {
    /// A tracker that names code addresses with `symbolize`.
    #[must_use]
    pub fn new(symbolize: Symbolizer) -> Self {
        Self {
            open: HashMap::new(),
            names: HashMap::new(),
            closed: Vec::new(),
            messages: 0,
            transfers: 0,
            symbolize,
        }
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::SocketNamed { head, name } => {
                self.names.insert(head.list, name);
            }
            Event::ListQueued(seen) => self.queued(&seen),
            Event::ListDequeued(seen) => self.dequeued(&seen),
            Event::ReceiveReturned(seen) => self.returned(seen),
            Event::ListDestroyed(seen) => self.destroyed(&seen),
        }
    }

    /// Hands over the transfers that have ended since the last call.
    pub fn take_closed(&mut self) -> Vec<Transfer> {
        std::mem::take(&mut self.closed)
    }

    /// Closes every message that is still open. One that was never read is `queued`; of one that
    /// was, the end went unseen.
    pub fn close_open(&mut self) {
        let mut open: Vec<Message> = self.open.drain().map(|(_, message)| message).collect();
        open.sort_by_key(|message| message.id);
        for message in open {
            let fate = if message.dequeued.is_some() {
                Fate::Unknown
            } else {
                Fate::Queued
            };
            self.close(&message, fate);
        }
    }

    fn open_message(&mut self, head: &Head) -> &mut Message {
        let messages = &mut self.messages;
        self.open.entry(head.list).or_insert_with(|| {
            *messages += 1;
            Message::new(*messages, head.count)
        })
    }

    fn queued(&mut self, seen: &Sighting) {
        let head = &seen.head;
        if head.flags & FLAG_RACED != 0 {
            // The list was gone before it was read; what the record holds may be anybody's.
            return;
        }
        if let Some(message) = self.open.get(&head.list) {
            let same_hop = message
                .queued
                .is_some_and(|queued| queued.t_ns == head.t_ns && queued.tid == head.tid);
            let late = message.queued.is_none()
                && message.dequeued.is_some_and(|dequeued| {
                    dequeued.skb == head.skb && dequeued.count == head.count
                });
            if !same_hop && !late {
                // The address is queued anew, so the list that had it is gone, unseen.
                if let Some(stale) = self.open.remove(&head.list) {
                    self.close(&stale, Fate::Unknown);
                }
            }
        }
        let name = self.names.remove(&head.list);
        let message = self.open_message(head);
        message.queued.get_or_insert(*head);
        if name.is_some() {
            message.socket_name = name;
        }
        record(&mut message.files, seen, |slots| &mut slots.queued);
    }

    fn dequeued(&mut self, seen: &Sighting) {
        let head = &seen.head;
        let other = self.open.get(&head.list).is_some_and(|message| {
            message.count != head.count
                || message.queued.is_some_and(|queued| queued.skb != head.skb)
        });
        if other {
            // The same address on another skb: a list of which nothing was seen until now.
            if let Some(stale) = self.open.remove(&head.list) {
                self.close(&stale, Fate::Unknown);
            }
        }
        let message = self.open_message(head);
        // After a peek the list is read again, perhaps by another task: the last reader counts.
        message.dequeued = Some(*head);
        record(&mut message.files, seen, |slots| &mut slots.dequeued);
    }

    fn returned(&mut self, seen: Sighting) {
        let head = seen.head;
        let Some(message) = self.open.get_mut(&head.list) else {
            return;
        };
        if head.first == 0 {
            message.returned.clear();
        }
        message.returned.extend(seen.files);
        if message.returned.len() < usize::from(head.total) {
            return;
        }
        let gained = std::mem::take(&mut message.returned);
        let installs = match_installs(message, &head, &gained);
        if head.flags & FLAG_PEEK != 0 {
            // A peek installs duplicates and leaves the message in the queue.
            let transfers = self.open.get(&head.list).map(|message| {
                let peeked = |index: usize| installs[index].as_ref().map(|_| (Fate::Peeked, None));
                self.build(message, &head, &installs, peeked)
            });
            self.number_and_push(transfers.unwrap_or_default());
            return;
        }
        if let Some(message) = self.open.remove(&head.list) {
            let undelivered = undelivered(&head);
            let fate = |index: usize| match installs[index] {
                Some(_) => Some((Fate::Delivered, None)),
                None => Some(undelivered),
            };
            let transfers = self.build(&message, &head, &installs, fate);
            self.number_and_push(transfers);
        }
    }

    fn destroyed(&mut self, seen: &Sighting) {
        let head = seen.head;
        let message = self.open_message(&head);
        if usize::from(head.first) + seen.files.len() < usize::from(head.count) {
            return;
        }
        if message.queued.is_none() && message.dequeued.is_none() {
            record(&mut message.files, seen, |slots| &mut slots.queued);
        }
        let function = (self.symbolize)(head.location);
        let ended = transfer::cause_of_destruction(function.as_deref(), &comm(&head));
        if let Some(message) = self.open.remove(&head.list) {
            let mut transfers =
                self.build(&message, &head, &vec![None; message.files.len()], |_| {
                    Some(ended)
                });
            for transfer in &mut transfers {
                let refs = seen
                    .files
                    .iter()
                    .find(|file| file.file == transfer.file.ptr);
                transfer.hops.push(HopSeen::new(Hop::End, &head, refs));
            }
            self.number_and_push(transfers);
        }
    }

    /// Ends a message whose receive was not seen.
    fn close(&mut self, message: &Message, fate: Fate) {
        let Some(last) = message.dequeued.or(message.queued) else {
            return;
        };
        let none = vec![None; message.files.len()];
        let transfers = self.build(message, &last, &none, |_| Some((fate, None)));
        self.number_and_push(transfers);
    }

    fn number_and_push(&mut self, transfers: Vec<Transfer>) {
        for mut transfer in transfers {
            self.transfers += 1;
            transfer.id = self.transfers;
            self.closed.push(transfer);
        }
    }

    /// A transfer for each file of the message for which `fate` has one.
    fn build(
        &self,
        message: &Message,
        last: &Head,
        installs: &[Option<Install>],
        fate: impl Fn(usize) -> Option<(Fate, Option<Cause>)>,
    ) -> Vec<Transfer> {
        let socket = Socket::of(
            message.queued.as_ref(),
            last,
            message.socket_name.as_deref(),
        );
        let mut transfers = Vec::new();
        for (index, slots) in message.files.iter().enumerate() {
            let Some((fate, cause)) = fate(index) else {
                continue;
            };
            let Some(known) = slots.queued.or(slots.dequeued) else {
                // Every record with this file was lost; the counters have it.
                continue;
            };
            let install = installs[index];
            let mut hops = Vec::new();
            if let (Some(head), Some(file)) = (&message.queued, &slots.queued) {
                hops.push(HopSeen::new(Hop::Queue, head, Some(file)));
            }
            if let (Some(head), Some(file)) = (&message.dequeued, &slots.dequeued) {
                hops.push(HopSeen::new(Hop::Dequeue, head, Some(file)));
            }
            if let Some(install) = &install {
                hops.push(HopSeen::new(Hop::Install, last, Some(&install.file)));
            }
            // The order of the path is also the order of time, unless the receiver was faster
            // than the sender's own look at the queue.
            hops.sort_by_key(|hop| hop.t_ns);
            transfers.push(Transfer {
                id: 0,
                message: message.id,
                index: index as u16,
                count: message.count,
                file: FileIdentity::of(&known),
                sender: message
                    .queued
                    .as_ref()
                    .map(|head| Sender::of(head, slots.queued.as_ref())),
                receiver: receiver(message, last, install.as_ref(), fate),
                socket: socket.clone(),
                fate,
                cause,
                chain: chain(message, slots, install.as_ref(), last),
                queued_ns: queued_ns(message),
                total_ns: None,
                hops,
            });
        }
        transfers
    }
}

/// Notes a sighting's files at their places in the list.
fn record(files: &mut [Slots], seen: &Sighting, hop: impl Fn(&mut Slots) -> &mut Option<FileSeen>) {
    let first = usize::from(seen.head.first);
    for (slots, file) in files.iter_mut().skip(first).zip(&seen.files) {
        *hop(slots) = Some(*file);
    }
}

/// The one call whose control message the programs read.
const SYS_RECVMSG: i32 = 47;

/// A descriptor that the receiver gained, taken for a file of the list.
#[derive(Clone, Copy)]
struct Install {
    file: FileSeen,
    /// No control message named the number; it holds the right file, and that is all we know.
    inferred: bool,
}

/// Finds each file's new descriptor among those that the receiver's table gained.
///
/// The receiver's control message says which number belongs to which file, in order; the table
/// says what is behind it. A number that is not new is left over from an earlier receive. In calls
/// whose control message is not where fdtrace looks, a new descriptor that holds the file is taken
/// for its own.
fn match_installs(message: &Message, returned: &Head, gained: &[FileSeen]) -> Vec<Option<Install>> {
    let told: Vec<i32> = gained
        .iter()
        .map(|file| file.told)
        .filter(|told| *told >= 0)
        .collect();
    let by_number: HashMap<i32, &FileSeen> = gained
        .iter()
        .filter(|file| file.file != 0)
        .map(|file| (file.fd, file))
        .collect();
    if returned.syscall == SYS_RECVMSG {
        return (0..message.files.len())
            .map(|index| {
                let file = **by_number.get(told.get(index)?)?;
                Some(Install {
                    file,
                    inferred: false,
                })
            })
            .collect();
    }
    let mut taken = vec![false; gained.len()];
    message
        .files
        .iter()
        .map(|slots| {
            let wanted = slots.dequeued.or(slots.queued)?.file;
            let found = (0..gained.len()).find(|at| !taken[*at] && gained[*at].file == wanted)?;
            taken[found] = true;
            Some(Install {
                file: gained[found],
                inferred: true,
            })
        })
        .collect()
}

/// What became of files that a receive took and did not install.
fn undelivered(returned: &Head) -> (Fate, Option<Cause>) {
    const READS: [i32; 3] = [
        0,  /* read */
        19, /* readv */
        45, /* recvfrom */
    ];
    if returned.flags & FLAG_WINDOW_SHORT != 0 {
        // New numbers may lie beyond what was looked at.
        (Fate::Unknown, None)
    } else if returned.result < 0 {
        (Fate::Discarded, Some(Cause::ReceiveFailed))
    } else if READS.contains(&returned.syscall) {
        (Fate::Discarded, Some(Cause::PlainRead))
    } else {
        (Fate::Truncated, Some(Cause::NoControlRoom))
    }
}

fn receiver(
    message: &Message,
    last: &Head,
    install: Option<&Install>,
    fate: Fate,
) -> Option<Receiver> {
    if fate == Fate::Queued {
        return None;
    }
    // Without a dequeue the last record is of whoever destroyed the list, not of a receiver.
    message.dequeued.as_ref()?;
    Some(Receiver::of(
        last,
        install.map(|install| (&install.file, install.inferred)),
    ))
}

/// From the queue to the reader; negative clock skew between CPUs counts as none.
fn queued_ns(message: &Message) -> Option<u64> {
    Some(message.dequeued?.t_ns.saturating_sub(message.queued?.t_ns))
}

/// Whether the file can be followed, without a gap, from the sender's number to the receiver's.
fn chain(message: &Message, slots: &Slots, install: Option<&Install>, last: &Head) -> Chain {
    let pointers = [
        (Hop::Queue, slots.queued.map(|file| file.file)),
        (Hop::Dequeue, slots.dequeued.map(|file| file.file)),
        (Hop::Install, install.map(|install| install.file.file)),
    ];
    let mut seen = pointers
        .iter()
        .filter_map(|(hop, ptr)| Some((*hop, (*ptr)?)));
    if let Some((_, first)) = seen.next()
        && let Some((hop, _)) = seen.find(|(_, ptr)| *ptr != first)
    {
        return Chain::Differs { hop };
    }
    let heads = [
        message.queued.as_ref(),
        message.dequeued.as_ref(),
        Some(last),
    ];
    let mut epochs = heads.into_iter().flatten().map(|head| head.epoch);
    let first_epoch = epochs.next();
    if epochs.any(|epoch| Some(epoch) != first_epoch) {
        return Chain::LossBetween;
    }
    if let Some((hop, _)) = pointers.iter().find(|(_, ptr)| ptr.is_none()) {
        return Chain::Gap { hop: *hop };
    }
    match slots.queued {
        Some(file) if file.fd >= 0 && file.slot == file.file => Chain::Whole,
        _ => Chain::SenderUnknown,
    }
}
