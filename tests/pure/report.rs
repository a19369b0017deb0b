//! Reports of made-up outcomes: what people read, and the contract that programs read. Nothing
//! here comes from a kernel, so every oddity that one could produce can be put in.

use std::io::Write as _;

use fdtrace::watch::TraceReport as _;
use fdtrace::{
    model::{CauseMissing, End, Hop, Loss, Losses, Lost, PointerStyle, Pointers},
    report::{Json, LineStyle, Lines, Report as _, ScenarioRun, Summary, Text, schema},
};
use fdtrace_testkit::{
    contract::{PROMISED, Schema, field},
    outcomes::{
        FILE, HOSTILE, all_outcomes, delivered, harmless, hostile, inconclusive, losses,
        other_fates, passed, skipped, write,
    },
};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

/// With styles, as a terminal gets it.
fn styled(runs: &[ScenarioRun], hops: bool) -> String {
    let mut bytes = Vec::new();
    let pointers = Pointers::new(PointerStyle::Raw, 0);
    let text = Text::new(&mut bytes, pointers, hops);
    write(text, "7.3", runs, losses());
    String::from_utf8(bytes).expect("reports are UTF-8")
}

fn unstyled(text: &str) -> String {
    let mut stripped = anstream::StripStream::new(Vec::new());
    stripped
        .write_all(text.as_bytes())
        .expect("memory takes it");
    String::from_utf8(stripped.into_inner()).expect("reports are UTF-8")
}

fn json(runs: &[ScenarioRun], style: PointerStyle, hops: bool) -> String {
    let mut bytes = Vec::new();
    let json = Json::new(&mut bytes, Pointers::new(style, 0), hops);
    write(json, "6.1", runs, losses());
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
fn text_fits_every_terminal_and_says_how_each_scenario_ended() {
    for width in [80, 100, 120, 160, 200] {
        let mut bytes = Vec::new();
        let text = Text::new(&mut bytes, Pointers::new(PointerStyle::Raw, 0), true);
        let runs = [all_outcomes(), vec![hostile()]].concat();
        write(text.fit(Some(width)).buffer(4096), "7.3", &runs, losses());
        let text = unstyled(&String::from_utf8(bytes).expect("reports are UTF-8"));
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
        assert!(text.contains("1 truncated (no-control-room)"), "{text}");
        assert!(
            text.contains("raise --buffer to 8192 (8 MiB, now 4 MiB): "),
            "{text}"
        );
        insta::assert_snapshot!(format!("text_{width}_columns"), text);
    }
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
        for path in fields.iter().filter(|path| !["total_ns"].contains(path)) {
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
fn what_could_not_be_answered_has_a_result_of_its_own_in_json() {
    let text = json(&[inconclusive(), skipped()], PointerStyle::Raw, false);
    let lines = schema_of_lines().assert_lines(&text);
    let scenarios: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "scenario")
        .collect();
    assert_eq!(scenarios[0]["result"], "inconclusive");
    assert_eq!(scenarios[1]["result"], "skip");
    let summary = lines.last().expect("there are lines");
    assert_eq!(summary["scenarios"]["inconclusive"], 1);
    assert_eq!(summary["scenarios"]["skip"], 1);
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
            pointers.show("file", FILE).to_string(),
            expected,
            "{style:?} at {kptr_restrict}"
        );
    }
}

#[test]
fn aliases_are_alike_where_addresses_are_and_only_there() {
    let mut pointers = Pointers::new(PointerStyle::Alias, 0);
    assert_eq!(pointers.show("file", 1).to_string(), "file#1");
    assert_eq!(pointers.show("file", 2).to_string(), "file#2");
    // Each kind counts for itself, and a skb at a file's address is no file.
    assert_eq!(pointers.show("skb", 1).to_string(), "skb#1");
    assert_eq!(pointers.show("file", 1).to_string(), "file#1");
    assert_eq!(pointers.show("file", 3).to_string(), "file#3");
    assert_eq!(pointers.show("skb", 2).to_string(), "skb#2");
}

#[test]
fn addresses_are_padded_so_that_columns_hold() {
    let mut pointers = Pointers::new(PointerStyle::Raw, 0);
    assert_eq!(
        pointers.show("file", 0x1f).to_string(),
        "0x000000000000001f"
    );
}

#[test]
fn no_address_is_shown_where_aliases_are_asked_for() {
    let aliased = json(&all_outcomes(), PointerStyle::Alias, true);
    assert!(!aliased.contains("0xffff"), "{aliased}");
    assert!(json(&all_outcomes(), PointerStyle::Raw, true).contains("0xffff"));
}

#[test]
fn beneath_the_first_failed_send_it_is_said_why_its_cause_is_not_known() {
    let written = |why| {
        let mut judged = delivered(1, 0, 1);
        judged.transfer.end = End::Lost(Lost {
            how: Loss::Failed,
            why: Err(why),
            receiver: None,
        });
        judged.verdict = None;
        let mut out = Vec::new();
        let mut lines = Lines::new(
            &mut out,
            Pointers::new(PointerStyle::Raw, 0),
            LineStyle::default(),
        );
        lines.transfer(&judged).unwrap();
        lines.flush().unwrap();
        drop(lines);
        unstyled(&String::from_utf8(out).unwrap())
    };
    let said = "why is not known: what tells that is watched from this failed send on";
    assert!(written(CauseMissing::NotYetWatched).contains(said));
    assert!(!written(CauseMissing::NotSeen).contains(said));
}
