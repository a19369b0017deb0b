//! What a message comes to: a transfer for each of its files, with its ends and its chain.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::conclude::{Conclusion, conclude};
use crate::{
    model::{
        Chain, Context, DescriptionMissing, End, FileDescription, FileIdentity, Hop, HopSeen, Loss,
        Lost, Receiver, Transfer,
    },
    track::{Ended, Ending, File, Message, Seen},
    wire::{self, Stamp},
};

/// Makes transfers of messages that have ended, and numbers them.
#[derive(Default)]
pub struct Outcomes {
    /// Files are described. Where they are not, nobody asks why.
    descriptions: bool,
    transfers: u64,
    /// Memory for hops.
    spare: Vec<Vec<HopSeen>>,
}

/// Lists of hops whose memory is kept for others, at most.
const SPARE_MAX: usize = 2048;

impl Outcomes {
    /// Of messages whose files are described or not.
    #[must_use]
    pub fn new(descriptions: bool) -> Self {
        Self {
            descriptions,
            ..Self::default()
        }
    }

    /// A transfer for each file of a message.
    pub fn of(&mut self, ended: &Ended) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        self.add(ended, &mut transfers);
        transfers
    }

    /// Takes back the memory of a transfer.
    pub fn reuse(&mut self, transfer: Transfer) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(transfer.hops);
        }
    }

    /// Adds a transfer for each file of a message.
    pub fn add(&mut self, ended: &Ended, transfers: &mut Vec<Transfer>) {
        let before = transfers.len();
        let conclusion = |index| ended.conclusion(index);
        ended
            .message
            .add_transfers(conclusion, transfers, &mut self.spare);
        for transfer in &mut transfers[before..] {
            self.transfers += 1;
            transfer.id = self.transfers;
            transfer.peek = ended.is_peek;
            transfer.overdue = matches!(ended.ending, Ending::Overdue);
            transfer.wanted |=
                ended.may_be_wanted && transfer.sender.is_none() && transfer.found_ns.is_none();
            let context = &mut transfer.context;
            if !self.descriptions {
                context.missing = None;
            } else if context.file.is_none()
                && let Some(shown) = FileDescription::of_identity(&transfer.file)
            {
                // The hops themselves show what it is.
                (context.file, context.missing) = (Some(shown.into()), None);
            }
        }
    }
}

impl Ended {
    /// What became of the file at this place; `None` of one that a peek left alone, which is in the
    /// message still.
    fn conclusion(&self, index: usize) -> Option<Conclusion> {
        let concluded = conclude(&self.message, index, self.ending);
        match concluded {
            _ if !self.is_peek => Some(concluded),
            Conclusion::Delivered => Some(Conclusion::Peeked),
            Conclusion::Lost(Loss::Discarded, _) => None,
            _ if matches!(self.ending, Ending::Unseen { .. }) => None,
            _ => Some(concluded),
        }
    }
}

impl Message {
    /// Adds a transfer for each file of which something is concluded.
    fn add_transfers(
        &self,
        conclusion: impl Fn(usize) -> Option<Conclusion>,
        transfers: &mut Vec<Transfer>,
        spare: &mut Vec<Vec<HopSeen>>,
    ) {
        let found = self.found.as_ref();
        let late = self.claim.late.as_ref();
        let sent = late
            .map(|late| &late.stamp)
            .or(found.map(|found| &found.stamp));
        let Some(last) = self.heads.last().map(|(_, head)| head).or(sent) else {
            return;
        };
        let socket = wire::sockets(
            self.head(Hop::Queue).or(sent).map(|sent| &sent.ends),
            &last.ends,
            self.socket_name.as_deref(),
            self.other_socket.as_deref(),
        );
        let mut socket = socket;
        if let Some(to) = &self.failed_send {
            socket.receiver_ino = socket.receiver_ino.or(to.receiver_ino);
        }
        let left = [Hop::Dequeue, Hop::Detach];
        let left = left.into_iter().find(|hop| self.has(*hop));
        let queued_ns = left.and_then(|left| self.time_between(Hop::Queue, left));
        for (index, file) in self.files.iter().enumerate() {
            let seen = file.seen.first().map(|seen| seen.sight);
            let known = seen
                .or_else(|| late?.files.get(index).copied())
                .or_else(|| found?.files.get(index).copied());
            let (Some(concluded), Some(known)) = (conclusion(index), known) else {
                // Not asked for, or every record with this file was lost: the counters have it.
                continue;
            };
            // A look at the queue that may be another sender's is no hop of this message's way.
            let doubt = self.doubt_of_sender(file);
            let unsure = concluded != Conclusion::Queued && doubt.is_some();
            let end = self.end(file, concluded, last);
            let chain = self.chain(file);
            let sender = self.sender(index, file, doubt);
            let of_message = file.seen.iter();
            let of_message = of_message.filter(|seen| !(unsure && seen.hop == Hop::Queue));
            let mut hops = spare.pop().unwrap_or_default();
            hops.clear();
            // Mostly it is the one task and then the other.
            let mut latest = None;
            hops.extend(of_message.map(|seen| {
                let stamp = &self.heads[seen.head].1;
                let (_, name) = match latest.take() {
                    Some((comm, name)) if comm == stamp.by.comm => (comm, name),
                    _ => (stamp.by.comm, stamp.by.name()),
                };
                latest = Some((stamp.by.comm, SmolStr::clone(&name)));
                wire::hop_seen(seen.hop, stamp, name, &seen.sight)
            }));
            // The order of the path is also the order of time, unless the receiver was faster
            // than the sender's own look at the queue.
            hops.sort_by_key(|seen| seen.t_ns);
            let time_of = |hop| Some(hops.iter().find(|seen| seen.hop == hop)?.t_ns);
            let total_ns = time_of(Hop::Install)
                .zip(time_of(Hop::Copy))
                .map(|(install, copy)| install.saturating_sub(copy));
            // Not every hop looks.
            let mut labels = file.seen.iter().map(|seen| seen.sight.file.label);
            let label = labels.find_map(|label| label).or(known.file.label);
            transfers.push(Transfer {
                id: 0,
                message: self.id,
                index: index as u16,
                count: self.count,
                file: FileIdentity {
                    label,
                    ..known.file
                },
                doubt: self.left_open(file, end.fate(), chain, doubt),
                socket: socket.clone(),
                end,
                chain,
                wanted: self.is_wanted(),
                failed_send: self.failed_send.clone(),
                queued_ns: queued_ns.filter(|_| !unsure),
                peek: false,
                overdue: false,
                found_ns: found.map(|found| found.stamp.at.ns),
                context: self.context(file, sender.is_some()),
                sender,
                since_ns: self.sent_since(),
                total_ns,
                hops,
            });
        }
    }

    fn context(&self, file: &File, has_sender: bool) -> Context {
        let description = file.description.clone();
        let description = description.unwrap_or(Err(DescriptionMissing::NotSeen));
        Context {
            file: description.as_ref().ok().cloned(),
            missing: description.err(),
            // Where nobody is named, this is of a task that need not have sent it.
            sender: self.claim.task.filter(|_| has_sender),
            receiver: self.receiver_task,
        }
    }

    /// Whether a task that the filter wants had to do with it.
    fn is_wanted(&self) -> bool {
        let late = self.claim.late.iter().map(|late| &late.stamp);
        let late = late
            .chain(self.found.iter().map(|found| &found.stamp))
            .chain(&self.found_last);
        let mut heads = self.heads.iter().map(|(_, head)| head).chain(late);
        heads.any(|head| head.by.wanted)
    }

    /// Nanoseconds from one hop to another; clock skew between CPUs counts as none.
    fn time_between(&self, from: Hop, to: Hop) -> Option<u64> {
        Some(self.head(to)?.at.ns.saturating_sub(self.head(from)?.at.ns))
    }

    fn end(&self, file: &File, concluded: Conclusion, last: &Stamp) -> End {
        // What has arrived has a receiver, whatever else of its receive was seen. Of the rest, whoever
        // destroyed the list is none.
        let receiver = || self.receiver(file, last);
        let reader = || self.is_being_received().then(receiver);
        match concluded {
            Conclusion::Delivered => End::Delivered(receiver()),
            Conclusion::Peeked => End::Peeked(receiver()),
            Conclusion::Lost(how, cause) => End::Lost(Lost {
                how,
                why: cause.ok_or(self.cause_missing),
                receiver: reader(),
            }),
            Conclusion::Queued => End::Queued,
            Conclusion::Unknown => End::Unknown(reader()),
        }
    }

    fn receiver(&self, file: &File, last: &Stamp) -> Receiver {
        let install = file.at(Hop::Install);
        // A look that comes late is the sender's.
        let returned = || self.head(Hop::Install).unwrap_or(last);
        let head = install.map_or_else(returned, |seen| &self.heads[seen.head].1);
        let mut receiver = wire::receiver(head, install.map(|seen| (&seen.sight, file.inferred)));
        if file.numberless {
            (receiver.fd, receiver.cloexec) = (None, None);
        }
        receiver
    }

    /// Whether the file can be followed, without a gap, from the sender's number to the
    /// receiver's.
    fn chain(&self, file: &File) -> Chain {
        if self.doubtful {
            return Chain::LossBetween;
        }
        let mut path: SmallVec<[&Seen; 8]> = file.seen.iter().collect();
        path.sort_by_key(|seen| seen.hop);
        if let Some(first) = path.first()
            && let Some(other) = path
                .iter()
                .find(|seen| seen.sight.file.ptr != first.sight.file.ptr)
        {
            return Chain::Differs { hop: other.hop };
        }
        if let Some(other) = path
            .windows(2)
            .find(|pair| pair[0].sight.file.ino != pair[1].sight.file.ino)
        {
            // The address is another file's by then: whose turn came in between was not seen.
            return Chain::Gap { hop: other[1].hop };
        }
        let late = self.claim.late.as_ref();
        let mut epochs = path
            .iter()
            .map(|seen| self.heads[seen.head].1.at.epoch)
            .chain(late.map(|late| late.stamp.at.epoch));
        let first_epoch = epochs.next();
        if epochs.any(|epoch| Some(epoch) != first_epoch) {
            return Chain::LossBetween;
        }
        if file.numberless {
            return Chain::Gap { hop: Hop::Install };
        }
        // One hop on each side holds the chain together; more only add witnesses.
        for (side, hop) in [
            (&[Hop::Copy, Hop::Attach, Hop::Queue][..], Hop::Queue),
            (&[Hop::Dequeue, Hop::Detach, Hop::Receive], Hop::Dequeue),
            (&[Hop::Install], Hop::Install),
        ] {
            let late = late.is_some() && hop == Hop::Queue;
            if !late && side.iter().all(|hop| file.at(*hop).is_none()) {
                return Chain::Gap { hop };
            }
        }
        // At copy the kernel itself says which number became which file. Later the number is
        // believed if the sender's table still agrees.
        let copied = file
            .at(Hop::Copy)
            .is_some_and(|seen| seen.sight.fd.is_some());
        let queued = file
            .at(Hop::Queue)
            .is_some_and(|seen| seen.sight.has_its_number())
            && self.is_process_known(self.doubt_of_sender(file));
        if copied || queued || late.is_some() {
            Chain::Whole
        } else {
            Chain::SenderUnknown
        }
    }
}
