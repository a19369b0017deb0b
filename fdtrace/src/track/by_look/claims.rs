//! Claims: who has sent a message, as far as looks at its queue tell, and what there is to doubt of it.

use super::{LateSender, Senders, Sharing};
use crate::{
    model::{Doubt, Hop, Task},
    track::message::Message,
    wire::{Aside, Look, Sighting},
};

/// Who has sent a message, as far as looks at its queue tell.
#[derive(Clone, Default)]
pub(crate) struct Claim {
    /// The sender's numbers, where the list had left the queue before it was looked for.
    pub(crate) late: Option<LateSender>,
    /// What there is to doubt of that one.
    pub(crate) doubt: Option<Doubt>,
    /// Two threads have found its list and taken it for theirs, or the one that did may have sent
    /// another.
    pub(crate) contested: bool,
    /// When the thread that found its list had looked for another before: it sent its own since.
    pub(crate) looked_since: u64,
    /// When that thread began; 0 if that is not known.
    pub(crate) began_ns: u64,
    /// Who sends on the same socket, and may have sent it.
    pub(crate) sharing: Sharing,
    /// Records were lost shortly before the look that found its list.
    pub(crate) is_after_loss: bool,
    /// Every look has come that may be of another process, and none was.
    pub(crate) is_process_settled: bool,
    /// Every thread that may have sent it did so under the same numbers.
    pub(crate) is_number_settled: bool,
    /// What separates the task that found its list from others.
    pub(crate) task: Option<Task>,
}

impl Claim {
    /// Leaves to another message what the look tells that found a list.
    pub(crate) fn split_off_look(&mut self) -> Self {
        let (late, doubt) = (self.late.take(), self.doubt.take());
        let look = std::mem::take(self);
        (self.late, self.doubt) = (late, doubt);
        look
    }
}

impl Message {
    /// Takes `late` for its sender. With a doubt, all that is known of that is the process, and the
    /// numbers as far as `late` has them.
    pub(crate) fn claim(&mut self, late: LateSender, doubt: Option<Doubt>) {
        self.claim.late = Some(late);
        self.claim.doubt = doubt;
    }

    /// Whether a look that is still to come may tell more of its sender.
    pub(crate) fn awaits_sender(&self) -> bool {
        let may_be_settled = self.claim.sharing != Sharing::Processes && !self.claim.is_after_loss;
        self.lacks_sender() || (self.claim.contested && may_be_settled && !self.has(Hop::Copy))
    }

    /// Says what is known of its sender now that every look has come that may tell.
    pub(crate) fn settle_sender(&mut self, senders: &Senders) {
        if self.lacks_sender() {
            if let Some(late) = senders.process_of(self) {
                self.claim(late, Some(Doubt::TwoThreadsSend));
            }
            return;
        }
        let Some(queued) = self.look() else {
            return;
        };
        self.claim.sharing = self.claim.sharing.max(senders.sharing(&queued.stamp));
        // After a loss, another process's look may be among what was lost.
        self.claim.is_process_settled =
            self.claim.sharing == Sharing::Threads && !self.claim.is_after_loss;
        self.claim.is_number_settled = senders.agree_with(&queued);
    }

    /// Whether several threads send on the socket that it was sent on.
    pub(crate) fn is_shared(&self) -> bool {
        self.claim.sharing != Sharing::Alone
    }

    /// Says what is known of its number as it was received, where several threads send; or who sends,
    /// where it may be another's.
    pub(crate) fn settle_number(&mut self, senders: &Senders) {
        let Some(queued) = self.head(Hop::Queue) else {
            return;
        };
        if self.claim.contested {
            self.claim.sharing = self.claim.sharing.max(senders.sharing(queued));
        } else if self.claim.sharing == Sharing::Threads {
            self.claim.is_number_settled = senders.are_read_in_order(queued)
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
            aside: Aside::default(),
        };
        Some(LateSender::new(&seen, self.claim.began_ns))
    }

    /// Joins what is known of the thread that found its list, and of the socket that it was sent on.
    pub(crate) fn note_look(&mut self, queued: &Sighting, look: Look, senders: &Senders) {
        self.claim.began_ns = look.began_ns;
        self.claim.looked_since = senders.previous_look(&queued.stamp);
        self.claim.is_after_loss |= senders.may_have_missed_the_read(&queued.stamp);
        self.claim.task = queued.aside.task;
        self.claim.sharing = self.claim.sharing.max(senders.sharing(&queued.stamp));
    }
}
