//! Assertions on one transfer, and how they say what was seen instead.

use std::{fmt::Write as _, ops::Deref};

use super::Error;
use crate::{
    judge::missing_hops,
    model::{Doubt, Fate, Hop, Judged, Verdict},
    report::{ended, party, sanitize},
};

/// Transfers that an error lists, at most.
const LISTED: usize = 12;

/// What was seen is not what was expected, or does not prove it.
///
/// That an object is another one ([`Self::Different`]) and that it is not proved to be the same
/// ([`Self::Unproven`]) are two things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// No transfer is the one that was expected.
    #[error("none of {seen} transfers is the one expected{}{others}", but_lost(lost.as_deref()))]
    NoneMatches {
        /// How many there were.
        seen: usize,
        /// What was seen instead, a line for each: those that come nearest to an [`Expected`], beside
        /// what was expected; the latest where a function decided, which does not say how near it was.
        ///
        /// [`Expected`]: crate::Expected
        others: String,
        /// What was lost: the transfer may be among that.
        lost: Option<String>,
    },
    /// Several transfers are as expected.
    #[error("{matching} transfers are the one expected{latest}")]
    SeveralMatch {
        /// How many are.
        matching: usize,
        /// The latest of them, a line for each.
        latest: String,
    },
    /// It did not arrive.
    #[error("it was not delivered: {transfer}")]
    NotDelivered {
        /// How it ended.
        fate: Fate,
        /// The transfer, in a line.
        transfer: String,
    },
    /// What came out is another file object than what went in.
    #[error("another file object came out: {transfer}")]
    Different {
        /// The transfer, in a line.
        transfer: String,
    },
    /// Nothing contradicts that what came out is what went in, and nothing proves it.
    #[error("it is not proved that the same file object came out, because {why}: {transfer}")]
    Unproven {
        /// What was left open, where that has a name.
        doubt: Option<Doubt>,
        /// Why it is not proved.
        why: String,
        /// The transfer, in a line.
        transfer: String,
    },
    /// The receiver's new descriptor is inherited across `execve`, or is not.
    #[error("close-on-exec is {} for the receiver's descriptor: {transfer}", if *.cloexec { "set" } else { "not set" })]
    Cloexec {
        /// Whether it is close-on-exec.
        cloexec: bool,
        /// The transfer, in a line.
        transfer: String,
    },
    /// It was not seen whether the receiver's new descriptor is close-on-exec.
    #[error("it was not seen whether the receiver's descriptor is close-on-exec: {transfer}")]
    CloexecUnknown {
        /// The transfer, in a line.
        transfer: String,
    },
    /// Something went unseen: [`Seen::nothing_lost`](super::Seen::nothing_lost) does not hold.
    #[error("not everything was seen: {what}")]
    Lost {
        /// What, in words.
        what: String,
    },
}

fn but_lost(lost: Option<&str>) -> String {
    lost.map_or_else(String::new, |what| {
        format!(", and not everything was seen ({what})")
    })
}

/// One transfer that assertions are made on. Each assertion returns it, for the next.
#[derive(Clone, Copy, Debug)]
pub struct Handover<'a> {
    judged: &'a Judged,
}

impl Deref for Handover<'_> {
    type Target = Judged;

    fn deref(&self) -> &Judged {
        self.judged
    }
}

impl<'a> Handover<'a> {
    pub(super) fn new(judged: &'a Judged) -> Self {
        Self { judged }
    }

    /// Asserts that the receiver has a new descriptor for the file.
    ///
    /// # Errors
    /// [`AssertionError::NotDelivered`].
    pub fn delivered(self) -> Result<Self, Error> {
        match self.fate() {
            Fate::Delivered => Ok(self),
            fate => Err(AssertionError::NotDelivered {
                fate,
                transfer: line(self.judged),
            }
            .into()),
        }
    }

    /// Asserts that the receiver's descriptor is proved to be of the same open file as the sender's.
    ///
    /// # Errors
    /// [`AssertionError::Different`] if it is of another open file, [`AssertionError::Unproven`] if the
    /// trace does not prove either.
    pub fn same_object(self) -> Result<Self, Error> {
        let transfer = line(self.judged);
        let why = match self.verdict {
            Some(Verdict::Same) => return Ok(self),
            Some(Verdict::Different) => return Err(AssertionError::Different { transfer }.into()),
            Some(Verdict::Lost) => Doubt::RecordsLostMeanwhile.words().to_owned(),
            Some(Verdict::Unverified) => match self.doubt {
                Some(doubt) => doubt.words().to_owned(),
                None => {
                    let hops = missing_hops(self.judged).into_iter();
                    let hops: Vec<&str> = hops.map(Hop::name).collect();
                    format!("nothing was seen at {}", hops.join(", "))
                }
            },
            None => "nothing came out".to_owned(),
        };
        Err(AssertionError::Unproven {
            doubt: self.judged.doubt(),
            why,
            transfer,
        }
        .into())
    }

    /// Asserts that the receiver's descriptor is closed by `execve` (`MSG_CMSG_CLOEXEC`).
    ///
    /// # Errors
    /// [`AssertionError::Cloexec`] if it is not, [`AssertionError::CloexecUnknown`] if that was not
    /// seen.
    pub fn cloexec(self) -> Result<Self, Error> {
        self.expect_cloexec(true)
    }

    /// Asserts that the receiver's descriptor survives `execve`.
    ///
    /// # Errors
    /// [`AssertionError::Cloexec`] if it does not, [`AssertionError::CloexecUnknown`] if that was not
    /// seen.
    pub fn inheritable(self) -> Result<Self, Error> {
        self.expect_cloexec(false)
    }

    fn expect_cloexec(self, expected: bool) -> Result<Self, Error> {
        let receiver = self.receiver();
        let transfer = || line(self.judged);
        match receiver.and_then(|receiver| receiver.cloexec) {
            Some(cloexec) if cloexec == expected => Ok(self),
            Some(cloexec) => Err(AssertionError::Cloexec {
                cloexec,
                transfer: transfer(),
            }
            .into()),
            None => Err(AssertionError::CloexecUnknown {
                transfer: transfer(),
            }
            .into()),
        }
    }
}

/// The latest transfers, each in a line of its own.
pub(super) fn table(transfers: &[Judged]) -> String {
    let mut table = String::new();
    let left_out = transfers.len().saturating_sub(LISTED);
    if left_out > 0 {
        let _ = write!(table, "\n  ({left_out} earlier ones)");
    }
    for judged in &transfers[left_out..] {
        let _ = write!(table, "\n  {}", line(judged));
    }
    table
}

/// A transfer in a line. Names are the traced system's, so they are made visible.
pub(super) fn line(judged: &Judged) -> String {
    let sender = judged.sender.as_ref();
    let sender = sender.map(|it| party(&it.comm, it.pid, it.fd));
    let receiver = judged.receiver();
    let cloexec = receiver.and_then(|it| it.cloexec) == Some(true);
    let receiver = receiver.map(|it| party(&it.comm, it.pid, it.fd));
    let name = judged.context.file.as_ref().map(ToString::to_string);
    let mut line = format!(
        "{} → {}  {} {}  {}",
        sender.as_deref().unwrap_or("?"),
        receiver.as_deref().unwrap_or("nobody"),
        judged.file.kind(),
        name.map_or_else(
            || format!("inode {}", judged.file.ino),
            |name| sanitize(&name)
        ),
        ended(judged.fate(), judged.cause()),
    );
    if let Some(verdict) = judged.verdict {
        let _ = write!(line, "  {verdict}");
    }
    if cloexec {
        line.push_str("  close-on-exec");
    }
    line
}
