//! What the actors say, and what is left of theirs.

use super::*;

#[test]
fn other_fates_references_and_flags_fail() {
    assert_fails("says truncated", |_, transfers| {
        transfers[0].end = End::of(Fate::Truncated, None, transfers[0].receiver().cloned());
    });
    assert_fails("references at dequeue", |_, transfers| {
        transfers[0].hops[1].refs = Some(0);
    });
    assert_fails("not 1", |record, _| {
        record.facts.push(Fact::Refs {
            message: "m".into(),
            hop: Hop::Dequeue,
            refs: 1,
        });
    });
    assert_fails("follow from the hop before", |record, transfers| {
        record.facts.push(Fact::Undisturbed {
            message: "m".into(),
        });
        transfers[0].hops[2].refs = Some(3);
    });
    let (result, reason) = spoiled(|record, transfers| {
        record.accompanied = true;
        record.facts.push(Fact::Undisturbed {
            message: "m".into(),
        });
        transfers[0].hops[2].refs = Some(3);
    });
    assert_eq!(result, ScenarioResult::Pass, "{reason}");
    // Whose the third is would have been seen at an install.
    let mut record = record();
    record.facts.push(Fact::Undisturbed {
        message: "m".into(),
    });
    let mut unseen = transfer();
    unseen.end = End::of(Fate::Unknown, None, unseen.receiver().cloned());
    unseen.hops[2].hop = Hop::End;
    unseen.hops[2].refs = Some(3);
    assert_eq!(
        judged(&record, vec![unseen], false).result,
        ScenarioResult::Inconclusive
    );
    assert_fails("close-on-exec", |_, transfers| {
        transfers[0].end.receiver_mut().unwrap().cloexec = Some(true);
    });
}

#[test]
fn what_actors_say_counts() {
    assert_fails("it broke", |record, _| {
        record.facts.push(Fact::Failed {
            why: "it broke".into(),
        });
    });
    assert_fails("sent and not received", |record, _| {
        record
            .facts
            .retain(|fact| !matches!(fact, Fact::Received { .. }));
    });
    assert_fails("came with MSG_CTRUNC", |record, _| {
        for fact in &mut record.facts {
            if let Fact::Received { truncated, .. } = fact {
                *truncated = Some(true);
            }
        }
    });
    assert_fails("out of time", |record, _| {
        record.trouble.push("out of time".into());
    });
    let (result, reason) = spoiled(|record, _| {
        record.facts.push(Fact::Skipped {
            why: "no such thing here".into(),
        });
    });
    assert_eq!(
        (result, reason.as_str()),
        (ScenarioResult::Skip, "no such thing here")
    );
}

#[test]
fn what_came_of_too_few_descriptors_is_skipped_and_a_contradiction_is_not() {
    let why = || "it needs more descriptors".to_owned();
    let stops = |record: &mut Record| {
        let received = |fact: &Fact| matches!(fact, Fact::Received { .. });
        record.facts.retain(|fact| !received(fact));
        record.facts.push(Fact::Failed {
            why: "sender ended".into(),
        });
    };
    for short in [
        |record: &mut Record, why| record.facts.push(Fact::Short { why }),
        |record: &mut Record, why| record.short.push(why),
    ] {
        let (result, reason) = spoiled(|record, _| {
            stops(record);
            short(record, why());
        });
        assert_eq!((result, reason), (ScenarioResult::Skip, why()));
    }
    assert_fails("kcmp says different", |record, _| {
        record.short.push(why());
        record.testimonies.get_mut(&"m".into()).unwrap()[0].push(Testimony {
            witness: Witness::Kcmp,
            verdict: Verdict::Different,
        });
    });
}

#[test]
fn references_that_are_left_fail() {
    assert_fails("still has 1 references", |record, _| {
        record.leaks.push(Finding::Left {
            message: "m".into(),
            index: 0,
            refs: 1,
        });
    });
}

#[test]
fn a_file_that_the_trace_calls_by_another_name_fails() {
    let kind = |index, kind: FileKind| {
        spoiled(|record, _| {
            let message = "m".into();
            record.facts.push(Fact::Kind {
                message,
                index,
                kind,
            });
        })
    };
    assert_eq!(kind(0, FileKind::Regular).0, ScenarioResult::Pass);
    let (result, reason) = kind(0, FileKind::Eventfd);
    assert_eq!(result, ScenarioResult::Fail);
    assert!(reason.contains("calls file 1 of m regular"), "{reason}");
}
