//! Decode: bytes of the ring buffer to records.
//!
//! Decoding trusts nothing: a record that is too short, of an unknown kind or with more files
//! than bytes is an error, never a panic, because recordings come from files too.

use fdtrace_common::{
    descriptions::TaskDescribed,
    records::{
        self, Callers, FLAG_DESCRIBED, FLAG_DESTRUCTED, FLAG_DISPUTED, FLAG_FIRST_SEEN,
        FLAG_HAS_URING, FLAG_HOLE, FLAG_INSTALLED_UNSEEN, FLAG_LEFT, FLAG_NO_RIGHTS, FLAG_OOB,
        FLAG_PEEK, FLAG_RACED, FLAG_TABLE_FULL, FLAG_TABLE_SHARED, FLAG_WANTED, FLAG_WINDOW_SHORT,
        FileSeen, Head, IN_PLACE, NOT_TOLD, ROOM_UNKNOWN, RecordKind, SocketName,
    },
};
use zerocopy::FromBytes as _;

use super::{
    Control, Described,
    described::Known,
    event::{
        Actor, Aside, At, Call, Ends, Event, EventKind, Fd, Given, List, Look, Received, Refusal,
        Return, SendReturn, Sight, Sighting, Sights, Skb, Sock, Stamp, Table, Unsent,
    },
    failed_send::failed_send,
    record::{AsideKind, Record},
    sighted,
};
use crate::model::{Occasion, SocketType, socket_name};

/// Why bytes are not a record.
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

/// Every kind of record.
const KINDS: [RecordKind; 27] = [
    RecordKind::SendRefused,
    RecordKind::RightsIgnored,
    RecordKind::RightsEmpty,
    RecordKind::Sent,
    RecordKind::Unsent,
    RecordKind::Received,
    RecordKind::ListQueued,
    RecordKind::ListDequeued,
    RecordKind::ReceiveReturned,
    RecordKind::ListDestroyed,
    RecordKind::SocketNamed,
    RecordKind::ListCopied,
    RecordKind::ListAttached,
    RecordKind::ListDuplicated,
    RecordKind::ListDetached,
    RecordKind::FileReceived,
    RecordKind::FdInstalled,
    RecordKind::PathDescribed,
    RecordKind::SocketDescribed,
    RecordKind::TaskDescribed,
    RecordKind::ListReleased,
    RecordKind::SendReturned,
    RecordKind::Called,
    RecordKind::ListFound,
    RecordKind::ListFoundLast,
    RecordKind::SenderWanted,
    RecordKind::QueuesRead,
];

/// Descriptions that are remembered.
const KNOWN_MAX: usize = 1024;

/// Decodes records, and remembers what it has made of the bytes of descriptions: most come again and again.
pub struct Decoder {
    paths: Known,
    sockets: Known,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            paths: Known::new(KNOWN_MAX),
            sockets: Known::new(KNOWN_MAX),
        }
    }
}

/// Decodes one record by itself.
///
/// # Errors
/// [`DecodeError`] if the bytes are not a whole record of a known kind.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    Decoder::default().decode(bytes)
}

impl Decoder {
    /// Decodes one record.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not a whole record of a known kind.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Record, DecodeError> {
        let truncated = || DecodeError::Truncated { found: bytes.len() };
        let (head, rest) = Head::read_from_prefix(bytes).map_err(|_| truncated())?;
        let mut kinds = KINDS.into_iter();
        let kind = kinds
            .find(|kind| *kind as u16 == head.kind)
            .ok_or(DecodeError::UnknownKind(head.kind))?;
        let stamp = stamp(&head);
        if let Some(aside) = self.aside(kind, &head, rest) {
            return Ok(Record::Aside(stamp, aside.ok_or_else(truncated)?));
        }
        let seen = sighting(stamp, &head, rest).ok_or_else(truncated)?;
        let kind = event(kind, &head, &seen).ok_or(DecodeError::UnknownKind(head.kind))?;
        Ok(Record::Event(Event { kind, seen }))
    }

    /// What a record says of a hop that is to come; `None` within if it is cut short, and without if it is
    /// the hop's own.
    fn aside(&mut self, kind: RecordKind, head: &Head, rest: &[u8]) -> Option<Option<AsideKind>> {
        Some(match kind {
            RecordKind::SocketNamed => {
                SocketName::read_from_prefix(rest).ok().and_then(|(it, _)| {
                    let name = it.name.get(..it.len as usize)?;
                    Some(AsideKind::SocketName(socket_name(name)))
                })
            }
            RecordKind::SendRefused => {
                failed_send(rest).map(|it| AsideKind::FailedSend(Box::new(it)))
            }
            RecordKind::PathDescribed => {
                Described::path(head, rest, &mut self.paths).map(AsideKind::File)
            }
            RecordKind::SocketDescribed => {
                Described::socket(head, rest, &mut self.sockets).map(AsideKind::File)
            }
            RecordKind::TaskDescribed => TaskDescribed::read_from_prefix(rest)
                .ok()
                .map(|(task, _)| AsideKind::Task(sighted::task(&task))),
            RecordKind::Called => Callers::read_from_prefix(rest).ok().and_then(|(it, _)| {
                let addresses = it.addresses.get(..it.len as usize)?;
                Some(AsideKind::Backtrace(addresses.to_vec()))
            }),
            _ => return None,
        })
    }
}

/// What happened; `None` of a record that is ahead of a hop.
fn event(kind: RecordKind, head: &Head, seen: &Sighting) -> Option<EventKind> {
    Some(match kind {
        RecordKind::SenderWanted => EventKind::SenderWanted,
        RecordKind::QueuesRead => EventKind::QueuesRead {
            every: head.result != 0,
        },
        RecordKind::ListCopied => EventKind::ListCopied,
        RecordKind::Sent => EventKind::Sent(Some(head.origin).filter(|ns| *ns != 0)),
        RecordKind::Unsent => EventKind::Unsent(Unsent {
            copied_ns: head.origin,
            attached: head.flags & FLAG_DESTRUCTED != 0,
            empty: head.room != 0,
            return_told: head.result != 0,
            has_uring: head.flags & FLAG_HAS_URING != 0,
        }),
        RecordKind::Received => EventKind::Received(Received {
            detached_ns: head.origin,
            room: head.room,
            tried: usize::try_from(head.location).unwrap_or(usize::MAX),
        }),
        RecordKind::ListAttached => EventKind::ListAttached(List::at(head.origin)),
        RecordKind::ListQueued => EventKind::ListQueued(look(head)),
        RecordKind::ListFound => EventKind::ListFound(Occasion::First),
        RecordKind::ListFoundLast => EventKind::ListFound(match head.result {
            0 => Occasion::Last,
            _ => Occasion::Meanwhile,
        }),
        RecordKind::ListDequeued => EventKind::ListDequeued,
        RecordKind::ListDuplicated => EventKind::ListDuplicated(List::at(head.origin)),
        RecordKind::ListDetached => EventKind::ListDetached(head.room),
        RecordKind::FileReceived => EventKind::FileReceived,
        RecordKind::FdInstalled => EventKind::FdInstalled(outcome(head.result, seen.files.first())),
        RecordKind::ReceiveReturned => EventKind::ReceiveReturned(returned(head)),
        RecordKind::SendReturned => EventKind::SendReturned(SendReturn {
            copied_ns: Some(head.origin).filter(|origin| *origin != 0),
            result: head.result,
            takes_no_fds: head.flags & FLAG_NO_RIGHTS != 0,
        }),
        RecordKind::RightsIgnored => EventKind::RightsIgnored,
        RecordKind::RightsEmpty => EventKind::RightsEmpty,
        RecordKind::ListReleased => EventKind::ListReleased(given(head)),
        RecordKind::ListDestroyed => EventKind::ListDestroyed {
            freed_by: Some(head.location).filter(|location| *location != 0),
            is_late: head.flags & FLAG_DESTRUCTED != 0,
        },
        RecordKind::SocketNamed
        | RecordKind::PathDescribed
        | RecordKind::SendRefused
        | RecordKind::SocketDescribed
        | RecordKind::TaskDescribed
        | RecordKind::Called => return None,
    })
}

fn stamp(head: &Head) -> Stamp {
    let known = |ino: u64| Some(ino).filter(|ino| *ino != 0);
    Stamp {
        at: At {
            ns: head.t_ns,
            epoch: head.epoch,
            cpu: head.cpu,
        },
        by: Actor {
            pid: head.pid,
            tid: head.tid,
            comm: head.comm,
            wanted: head.flags & FLAG_WANTED != 0,
        },
        list: List::at(head.list),
        skb: Skb::at(head.skb),
        ends: Ends {
            sender: Sock::at(head.sender_sock),
            receiver: Sock::at(head.receiver_sock),
            sender_ino: known(head.sender_ino),
            receiver_ino: known(head.receiver_ino),
            kind: SocketType::of(head.socket_type),
        },
        socket_fd: Some(head.socket_fd).filter(|fd| *fd >= 0),
        count: head.count,
        described: head.flags & FLAG_DESCRIBED != 0,
    }
}

fn sighting(stamp: Stamp, head: &Head, mut rest: &[u8]) -> Option<Sighting> {
    let mut files = Sights::with_capacity(usize::from(head.files));
    for _ in 0..head.files {
        let (file, after) = FileSeen::read_from_prefix(rest).ok()?;
        files.push(sight(&file));
        rest = after;
    }
    Some(Sighting {
        stamp,
        first: head.first,
        total: head.total,
        files,
        aside: Aside::default(),
    })
}

fn sight(seen: &FileSeen) -> Sight {
    Sight {
        file: sighted::file(seen),
        refs: Some(seen.refs),
        fd: Some(seen.fd).filter(|fd| *fd >= 0),
        slot: seen.slot,
        cloexec: seen.cloexec & !IN_PLACE != 0,
        told: told(seen.told),
        in_place: seen.cloexec & IN_PLACE != 0,
    }
}

fn told(told: i32) -> Option<Result<Fd, i32>> {
    match told {
        NOT_TOLD => None,
        0.. => Some(Ok(told)),
        _ => Some(Err(-told)),
    }
}

fn look(head: &Head) -> Look {
    let is = |flag: u16| head.flags & flag != 0;
    Look {
        began_ns: head.location,
        raced: is(FLAG_RACED),
        has_uring: is(FLAG_HAS_URING),
        is_first: is(FLAG_FIRST_SEEN),
        disputed: is(FLAG_DISPUTED),
    }
}

/// What came of installing a file: what the control message has in its place, and what the function
/// returned.
fn outcome(result: i32, file: Option<&Sight>) -> Result<Option<Fd>, Refusal> {
    if result < 0 {
        return Err(Refusal {
            errno: result.saturating_neg(),
            in_place: false,
        });
    }
    match file.map_or(Some(Err(1)), |file| file.told) {
        Some(Err(errno)) => Err(Refusal {
            errno,
            in_place: true,
        }),
        Some(Ok(_)) => Ok(file.and_then(|file| file.fd)),
        None => Ok(None),
    }
}

fn given(head: &Head) -> Given {
    let is = |flag: u16| head.flags & flag != 0;
    Given {
        errno: (head.result < 0).then_some(head.result.saturating_neg()),
        call: call(head.call),
        has_uring: is(FLAG_HAS_URING),
        installed_unseen: is(FLAG_INSTALLED_UNSEEN),
    }
}

fn returned(head: &Head) -> Return {
    let is = |flag: u16| head.flags & flag != 0;
    let given = given(head);
    Return {
        given,
        read_ns: head.origin,
        peeks: is(FLAG_PEEK),
        is_oob: is(FLAG_OOB),
        left: is(FLAG_LEFT),
        table: Table {
            is_short: is(FLAG_WINDOW_SHORT),
            is_shared: is(FLAG_TABLE_SHARED),
            is_full: is(FLAG_TABLE_FULL),
            has_hole: is(FLAG_HOLE),
        },
        control: Control::of(head, given.call),
        room_known: head.room != ROOM_UNKNOWN,
    }
}

fn call(call: i32) -> Option<Call> {
    const RECVMSG: i32 = records::Call::Recvmsg as i32;
    const PLAIN_READ: i32 = records::Call::PlainRead as i32;
    match call {
        call if call < 0 => None,
        RECVMSG => Some(Call::Recvmsg),
        PLAIN_READ => Some(Call::PlainRead),
        _ => Some(Call::Other),
    }
}
