//! Who sent a message, and what there is to doubt of it. Where a look at the queue found its list, the
//! thread that looked need not be the one that sent it.

use crate::{
    model::{Chain, Doubt, Fate, Hop, Sender},
    track::{File, Message, PREEMPTED_MAX_NS, Sharing},
    wire,
};

/// References to a file that only one number stands for: that number's and the list's.
const REFS_OF_ONE_NUMBER: i64 = 2;

impl Message {
    /// The sender, with its numbers from where they were seen first; of a thread that need not be the
    /// one, as much as all of its process have in common.
    pub(super) fn sender(&self, index: usize, file: &File, doubt: Option<Doubt>) -> Option<Sender> {
        if !self.is_process_known(doubt) {
            return None;
        }
        let sender = if let Some(late) = &self.claim.late {
            wire::sender(&late.stamp, late.files.get(index))
        } else {
            let hop = [Hop::Copy, Hop::Queue]
                .into_iter()
                .find(|hop| self.has(*hop))?;
            let seen = file.at(hop).map(|seen| &seen.sight);
            wire::sender(self.head(hop)?, seen)
        };
        Some(match doubt {
            None => sender,
            Some(_) if self.are_numbers_known() => sender.of_process(),
            Some(_) => sender.of_process().without_numbers(),
        })
    }

    /// Why something is left open.
    pub(super) fn left_open(
        &self,
        file: &File,
        fate: Fate,
        chain: Chain,
        of_sender: Option<Doubt>,
    ) -> Option<Doubt> {
        if self.found.is_some() && !self.is_seen_sent() {
            return Some(Doubt::SentBeforeTrace);
        }
        if of_sender.is_some() {
            return of_sender;
        }
        if !matches!(fate, Fate::Delivered | Fate::Peeked) {
            return None;
        }
        match chain {
            Chain::Gap { hop: Hop::Queue } if !self.is_seen_sent() => Some(Doubt::NotSeenInQueue),
            Chain::Gap { .. } if file.numberless => Some(Doubt::TableShared),
            Chain::Gap { hop } if file.at(hop).is_some() => Some(Doubt::AddressReused),
            Chain::SenderUnknown => {
                let number = file.at(Hop::Queue).and_then(|seen| seen.sight.fd);
                Some(match number {
                    None => Doubt::NumberNotReadable,
                    Some(_) => Doubt::NumberChanged,
                })
            }
            Chain::LossBetween => Some(Doubt::RecordsLostMeanwhile),
            Chain::Whole | Chain::Differs { .. } | Chain::Gap { .. } => None,
        }
    }

    /// Since when it may have been sent by the thread that looked for it: not before that thread
    /// began, nor before its look before.
    pub(super) fn sent_since(&self) -> Option<u64> {
        let (look, began, since) = match &self.claim.late {
            _ if self.has(Hop::Copy) => return None,
            // A send that failed is seen as it returns.
            Some(_) if !self.has(Hop::Dequeue) => return None,
            Some(late) => (&late.stamp, late.began_ns, late.since),
            None => (
                self.head(Hop::Queue)?,
                self.claim.began_ns,
                self.claim.looked_since,
            ),
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
        if self.claim.doubt.is_some() {
            return self.claim.doubt;
        }
        let other_numbers = || {
            file.at(Hop::Queue)
                .and_then(|seen| seen.sight.refs)
                .is_some_and(|refs| refs > REFS_OF_ONE_NUMBER)
        };
        let is_unsure = self.claim.contested || (self.is_shared() && other_numbers());
        is_unsure.then_some(match self.claim.sharing {
            Sharing::Alone => Doubt::ThreadMayHaveSentAnother,
            Sharing::Threads => Doubt::TwoThreadsSend,
            Sharing::Processes => Doubt::TwoProcessesSend,
        })
    }

    /// Whether the process of that thread has sent it, in spite of that doubt.
    pub(super) fn is_process_known(&self, doubt: Option<Doubt>) -> bool {
        match doubt {
            None => true,
            Some(_) if self.claim.doubt.is_some() => true,
            Some(Doubt::TwoThreadsSend) => !self.claim.contested || self.claim.is_process_settled,
            Some(_) => false,
        }
    }

    /// Whether the numbers are certain where the thread is not. Those of a sender that was found late
    /// are left out where they are not.
    fn are_numbers_known(&self) -> bool {
        self.claim.doubt.is_some() || self.claim.is_number_settled
    }
}
