//! What follows from two passes over the queues, without a kernel: what is confirmed, what carries
//! what, what is garbage, what is picked, in which order, and how it reads.

mod gaps;
mod garbage;
mod report;
mod selection;

use fdtrace::{
    inflight::{
        Age, Census, Order, Part, PathFilter, Sightings, SocketFilter, Wanted, description, select,
    },
    model::{
        FileIdentity, FilePath, Gaps, Holder, Identity, Pass, Queue, QueuedFile, SocketType,
        UnixSocket,
    },
    wire::holders,
};
use fdtrace_common::{descriptions::SocketAddresses, queues::HolderSeen};
use proptest::prelude::*;
use zerocopy::FromZeros as _;

const SECOND: u64 = 1_000_000_000;

/// A socket that one process holds; its inode number stands for its address too.
fn socket(ino: u64) -> UnixSocket {
    UnixSocket {
        sock: 0xffff_8881_0000_0000 + ino,
        file_refs: 1,
        ino: Some(ino),
        peer: 0xffff_8881_0000_0000 + ino + 1,
        peer_ino: Some(ino + 1),
        peer_creds: Some(Identity {
            pid: 500,
            alive: false,
            uid: 1000,
            gid: 1000,
        }),
        scm_fds: 0,
        kind: Some(SocketType::Stream),
        listens: false,
        name: None,
        peer_name: None,
    }
}

fn path(text: &str) -> FilePath {
    FilePath {
        text: text.to_owned(),
        unlinked: false,
        rootless: false,
        cut: false,
        detached: false,
        mount_root: false,
        mount_id: 30,
    }
}

/// A regular file in the first message of a queue.
fn file(index: u32, name: &str) -> QueuedFile {
    QueuedFile {
        file: FileIdentity {
            ptr: 0xffff_8882_0000_0000 + u64::from(index),
            ino: 900 + u64::from(index),
            dev: 254 << 20,
            rdev: 0,
            mode: 0o100_644,
            flags: 0o100_001,
            magic: 0xef53,
            label: None,
        },
        inode: 0xffff_8883_0000_0000 + u64::from(index),
        refs: 1,
        links: 1,
        path: Some(path(name)),
        socket: None,
        list: 0xffff_8884_0000_0000,
        skb: 0xffff_8885_0000_0000,
        sender_sock: 0xffff_8881_0000_0001,
        sender_ino: None,
        sender: None,
        message: 0,
        index,
        count: 3,
        bytes_before: 0,
        stamped_ns: None,
        sock: 0,
    }
}

/// A socket as a file in a queue.
fn carried(index: u32, inner: u64) -> QueuedFile {
    let mut file = file(index, "UNIX");
    file.file.mode = 0o140_777;
    file.file.magic = 0x534f_434b;
    file.file.ino = inner;
    file.path = Some(FilePath {
        rootless: true,
        ..path("UNIX")
    });
    file.sock = socket(inner).sock;
    file
}

fn queue(ino: u64, files: Vec<QueuedFile>) -> Queue {
    Queue {
        socket: UnixSocket {
            scm_fds: files.len() as u32,
            ..socket(ino)
        },
        files,
        connections: Vec::new(),
    }
}

/// A pass; process 10 holds the sockets of `held`.
fn pass(queues: Vec<Queue>, held: &[u64]) -> Pass {
    Pass {
        queues,
        holders: held
            .iter()
            .map(|ino| {
                let holder = Holder {
                    pid: 10,
                    comm: "server".to_owned(),
                    fds: vec![5],
                };
                (socket(*ino).sock, vec![holder])
            })
            .collect(),
        counted_by_user: None,
        gaps: Gaps::default(),
    }
}

/// A census of what did not change.
fn still(pass: Pass) -> Census {
    Census::of(&pass.clone(), pass)
}

fn all(census: &Census) -> fdtrace::inflight::Selection {
    select(
        census,
        &Wanted::default(),
        Order::Socket,
        &Sightings::default(),
    )
}

#[test]
fn only_what_both_passes_saw_is_listed() {
    let before = pass(vec![queue(1, vec![file(0, "/a"), file(1, "/b")])], &[1]);
    let after = pass(vec![queue(1, vec![file(1, "/b"), file(2, "/c")])], &[1]);
    let census = Census::of(&before, after);
    let listed: Vec<_> = census
        .rows()
        .filter_map(|(_, row)| description(&row.queued))
        .collect();
    assert_eq!(listed, ["/b"]);
    let differences = census.differences;
    assert_eq!((differences.came, differences.went), (1, 1));
    assert_eq!(differences.moved, 0);
}

#[test]
fn the_same_addresses_for_another_file_are_another_row() {
    let before = pass(vec![queue(1, vec![file(0, "/a")])], &[1]);
    for change in [
        |file: &mut QueuedFile| file.file.ino += 1,
        |file: &mut QueuedFile| file.file.ptr += 1,
        |file: &mut QueuedFile| file.file.dev += 1,
        |file: &mut QueuedFile| file.list += 1,
        |file: &mut QueuedFile| file.skb += 1,
    ] {
        let mut after = before.clone();
        change(&mut after.queues[0].files[0]);
        let census = Census::of(&before, after);
        assert_eq!(census.rows().count(), 0);
        assert_eq!((census.differences.came, census.differences.went), (1, 1));
    }
    // And so is the same in another socket.
    let mut after = before.clone();
    after.queues[0].socket.ino = Some(2);
    assert_eq!(Census::of(&before, after).rows().count(), 0);
}

#[test]
fn a_message_that_moved_up_is_the_same() {
    let mut before = pass(vec![queue(1, vec![file(0, "/a")])], &[1]);
    let after = before.clone();
    before.queues[0].files[0].message = 3;
    before.queues[0].files[0].bytes_before = 100;
    let census = Census::of(&before, after);
    let (_, row) = census.rows().next().unwrap();
    assert_eq!((row.queued.message, row.queued.bytes_before), (0, 0));
}

#[test]
fn a_path_that_changed_is_not_shown() {
    let before = pass(vec![queue(1, vec![file(0, "/a"), file(1, "/b")])], &[1]);
    let mut after = before.clone();
    after.queues[0].files[0].path = Some(path("/renamed"));
    after.queues[0].files[1].path = None;
    let census = Census::of(&before, after);
    assert_eq!(census.differences.moved, 2);
    assert!(census.rows().all(|(_, row)| row.queued.path.is_none()));
}

#[test]
fn a_socket_is_shown_by_what_both_passes_saw_it_connected_to() {
    let tcp = |port, listens| {
        let mut seen = SocketAddresses::new_zeroed();
        (seen.family, seen.kind, seen.protocol) = (2, 1, 6);
        seen.local_port = port;
        seen.local[..4].copy_from_slice(&[127, 0, 0, 1]);
        seen.state = if listens { 10 } else { 7 };
        seen
    };
    let mut listener = carried(0, 2);
    listener.socket = Some(tcp(8080, true));
    let before = pass(vec![queue(1, vec![listener])], &[1]);
    let shown = |census: &Census| {
        let (_, row) = census.rows().next().unwrap();
        (description(&row.queued), census.differences.moved)
    };
    let address = Some("tcp 127.0.0.1:8080 listening".to_owned());
    assert_eq!(shown(&still(before.clone())), (address, 0));
    // It was bound, or began to listen, while it was looked at.
    for change in [Some(tcp(8081, true)), Some(tcp(8080, false)), None] {
        let mut after = before.clone();
        after.queues[0].files[0].socket = change;
        let census = Census::of(&before, after);
        assert_eq!(shown(&census), (Some("socket:[2]".to_owned()), 0));
    }
    // One of a pair has no address.
    let mut pair = before;
    let mut nameless = SocketAddresses::new_zeroed();
    (nameless.family, nameless.kind, nameless.state) = (1, 1, 1);
    pair.queues[0].files[0].socket = Some(nameless);
    assert_eq!(shown(&still(pair)), (Some("socket:[2]".to_owned()), 0));
}

#[test]
fn an_age_is_known_from_a_stamp_or_from_watching() {
    let mut stamped = file(0, "/stamped");
    stamped.stamped_ns = Some(40 * SECOND);
    let queues = vec![queue(1, vec![stamped, file(1, "/plain")])];
    let census = still(pass(queues, &[1]));
    let ages = |sightings: &Sightings| -> Vec<Option<Age>> {
        let rows = census.rows();
        rows.map(|(holding, row)| sightings.age(holding, row))
            .collect()
    };
    let exactly = |ns| {
        Some(Age {
            ns,
            at_least: false,
        })
    };
    let mut sightings = Sightings::default();
    sightings.note(&census, 5 * SECOND, 100 * SECOND);
    assert_eq!(ages(&sightings), [exactly(60 * SECOND), None]);
    sightings.note(&census, 7 * SECOND, 102 * SECOND);
    let least = Age {
        ns: 2 * SECOND,
        at_least: true,
    };
    assert_eq!(ages(&sightings), [exactly(62 * SECOND), Some(least)]);
    // What was gone for a while is not as old as it was, and a clock may go back.
    sightings.note(&Census::default(), 8 * SECOND, 103 * SECOND);
    sightings.note(&census, 9 * SECOND, 1);
    let new = Age {
        ns: 0,
        at_least: true,
    };
    assert_eq!(ages(&sightings), [exactly(0), Some(new)]);
}

#[test]
fn holders_are_told_once_however_often_the_kernel_lists_them() {
    let row = |pid, fd| HolderSeen {
        sock: 1,
        pid,
        fd,
        queued: 0,
        reserved: 0,
        comm: *b"worker\0\0leftover",
    };
    let holders = holders(&[row(2, 3), row(1, 4), row(2, 3), row(2, 9)]);
    let expected = [(1, vec![4]), (2, vec![3, 9])].map(|(pid, fds)| Holder {
        pid,
        comm: "worker".to_owned(),
        fds,
    });
    assert_eq!(holders[&1], expected);
}

proptest! {
    /// Whatever carries whatever: it ends, each match is shown once, and what is garbage is just
    /// what no holder leads to.
    #[test]
    fn any_tangle_of_sockets_is_shown_once(
        edges in prop::collection::vec((0_u64..12, 0_u64..12), 0..40),
        held in prop::collection::vec(0_u64..12, 0..4),
    ) {
        let mut queues: Vec<Queue> = (0..12).map(|ino| queue(ino + 1, Vec::new())).collect();
        for (outer, inner) in &edges {
            let files = &mut queues[*outer as usize].files;
            files.push(carried(files.len() as u32, inner + 1));
        }
        for ino in 0..12 {
            let times = edges.iter().filter(|(_, inner)| *inner == ino).count();
            let held = held.contains(&ino);
            queues[ino as usize].socket.file_refs = times as i64 + i64::from(held);
        }
        queues.retain(|queue| !queue.files.is_empty());
        let inos: Vec<u64> = held.iter().map(|ino| ino + 1).collect();
        let census = still(pass(queues, &inos));
        let selection = all(&census);
        prop_assert_eq!(selection.matched, edges.len() as u64);
        let mut rows: Vec<_> = selection
            .lines
            .iter()
            .filter(|line| matches!(line.part, Part::Row(_)))
            .map(|line| (line.place, format!("{:?}", line.part)))
            .collect();
        rows.sort();
        let shown = rows.len();
        rows.dedup();
        prop_assert_eq!((shown, rows.len()), (edges.len(), edges.len()));

        let mut alive = held;
        let mut at = 0;
        while at < alive.len() {
            let outer = alive[at];
            let found = edges.iter().filter(|(from, _)| *from == outer).map(|(_, inner)| *inner);
            for inner in found {
                if !alive.contains(&inner) {
                    alive.push(inner);
                }
            }
            at += 1;
        }
        for holding in &census.holdings {
            let ino = holding.socket.ino.unwrap() - 1;
            prop_assert_eq!(holding.garbage, !alive.contains(&ino));
        }
    }
}
