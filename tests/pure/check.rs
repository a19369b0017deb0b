//! What a command's hand-overs are expected to be: how that is written, and when it holds, does not hold,
//! or has no answer.

use std::time::Duration;

use fdtrace::{
    check::{
        Allowance, Answer, Checked, Count, Expectation, Expectations, Pattern, Seen, bless, judge,
        parse_file, parse_line,
    },
    model::{Cause, End, Fate, FileKind, Hop, Judged, Later, Receiver, Side, StillOpen, Verdict},
    report::{self, CheckRun, WriteCheck},
};
use fdtrace_testkit::outcomes::delivered;

fn expecting(lines: &[&str]) -> Expectations {
    Expectations {
        expect: lines.iter().map(|line| parse_line(line).unwrap()).collect(),
        ..Expectations::default()
    }
}

fn lost(id: u64, fate: Fate, cause: Option<Cause>) -> Judged {
    let mut judged = delivered(id, 0, 1);
    let receiver = Receiver {
        fd: None,
        cloexec: None,
        ..judged.receiver().unwrap().clone()
    };
    judged.transfer.end = End::of(fate, cause, Some(receiver));
    judged.verdict = None;
    judged
}

/// The answers: first that of what is always expected.
fn answers(expectations: &Expectations, transfers: &[Judged], unseen: Option<&str>) -> Vec<Answer> {
    let checked = judge(
        expectations,
        Seen {
            transfers,
            later: &[],
            unseen,
        },
    );
    checked.into_iter().map(|checked| checked.answer).collect()
}

fn answer(line: &str, transfers: &[Judged]) -> Answer {
    answers(&expecting(&[line]), transfers, None).remove(1)
}

#[test]
fn a_line_says_what_it_says_again() {
    for line in [
        "delivered=3 to=child kind=memfd cloexec",
        "delivered=>=2 from=proxy-* path=\"tcp 127.0.0.1:80 listening\" inheritable",
        "delivered=2..4 once within=5ms",
        "fate=truncated cause=no-control-room",
        "socket=/run/app.sock",
    ] {
        let expectation = parse_line(line).unwrap();
        assert_eq!(expectation.line(), line);
        assert_eq!(parse_line(&expectation.line()).unwrap(), expectation);
    }
    let named = parse_line("name=\"the \\\"old\\\" one\" delivered=0").unwrap();
    assert_eq!(named.title(), "the \"old\" one");
    assert_eq!(named.delivered, Some(Count::exactly(0)));
}

#[test]
fn what_cannot_be_read_is_pointed_at() {
    for (line, column, what, instead) in [
        ("", 1, "nothing is expected", None),
        (
            "kind=memfd deliverd=3",
            12,
            "`deliverd` is unknown",
            Some("delivered"),
        ),
        ("kind=memfdd", 6, "`memfdd` is no kind", Some("memfd")),
        (
            "fate=droped",
            6,
            "`droped` is no fate: it is one of delivered, peeked, truncated, refused, discarded, collected, failed, queued, unknown",
            None,
        ),
        (
            "to=ä delivered=x",
            16,
            "`x` is no count: give 3, >=2 or 2..4",
            None,
        ),
        ("delivered=4..2", 11, "nothing is from 4 to 2", None),
        (
            "within=soon",
            8,
            "`soon` is no time: give 5ms, 2s or 1m",
            None,
        ),
        (
            "delivered",
            1,
            "`delivered` has no value: delivered=…",
            None,
        ),
        (
            "cloexec=yes",
            1,
            "`cloexec` stands alone, without a value",
            None,
        ),
        (
            "cloexec inheritable",
            9,
            "`inheritable` is there twice",
            None,
        ),
        ("path=\"/run", 6, "the quote is not closed", None),
        (
            "fate=truncated cloexec",
            1,
            "this can never hold: what is truncated is not delivered",
            None,
        ),
        (
            "fate=queued cause=splice",
            1,
            "this can never hold: what is queued has no cause",
            None,
        ),
    ] {
        let error = parse_line(line).unwrap_err();
        let found = (
            error.line,
            error.column,
            error.what.as_str(),
            error.instead.as_deref(),
        );
        assert_eq!(found, (None, column, what, instead), "{line}");
    }
}

#[test]
fn a_file_says_the_same_as_lines() {
    let text = r#"
        need = ["copy", "install"]

        [defaults]
        cloexec = true
        where = { to = "worker" }

        [[expect]]
        name = "listeners"
        delivered = ">=2"
        where = { kind = "socket" }

        [[expect]]
        delivered = 1
        cloexec = false
        where = { kind = "memfd", to = "helper" }
        each = "once"
        within = "5ms"

        [[allow]]
        where = { fate = "truncated", cause = "no-control-room" }
        because = "the health check has no room, and needs none"
    "#;
    let expectations = parse_file(text).unwrap();
    assert_eq!(expectations.need, [Hop::Copy, Hop::Install]);
    let lines: Vec<String> = expectations.expect.iter().map(Expectation::line).collect();
    assert_eq!(
        lines,
        [
            "delivered=>=2 to=worker kind=socket cloexec",
            "delivered=1 to=helper kind=memfd once inheritable within=5ms"
        ]
    );
    assert_eq!(expectations.expect[0].title(), "listeners");
    assert_eq!(expectations.allow[0].of.cause, Some(Cause::NoControlRoom));
}

#[test]
fn what_cannot_be_read_in_a_file_is_pointed_at() {
    for (text, line, column, instead) in [
        ("[[expect]]\ndeliverd = 3\n", 2, 1, Some("delivered")),
        (
            "[[expect]]\n  where = { knd = \"memfd\" }\n",
            2,
            13,
            Some("kind"),
        ),
        ("[[expect]]\ndelivered = -1\n", 2, 13, None),
        ("[[expect]]\ndelivered = \"4..2\"\n", 2, 13, None),
        (
            "[[expect]]\nwhere = { kind = \"memfdd\" }\n",
            2,
            18,
            Some("memfd"),
        ),
        (
            "[[allow]]\nwhere = { cause = \"no-contol-room\" }\n",
            2,
            19,
            Some("no-control-room"),
        ),
        ("need = [\"instal\"]\n", 1, 9, Some("install")),
        ("[[expect]\n", 1, 10, None),
        ("\n[[allow]]\nbecause = \"of it\"\n", 2, 1, None),
    ] {
        let error = parse_file(text).unwrap_err();
        let found = (error.line, error.column, error.instead.as_deref());
        assert_eq!(found, (Some(line), column, instead), "{text}: {error}");
    }
}

#[test]
fn whatever_is_expected_nothing_may_be_lost() {
    let none = Expectations::default();
    let rule = |judged: Judged| answers(&none, &[judged], None).remove(0);
    assert_eq!(rule(delivered(1, 0, 1)), Answer::Holds);
    assert_eq!(answers(&none, &[], None), [Answer::Holds]);
    for (fate, expected) in [
        (Fate::Truncated, Answer::Fails),
        (Fate::Refused, Answer::Fails),
        (Fate::Discarded, Answer::Fails),
        (Fate::Collected, Answer::Fails),
        (Fate::Queued, Answer::Fails),
        (Fate::Unknown, Answer::Open),
        // Its program was told.
        (Fate::Failed, Answer::Holds),
    ] {
        assert_eq!(rule(lost(1, fate, None)), expected, "{fate}");
    }
    for (verdict, expected) in [
        (Verdict::Different, Answer::Fails),
        (Verdict::Unverified, Answer::Open),
        (Verdict::Lost, Answer::Open),
    ] {
        let mut judged = delivered(1, 0, 1);
        judged.verdict = Some(verdict);
        assert_eq!(rule(judged), expected, "{verdict}");
    }
    // Never green by blindness.
    let blind = answers(&none, &[delivered(1, 0, 1)], Some("3 records were lost"));
    assert_eq!(blind, [Answer::Open]);
}

#[test]
fn what_is_allowed_or_expected_to_be_lost_is_no_loss() {
    let truncated = lost(1, Fate::Truncated, Some(Cause::NoControlRoom));
    let allowing = |of: Pattern| Expectations {
        allow: vec![Allowance { of, because: None }],
        ..Expectations::default()
    };
    let of_cause = |cause| Pattern {
        cause: Some(cause),
        ..Pattern::default()
    };
    let transfers = [truncated];
    let allowed = |cause| answers(&allowing(of_cause(cause)), &transfers, None);
    assert_eq!(allowed(Cause::NoControlRoom), [Answer::Holds]);
    assert_eq!(allowed(Cause::RlimitNofile), [Answer::Fails]);
    let expected = answers(&expecting(&["fate=truncated"]), &transfers, None);
    assert_eq!(expected, [Answer::Holds, Answer::Holds]);
    // Without its cause it may be another one.
    let unexplained = [lost(1, Fate::Truncated, None)];
    let answered = answers(
        &allowing(of_cause(Cause::NoControlRoom)),
        &unexplained,
        None,
    );
    assert_eq!(answered, [Answer::Fails]);
}

#[test]
fn counts_hold_between_what_is_seen_and_what_may_be() {
    let two = [delivered(1, 0, 2), delivered(2, 1, 2)];
    for (line, expected) in [
        ("delivered=2 kind=regular", Answer::Holds),
        ("delivered=3 kind=regular", Answer::Fails),
        ("delivered=1 kind=regular", Answer::Fails),
        ("delivered=>=2 kind=regular", Answer::Holds),
        ("delivered=0 kind=memfd", Answer::Holds),
        ("kind=memfd", Answer::Fails),
        ("to=recei*", Answer::Holds),
        ("to=nobody", Answer::Fails),
    ] {
        assert_eq!(answer(line, &two), expected, "{line}");
    }
    // A third may be one of them: its sender is not known.
    let mut third = delivered(3, 0, 1);
    third.transfer.sender = None;
    let three = [two[0].clone(), two[1].clone(), third];
    assert_eq!(answer("delivered=3 from=stage", &three), Answer::Open);
    assert_eq!(answer("delivered=4 from=stage", &three), Answer::Fails);
    assert_eq!(answer("delivered=3 from=other", &three), Answer::Fails);
    // How a third ended was not seen.
    let three = [two[0].clone(), two[1].clone(), lost(3, Fate::Unknown, None)];
    assert_eq!(answer("delivered=3 kind=regular", &three), Answer::Open);
    // And where records were lost, there may be any number.
    let missed = answers(
        &expecting(&["delivered=9"]),
        &two,
        Some("3 records were lost"),
    );
    assert_eq!(missed[1], Answer::Open);
    let exceeded = answers(
        &expecting(&["delivered=1"]),
        &two,
        Some("3 records were lost"),
    );
    assert_eq!(exceeded[1], Answer::Fails);
}

#[test]
fn how_each_arrives_is_held_against_what_is_known_of_it() {
    let mut judged = delivered(1, 0, 1);
    assert_eq!(
        answer("inheritable", std::slice::from_ref(&judged)),
        Answer::Holds
    );
    assert_eq!(
        answer("cloexec", std::slice::from_ref(&judged)),
        Answer::Fails
    );
    judged.transfer.end.receiver_mut().unwrap().cloexec = None;
    assert_eq!(
        answer("cloexec", std::slice::from_ref(&judged)),
        Answer::Open
    );
    let mut queued_for = |ns: Option<u64>| {
        judged.transfer.queued_ns = ns;
        answer("within=5ms", std::slice::from_ref(&judged))
    };
    let limit = Duration::from_millis(5).as_nanos() as u64;
    assert_eq!(queued_for(Some(limit)), Answer::Holds);
    assert_eq!(queued_for(Some(limit + 1)), Answer::Fails);
    assert_eq!(queued_for(None), Answer::Open);
}

#[test]
fn an_open_file_that_comes_again_is_not_there_once() {
    let first = delivered(1, 0, 1);
    let mut again = delivered(2, 0, 1);
    assert_eq!(
        answer("once", &[first.clone(), again.clone()]),
        Answer::Fails
    );
    again.transfer.end.receiver_mut().unwrap().pid += 1;
    assert_eq!(
        answer("once", &[first.clone(), again.clone()]),
        Answer::Holds
    );
    // The address is another file's by then.
    again.transfer.end = first.end.clone();
    again.transfer.file.ino += 1;
    assert_eq!(answer("once", &[first, again]), Answer::Holds);
}

#[test]
fn a_miss_shows_what_comes_nearest_and_where_it_differs() {
    let mut other = delivered(2, 1, 2);
    other.transfer.end.receiver_mut().unwrap().comm = "helper".into();
    let transfers = [delivered(1, 0, 2), other];
    let seen = Seen {
        later: &[],
        transfers: &transfers,
        unseen: None,
    };
    let checked = judge(&expecting(&["from=stage to=help kind=regular"]), seen);
    let finding = &checked[1].findings[0];
    assert_eq!(finding.nearest.len(), 2);
    let differs = &finding.nearest[0].differs;
    assert_eq!(differs.len(), 1);
    assert_eq!(
        (differs[0].field, differs[0].expected.as_str()),
        ("to", "help")
    );
    assert_eq!(differs[0].found.as_deref(), Some("receiver"));
}

#[test]
fn a_good_run_is_blessed_with_what_it_meets() {
    let transfers = [delivered(1, 0, 2), delivered(2, 1, 2)];
    let seen = Seen {
        later: &[],
        transfers: &transfers,
        unseen: None,
    };
    let expectations = parse_file(&bless(seen).unwrap()).unwrap();
    let lines: Vec<String> = expectations.expect.iter().map(Expectation::line).collect();
    assert_eq!(
        lines,
        ["delivered=2 from=stage to=receiver kind=regular inheritable"]
    );
    assert_eq!(
        answers(&expectations, &transfers, None),
        [Answer::Holds, Answer::Holds]
    );
    assert_eq!(expectations.expect[0].of.kind, Some(FileKind::Regular));
    let bad = [lost(1, Fate::Discarded, None)];
    let seen = Seen {
        later: &[],
        transfers: &bad,
        unseen: None,
    };
    assert_eq!(bless(seen), None);
}

/// Every format, of an expectation that holds, one that does not, and one without an answer.
#[test]
fn each_format_tells_the_three_answers_apart() {
    let mut unknown = delivered(3, 0, 1);
    unknown.transfer.end.receiver_mut().unwrap().cloexec = None;
    let transfers = [
        delivered(1, 0, 1),
        lost(2, Fate::Truncated, Some(Cause::NoControlRoom)),
        unknown,
    ];
    let expectations = expecting(&["delivered=2", "inheritable"]);
    let seen = Seen {
        later: &[],
        transfers: &transfers,
        unseen: None,
    };
    let checked: Vec<Checked> = judge(&expectations, seen);
    let kinds: Vec<Answer> = checked.iter().map(|it| it.answer.clone()).collect();
    assert_eq!(kinds, [Answer::Fails, Answer::Holds, Answer::Open]);
    let run = CheckRun {
        name: "hand over: all, of 100 %",
        checked: &checked,
        delivered: 2,
        command_status: Some(0),
        took: Duration::from_millis(1500),
        trace: b"",
        page: b"",
    };
    let formats: [(&str, WriteCheck); 5] = [
        ("text", report::write_text),
        ("json", report::write_json_lines),
        ("junit", report::write_junit),
        ("tap", report::write_tap),
        ("github", report::write_github),
    ];
    let mut all = String::new();
    for (name, write) in formats {
        let mut bytes = Vec::new();
        write(&mut bytes, &run).unwrap();
        all += &format!("--- {name}\n{}\n", String::from_utf8(bytes).unwrap());
    }
    insta::assert_snapshot!("check_formats", all);
}

/// What a look told of one end of a transfer.
fn later(side: Side, transfer: u64, state: StillOpen) -> Later {
    Later {
        transfer,
        side,
        pid: 1,
        comm: "one".to_owned(),
        fd: Some(5),
        state,
        missing: None,
        holders: None,
        holders_more: 0,
    }
}

#[test]
fn what_is_to_be_closed_or_kept_is_asked_of_both_ends() {
    let transfers = [delivered(1, 0, 1)];
    let answer = |line: &str, told: &[Later]| {
        let mut expectations = Expectations::default();
        expectations.expect.push(parse_line(line).unwrap());
        let seen = Seen {
            transfers: &transfers,
            later: told,
            unseen: None,
        };
        judge(&expectations, seen)[1].answer.clone()
    };
    for (line, side, right, wrong) in [
        ("closed", Side::Receiver, StillOpen::Closed, StillOpen::Open),
        (
            "closed",
            Side::Receiver,
            StillOpen::Replaced,
            StillOpen::Moved,
        ),
        (
            "still-open",
            Side::Receiver,
            StillOpen::Open,
            StillOpen::Closed,
        ),
        (
            "closed-by-sender",
            Side::Sender,
            StillOpen::Closed,
            StillOpen::Open,
        ),
        (
            "kept-by-sender",
            Side::Sender,
            StillOpen::Open,
            StillOpen::Replaced,
        ),
    ] {
        assert_eq!(
            answer(line, &[later(side, 1, right)]),
            Answer::Holds,
            "{line}"
        );
        assert_eq!(
            answer(line, &[later(side, 1, wrong)]),
            Answer::Fails,
            "{line}"
        );
        // What is told last counts.
        let both = [later(side, 1, wrong), later(side, 1, right)];
        assert_eq!(answer(line, &both), Answer::Holds, "{line}");
        for open in [StillOpen::Ended, StillOpen::Unknown] {
            assert_eq!(
                answer(line, &[later(side, 1, open)]),
                Answer::Open,
                "{line}"
            );
        }
        assert_eq!(answer(line, &[]), Answer::Open, "{line}");
    }
}

#[test]
fn what_a_later_transfer_of_the_same_number_was_told_is_told_of_the_same_file_alone() {
    let (one, mut again) = (delivered(1, 0, 1), delivered(2, 0, 1));
    let later_by = |judged: &mut Judged, ns| {
        judged.transfer.sender.as_mut().unwrap().t_ns += ns;
        for seen in &mut judged.transfer.hops {
            seen.t_ns += ns;
        }
    };
    later_by(&mut again, 1);
    let mut other = delivered(3, 0, 1);
    later_by(&mut other, 2);
    other.transfer.file.ino += 1;
    let transfers = [one, again, other];
    let mut expectations = Expectations::default();
    for line in ["closed delivered=3", "closed-by-sender delivered=3"] {
        expectations.expect.push(parse_line(line).unwrap());
    }
    let answers = |told: &[Later]| {
        let seen = Seen {
            transfers: &transfers,
            later: told,
            unseen: None,
        };
        let checked = judge(&expectations, seen).into_iter().skip(1);
        checked.map(|it| it.answer).collect::<Vec<_>>()
    };
    let both = |id, state| [Side::Receiver, Side::Sender].map(|side| later(side, id, state));
    // That the number stood for another file later proves nothing: a duplicate may be open.
    let other = both(3, StillOpen::Closed);
    assert_eq!(answers(&other), [Answer::Open, Answer::Open]);
    for (state, answer) in [
        (StillOpen::Closed, Answer::Holds),
        (StillOpen::Moved, Answer::Fails),
        (StillOpen::Open, Answer::Fails),
    ] {
        let told = [other.clone(), both(2, state)].concat();
        assert_eq!(answers(&told), [answer.clone(), answer]);
    }
}
