//! Decode: bytes of the ring buffer to events, facts in the past tense.
//!
//! Decoding trusts nothing: a record that is too short, of an unknown kind or with more files
//! than bytes is an error, never a panic, because recordings come from files too.

mod described;
mod families;
mod queues;
mod sighted;

use fdtrace_common::{
    descriptions::TaskDescribed,
    records::{Callers, FileSeen, Head, RecordKind, SocketName},
};
use zerocopy::FromBytes as _;

pub use described::{Described, path, socket};
pub use queues::{holders, queued_file, unix_socket};
pub(crate) use sighted::{file, hop_seen, label, receiver, sender, sockets};

use crate::model::{Task, lossless};

/// What one record tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// A socket that is about to receive a list, or its peer, is bound to this name.
    SocketNamed {
        /// When, who and which list.
        head: Head,
        /// `sun_path` as it is: a path, or a NUL and an abstract name.
        name: Vec<u8>,
    },
    /// A file of the hop to come is this.
    FileDescribed {
        /// The hop's: when, who and which list.
        head: Head,
        /// Which file, and what it is.
        described: Described,
    },
    /// The task of this record is set apart from others by these.
    TaskDescribed {
        /// When, and who.
        head: Head,
        /// Its namespaces, cgroup and user.
        task: Task,
    },
    /// The sender's numbers have become a list.
    ListCopied(Sighting),
    /// The list, or a duplicate of it, is on its skb.
    ListAttached(Sighting),
    /// A sender's list is in a receive queue.
    ListQueued(Sighting),
    /// A list was in a receive queue as the trace began.
    ListFound(Sighting),
    /// A list was in a receive queue as the trace ended.
    ListFoundLast(Sighting),
    /// All queues have been looked through as the trace ended.
    QueuesRead(Head),
    /// A receiver is reading a list's skb.
    ListDequeued(Sighting),
    /// A list was duplicated, with all its references.
    ListDuplicated(Sighting),
    /// A list has left its skb and is about to be installed.
    ListDetached(Sighting),
    /// A file of a list is about to get a number.
    FileReceived(Sighting),
    /// A file of a list has got a number, or was refused one.
    FdInstalled(Sighting),
    /// These functions are where the list of the next record ends, innermost first.
    Called {
        /// When, who and which list.
        head: Head,
        /// Return addresses.
        addresses: Vec<u64>,
    },
    /// A task that the filter wants sends on a socket, perhaps descriptors.
    SenderWanted(Head),
    /// A send returned whose list did not get into a queue, or failed.
    SendReturned(Sighting),
    /// A call is done with its list.
    ListReleased(Sighting),
    /// The receive that read a list returned; the files are what its table gained.
    ReceiveReturned(Sighting),
    /// An skb was freed with its list unread.
    ListDestroyed(Sighting),
}

impl Event {
    /// What its record began with.
    pub fn head_mut(&mut self) -> &mut Head {
        match self {
            Self::SocketNamed { head, .. }
            | Self::FileDescribed { head, .. }
            | Self::TaskDescribed { head, .. }
            | Self::Called { head, .. }
            | Self::SenderWanted(head)
            | Self::QueuesRead(head) => head,
            Self::ListCopied(seen)
            | Self::ListAttached(seen)
            | Self::ListQueued(seen)
            | Self::ListFound(seen)
            | Self::ListFoundLast(seen)
            | Self::ListDequeued(seen)
            | Self::ListDuplicated(seen)
            | Self::ListDetached(seen)
            | Self::FileReceived(seen)
            | Self::FdInstalled(seen)
            | Self::SendReturned(seen)
            | Self::ListReleased(seen)
            | Self::ReceiveReturned(seen)
            | Self::ListDestroyed(seen) => &mut seen.head,
        }
    }
}

/// A list, or part of it, as seen at a hop.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When, who and which list.
    pub head: Head,
    /// The files of this part, from `head.first` on.
    pub files: Vec<FileSeen>,
}

/// Why bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the record's own head announces.
    #[error("record of {found} bytes is cut short")]
    Truncated {
        /// Bytes there are.
        found: usize,
    },
    /// The kind is none that this version knows.
    #[error("record of unknown kind {0}")]
    UnknownKind(u16),
}

/// Decodes one record.
///
/// # Errors
/// If the bytes are not a whole record of a known kind.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let truncated = DecodeError::Truncated { found: bytes.len() };
    let (head, rest) = Head::read_from_prefix(bytes).map_err(|_| truncated.clone())?;
    if head.kind == RecordKind::SocketNamed as u16 {
        let (name, _) = SocketName::read_from_prefix(rest).map_err(|_| truncated.clone())?;
        let name = name
            .name
            .get(..name.len as usize)
            .ok_or(truncated)?
            .to_vec();
        return Ok(Event::SocketNamed { head, name });
    }
    if head.kind == RecordKind::QueuesRead as u16 {
        return Ok(Event::QueuesRead(head));
    }
    if head.kind == RecordKind::Called as u16 {
        let (callers, _) = Callers::read_from_prefix(rest).map_err(|_| truncated.clone())?;
        let addresses = callers
            .addresses
            .get(..callers.len as usize)
            .ok_or(truncated)?
            .to_vec();
        return Ok(Event::Called { head, addresses });
    }
    if head.kind == RecordKind::SenderWanted as u16 {
        return Ok(Event::SenderWanted(head));
    }
    for (kind, describe) in [
        (
            RecordKind::PathDescribed,
            Described::path as fn(&Head, &[u8]) -> Option<Described>,
        ),
        (RecordKind::SocketDescribed, Described::socket),
    ] {
        if head.kind == kind as u16 {
            let described = describe(&head, rest).ok_or(truncated)?;
            return Ok(Event::FileDescribed { head, described });
        }
    }
    if head.kind == RecordKind::TaskDescribed as u16 {
        let (task, _) = TaskDescribed::read_from_prefix(rest).map_err(|_| truncated)?;
        return Ok(Event::TaskDescribed {
            head,
            task: sighted::task(&task),
        });
    }
    let wrap = [
        (
            RecordKind::ListQueued,
            Event::ListQueued as fn(Sighting) -> Event,
        ),
        (RecordKind::ListCopied, Event::ListCopied),
        (RecordKind::ListAttached, Event::ListAttached),
        (RecordKind::ListFound, Event::ListFound),
        (RecordKind::ListFoundLast, Event::ListFoundLast),
        (RecordKind::ListDequeued, Event::ListDequeued),
        (RecordKind::ListDuplicated, Event::ListDuplicated),
        (RecordKind::ListDetached, Event::ListDetached),
        (RecordKind::FileReceived, Event::FileReceived),
        (RecordKind::FdInstalled, Event::FdInstalled),
        (RecordKind::SendReturned, Event::SendReturned),
        (RecordKind::ListReleased, Event::ListReleased),
        (RecordKind::ReceiveReturned, Event::ReceiveReturned),
        (RecordKind::ListDestroyed, Event::ListDestroyed),
    ]
    .into_iter()
    .find_map(|(kind, wrap)| (kind as u16 == head.kind).then_some(wrap))
    .ok_or(DecodeError::UnknownKind(head.kind))?;

    let mut rest = rest;
    let mut files = Vec::with_capacity(usize::from(head.files));
    for _ in 0..head.files {
        let (file, after) = FileSeen::read_from_prefix(rest).map_err(|_| truncated.clone())?;
        files.push(file);
        rest = after;
    }
    Ok(wrap(Sighting { head, files }))
}

/// The task name of a record, without its padding; whatever is not UTF-8 is as [`lossless`] has it.
#[must_use]
pub fn comm(head: &Head) -> String {
    let len = head
        .comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(head.comm.len());
    lossless::text(&head.comm[..len])
}
