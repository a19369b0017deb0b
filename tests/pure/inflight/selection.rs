//! Which of a census is shown, and in which order.

use super::*;

/// The descriptions of what a filter leaves.
fn left(census: &Census, wanted: &Wanted) -> Vec<String> {
    let selection = select(census, wanted, Order::Socket, &Sightings::default());
    let rows = selection.lines.iter().filter_map(|line| match line.part {
        Part::Row(number) => description(&census.holdings[line.place].rows[number].queued),
        _ => None,
    });
    rows.collect()
}

#[test]
fn a_tree_shows_each_socket_once() {
    // 1 carries 2 twice, and 2 carries 1.
    let census = still(pass(
        vec![
            queue(1, vec![carried(0, 2), file(1, "/a"), carried(2, 2)]),
            queue(2, vec![carried(0, 1)]),
        ],
        &[1],
    ));
    let parts: Vec<_> = all(&census)
        .lines
        .iter()
        .map(|line| (line.depth, line.place, line.part))
        .collect();
    assert_eq!(
        parts,
        [
            (0, 0, Part::Socket),
            (1, 0, Part::Row(0)),
            (2, 1, Part::Socket),
            (3, 1, Part::Row(0)),
            (4, 0, Part::SocketAgain),
            (1, 0, Part::Row(1)),
            (1, 0, Part::Row(2)),
            (2, 1, Part::SocketAgain),
        ]
    );
}

#[test]
fn what_leads_to_a_match_is_shown_with_it() {
    let census = still(pass(
        vec![
            queue(1, vec![file(0, "/other"), carried(1, 2)]),
            queue(2, vec![file(0, "/wanted/x")]),
            queue(3, vec![file(0, "/other")]),
        ],
        &[1, 3],
    ));
    let wanted = Wanted {
        path: Some(PathFilter {
            inode: 1,
            mount_id: None,
            below: Some("/wanted".to_owned()),
        }),
        ..Wanted::default()
    };
    let selection = select(&census, &wanted, Order::Socket, &Sightings::default());
    assert_eq!((selection.matched, selection.sockets), (1, 1));
    let parts: Vec<_> = selection.lines.iter().map(|line| line.part).collect();
    assert_eq!(
        parts,
        [Part::Socket, Part::Carrier(1), Part::Socket, Part::Row(0)]
    );
}

#[test]
fn each_filter_leaves_what_it_names() {
    let mut deleted = file(0, "/mnt/gone");
    deleted.path.as_mut().unwrap().unlinked = true;
    deleted.sender = Some(Identity {
        pid: 77,
        alive: false,
        uid: 0,
        gid: 0,
    });
    let mut eventfd = file(1, "[eventfd]");
    eventfd.file.mode = 0o600;
    eventfd.file.magic = 0x0904_1934;
    eventfd.path.as_mut().unwrap().rootless = true;
    let mut elsewhere = file(2, "/mntx/kept");
    elsewhere.path.as_mut().unwrap().mount_id = 31;
    let mut queue = queue(1, vec![deleted, eventfd, elsewhere]);
    queue.socket.name = Some("@app".to_owned());
    let census = still(pass(vec![queue], &[1]));

    let (gone, event, kept) = ("/mnt/gone (deleted)", "anon_inode:[eventfd]", "/mntx/kept");
    let everything = vec![gone, event, kept];
    let kinds = |kinds: &[&str]| Wanted {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        ..Wanted::default()
    };
    let place = |inode, mount_id, below: Option<&str>| Wanted {
        path: Some(PathFilter {
            inode,
            mount_id,
            below: below.map(str::to_owned),
        }),
        ..Wanted::default()
    };
    let by_socket = |socket| Wanted {
        socket: Some(socket),
        ..Wanted::default()
    };
    let by_pid = |pids: &[u32]| Wanted {
        pids: pids.to_vec(),
        ..Wanted::default()
    };
    for (wanted, expected) in [
        (Wanted::default(), everything.clone()),
        (kinds(&["regular"]), vec![gone, kept]),
        (kinds(&["eventfd"]), vec![event]),
        (kinds(&["anon-inode"]), vec![event]),
        (kinds(&["eventfd", "regular"]), everything.clone()),
        (kinds(&["socket"]), vec![]),
        (
            Wanted {
                deleted: true,
                ..Wanted::default()
            },
            vec![gone],
        ),
        // A folder's name is no prefix of another's, and an eventfd is in none.
        (place(1, None, Some("/mnt")), vec![gone]),
        (place(1, None, Some("")), vec![gone, kept]),
        (place(1, Some(31), Some("/")), vec![kept]),
        (place(0xffff_8883_0000_0002, None, None), vec![kept]),
        (by_socket(SocketFilter::Ino(1)), everything.clone()),
        (by_socket(SocketFilter::Ino(2)), everything.clone()),
        (by_socket(SocketFilter::Ino(3)), vec![]),
        (
            by_socket(SocketFilter::Name("@app".to_owned())),
            everything.clone(),
        ),
        (by_socket(SocketFilter::Name("app".to_owned())), vec![]),
        (by_pid(&[77]), vec![gone]),
        (by_pid(&[10]), everything.clone()),
        (by_pid(&[11]), vec![]),
        (by_pid(&[11, 77]), vec![gone]),
    ] {
        assert_eq!(left(&census, &wanted), expected, "{wanted:?}");
    }
}

#[test]
fn sockets_come_in_the_order_asked_for() {
    let mut young = queue(1, vec![file(0, "/a"), file(1, "/b"), file(2, "/c")]);
    young.files[0].stamped_ns = Some(90 * SECOND);
    let mut old = queue(3, vec![file(0, "/d")]);
    old.files[0].stamped_ns = Some(10 * SECOND);
    let ageless = queue(2, vec![file(0, "/e"), file(1, "/f")]);
    let census = still(pass(vec![old, young, ageless], &[1, 2, 3]));
    let mut sightings = Sightings::default();
    sightings.note(&census, 0, 100 * SECOND);
    for (order, expected) in [
        (Order::Socket, [1, 2, 3]),
        (Order::Count, [1, 2, 3]),
        (Order::Age, [3, 1, 2]),
    ] {
        let selection = select(&census, &Wanted::default(), order, &sightings);
        let inos: Vec<_> = selection
            .lines
            .iter()
            .filter(|line| line.part == Part::Socket)
            .filter_map(|line| census.holdings[line.place].socket.ino)
            .collect();
        assert_eq!(inos, expected, "{order:?}");
    }
}
