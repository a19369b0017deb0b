//! Assertions on what a recording has: what holds, and what each says that does not.

use fdtrace::{
    AssertionError, Cause, Error, Expected, Fate, FileKind, Judged, Recording, Seen, Verdict,
};

use super::{assertion, recording};

#[test]
fn each_way_not_to_hold_has_an_error_of_its_own() -> Result<(), Error> {
    let mut seen = Recording::open(recording("trampolines"))?.seen()?;
    seen.nothing_lost()?;
    let is_same = |t: &Judged| t.verdict == Some(Verdict::Same);
    let several = assertion(seen.one(is_same));
    assert!(matches!(several, AssertionError::SeveralMatch { matching, .. } if matching > 1));
    let place = seen.transfers.iter().position(is_same).unwrap();
    let id = seen.transfers[place].id;
    seen.one(|t| t.id == id)?.same_object()?;

    seen.transfers[place].verdict = Some(Verdict::Different);
    let different = assertion(seen.one(|t| t.id == id)?.same_object());
    assert!(
        matches!(different, AssertionError::Different { .. }),
        "{different}"
    );

    seen.transfers[place].verdict = Some(Verdict::Unverified);
    let unproven = assertion(seen.one(|t| t.id == id)?.same_object());
    assert!(
        matches!(unproven, AssertionError::Unproven { .. }),
        "{unproven}"
    );

    seen.transfers[place].verdict = Some(Verdict::Lost);
    let unproven = assertion(seen.one(|t| t.id == id)?.same_object());
    assert!(
        unproven
            .to_string()
            .contains("because records were lost meanwhile"),
        "{unproven}"
    );

    seen.transfers[place]
        .transfer
        .end
        .receiver_mut()
        .unwrap()
        .cloexec = None;
    let unknown = assertion(seen.one(|t| t.id == id)?.cloexec());
    assert!(
        matches!(unknown, AssertionError::CloexecUnknown { .. }),
        "{unknown}"
    );

    seen.losses.recursion_misses = 2;
    let lost = assertion(seen.nothing_lost());
    assert_eq!(
        lost.to_string(),
        "not everything was seen: 2 runs of programs were skipped"
    );
    let missing = assertion(seen.one(|_| false)).to_string();
    assert!(
        missing.contains(", and not everything was seen (2 runs"),
        "{missing}"
    );
    assert!(missing.contains(" earlier ones)\n"), "{missing}");
    Ok(())
}

/// What a recording shows.
fn seen(name: &str) -> Seen {
    Recording::open(recording(name)).unwrap().seen().unwrap()
}

/// The error of a miss, line by line.
fn miss(seen: &Seen, expected: &Expected) -> Vec<String> {
    let missing = assertion(seen.one_like(expected));
    assert!(
        matches!(missing, AssertionError::NoneMatches { .. }),
        "{missing}"
    );
    missing.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_miss_lists_the_nearest_beside_what_was_expected() {
    let seen = seen("tracepoints");
    let expected = Expected::new()
        .receiver_comm("worker")
        .path("/srv/shop/access.log")
        .fate(Fate::Delivered);
    let lines = miss(&seen, &expected);
    assert_eq!(
        lines[0],
        "none of 11 transfers is the one expected; the nearest:"
    );
    let words = |line: &str| -> Vec<String> {
        let (fields, _) = line.split_once(" │ ").unwrap_or((line, ""));
        let cells = fields.split("  ").map(str::trim);
        cells
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(words(&lines[1]), ["receiver's name", "path", "fate"]);
    assert_eq!(
        words(&lines[2]),
        ["expected", "worker", "/srv/shop/access.log", "delivered"]
    );
    // It differs in its fate alone, and that there is such a path says more than a fate that others have.
    assert_eq!(
        words(&lines[3]),
        [
            "2 of 3 agree",
            "worker",
            "/srv/shop/access.log",
            "≠ truncated"
        ]
    );
    assert!(
        lines[3].ends_with(
            "│ acceptor[28412] 13 → worker[28459] ?  regular /srv/shop/access.log  \
             truncated (no-control-room)"
        ),
        "{}",
        lines[3]
    );
    assert_eq!(words(&lines[4])[..3], ["2 of 3 agree", "worker", "≠ ?"]);
    assert_eq!(lines.last().unwrap().trim(), "(6 more are further off)");

    let found = Expected::new()
        .path("/srv/shop/access.log")
        .fate(Fate::Truncated);
    seen.one_like(&found).unwrap();
}

#[test]
fn each_field_holds_of_what_was_seen_and_of_nothing_else() {
    let seen = seen("reload");
    let transfer = &seen.transfers[1];
    let (sender, receiver) = (transfer.sender.as_ref().unwrap(), transfer.receiver());
    let receiver = receiver.unwrap();
    let this = || Expected::new().sender_fd(5);
    let holding = [
        this().sender(sender.pid),
        this().sender_comm("haproxy"),
        this().receiver(receiver.pid),
        this().receiver_comm("haproxy"),
        this().receiver_fd(6),
        this().kind(FileKind::Socket),
        this().inode(transfer.file.ino),
        this().listening_on(([127, 0, 0, 1], 18081).into()),
        this().socket("/run/haproxy/admin.sock.28469.tmp"),
        this().fate(Fate::Delivered),
        this().that("is the second of its message", |t| t.index == 1),
    ];
    for expected in holding {
        seen.one_like(&expected).unwrap();
    }
    let missing = [
        this().sender(receiver.pid),
        this().sender_comm("nginx"),
        this().receiver(sender.pid),
        this().receiver_comm("nginx"),
        this().receiver_fd(5),
        this().kind(FileKind::Memfd),
        this().path("/run/haproxy/admin.sock.28469.tmp"),
        this().inode(transfer.file.ino + 1),
        this().listening_on(([127, 0, 0, 1], 18082).into()),
        this().socket("/run/haproxy/admin.sock"),
        this().fate(Fate::Queued),
        this().cause(Cause::Lsm),
        this().that("is the first of its message", |t| t.index == 0),
    ];
    for expected in missing {
        let lines = miss(&seen, &expected);
        assert!(
            lines[3].starts_with("  1 of 2 agree"),
            "{expected:?}: {lines:#?}"
        );
    }
}

#[test]
fn of_nothing_there_is_no_nearest_and_what_was_expected_is_still_said() {
    let mut seen = seen("reload");
    seen.transfers.clear();
    let lines = miss(&seen, &Expected::new().sender(7).fate(Fate::Delivered));
    assert_eq!(
        lines[0],
        "none of 0 transfers is the one expected; the nearest:"
    );
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["expected", "7", "delivered"]
    );
    assert_eq!(lines.len(), 3);
    let missing = assertion(seen.one(|_| true)).to_string();
    assert_eq!(missing, "none of 0 transfers is the one expected");
}

#[test]
fn names_in_a_miss_cannot_write_on_the_terminal() {
    let mut seen = seen("reload");
    let sender = seen.transfers[0].transfer.sender.as_mut();
    sender.unwrap().comm = "\u{1b}[2J".into();
    let lines = miss(&seen, &Expected::new().sender_comm("\u{1b}]0;x").inode(0));
    assert!(
        lines.iter().all(|line| !line.contains('\u{1b}')),
        "{lines:#?}"
    );
}
