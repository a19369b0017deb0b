//! What a look through the queues found, as events.

use super::{
    Described,
    event::{Actor, At, Ends, Event, List, Sight, Sighting, Skb, Sock, Stamp},
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

/// The events of one fact: of a message its socket's name and its files' descriptions, and then itself.
pub fn found(fact: QueueFact) -> impl Iterator<Item = Event> {
    let mut events = Vec::new();
    match fact {
        QueueFact::LookedThrough { t_ns, every } => {
            let of = stamp(t_ns);
            events.push(Event::QueuesRead { of, every });
        }
        QueueFact::Lies(part) => lies(part, &mut events),
    }
    events.into_iter()
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

fn lies(part: QueuedPart, events: &mut Vec<Event>) {
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
    let mut files = Vec::with_capacity(part.files.len());
    for (index, found) in (part.first..).zip(part.files) {
        if let Some(description) = found.description {
            let described = Described {
                index,
                file: found.file.ptr,
                ino: found.file.ino,
                dev: found.file.dev,
                description,
            };
            events.push(Event::FileDescribed { of, described });
        }
        files.push(Sight {
            file: found.file,
            refs: found.refs,
            fd: None,
            slot: 0,
            cloexec: false,
            told: None,
        });
    }
    if let Some(name) = part.socket_name {
        events.push(Event::SocketNamed { of, name });
    }
    let seen = Sighting {
        stamp: of,
        first: part.first,
        total: part.count,
        files,
    };
    events.push(Event::ListFound(seen, part.occasion));
}
