//! What a look through the queues found, as an event.

use super::{
    Described,
    event::{
        Actor, Aside, At, Ends, Event, EventKind, List, Sight, Sighting, Sights, Skb, Sock, Stamp,
    },
};
use crate::model::{FileDescription, Occasion, QueueFact, QueuedFile, QueuedPart};

/// What a file in a queue is, as far as the walk has read it.
#[must_use]
pub fn description(file: &QueuedFile) -> Option<FileDescription> {
    let of_path = |path| FileDescription::of_path(path, file.file.magic, file.file.ino);
    match &file.socket {
        Some(addresses) => Some(FileDescription::Socket(super::socket(addresses))),
        None => file.path.clone().map(of_path),
    }
}

/// One fact as an event.
#[must_use]
pub fn found(fact: QueueFact) -> Event {
    match fact {
        QueueFact::LookedThrough { t_ns, every } => Event {
            kind: EventKind::QueuesRead { every },
            seen: Sighting {
                stamp: stamp(t_ns),
                first: 0,
                total: 0,
                files: Sights::new(),
                aside: Aside::default(),
            },
        },
        QueueFact::Lies(part) => lies(part),
    }
}

fn stamp(t_ns: u64) -> Stamp {
    Stamp {
        at: At {
            ns: t_ns,
            epoch: 0,
            cpu: 0,
        },
        by: Actor {
            pid: 0,
            tid: 0,
            comm: [0; 16],
            wanted: false,
        },
        list: None,
        skb: None,
        ends: Ends::default(),
        socket_fd: None,
        count: 0,
        described: false,
    }
}

fn lies(part: QueuedPart) -> Event {
    let mut of = stamp(part.t_ns);
    of.by.wanted = part.wanted;
    (of.list, of.skb) = (List::at(part.list), Skb::at(part.skb));
    of.ends = Ends {
        sender: Sock::at(part.sender_sock),
        receiver: Sock::at(part.receiver_sock),
        sender_ino: part.sender_ino,
        receiver_ino: part.receiver_ino,
        kind: part.kind,
    };
    of.count = part.count;
    of.described = part.occasion != Occasion::Meanwhile;
    let mut aside = Aside {
        socket_name: part.socket_name,
        ..Aside::default()
    };
    let mut files = Sights::with_capacity(part.files.len());
    for (index, found) in (part.first..).zip(part.files) {
        if let Some(description) = found.description {
            aside.described.push(Described {
                index,
                file: found.file.ptr,
                ino: found.file.ino,
                dev: found.file.dev,
                description: description.into(),
            });
        }
        files.push(Sight {
            file: found.file,
            refs: Some(found.refs),
            fd: None,
            slot: 0,
            cloexec: false,
            told: None,
            in_place: false,
        });
    }
    Event {
        kind: EventKind::ListFound(part.occasion),
        seen: Sighting {
            stamp: of,
            first: part.first,
            total: part.count,
            files,
            aside,
        },
    }
}
