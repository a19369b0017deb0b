//! How a census reads, for people and for programs.

use fdtrace::{
    inflight::{Census, Sightings},
    model::{Gaps, Identity, Pass, PointerStyle, Pointers},
    report::{InFlightJson, InFlightReport, InFlightText, Round, TotalBy, schema},
};
use fdtrace_testkit::contract::Schema;
use unicode_width::UnicodeWidthStr as _;

use super::{SECOND, all, carried, file, pass, queue, still};

fn round(census: &Census, sightings: &Sightings, print: impl FnOnce(&Round<'_>)) {
    let selection = all(census);
    print(&Round {
        census,
        selection: &selection,
        sightings,
        wall_ns: 100 * SECOND,
        unfiltered: true,
        exit_code: 0,
    });
}

fn text(census: &Census) -> String {
    let mut out = Vec::new();
    round(census, &Sightings::default(), |round| {
        let stripped = anstream::StripStream::new(&mut out);
        InFlightText::new(stripped, false).round(round).unwrap();
    });
    String::from_utf8(out).unwrap()
}

fn text_in(census: &Census, width: usize) -> String {
    let mut out = Vec::new();
    round(census, &Sightings::default(), |round| {
        let stripped = anstream::StripStream::new(&mut out);
        let mut text = InFlightText::new(stripped, false).fit(Some(width));
        text.round(round).unwrap();
    });
    String::from_utf8(out).unwrap()
}

fn json(census: &Census) -> String {
    let mut out = Vec::new();
    round(census, &Sightings::default(), |round| {
        let pointers = Pointers::new(PointerStyle::Alias, 0);
        InFlightJson::new(&mut out, pointers).round(round).unwrap();
    });
    String::from_utf8(out).unwrap()
}

/// One of everything.
fn motley() -> Census {
    let mut hostile = file(1, "/tmp/\u{1b}[2J\nname");
    hostile.path.as_mut().unwrap().unlinked = true;
    let mut sent = file(0, "/var/log/app");
    sent.sender_ino = Some(70);
    let mut top = queue(1, vec![sent, hostile, carried(2, 2)]);
    top.socket.name = Some("/run/\u{202e}app.sock".to_owned());
    let mut inner = queue(2, vec![file(0, "/inner")]);
    inner.files[0].sender = Some(Identity {
        pid: 77,
        alive: false,
        uid: 1000,
        gid: 1000,
    });
    inner.socket.scm_fds = 2;
    let mut pass = pass(
        vec![
            top,
            inner,
            queue(4, vec![carried(0, 5)]),
            queue(5, vec![carried(0, 4)]),
        ],
        &[1],
    );
    pass.gaps = Gaps {
        restless: 1,
        long_queues: 2,
        too_many_files: 1,
        namespaces: 3,
        unlisted: true,
    };
    let mut before = pass.clone();
    before.queues[3].files.push(file(1, "/went"));
    Census::of(&before, pass)
}

#[test]
fn text_is_for_people_and_safe_to_print() {
    insta::assert_snapshot!(text(&motley()));
}

#[test]
fn text_fits_every_terminal() {
    let census = motley();
    let words = |text: &str| text.split_whitespace().collect::<String>();
    for width in [80, 100, 120, 160, 200] {
        let text = text_in(&census, width);
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
        // Nothing is left out for it.
        assert_eq!(words(&text), words(&self::text(&census)));
        if width == 80 {
            insta::assert_snapshot!("inflight_80_columns", text);
        }
    }
}

/// The table of totals, without what is said at the end.
fn totals(census: &Census, by: TotalBy) -> String {
    let mut out = Vec::new();
    round(census, &Sightings::default(), |round| {
        let text = InFlightText::new(anstream::StripStream::new(&mut out), false);
        text.group(Some(by), false).round(round).unwrap();
    });
    let text = String::from_utf8(out).unwrap();
    let (table, _) = text.split_once("\n\n").unwrap();
    table.to_owned()
}

#[test]
fn totals_are_told_by_who_holds_and_who_sent() {
    let census = motley();
    let all: Vec<String> = [TotalBy::Holder, TotalBy::Sender, TotalBy::User]
        .map(|by| totals(&census, by))
        .into();
    insta::assert_snapshot!("inflight_totals", all.join("\n\n"));
}

#[test]
fn on_a_terminal_each_round_takes_the_place_of_the_last() {
    let mut out = Vec::new();
    let mut screen = InFlightText::new(anstream::AutoStream::always(&mut out), true);
    for _ in 0..2 {
        round(&Census::default(), &Sightings::default(), |round| {
            screen.round(round).unwrap();
        });
    }
    let out = String::from_utf8(out).unwrap();
    let rounds: Vec<&str> = out.split("\x1b[H\x1b[2J").collect();
    assert_eq!(rounds.len(), 3);
    assert_eq!(rounds[0], "");
    assert_eq!(rounds[1], rounds[2]);
    assert!(rounds[1].contains("nothing is in flight"));
}

#[test]
fn nothing_in_flight_is_said() {
    let census = |counted_by_user| {
        still(Pass {
            counted_by_user,
            ..Pass::default()
        })
    };
    assert_eq!(
        text(&census(Some(0))),
        "nothing is in flight; the kernel's own count agrees\n"
    );
    assert_eq!(
        text(&census(None)),
        "nothing is in flight; the kernel's own count of these sockets agrees\n"
    );
    // Not where it was not looked, or where the kernel knows of more.
    assert_eq!(
        text(&census(Some(2))),
        "nothing is in flight where fdtrace could look; the kernel counts as many in these sockets\n\
         files that the kernel counts as in flight for its users, wherever they are: 2\n"
    );
    let mut blind = census(None);
    blind.gaps.unlisted = true;
    let blind = text(&blind);
    assert!(blind.starts_with("nothing is in flight where fdtrace could look; "));
    assert!(!blind.contains("agrees"), "{blind}");
}

#[test]
fn what_may_not_be_all_is_at_least_so_much() {
    let mut pass = pass(vec![queue(1, vec![file(0, "/a")])], &[1]);
    let told = |pass: &Pass| text(&Census::of(pass, pass.clone()));
    assert!(told(&pass).contains("\n1 file in flight in 1 socket; the kernel's own count of"));
    pass.gaps.namespaces = 1;
    let told = told(&pass);
    assert!(
        told.contains(
            "\nat least 1 file in flight in 1 socket; the kernel counts as many in these"
        ),
        "{told}"
    );
    assert!(!told.contains("agrees"), "{told}");
}

#[test]
fn json_keeps_its_contract() {
    let schema = Schema::parse(&schema::schema().to_string());
    let lines = json(&motley());
    assert_eq!(schema.assert_lines(&lines).len(), 7);
    insta::assert_snapshot!(lines);
}
