//! Marks: what an engineer wants to notice about a transfer.

use arrayvec::ArrayVec;

use super::{Fate, Judged, Transfer, named};

named! { "kebab-case";
/// Something to notice.
pub enum Mark {
    /// The receiver's descriptor is not close-on-exec: its children will have it too.
    Inheritable,
    /// The receiver is in another user namespace than the sender.
    OtherUserNs,
    /// The receiver is in another pid namespace than the sender.
    OtherPidNs,
    /// The receiver is in another mount namespace than the sender.
    OtherMountNs,
    /// The receiver is in another cgroup than the sender.
    OtherCgroup,
    /// The receiver is another user than the sender.
    OtherUser,
    /// It has been in the queue for long, and still is.
    StillQueued,
    /// It was in the queue before the trace began; who sent it is not known.
    QueuedBefore,
    /// A peek lost it; the message stays in its queue, with this file.
    Peek,
    /// Its sender had received the same open file, and hands it on.
    Relay,
    /// Its receiver had received the same open file before.
    Again,
}
}

/// The marks of one transfer, each once.
pub type Marks = ArrayVec<Mark, { Mark::ALL.len() }>;

impl Mark {
    /// The marks that a transfer has by itself.
    #[must_use]
    pub fn of(transfer: &Transfer) -> Marks {
        let mut marks = Marks::new();
        let receiver = transfer.receiver();
        if receiver.and_then(|receiver| receiver.cloexec) == Some(false) {
            marks.push(Self::Inheritable);
        }
        let context = &transfer.context;
        if let (Some(sender), Some(receiver), true) =
            (context.sender, context.receiver, receiver.is_some())
        {
            for (mark, from, to) in [
                (Self::OtherUserNs, sender.user_ns, receiver.user_ns),
                (Self::OtherPidNs, sender.pid_ns, receiver.pid_ns),
                (Self::OtherMountNs, sender.mount_ns, receiver.mount_ns),
                (Self::OtherCgroup, sender.cgroup, receiver.cgroup),
                (Self::OtherUser, sender.uid.into(), receiver.uid.into()),
            ] {
                if from != to {
                    marks.push(mark);
                }
            }
        }
        if transfer.overdue && transfer.fate() == Fate::Queued {
            marks.push(Self::StillQueued);
        }
        if transfer.found_ns.is_some() {
            marks.push(Self::QueuedBefore);
        }
        if transfer.peek && transfer.fate() != Fate::Peeked {
            marks.push(Self::Peek);
        }
        marks
    }
}

impl Judged {
    /// The marks of its transfer, by itself and by what was before.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let relay = self.earlier.relay.as_ref().map(|_| Mark::Relay);
        let again = self.earlier.again.map(|_| Mark::Again);
        let mut marks = Mark::of(&self.transfer);
        marks.extend([relay, again].into_iter().flatten());
        marks
    }
}
