//! Who sent a message whose list was only looked for in its queue.

use super::{
    super::{
        Known,
        by_look::{LateSender, PREEMPTED_MAX_NS, REFS_OF_ONE_NUMBER, Senders, Sharing},
    },
    File, Message,
};
use crate::{
    model::{Doubt, Hop, SocketType, Task},
    wire::{Look, Sight, Sighting, Stamp},
};

impl Message {
    /// Whether a receiver has read it and nothing is known of its sender.
    pub(in crate::track) fn lacks_sender(&self) -> bool {
        self.has(Hop::Dequeue)
            && self.late_sender.is_none()
            && self.found.is_none()
            && self.latest_sender_hop().is_none()
    }

    /// Whether `late` may have been the look for this message, as far as socket and times tell, and
    /// the files or the list. It was sent after that thread's look before. A look that found a list
    /// was for that, and a receiver took it while the look went on: what it says of the files may be
    /// anything.
    pub(in crate::track) fn may_be_of(&self, late: &LateSender) -> bool {
        let Some(read) = self.head(Hop::Dequeue) else {
            return false;
        };
        let is_its = if late.stamp.list.is_none() {
            !late.names_files() || self.was_sent_as(late)
        } else {
            (read.list, read.skb) == (late.stamp.list, late.stamp.skb)
        };
        is_its
            && self.lacks_sender()
            && read.ends.sender == late.stamp.ends.sender
            && late.since <= read.at.ns
            && self.may_have_left_before(late.left_by)
    }

    /// Whether it is in the queue of a stream. A receive of such a one that fails takes nothing.
    pub(in crate::track) fn is_in_stream(&self, returned: &Stamp) -> bool {
        let queued = || self.queued_as().and_then(|queued| queued.ends.kind);
        returned.ends.kind.or_else(queued) == Some(SocketType::Stream)
    }

    /// Whether its files are those that `late` passed.
    pub(in crate::track) fn was_sent_as(&self, late: &LateSender) -> bool {
        let files = self.files.iter().map(|file| file.at(Hop::Dequeue));
        late.has_sent(files.map(|read| read.map(|seen| &seen.sight)))
    }

    /// Whether it was sent on the socket of `late` with the files of that, at whatever time.
    pub(in crate::track) fn is_sent_like(&self, late: &LateSender) -> bool {
        let read = self.head(Hop::Dequeue);
        read.is_some_and(|read| read.ends.sender == late.stamp.ends.sender)
            && self.was_sent_as(late)
    }

    /// What its sender passed, as far as that was seen in its call: on which socket, and the files
    /// with their numbers.
    pub(in crate::track) fn passed(&self) -> Option<(&Stamp, Vec<Sight>)> {
        if let Some(late) = &self.late_sender {
            return Some((&late.stamp, late.files.clone()));
        }
        let copied = self.files.iter().map_while(|file| file.at(Hop::Copy));
        Some((
            self.head(Hop::Copy)?,
            copied.map(|seen| seen.sight).collect(),
        ))
    }

    /// Takes `late` for its sender. With a doubt, all that is known of that is the process, and the
    /// numbers as far as `late` has them.
    pub(in crate::track) fn claim(&mut self, late: LateSender, doubt: Option<Doubt>) {
        self.late_sender = Some(late);
        self.late_doubt = doubt;
    }

    /// Whether a look that is still to come may tell more of its sender.
    pub(in crate::track) fn awaits_sender(&self) -> bool {
        let may_be_settled = self.sharing != Sharing::Processes && !self.is_after_loss;
        self.lacks_sender() || (self.contested && may_be_settled && !self.has(Hop::Copy))
    }

    /// Says what is known of its sender now that every look has come that may tell.
    pub(in crate::track) fn settle_sender(&mut self, senders: &Senders) {
        if self.lacks_sender() {
            if let Some(late) = senders.process_of(self) {
                self.claim(late, Some(Doubt::TwoThreadsSend));
            }
            return;
        }
        let Some(queued) = self.look() else {
            return;
        };
        self.sharing = self.sharing.max(senders.sharing(&queued.stamp));
        // After a loss, another process's look may be among what was lost.
        self.is_process_settled = self.sharing == Sharing::Threads && !self.is_after_loss;
        self.is_number_settled = senders.agree_with(&queued);
    }

    /// Whether several threads send on the socket that it was sent on.
    pub(in crate::track) fn is_shared(&self) -> bool {
        self.sharing != Sharing::Alone
    }

    /// Says what is known of its number as it was received, where several threads send; or who sends,
    /// where it may be another's.
    pub(in crate::track) fn settle_number(&mut self, senders: &Senders) {
        let Some(queued) = self.head(Hop::Queue) else {
            return;
        };
        if self.contested {
            self.sharing = self.sharing.max(senders.sharing(queued));
        } else if self.sharing == Sharing::Threads {
            self.is_number_settled = senders.are_read_in_order(queued)
                || self.look().is_some_and(|look| senders.agree_with(&look));
        }
    }

    /// The look that found its list, in the form of one that did not.
    fn look(&self) -> Option<LateSender> {
        let files = self.files.iter().filter_map(|file| file.at(Hop::Queue));
        let seen = Sighting {
            stamp: *self.head(Hop::Queue)?,
            first: 0,
            total: 0,
            files: files.map(|seen| seen.sight).collect(),
        };
        let mut look = LateSender::new(&seen, self.began_ns);
        look.files = seen.files;
        Some(look)
    }

    /// Notes that the thread that reads it was at a read before at `since`, and what was told of it.
    pub(in crate::track) fn note_reader(&mut self, since: u64, task: Option<Task>) {
        self.read_since = since;
        self.receiver_task = task;
    }

    /// Whether its reader may have taken it off its queue before that time: it did so after its read
    /// before, and shortly before this one was seen.
    pub(in crate::track) fn may_have_left_before(&self, t_ns: u64) -> bool {
        self.head(Hop::Dequeue).is_some_and(|read| {
            self.read_since
                .max(read.at.ns.saturating_sub(PREEMPTED_MAX_NS))
                < t_ns
        })
    }

    /// Whether it was read by that time.
    pub(in crate::track) fn is_read_until(&self, t_ns: u64) -> bool {
        self.head(Hop::Dequeue)
            .is_some_and(|read| read.at.ns <= t_ns)
    }

    /// Whether a look by another thread found this message's list: one of the two is not its
    /// sender.
    pub(in crate::track) fn is_contested_by(&mut self, queued: &Sighting) -> bool {
        let head = &queued.stamp;
        let first = usize::from(queued.first);
        let contested = !self.has(Hop::Copy)
            && self.head(Hop::Queue).is_some_and(|here| {
                here.by.tid != head.by.tid
                    && (here.skb, here.ends.sender, here.count)
                        == (head.skb, head.ends.sender, head.count)
            })
            && self
                .files
                .iter()
                .skip(first)
                .zip(&queued.files)
                .all(|(file, seen)| {
                    file.at(Hop::Queue)
                        .is_some_and(|here| here.sight.is_of(seen))
                });
        self.contested |= contested;
        contested
    }

    /// Notes that the thread that found its list may have sent another one.
    pub(in crate::track) fn contest(&mut self) {
        self.contested = true;
    }

    /// Joins what is known of the thread that found its list, and of the socket that it was sent on.
    pub(in crate::track) fn note_look(
        &mut self,
        queued: &Sighting,
        look: Look,
        senders: &Senders,
        known: &Known,
        socket_name: Option<String>,
    ) {
        self.began_ns = look.began_ns;
        self.looked_since = senders.previous_look(&queued.stamp);
        self.is_after_loss |= senders.may_have_missed_the_read(&queued.stamp);
        self.sender_task = known.task(queued.stamp.by.tid);
        self.sharing = self.sharing.max(senders.sharing(&queued.stamp));
        self.socket_name = socket_name.or(self.socket_name.take());
    }

    /// Whether its reader found the same files, as far as `queued` tells of them.
    fn was_read_as(&self, queued: &Sighting) -> bool {
        let first = usize::from(queued.first);
        let mut files = self.files.iter().skip(first).zip(&queued.files);
        files.all(|(file, seen)| {
            file.at(Hop::Dequeue)
                .is_some_and(|read| read.sight.is_of(seen))
        })
    }

    /// Whether this message, which was read without a sender, may be what was sent by the thread
    /// that found `other`: on the same socket, with the same files. A look begins at the tail of
    /// the queue, where another thread's list may lie behind its own.
    pub(in crate::track) fn is_rival_of(&self, other: &Self) -> bool {
        let ends = self.head(Hop::Dequeue).zip(other.head(Hop::Dequeue));
        let mut files = self.files.iter().zip(&other.files);
        self.lacks_sender()
            && other.has(Hop::Queue)
            && ends.is_some_and(|(here, there)| {
                (here.ends.sender, here.count) == (there.ends.sender, there.count)
                    // One of several threads may have taken a third one's, and that one this.
                    && (other.is_shared() || other.looked_since <= here.at.ns)
            })
            && files.all(|(here, there)| {
                here.at(Hop::Dequeue)
                    .zip(there.at(Hop::Dequeue))
                    .is_some_and(|(here, there)| here.sight.is_of(&there.sight))
            })
    }

    /// Whether it was read, without a sender, from where `queued` finds a list with its files, and
    /// since that thread's look before: then it may be the one that the thread has sent.
    pub(in crate::track) fn may_be_sent_by(&self, queued: &Sighting, since: u64) -> bool {
        let here = (
            queued.stamp.list,
            queued.stamp.skb,
            queued.stamp.ends.sender,
        );
        self.lacks_sender()
            && self.head(Hop::Dequeue).is_some_and(|read| {
                (read.list, read.skb, read.ends.sender) == here && since <= read.at.ns
            })
            && self.was_read_as(queued)
    }

    /// Since when it may have been sent by the thread that looked for it: not before that thread
    /// began, nor before its look before.
    pub(super) fn sent_since(&self) -> Option<u64> {
        let (look, began, since) = match &self.late_sender {
            _ if self.has(Hop::Copy) => return None,
            // A send that failed tells of itself as it returns.
            Some(_) if !self.has(Hop::Dequeue) => return None,
            Some(late) => (&late.stamp, late.began_ns, late.since),
            None => (self.head(Hop::Queue)?, self.began_ns, self.looked_since),
        };
        Some(
            since
                .max(look.at.ns.saturating_sub(PREEMPTED_MAX_NS))
                .max(began),
        )
    }

    /// What there is to doubt of its sender: the thread that found the list in the queue need not be
    /// the one that sent it.
    pub(super) fn doubt_of_sender(&self, file: &File) -> Option<Doubt> {
        if self.has(Hop::Copy) {
            return None;
        }
        if self.late_doubt.is_some() {
            return self.late_doubt;
        }
        let other_numbers = || {
            file.at(Hop::Queue)
                .is_some_and(|seen| seen.sight.refs > REFS_OF_ONE_NUMBER)
        };
        let is_unsure = self.contested || (self.is_shared() && other_numbers());
        is_unsure.then(|| self.sharing.doubt())
    }

    /// Whether the process of that thread has sent it, in spite of that doubt.
    pub(super) fn is_process_known(&self, doubt: Option<Doubt>) -> bool {
        match doubt {
            None => true,
            Some(_) if self.late_doubt.is_some() => true,
            Some(Doubt::TwoThreadsSend) => !self.contested || self.is_process_settled,
            Some(_) => false,
        }
    }

    /// Whether the numbers are certain where the thread is not. Those of a sender that was found late
    /// are left out where they are not.
    pub(super) fn are_numbers_known(&self) -> bool {
        self.late_doubt.is_some() || self.is_number_settled
    }

    /// Whether this look at the queue is of this message, which has been received since: it began
    /// before that and found the same list, skb, sender and files.
    pub(in crate::track) fn was_seen_queued(&self, queued: &Sighting) -> bool {
        let head = &queued.stamp;
        if self.same_sighting(Hop::Queue, head) {
            return true;
        }
        let before = self.head(Hop::Dequeue).is_some_and(|read| {
            (read.list, read.ends.sender) == (head.list, head.ends.sender)
                && head.at.ns <= read.at.ns
        });
        before && self.lacks_sender() && self.is_read_before_queue(head) && self.was_read_as(queued)
    }

    /// Whether the skb of a late look at the queue is the one that is being read already.
    pub(in crate::track) fn is_read_before_queue(&self, queued: &Stamp) -> bool {
        !self.was_queued()
            && self.head(Hop::Dequeue).is_some_and(|dequeued| {
                dequeued.skb == queued.skb && dequeued.count == queued.count
            })
    }
}
