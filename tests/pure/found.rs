//! What was in a queue before the trace began, without a kernel: it is shown with what is known of
//! it, and mistaken for nothing that was sent since.

use fdtrace::{
    judge::verdict,
    model::{
        Chain, Fate, FileDescription, FileIdentity, FilePath, FoundFile, Hop, Mark, Occasion, Pass,
        Queue, QueueFact, QueuedFile, QueuedPart, SocketType, Transfer, UnixSocket, Verdict,
    },
    watch::found::{Finding, Found},
    wire,
};
use fdtrace_common::{descriptions::SocketAddresses, records::FLAG_WANTED};
use fdtrace_testkit::{Event, Passing, kernels::tracepoint_plan, tracker};
use zerocopy::FromZeros as _;

fn track(parts: &[Vec<Event>]) -> Vec<Transfer> {
    fdtrace_testkit::track(parts.concat())
}

/// A message of this many files.
fn message(files: u64) -> Passing {
    Passing {
        files: (0..files)
            .map(|file| 0xffff_8881_2000_0000 + file * 256)
            .collect(),
        ..Passing::one()
    }
}

#[test]
fn its_receive_is_shown_without_a_sender() {
    let message = message(40);
    let transfers = track(&[
        message.found(10),
        message.dequeued(20),
        message.returned(30, 40),
    ]);
    assert_eq!(transfers.len(), 40);
    for transfer in &transfers {
        assert_eq!(
            (transfer.fate(), transfer.found_ns),
            (Fate::Delivered, Some(10))
        );
        assert_eq!(transfer.sender, None);
        assert_eq!(transfer.queued_ns, None);
        let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
        assert_eq!(hops, [Hop::Dequeue, Hop::Install]);
        assert_eq!(transfer.socket.kind, Some(SocketType::Stream));
        assert!(Mark::of(transfer).contains(&Mark::QueuedBefore));
        assert_eq!(transfer.chain, Chain::Gap { hop: Hop::Queue });
        let plan = tracepoint_plan();
        let verdict = verdict::of_transfer(transfer, |hop| plan.watches(hop), true);
        assert_eq!(verdict, Some(Verdict::Unverified));
    }
}

#[test]
fn what_stays_is_queued_and_told_of_when_it_is_overdue() {
    let message = message(2);
    let mut tracker = tracker();
    for event in message.found(10) {
        tracker.apply(event);
    }
    assert!(tracker.take_overdue(10).is_empty());
    let overdue = tracker.take_overdue(11);
    assert_eq!(overdue.len(), 2);
    assert!(Mark::of(&overdue[0]).contains(&Mark::StillQueued));
    tracker.close_open();
    let transfers = tracker.take_closed();
    assert_eq!(transfers.len(), 2);
    for transfer in transfers {
        assert_eq!((transfer.fate(), transfer.last_ns()), (Fate::Queued, 10));
    }
}

#[test]
fn a_message_that_was_seen_being_queued_is_no_older_for_being_found() {
    let message = message(3);
    let rest = [message.dequeued(20), message.returned(30, 3)].concat();
    // The look at the queues falls before or after the record of its queueing.
    for first in [
        [message.queued(5), message.found(10)],
        [message.found(10), message.queued(11)],
    ] {
        let transfers = track(&[first.concat(), rest.clone()]);
        assert_eq!(transfers.len(), 3);
        for transfer in transfers {
            assert_eq!((transfer.found_ns, transfer.chain), (None, Chain::Whole));
        }
    }
}

#[test]
fn a_last_look_tells_what_is_queued_where_not_every_end_is_seen() {
    let message = message(2);
    let elsewhere = Passing {
        skb: message.skb + 0x1000,
        ..message.clone()
    };
    let cases = [
        (
            vec![message.queued(5), message.found_last(50)],
            Fate::Queued,
        ),
        (vec![message.found(5), message.found_last(50)], Fate::Queued),
        // Nobody looked, or what lay there was another message.
        (vec![message.queued(5)], Fate::Unknown),
        (
            vec![message.queued(5), elsewhere.found_last(50)],
            Fate::Unknown,
        ),
        // It was read while the look went on.
        (
            vec![
                message.queued(5),
                message.found_last(50),
                message.dequeued(51),
            ],
            Fate::Unknown,
        ),
    ];
    for (parts, fate) in cases {
        let mut tracker = tracker().seeing_every_end(false);
        for event in parts.concat() {
            tracker.apply(event);
        }
        tracker.close_open();
        let fates: Vec<Fate> = tracker.take_closed().iter().map(Transfer::fate).collect();
        assert_eq!(fates, [fate; 2], "{parts:?}");
    }
}

#[test]
fn a_last_look_makes_no_message_of_its_own() {
    assert!(track(&[message(1).found_last(50)]).is_empty());
}

#[test]
fn who_holds_a_socket_at_last_wants_what_lies_there() {
    let message = message(1);
    for wanted in [false, true] {
        let mut last = message.found_last(50);
        if wanted {
            fdtrace_testkit::head_mut(&mut last[0]).flags |= FLAG_WANTED;
        }
        let transfers = track(&[message.queued(5), last]);
        assert_eq!((transfers.len(), transfers[0].wanted), (1, wanted));
    }
}

#[test]
fn another_message_at_its_address_is_another_message() {
    let old = message(1);
    let new = Passing {
        files: vec![0xffff_8881_5000_0000],
        sender_fd: 77,
        ..Passing::one()
    };
    // The old one's end was not seen.
    let transfers = track(&[old.found(10), new.delivered(20)]);
    let fates: Vec<Fate> = transfers.iter().map(Transfer::fate).collect();
    assert_eq!(fates, [Fate::Unknown, Fate::Delivered]);
    assert_eq!(transfers[0].found_ns, Some(10));
    assert_eq!(transfers[1].found_ns, None);
    assert_eq!(transfers[1].sender.as_ref().unwrap().fd, Some(77));
}

#[test]
fn the_next_message_of_the_same_file_does_not_lend_it_a_sender() {
    let old = message(1);
    let new = Passing {
        sender_fd: 77,
        receiver_fd: 88,
        ..old.clone()
    };
    // The next one is queued at its address before its receive has returned.
    let (read, returned) = (old.dequeued(20), old.returned(40, 1));
    let queued = new.queued(30);
    let rest = [new.dequeued(50), new.returned(60, 1)].concat();
    let transfers = track(&[old.found(10), read, queued, returned, rest]);
    let [first, second] = &transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!((first.fate(), &first.sender), (Fate::Delivered, &None));
    assert_eq!(first.receiver().unwrap().fd, Some(9));
    assert_eq!(second.sender.as_ref().unwrap().fd, Some(77));
    assert_eq!(second.receiver().unwrap().fd, Some(88));
    assert_eq!(second.chain, Chain::Whole);
}

#[test]
fn a_look_at_the_queues_becomes_records() {
    let path = |text: &str| FilePath {
        text: text.to_owned(),
        unlinked: true,
        rootless: false,
        cut: false,
        detached: false,
        mount_root: false,
        mount_id: 7,
    };
    let file = |message, index| QueuedFile {
        file: FileIdentity {
            ptr: 0xffff_8881_2000_0000,
            ino: 42,
            dev: 254 << 20,
            rdev: 0,
            mode: 0o100_644,
            flags: 0,
            magic: 0xef53,
            label: None,
        },
        inode: 1,
        refs: 1,
        links: 0,
        path: Some(path("/var/log/a b")),
        socket: None,
        list: 0x100 + u64::from(message),
        skb: 0x200,
        sender_sock: 0x300,
        sender_ino: None,
        sender: None,
        message,
        index,
        count: 20,
        bytes_before: 0,
        stamped_ns: None,
        sock: 0,
    };
    let socket = UnixSocket {
        sock: 0x400,
        file_refs: 1,
        ino: Some(70),
        peer: 0,
        peer_ino: None,
        peer_creds: None,
        scm_fds: 40,
        kind: Some(SocketType::Dgram),
        listens: false,
        name: Some("@abstract".to_owned()),
        peer_name: None,
    };
    let mut pass = Pass {
        queues: vec![Queue {
            socket,
            files: (0..2)
                .flat_map(|at| (0..20).map(move |index| file(at, index)))
                .collect(),
            connections: Vec::new(),
        }],
        ..Pass::default()
    };
    let mut addresses = SocketAddresses::new_zeroed();
    (addresses.family, addresses.kind, addresses.protocol) = (2, 2, 17);
    addresses.local_port = 53;
    pass.queues[0].files[20].socket = Some(addresses);
    let mut found = Found::of(&pass, 1000, |file| file.message == 1);
    // Its turn is when the first record comes that was made later.
    let early = fdtrace_testkit::head_mut(&mut Passing::one().queued(999)[0])
        .t_ns
        .to_le_bytes();
    let late = 1000_u64.to_le_bytes();
    assert!(found.take_before(&early).is_empty());
    let findings = found.take_before(&late);
    assert!(found.take().is_empty());

    let mut tracker = tracker();
    for finding in findings {
        let Finding::Fact(fact) = &finding else {
            panic!("nothing was held: {finding:?}");
        };
        // It survives the way through a recording.
        let json = serde_json::to_vec(&fact).unwrap();
        let fact: QueueFact = serde_json::from_slice(&json).unwrap();
        tracker.apply(wire::Record::Event(wire::found(fact)));
    }
    tracker.close_open();
    let transfers = tracker.take_closed();
    assert_eq!(transfers.len(), 40);
    for (place, transfer) in transfers.iter().enumerate() {
        assert_eq!(transfer.wanted, place >= 20);
        assert_eq!(
            (transfer.fate(), transfer.found_ns),
            (Fate::Queued, Some(1000))
        );
        assert_eq!(transfer.socket.path.as_deref(), Some("@abstract"));
        assert_eq!(transfer.socket.kind, Some(SocketType::Dgram));
        assert_eq!(
            (transfer.file.ino, transfer.file.kind().name()),
            (42, "regular")
        );
        let described = transfer.context.file.as_ref().unwrap();
        let expected = match place {
            20 => "udp 0.0.0.0:53",
            _ => "/var/log/a b (deleted)",
        };
        assert_eq!(described.to_string(), expected);
    }
}

#[test]
fn a_last_look_describes_every_file_of_a_long_list() {
    const FILES: u16 = 20;
    let passing = message(FILES.into());
    let mut queued = passing.queued(5);
    let head = *fdtrace_testkit::head_mut(&mut queued[0]);
    let files: Vec<FoundFile> = queued
        .iter_mut()
        .flat_map(|event| fdtrace_testkit::files_mut(event).to_vec())
        .map(|seen| FoundFile {
            file: FileIdentity {
                ptr: seen.file,
                ino: seen.ino,
                dev: seen.dev,
                rdev: 0,
                mode: seen.mode,
                flags: 0,
                magic: seen.magic,
                label: None,
            },
            refs: 1,
            description: Some(FileDescription::Path(FilePath {
                text: format!("/{:x}", seen.file),
                unlinked: false,
                rootless: false,
                cut: false,
                detached: false,
                mount_root: false,
                mount_id: 1,
            })),
        })
        .collect();
    let mut tracker = tracker().seeing_descriptions(true);
    for event in queued {
        tracker.apply(event);
    }
    for (place, part) in files.chunks(16).enumerate() {
        let lies = QueueFact::Lies(QueuedPart {
            occasion: Occasion::Last,
            t_ns: 50,
            wanted: false,
            list: passing.list,
            skb: passing.skb,
            sender_sock: head.sender_sock,
            receiver_sock: head.receiver_sock,
            sender_ino: None,
            receiver_ino: None,
            kind: None,
            socket_name: None,
            count: FILES,
            first: 16 * place as u16,
            files: part.to_vec(),
        });
        tracker.apply(wire::Record::Event(wire::found(lies)));
    }
    tracker.close_open();
    let transfers = tracker.take_closed();
    assert_eq!(transfers.len(), usize::from(FILES));
    for transfer in &transfers {
        assert_eq!(transfer.fate(), Fate::Queued);
        let described = transfer.context.file.as_ref().unwrap().to_string();
        assert_eq!(described, format!("/{:x}", transfer.file.ptr));
    }
}
