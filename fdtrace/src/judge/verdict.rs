//! Verdict: what the evidence allows to say, and no more.

use arrayvec::ArrayVec;

use super::Meanwhile;
use crate::model::{
    CauseMissing, Chain, Doubt, Earlier, End, Fate, Hop, HopSeen, Judged, Transfer, Verdict,
};

impl Judged {
    /// A transfer and what the trace alone says of it, as [`of_transfer`] does.
    #[must_use]
    pub fn of(
        mut transfer: Transfer,
        watches: impl Fn(Hop) -> bool,
        meanwhile: impl Into<Meanwhile>,
    ) -> Self {
        let meanwhile = meanwhile.into();
        if meanwhile != Meanwhile::AllSeen {
            leave_out_others(&mut transfer);
        }
        let verdict = of_transfer(&transfer, watches, meanwhile);
        if verdict == Some(Verdict::Lost) {
            if !is_of_one_message(&transfer, meanwhile) {
                leave_out_senders_numbers(&mut transfer);
            }
            leave_out_doubtful(&mut transfer);
        }
        Self {
            transfer,
            verdict,
            earlier: Earlier::default(),
        }
    }

    /// Why something of it is left open. A verdict that is `unverified` has such a reason, or the
    /// transfer lacks a hop.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        match self.verdict {
            Some(Verdict::Lost) => Some(Doubt::RecordsLostMeanwhile),
            _ => self.transfer.doubt,
        }
    }
}

/// Leaves out what may be of another message than the sender's, where what was lost may have told
/// them apart: the receiver's number, and the cause.
fn leave_out_doubtful(transfer: &mut Transfer) {
    if let Some(receiver) = transfer.end.receiver_mut()
        && transfer.sender.is_some()
    {
        (receiver.fd, receiver.cloexec) = (None, None);
    }
    if let End::Lost(lost) = &mut transfer.end {
        lost.why = Err(CauseMissing::Lost);
    }
}

/// Leaves out what a receiver's functions did with another file than the list's. Where records were
/// lost, that may be the next list of that thread, whose beginning went unseen, as did the end of
/// this one.
fn leave_out_others(transfer: &mut Transfer) {
    let Chain::Differs { hop } = transfer.chain else {
        return;
    };
    let of_a_function = |seen: &HopSeen| matches!(seen.hop, Hop::Detach | Hop::Receive);
    if hop < Hop::Receive || !transfer.hops.iter().any(of_a_function) {
        return;
    }
    let file = transfer.file.ptr;
    transfer.hops.retain(|seen| seen.file == file);
    let mut receiver = transfer.receiver().cloned();
    if let Some(receiver) = &mut receiver {
        (receiver.fd, receiver.cloexec) = (None, None);
    }
    transfer.end = End::Unknown(receiver);
    transfer.chain = Chain::Gap { hop };
    transfer.total_ns = None;
}

/// Leaves out what may be of another message than what the receiver took.
fn leave_out_senders_numbers(transfer: &mut Transfer) {
    (transfer.queued_ns, transfer.total_ns) = (None, None);
    if let Some(sender) = &mut transfer.sender {
        (sender.tid, sender.fd, sender.socket_fd) = (None, None, None);
    }
}

/// What the trace alone says of a transfer; `None` where nothing came out to compare.
///
/// `watches` says which hops are watched, and `meanwhile` whether everything was seen since the
/// transfer began. Loss can only weaken: it turns a gap into `lost`, and never anything into `same`.
#[must_use]
pub fn of_transfer(
    transfer: &Transfer,
    watches: impl Fn(Hop) -> bool,
    meanwhile: impl Into<Meanwhile>,
) -> Option<Verdict> {
    let meanwhile = meanwhile.into();
    let lossless = meanwhile == Meanwhile::AllSeen;
    match transfer.fate() {
        Fate::Delivered | Fate::Peeked => {}
        Fate::Failed => return None,
        Fate::Unknown if lossless => return Some(Verdict::Unverified),
        Fate::Unknown => return Some(Verdict::Lost),
        // What looks as if it were still queued, or had not been installed, may have been received
        // in records that are lost.
        _ if !lossless && !is_seen_to_end(transfer, watches) => return Some(Verdict::Lost),
        _ => return None,
    }
    let missing = match transfer.chain {
        Chain::Whole if !is_of_one_message(transfer, meanwhile) => return Some(Verdict::Lost),
        Chain::Whole => return Some(Verdict::Same),
        Chain::Differs { .. } if lossless => return Some(Verdict::Different),
        Chain::Differs { .. } | Chain::LossBetween => return Some(Verdict::Lost),
        Chain::Gap { hop } => hop,
        // There the kernel itself says which number it was; elsewhere it may not be told at all.
        Chain::SenderUnknown => Hop::Copy,
    };
    // What was sent before the trace began is in no record.
    let sent_before = transfer.found_ns.is_some() && missing <= Hop::Queue;
    if lossless || sent_before || !watches(missing) {
        Some(Verdict::Unverified)
    } else {
        Some(Verdict::Lost)
    }
}

/// Whether all that was seen is known to be of one message. Where a run was skipped, two messages look
/// like one. That a process alone sends on a socket is known by what was not seen there.
fn is_of_one_message(transfer: &Transfer, meanwhile: Meanwhile) -> bool {
    match meanwhile {
        Meanwhile::AllSeen => true,
        Meanwhile::RecordsLost => transfer.doubt.is_none(),
        Meanwhile::RunsSkipped => false,
    }
}

/// Whether its list was seen to be given back, and to be taken apart before if it did not fit.
/// Otherwise all that is known of an end without a new number is that none was seen.
fn is_seen_to_end(transfer: &Transfer, watches: impl Fn(Hop) -> bool) -> bool {
    let is_seen = |hop| transfer.hops.iter().any(|seen| seen.hop == hop);
    let is_shown = transfer.fate() != Fate::Truncated || !watches(Hop::Detach);
    is_seen(Hop::End) && (is_shown || is_seen(Hop::Detach))
}

/// Hops of the path at which a transfer was not seen.
#[must_use]
pub fn missing_hops(transfer: &Transfer) -> ArrayVec<Hop, { Hop::ALL.len() }> {
    Hop::ALL
        .into_iter()
        .filter(|hop| transfer.hops.iter().all(|seen| seen.hop != *hop))
        .collect()
}
