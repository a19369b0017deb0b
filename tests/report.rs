//! Reports of made-up outcomes: what people read, and the contract that programs read. Nothing
//! here comes from a kernel, so every oddity that one could produce can be put in.

mod contract;

use std::{io::Write as _, path::PathBuf, time::Duration};

use contract::{PROMISED, Schema, field};
use fdtrace::{
    kernel::KernelView,
    plan::{Attach, Hop, Plan, plan},
    report::{Json, PointerStyle, Pointers, Report, Start, Summary, Text, schema},
    tracer::Losses,
    tracker::{
        Cause, Chain, Fate, FileIdentity, HopSeen, Receiver, Sender, Socket, SocketType, Transfer,
    },
    verdict::Verdict,
    verify::{Judged, Outcome, ScenarioResult, WitnessReport},
    witness::Witness,
};
use serde_json::Value;

const FILE: u64 = 0xffff_8881_0427_0780;

fn plan_of(kernel: &str) -> Plan {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/kernels")
        .join(kernel);
    let view = KernelView::fixture(&fixture).expect("the fixture is there");
    plan(&view, Attach::Tracepoint).expect("it can be planned for")
}

fn hop(hop: Hop, t_ns: u64, file: u64, refs: Option<i64>) -> HopSeen {
    let (pid, comm) = match hop {
        Hop::Queue => (100, "stage"),
        _ => (200, "receiver"),
    };
    HopSeen {
        hop,
        t_ns,
        cpu: 1,
        pid,
        tid: pid + 1,
        comm: comm.to_owned(),
        file,
        skb: 0xffff_8881_4e9e_6d00,
        list: 0xffff_8881_5337_7000,
        refs,
    }
}

/// A regular file that went its way and was delivered.
fn delivered(id: u64, index: u16, count: u16) -> Judged {
    let file = FILE + 0x100 * u64::from(index);
    let begin = 1_000_000_000 + 10_000_000 * id;
    Judged {
        transfer: Transfer {
            id,
            message: 1,
            index,
            count,
            file: FileIdentity {
                ptr: file,
                ino: 4711,
                dev: 254 << 20 | 1,
                rdev: 0,
                mode: 0o100_644,
                flags: 0o2,
                magic: 0xef53,
            },
            sender: Some(Sender {
                pid: 100,
                tid: 101,
                comm: "stage".to_owned(),
                fd: Some(9 + i32::from(index)),
                socket_fd: Some(3),
                t_ns: 1_000,
            }),
            receiver: Some(Receiver {
                pid: 200,
                tid: 201,
                comm: "receiver".to_owned(),
                fd: Some(20 + i32::from(index)),
                cloexec: Some(false),
                fd_inferred: false,
            }),
            socket: Socket {
                kind: Some(SocketType::Stream),
                path: None,
                sender_ino: Some(31),
                receiver_ino: Some(32),
            },
            fate: Fate::Delivered,
            cause: None,
            chain: Chain::Whole,
            queued_ns: Some(41_250),
            total_ns: None,
            hops: vec![
                hop(Hop::Queue, begin, file, Some(2)),
                hop(Hop::Dequeue, begin + 41_250, file, Some(2)),
                hop(Hop::Install, begin + 50_000, file, Some(3)),
            ],
        },
        verdict: Some(Verdict::Same),
    }
}

fn witness(witness: Witness, verdict: Verdict, mistakable: bool) -> WitnessReport {
    WitnessReport {
        witness,
        verdict,
        mistakable,
    }
}

fn outcome(name: &'static str, result: ScenarioResult) -> Outcome {
    Outcome {
        name,
        result,
        reason: None,
        transfers: Vec::new(),
        witnesses: Vec::new(),
        mistakable: Vec::new(),
        elapsed: Duration::from_micros(6100),
    }
}

fn passed() -> Outcome {
    Outcome {
        transfers: vec![delivered(1, 0, 3), delivered(2, 1, 3), delivered(3, 2, 3)],
        witnesses: vec![
            witness(Witness::TaskFile, Verdict::Same, false),
            witness(Witness::Kcmp, Verdict::Same, false),
            witness(Witness::Offset, Verdict::Same, false),
            witness(Witness::ScmFds, Verdict::Same, false),
        ],
        ..outcome("three-fds", ScenarioResult::Pass)
    }
}

fn told_apart() -> Outcome {
    Outcome {
        transfers: vec![delivered(4, 0, 1)],
        witnesses: vec![
            witness(Witness::TaskFile, Verdict::Same, false),
            witness(Witness::TaskFile, Verdict::Different, true),
            witness(Witness::Kcmp, Verdict::Different, true),
        ],
        mistakable: vec![Verdict::Different],
        ..outcome("reopened-path", ScenarioResult::Pass)
    }
}

fn failed() -> Outcome {
    let mut different = delivered(5, 0, 1);
    different.verdict = Some(Verdict::Different);
    different.transfer.chain = Chain::Differs { hop: Hop::Install };
    different.transfer.hops[2].file = FILE + 0x4000;
    Outcome {
        reason: Some("the trace, of m, says different where same is true".to_owned()),
        transfers: vec![different],
        witnesses: vec![
            witness(Witness::TaskFile, Verdict::Same, false),
            witness(Witness::Kcmp, Verdict::Unverified, false),
        ],
        ..outcome("stream-one-fd", ScenarioResult::Fail)
    }
}

fn skipped() -> Outcome {
    Outcome {
        reason: Some("a pid namespace cannot be made here: EPERM".to_owned()),
        ..outcome("pid-namespace", ScenarioResult::Skip)
    }
}

/// Two of three transfers broke off where records were lost; of one not even the sender is known.
fn inconclusive() -> Outcome {
    let mut transfers = vec![delivered(6, 0, 3), delivered(7, 1, 3), delivered(8, 2, 3)];
    for judged in &mut transfers[1..] {
        judged.verdict = Some(Verdict::Lost);
        judged.transfer.fate = Fate::Unknown;
        judged.transfer.chain = Chain::LossBetween;
        judged.transfer.hops.truncate(2);
        let receiver = judged.transfer.receiver.as_mut().expect("it has one");
        (receiver.fd, receiver.cloexec) = (None, None);
    }
    transfers[2].transfer.sender = None;
    transfers[2].transfer.queued_ns = None;
    transfers[2].transfer.socket = Socket::default();
    transfers[2].transfer.hops.remove(0);
    Outcome {
        reason: Some(
            "m's 10 → 21 and 1 more of its descriptors not in the trace from end to end".to_owned(),
        ),
        transfers,
        witnesses: vec![witness(Witness::TaskFile, Verdict::Same, false)],
        ..outcome("max-fds", ScenarioResult::Inconclusive)
    }
}

/// A peek, a file without room, one still queued, and one that died with its socket.
fn other_fates() -> Outcome {
    let mut peeked = delivered(9, 0, 1);
    peeked.transfer.fate = Fate::Peeked;
    let receiver = peeked.transfer.receiver.as_mut().expect("it has one");
    (receiver.fd_inferred, receiver.cloexec) = (true, Some(true));

    let mut truncated = delivered(10, 1, 2);
    truncated.verdict = None;
    truncated.transfer.fate = Fate::Truncated;
    truncated.transfer.cause = Some(Cause::NoControlRoom);
    truncated.transfer.hops.truncate(2);
    let receiver = truncated.transfer.receiver.as_mut().expect("it has one");
    (receiver.fd, receiver.cloexec) = (None, None);

    let mut queued = delivered(11, 0, 1);
    queued.verdict = None;
    queued.transfer.fate = Fate::Queued;
    queued.transfer.receiver = None;
    queued.transfer.queued_ns = None;
    queued.transfer.hops.truncate(1);

    let mut dropped = delivered(12, 0, 1);
    dropped.verdict = None;
    dropped.transfer.fate = Fate::Discarded;
    dropped.transfer.cause = Some(Cause::ReceiverClosed);
    dropped.transfer.receiver = None;
    dropped.transfer.queued_ns = None;
    dropped.transfer.hops.truncate(1);
    dropped
        .transfer
        .hops
        .push(hop(Hop::End, 1_130_000_000, FILE, None));
    Outcome {
        transfers: vec![peeked, truncated, queued, dropped],
        ..outcome("peek", ScenarioResult::Pass)
    }
}

fn all_outcomes() -> Vec<Outcome> {
    vec![
        passed(),
        told_apart(),
        failed(),
        skipped(),
        inconclusive(),
        other_fates(),
    ]
}

fn losses() -> Losses {
    Losses {
        events: vec![
            (Hop::Queue, 13),
            (Hop::Dequeue, 0),
            (Hop::Install, 16),
            (Hop::End, 0),
        ],
        recursion_misses: 2,
        raced: 1,
        window_full: 3,
    }
}

fn write(mut report: impl Report, kernel: &str, outcomes: &[Outcome], losses: Losses) {
    let plan = plan_of(kernel);
    let start = Start {
        version: "0.0.0",
        wall_ns: 1_700_000_000_000_000_000,
        plan: &plan,
    };
    report.start(&start).expect("memory takes it");
    let mut summary = Summary {
        losses,
        elapsed_ns: 174_000_000,
        exit_code: 1,
        ..Summary::default()
    };
    for outcome in outcomes {
        summary.add(outcome);
        report.scenario(outcome).expect("memory takes it");
    }
    report.summary(&summary).expect("memory takes it");
}

/// With styles, as a terminal gets it.
fn styled(outcomes: &[Outcome], hops: bool) -> String {
    let mut bytes = Vec::new();
    let pointers = Pointers::new(PointerStyle::Raw, 0);
    let text = Text::new(&mut bytes, pointers, hops);
    write(text, "7.3", outcomes, losses());
    String::from_utf8(bytes).expect("reports are UTF-8")
}

fn unstyled(text: &str) -> String {
    let mut stripped = anstream::StripStream::new(Vec::new());
    stripped
        .write_all(text.as_bytes())
        .expect("memory takes it");
    String::from_utf8(stripped.into_inner()).expect("reports are UTF-8")
}

fn json(outcomes: &[Outcome], style: PointerStyle, hops: bool) -> String {
    let mut bytes = Vec::new();
    let json = Json::new(&mut bytes, Pointers::new(style, 0), hops);
    write(json, "6.1", outcomes, losses());
    String::from_utf8(bytes).expect("reports are UTF-8")
}

fn schema_of_lines() -> Schema {
    Schema::parse(&schema::schema().to_string())
}

#[test]
fn text_says_what_became_of_each_scenario() {
    insta::assert_snapshot!("text", unstyled(&styled(&all_outcomes(), false)));
}

#[test]
fn text_shows_every_hop_when_asked() {
    insta::assert_snapshot!(
        "text_hops",
        unstyled(&styled(&[passed(), other_fates()], true))
    );
}

#[test]
fn text_of_a_clean_run_says_that_nothing_was_lost() {
    let mut bytes = Vec::new();
    let text = Text::new(&mut bytes, Pointers::new(PointerStyle::Alias, 0), false);
    let counted = Losses {
        events: vec![(Hop::Queue, 0), (Hop::Install, 0)],
        ..Losses::default()
    };
    write(text, "7.3", &[passed()], counted);
    let clean = unstyled(&String::from_utf8(bytes).expect("reports are UTF-8"));
    assert!(clean.contains("lost       nothing\n"), "{clean}");
    assert!(!clean.contains("interrupted"), "{clean}");
    // The control: the same run with losses.
    let lossy = unstyled(&styled(&[passed()], false));
    assert!(!lossy.contains("lost       nothing"), "{lossy}");
    assert!(lossy.contains("13 at queue, 16 at install"), "{lossy}");
}

#[test]
fn text_names_an_interruption() {
    let mut bytes = Vec::new();
    let mut text = Text::new(&mut bytes, Pointers::new(PointerStyle::Raw, 0), false);
    let summary = Summary {
        interrupted: true,
        ..Summary::default()
    };
    text.summary(&summary).expect("memory takes it");
    drop(text);
    let text = String::from_utf8(bytes).expect("reports are UTF-8");
    assert!(text.contains("interrupted before all was done"), "{text}");
}

#[test]
fn json_has_a_line_for_everything() {
    insta::assert_snapshot!("json", json(&all_outcomes(), PointerStyle::Raw, false));
}

#[test]
fn json_has_a_line_for_every_hop_when_asked() {
    insta::assert_snapshot!(
        "json_hops",
        json(&[passed(), other_fates()], PointerStyle::Alias, true)
    );
}

#[test]
fn every_line_is_as_the_schema_says() {
    let schema = schema_of_lines();
    for style in [PointerStyle::Raw, PointerStyle::Alias] {
        let lines = schema.assert_lines(&json(&all_outcomes(), style, true));
        for (kind, _) in PROMISED {
            assert!(
                lines.iter().any(|line| line["type"] == *kind),
                "there is no {kind}"
            );
        }
    }
}

#[test]
fn a_line_that_breaks_the_contract_is_noticed() {
    let schema = schema_of_lines();
    let text = json(&all_outcomes(), PointerStyle::Raw, true);
    let lines = schema.assert_lines(&text);
    // Where, which field, and what it is made into; without a value it is taken out.
    let breakages: [(&str, &str, Option<Value>); 10] = [
        ("", "type", Some("transfers".into())),
        ("", "undeclared", Some(1.into())),
        ("/file", "undeclared", Some(1.into())),
        ("", "exit_code", None),
        ("/sender", "pid", None),
        ("", "refs", Some("2".into())),
        ("", "cpu", Some((-1).into())),
        ("", "index", Some(70_000.into())),
        ("", "hops", Some(vec![1].into())),
        ("/fates", "delivered", Some("one".into())),
    ];
    for (place, name, made) in breakages {
        let mut noticed = 0;
        for line in &lines {
            let mut broken = line.clone();
            let Some(object) = broken.pointer_mut(place).and_then(Value::as_object_mut) else {
                continue;
            };
            if name != "undeclared" && !object.contains_key(name) {
                continue;
            }
            match made.clone() {
                Some(made) => object.insert(name.to_owned(), made),
                None => object.remove(name),
            };
            assert!(!schema.violations(&broken).is_empty(), "{name}: {broken}");
            noticed += 1;
        }
        assert!(noticed > 0, "no line has {place}/{name}");
    }
}

#[test]
fn every_promised_field_is_there_by_name() {
    let text = json(&all_outcomes(), PointerStyle::Raw, true);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("lines are JSON"))
        .collect();
    for (kind, fields) in PROMISED {
        let of_kind: Vec<&Value> = lines.iter().filter(|line| line["type"] == *kind).collect();
        assert!(!of_kind.is_empty(), "there is no {kind}");
        for line in of_kind {
            for path in *fields {
                // What is null as a whole has no fields of its own.
                let outer = path.split('.').next().unwrap_or_default();
                assert!(
                    line.get(outer).is_some_and(Value::is_null) || field(line, path).is_some(),
                    "{kind} has no {path}: {line}"
                );
            }
        }
        // And somewhere each has a value to be seen, but for those that nothing fills in yet.
        for path in fields
            .iter()
            .filter(|path| !["file.path", "total_ns"].contains(path))
        {
            assert!(
                lines.iter().any(|line| line["type"] == *kind
                    && field(line, path)
                        .is_some_and(|value| !value.is_null() || *path == "socket.path")),
                "{kind}.{path} is null everywhere"
            );
        }
    }
}

#[test]
fn an_entry_of_the_plan_is_watched_or_skipped_with_a_reason() {
    let text = json(&[], PointerStyle::Raw, false);
    let start: Value = serde_json::from_str(text.lines().next().expect("there is a line"))
        .expect("lines are JSON");
    let plan = start["plan"].as_array().expect("the plan is a list");
    let (mut watched, mut skipped) = (0, 0);
    for entry in plan {
        if entry["skipped"] == true {
            assert!(entry["why"].is_string(), "{entry}");
            assert!(entry.get("target").is_none(), "{entry}");
            skipped += 1;
        } else {
            for field in ["mechanism", "kind", "target"] {
                assert!(entry[field].is_string(), "{entry}");
            }
            watched += 1;
        }
    }
    // 6.1 shows dequeue by one hook and end by two.
    assert_eq!((watched, skipped), (3, 6));
}

#[test]
fn what_could_not_be_answered_is_a_marked_skip_in_json() {
    let text = json(&[inconclusive(), skipped()], PointerStyle::Raw, false);
    let lines = schema_of_lines().assert_lines(&text);
    let scenarios: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "scenario")
        .collect();
    assert_eq!(scenarios[0]["result"], "skip");
    assert_eq!(scenarios[0]["inconclusive"], true);
    assert_eq!(scenarios[1]["result"], "skip");
    assert_eq!(scenarios[1]["inconclusive"], false);
    let summary = lines.last().expect("there are lines");
    assert_eq!(summary["scenarios"]["skip"], 2);
    assert_eq!(summary["verdicts"]["lost"], 2);
    assert_eq!(summary["verdicts"]["same"], 1);
}

#[test]
fn every_kind_of_loss_is_in_the_summary() {
    let text = json(&[], PointerStyle::Raw, false);
    let summary: Value =
        serde_json::from_str(text.lines().last().expect("there is a line")).expect("it is JSON");
    assert_eq!(summary["lost_events"]["queue"], 13);
    assert_eq!(summary["lost_events"]["install"], 16);
    assert_eq!(summary["recursion_misses"], 2);
    assert_eq!(summary["raced"], 1);
    // It can leave a scenario open, so it must show why one is.
    assert_eq!(summary["window_full"], 3);
}

/// Everything that a traced process can choose, chosen to harm: it ends lines, moves the cursor,
/// sets the terminal's title, looks like a style of ours, and turns the direction of writing.
const HOSTILE: &str =
    "\x1b[31m\x1b[2J\x1b]0;t\x07\r\n\t\u{9b}1m\u{7f}\u{202e}\u{2066}\u{61c}\u{200f}\u{2028}\0x";

fn hostile() -> Outcome {
    let mut judged = delivered(13, 0, 1);
    let transfer = &mut judged.transfer;
    for seen in &mut transfer.hops {
        seen.comm = HOSTILE.to_owned();
    }
    transfer.sender.as_mut().expect("it has one").comm = HOSTILE.to_owned();
    transfer.receiver.as_mut().expect("it has one").comm = HOSTILE.to_owned();
    transfer.socket.path = Some(format!("@{HOSTILE}"));
    Outcome {
        reason: Some(format!("an actor said {HOSTILE}")),
        transfers: vec![judged],
        ..outcome("stream-one-fd", ScenarioResult::Fail)
    }
}

fn harmless() -> Outcome {
    let mut harmless = hostile();
    for seen in &mut harmless.transfers[0].transfer.hops {
        seen.comm = "x".to_owned();
    }
    harmless.reason = Some("an actor said x".to_owned());
    harmless
}

#[test]
fn hostile_names_come_out_inert_in_text() {
    // As the terminal gets it: stripping styles would strip what must not be there.
    let (hostile, harmless) = (styled(&[hostile()], true), styled(&[harmless()], true));
    let count = |text: &str, of: char| text.chars().filter(|char| *char == of).count();
    for of in ['\n', '\x1b'] {
        assert_eq!(
            count(&hostile, of),
            count(&harmless, of),
            "{of:?}: {hostile:?}"
        );
    }
    let harmful = |char: &char| {
        char.is_control() && !['\n', '\x1b'].contains(char)
            || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let found: Vec<char> = hostile.chars().filter(harmful).collect();
    assert!(found.is_empty(), "{found:?} in {hostile:?}");
    // Inert, and yet there to be read.
    assert!(hostile.contains(r"\u{1b}[31m"), "{hostile:?}");
    assert!(hostile.contains(r"\u{202e}"), "{hostile:?}");
    insta::assert_snapshot!("text_hostile", unstyled(&hostile));
}

#[test]
fn hostile_names_are_text_in_json() {
    let text = json(&[hostile()], PointerStyle::Raw, true);
    // JSON demands as much: one line stays one line, and no terminal sees an escape.
    let raw = text.chars().filter(|char| *char < ' ' && *char != '\n');
    assert_eq!(raw.count(), 0, "{text:?}");
    let lines = schema_of_lines().assert_lines(&text);
    let kinds: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "start", "hop", "hop", "hop", "transfer", "scenario", "summary"
        ]
    );
    // Nothing is lost on the way: programs get the name as it is.
    assert_eq!(lines[1]["comm"], HOSTILE);
    assert_eq!(lines[4]["sender"]["comm"], HOSTILE);
    assert_eq!(lines[4]["receiver"]["comm"], HOSTILE);
    assert_eq!(lines[4]["socket"]["path"], format!("@{HOSTILE}"));
}

#[test]
fn pointers_follow_the_policy_unless_told_otherwise() {
    let raw = "0xffff888104270780";
    for (style, kptr_restrict, expected) in [
        (PointerStyle::Auto, 0, raw),
        (PointerStyle::Auto, 1, raw),
        (PointerStyle::Auto, 2, "file#1"),
        (PointerStyle::Auto, 3, "file#1"),
        (PointerStyle::Raw, 2, raw),
        (PointerStyle::Alias, 0, "file#1"),
    ] {
        let mut pointers = Pointers::new(style, kptr_restrict);
        assert_eq!(
            pointers.show("file", FILE),
            expected,
            "{style:?} at {kptr_restrict}"
        );
    }
}

#[test]
fn aliases_are_alike_where_addresses_are_and_only_there() {
    let mut pointers = Pointers::new(PointerStyle::Alias, 0);
    assert_eq!(pointers.show("file", 1), "file#1");
    assert_eq!(pointers.show("file", 2), "file#2");
    // Each kind counts for itself, and a skb at a file's address is no file.
    assert_eq!(pointers.show("skb", 1), "skb#1");
    assert_eq!(pointers.show("file", 1), "file#1");
    assert_eq!(pointers.show("file", 3), "file#3");
    assert_eq!(pointers.show("skb", 2), "skb#2");
}

#[test]
fn addresses_are_padded_so_that_columns_hold() {
    let mut pointers = Pointers::new(PointerStyle::Raw, 0);
    assert_eq!(pointers.show("file", 0x1f), "0x000000000000001f");
}

#[test]
fn no_address_is_shown_where_aliases_are_asked_for() {
    let aliased = json(&all_outcomes(), PointerStyle::Alias, true);
    assert!(!aliased.contains("0xffff"), "{aliased}");
    assert!(json(&all_outcomes(), PointerStyle::Raw, true).contains("0xffff"));
}
