//! Negative control: what was traced is tampered with, in every way that would be a lie, and the
//! check has to notice each of them.

use fdtrace::{
    judge::Meanwhile,
    model::{Cause, Chain, End, Fate, Hop, Loss, Lost, Receiver, Sender, Transfer},
    plan::Plan,
};

use crate::check::Truth;

/// Makes a lie of the first transfer; the second is of another message.
type Tamper = fn(&mut Transfer, &mut Transfer);

const LIES: [(&str, Tamper); 15] = [
    ("another file's sender", swap_senders),
    ("another receiving thread", |one, _| receiver(one).tid += 1),
    ("another file", |one, _| one.file.ino += 1),
    ("another place in the list", |one, _| one.index += 1),
    ("another length of the list", |one, _| one.count += 1),
    ("another number at the sender", |one, _| {
        sender(one).fd = sender(one).fd.map(|fd| fd + 1);
    }),
    ("another number at the receiver", |one, _| {
        receiver(one).fd = receiver(one).fd.map(|fd| fd + 1);
    }),
    ("another sending thread", |one, _| {
        sender(one).tid = sender(one).tid.map(|tid| tid + 1);
    }),
    ("another sending process", |one, _| sender(one).pid += 1),
    ("another receiving process", |one, _| receiver(one).pid += 1),
    ("another sending socket", |one, _| {
        one.socket.sender_ino = one.socket.sender_ino.map(|ino| ino + 1);
    }),
    ("another time", |one, _| sender(one).t_ns = 1),
    ("an end that it did not have", |one, _| {
        one.end = End::Lost(Lost {
            how: Loss::Discarded,
            why: Ok(Cause::PlainRead),
            receiver: one.receiver().cloned(),
        });
    }),
    ("peeked and delivered confused", |one, _| {
        let receiver = receiver(one).clone();
        one.end = match one.end {
            End::Peeked(_) => End::Delivered(receiver),
            _ => End::Peeked(receiver),
        };
    }),
    ("said to be different", |one, _| {
        one.chain = Chain::Differs { hop: Hop::Install };
    }),
];

/// How the check did.
pub(crate) struct Control {
    /// Lies that it took for the truth.
    pub(crate) overlooked: Vec<&'static str>,
}

impl Control {
    /// Tampers with two transfers that were followed to their end; `None` if there are none.
    pub(crate) fn with(
        truth: &Truth,
        transfers: &[(Transfer, Meanwhile)],
        plan: &Plan,
    ) -> Option<Self> {
        let mut whole = transfers.iter().map(|(transfer, _)| transfer).filter(|it| {
            it.fate() == Fate::Delivered && it.chain == Chain::Whole && it.doubt.is_none()
        });
        let one = whole.next()?;
        let other = whole.find(|other| other.message != one.message)?;
        let is_noticed = |pair: &[Transfer]| {
            let seen = pair.iter().map(|it| (it.clone(), Meanwhile::AllSeen));
            !truth
                .check(&seen.collect::<Vec<_>>(), plan)
                .wrong
                .is_empty()
        };
        let pair = || [one.clone(), other.clone()];
        let truth_told = format!("{:?}", (one, other));
        let mut overlooked = Vec::new();
        for (lie, tamper) in LIES {
            let [mut one, mut other] = pair();
            tamper(&mut one, &mut other);
            // What the trace does not say cannot be a lie: functions do not show every socket.
            let lies = format!("{:?}", (&one, &other)) != truth_told;
            if lies && !is_noticed(&[one, other]) {
                overlooked.push(lie);
            }
        }
        if !is_noticed(&[one.clone(), one.clone()]) {
            overlooked.push("told twice");
        }
        if is_noticed(&pair()) {
            overlooked.push("the truth itself is called wrong");
        }
        Some(Self { overlooked })
    }
}

fn sender(transfer: &mut Transfer) -> &mut Sender {
    transfer
        .sender
        .as_mut()
        .expect("a whole chain has a sender")
}

fn receiver(transfer: &mut Transfer) -> &mut Receiver {
    transfer.end.receiver_mut().expect("it was delivered")
}

/// Joins each transfer's way at the receiver to what the other's sender sent.
fn swap_senders(one: &mut Transfer, other: &mut Transfer) {
    std::mem::swap(&mut one.sender, &mut other.sender);
    std::mem::swap(&mut one.file, &mut other.file);
    std::mem::swap(&mut one.socket.sender_ino, &mut other.socket.sender_ino);
    let of_sender = |transfer: &mut Transfer| -> Vec<_> {
        let (sent, rest) = std::mem::take(&mut transfer.hops)
            .into_iter()
            .partition(|seen| seen.hop <= Hop::Queue);
        transfer.hops = rest;
        sent
    };
    let (ones, others) = (of_sender(one), of_sender(other));
    one.hops.splice(0..0, others);
    other.hops.splice(0..0, ones);
}
