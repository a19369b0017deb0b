//! End: how a transfer ended, with what an end of its kind has.

use super::{Cause, CauseMissing, Fate, Receiver};

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It came to this receiver.
    Delivered(Receiver),
    /// A duplicate came to this receiver by MSG_PEEK; the message stayed.
    Peeked(Receiver),
    /// Nobody got it.
    Lost(Lost),
    /// It is still in the queue.
    Queued,
    /// That was not seen; who was receiving it, if somebody was.
    Unknown(Option<Receiver>),
}

/// The end of a transfer that nobody got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How it was lost.
    pub how: Loss,
    /// Why, or why that is not known.
    pub why: Result<Cause, CauseMissing>,
    /// Who was receiving its message, if somebody was.
    pub receiver: Option<Receiver>,
}

/// How a transfer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// As [`Fate::Truncated`].
    Truncated,
    /// As [`Fate::Refused`].
    Refused,
    /// As [`Fate::Discarded`].
    Discarded,
    /// As [`Fate::Collected`].
    Collected,
    /// As [`Fate::Failed`].
    Failed,
}

impl End {
    /// The end of this fate, which tests put together by hand.
    ///
    /// # Panics
    /// Without a receiver where the fate has one.
    #[doc(hidden)]
    #[must_use]
    pub fn of(fate: Fate, cause: Option<Cause>, receiver: Option<Receiver>) -> Self {
        let how = match fate {
            Fate::Delivered => return Self::Delivered(receiver.expect("who received it")),
            Fate::Peeked => return Self::Peeked(receiver.expect("who peeked at it")),
            Fate::Queued => return Self::Queued,
            Fate::Unknown => return Self::Unknown(receiver),
            Fate::Truncated => Loss::Truncated,
            Fate::Refused => Loss::Refused,
            Fate::Discarded => Loss::Discarded,
            Fate::Collected => Loss::Collected,
            Fate::Failed => Loss::Failed,
        };
        Self::Lost(Lost {
            how,
            why: cause.ok_or(CauseMissing::NotSeen),
            receiver,
        })
    }

    /// Its fate: which kind of end this is.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Delivered(_) => Fate::Delivered,
            Self::Peeked(_) => Fate::Peeked,
            Self::Lost(lost) => lost.how.into(),
            Self::Queued => Fate::Queued,
            Self::Unknown(_) => Fate::Unknown,
        }
    }

    /// Why it was lost, where that is known.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.lost()?.why.ok()
    }

    /// Why that is not known, if it was lost.
    #[must_use]
    pub fn cause_missing(&self) -> Option<CauseMissing> {
        self.lost()?.why.err()
    }

    /// Who received it, or its message.
    #[must_use]
    pub fn receiver(&self) -> Option<&Receiver> {
        match self {
            Self::Delivered(receiver) | Self::Peeked(receiver) => Some(receiver),
            Self::Lost(lost) => lost.receiver.as_ref(),
            Self::Unknown(receiver) => receiver.as_ref(),
            Self::Queued => None,
        }
    }

    /// The same, to be changed.
    #[must_use]
    pub fn receiver_mut(&mut self) -> Option<&mut Receiver> {
        match self {
            Self::Delivered(receiver) | Self::Peeked(receiver) => Some(receiver),
            Self::Lost(lost) => lost.receiver.as_mut(),
            Self::Unknown(receiver) => receiver.as_mut(),
            Self::Queued => None,
        }
    }

    fn lost(&self) -> Option<&Lost> {
        match self {
            Self::Lost(lost) => Some(lost),
            _ => None,
        }
    }
}

impl From<Loss> for Fate {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Truncated => Self::Truncated,
            Loss::Refused => Self::Refused,
            Loss::Discarded => Self::Discarded,
            Loss::Collected => Self::Collected,
            Loss::Failed => Self::Failed,
        }
    }
}
