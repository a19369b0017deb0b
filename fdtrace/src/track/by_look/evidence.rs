//! Evidence: was this look for that message? All guesses at senders come down to it.

use super::{LateSender, PREEMPTED_MAX_NS};
use crate::{
    model::{Doubt, Hop},
    track::message::Message,
    wire::{Sighting, Stamp},
};

/// What speaks for a look having been for a message, the other looks apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It was for another one.
    No,
    /// It may have been for this one; the doubt is why it need not.
    Possible(Doubt),
    /// It was for this one, unless another look was.
    Certain,
}

/// Whether `look`, which found its list gone, was for `message`. No look is still to come for what was
/// read until `told_until`.
///
/// Socket, times, and files or list have to agree: it was sent after that thread's look before, and had
/// left its queue by this one. A look that found a list was for that, and a receiver took it while the
/// look went on: what it says of the files may be anything.
pub(crate) fn evidence(look: &LateSender, message: &Message, told_until: u64) -> Evidence {
    let Some(read) = message.head(Hop::Dequeue) else {
        return Evidence::No;
    };
    let found_none = look.stamp.list.is_none();
    let has_its_files = message.was_sent_as(look);
    let may_be_its = match found_none {
        true => !look.names_files() || has_its_files,
        false => (read.list, read.skb) == (look.stamp.list, look.stamp.skb),
    };
    if !may_be_its
        || !message.lacks_sender()
        || read.ends.sender != look.stamp.ends.sender
        || look.since > read.at.ns
        || !message.may_have_left_before(look.left_by)
    {
        return Evidence::No;
    }
    if !has_its_files {
        return Evidence::Possible(Doubt::NumberNotReadable);
    }
    // What was read since the thread's latest look may be of its next call.
    let is_told = !found_none || message.is_read_until(told_until);
    match look.is_doubtful || !is_told {
        true => Evidence::Possible(Doubt::ThreadMayHaveSentAnother),
        false => Evidence::Certain,
    }
}

impl Message {
    /// Whether a receiver has read it and nothing is known of its sender.
    pub(crate) fn lacks_sender(&self) -> bool {
        self.has(Hop::Dequeue)
            && self.claim.late.is_none()
            && self.found.is_none()
            && !self.is_seen_sent()
    }

    /// Whether its files are those that `late` passed.
    pub(crate) fn was_sent_as(&self, late: &LateSender) -> bool {
        let files = self.files.iter().map(|file| file.at(Hop::Dequeue));
        late.has_sent(files.map(|read| read.map(|seen| &seen.sight)))
    }

    /// Whether it was sent on the socket of `late` with the files of that, at whatever time.
    pub(crate) fn is_sent_like(&self, late: &LateSender) -> bool {
        let read = self.head(Hop::Dequeue);
        read.is_some_and(|read| read.ends.sender == late.stamp.ends.sender)
            && self.was_sent_as(late)
    }

    /// Whether its reader may have taken it off its queue before that time: it did so after its read
    /// before, and shortly before this one was seen.
    pub(crate) fn may_have_left_before(&self, t_ns: u64) -> bool {
        self.head(Hop::Dequeue).is_some_and(|read| {
            self.read_since
                .max(read.at.ns.saturating_sub(PREEMPTED_MAX_NS))
                < t_ns
        })
    }

    /// Whether it was read by that time.
    pub(crate) fn is_read_until(&self, t_ns: u64) -> bool {
        self.head(Hop::Dequeue)
            .is_some_and(|read| read.at.ns <= t_ns)
    }

    /// Whether a look by another thread found this message's list: one of the two is not its
    /// sender.
    pub(crate) fn is_contested_by(&mut self, queued: &Sighting) -> bool {
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
        self.claim.contested |= contested;
        contested
    }

    /// Whether its reader found the same files, as far as `queued` has them.
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
    pub(crate) fn is_rival_of(&self, other: &Self) -> bool {
        let ends = self.head(Hop::Dequeue).zip(other.head(Hop::Dequeue));
        let mut files = self.files.iter().zip(&other.files);
        self.lacks_sender()
            && other.has(Hop::Queue)
            && ends.is_some_and(|(here, there)| {
                (here.ends.sender, here.count) == (there.ends.sender, there.count)
                    // One of several threads may have taken a third one's, and that one this.
                    && (other.is_shared() || other.claim.looked_since <= here.at.ns)
            })
            && files.all(|(here, there)| {
                here.at(Hop::Dequeue)
                    .zip(there.at(Hop::Dequeue))
                    .is_some_and(|(here, there)| here.sight.is_of(&there.sight))
            })
    }

    /// Whether it was read, without a sender, from where `queued` finds a list with its files, and
    /// since that thread's look before: then it may be the one that the thread has sent.
    pub(crate) fn may_be_sent_by(&self, queued: &Sighting, since: u64) -> bool {
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

    /// Whether this look at the queue is of this message, which has been received since: it began
    /// before that and found the same list, skb, sender and files.
    pub(crate) fn was_seen_queued(&self, queued: &Sighting) -> bool {
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
    pub(crate) fn is_read_before_queue(&self, queued: &Stamp) -> bool {
        !self.was_queued()
            && self.head(Hop::Dequeue).is_some_and(|dequeued| {
                dequeued.skb == queued.skb && dequeued.count == queued.count
            })
    }
}
