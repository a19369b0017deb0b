//! Fates and causes: what the trace tells of an end, beside what is true of it.

use super::*;

const CTRUNC: Cause = Cause::NoControlRoom;

/// States the fate of the message's file.
fn expect_fate(record: &mut Record, fate: Fate, cause: Option<Cause>) {
    record.facts.push(Fact::Fate {
        message: "m".into(),
        files: (0, 1),
        fate,
        cause,
    });
}

fn receive(record: &mut Record) -> &mut Fact {
    record
        .facts
        .iter_mut()
        .find(|fact| matches!(fact, Fact::Received { .. }))
        .unwrap()
}

/// A record and transfers of a descriptor that did not fit.
fn truncated(record: &mut Record, transfers: &mut [Transfer]) {
    expect_fate(record, Fate::Truncated, Some(CTRUNC));
    if let Fact::Received {
        fds,
        cloexec,
        truncated,
        ..
    } = receive(record)
    {
        fds.clear();
        cloexec.clear();
        *truncated = Some(true);
    }
    record.testimonies.clear();
    let transfer = &mut transfers[0];
    transfer.end = End::of(Fate::Truncated, Some(CTRUNC), transfer.receiver().cloned());
    transfer.end.receiver_mut().unwrap().fd = None;
    transfer.hops.pop();
}

#[test]
fn a_fate_that_the_trace_tells_with_its_cause_passes_and_any_other_fails() {
    let (result, reason) = spoiled(|record, transfers| truncated(record, transfers));
    assert_eq!((result, reason.as_str()), (ScenarioResult::Pass, ""));
    assert_fails(
        "the trace says truncated (rlimit-nofile) of m's 4 where truncated (no-control-room) is",
        |record, transfers| {
            truncated(record, transfers);
            let end = transfers[0].end.clone();
            transfers[0].end = End::of(
                end.fate(),
                Some(Cause::RlimitNofile),
                end.receiver().cloned(),
            );
        },
    );
    assert_fails(
        "the trace says discarded (no-control-room) of m's 4",
        |record, transfers| {
            truncated(record, transfers);
            transfers[0].end = End::of(
                Fate::Discarded,
                Some(CTRUNC),
                transfers[0].receiver().cloned(),
            );
        },
    );
    assert_fails("came without MSG_CTRUNC", |record, transfers| {
        truncated(record, transfers);
        if let Fact::Received { truncated, .. } = receive(record) {
            *truncated = Some(false);
        }
    });
    // Twice is once too often.
    assert_fails("that no actor made", |record, transfers| {
        truncated(record, transfers);
        transfers.push(transfers[0].clone());
    });
}

#[test]
fn what_came_against_its_fate_fails_whatever_the_trace_says() {
    assert_fails("m's 4 came where it must not", |record, transfers| {
        truncated(record, transfers);
        if let Fact::Received { fds, cloexec, .. } = receive(record) {
            (*fds, *cloexec) = (vec![9], vec![false]);
        }
    });
    // A delivery that the scenario did not say would fail.
    assert_fails("the trace says delivered of m's 4", |record, _| {
        expect_fate(record, Fate::Truncated, Some(CTRUNC));
    });
}

#[test]
fn an_errno_in_a_files_place_stands_for_msg_ctrunc() {
    let refused = |record: &mut Record, transfers: &mut Vec<Transfer>| {
        truncated(record, transfers);
        record.facts.pop();
        expect_fate(record, Fate::Refused, Some(Cause::Lsm));
        transfers[0].end = End::of(
            Fate::Refused,
            Some(Cause::Lsm),
            transfers[0].receiver().cloned(),
        );
        if let Fact::Received {
            fds,
            cloexec,
            truncated,
            ..
        } = receive(record)
        {
            (*fds, *cloexec, *truncated) = (vec![-1], vec![false], Some(false));
        }
    };
    let (result, reason) = spoiled(refused);
    assert_eq!((result, reason.as_str()), (ScenarioResult::Pass, ""));
    assert_fails("came with MSG_CTRUNC", |record, transfers| {
        refused(record, transfers);
        if let Fact::Received { truncated, .. } = receive(record) {
            *truncated = Some(true);
        }
    });
}

/// A peek of 8 at 22..28 before the delivery.
fn peeked(record: &mut Record, transfers: &mut Vec<Transfer>) {
    expect_fate(record, Fate::Peeked, None);
    expect_fate(record, Fate::Delivered, None);
    record.facts.push(Fact::Received {
        actor: RECEIVER,
        message: "m".into(),
        fds: vec![8],
        span: (22, 28),
        cloexec: vec![false],
        truncated: Some(false),
        truncates: false,
        peek: true,
    });
    let mut peek = transfer();
    peek.end = End::of(Fate::Peeked, None, peek.receiver().cloned());
    peek.end.receiver_mut().unwrap().fd = Some(8);
    (peek.hops[1].t_ns, peek.hops[2].t_ns) = (24, 25);
    transfers.insert(0, peek);
}

#[test]
fn a_peek_and_a_delivery_are_two_fates_of_one_file() {
    let (result, reason) = spoiled(peeked);
    assert_eq!((result, reason.as_str()), (ScenarioResult::Pass, ""));
    assert_fails("m's 4 → 8 not in the trace", |record, transfers| {
        peeked(record, transfers);
        transfers.remove(0);
    });
    assert_fails("m's 4 → 9 not in the trace", |record, transfers| {
        peeked(record, transfers);
        transfers.remove(1);
    });
    // A tracker that takes a peek for the delivery.
    assert_fails(
        "the trace says delivered of m's 4 where peeked is true",
        |record, transfers| {
            peeked(record, transfers);
            transfers[0].end = End::of(Fate::Delivered, None, transfers[0].receiver().cloned());
        },
    );
    // A peek that nobody expected.
    assert_fails("came where it must not", |record, transfers| {
        peeked(record, transfers);
        record
            .facts
            .retain(|fact| !matches!(fact, Fact::Fate { .. }));
    });
    // An expected delivery that no call brought.
    assert_fails("m's 4 was sent and not received", |record, transfers| {
        peeked(record, transfers);
        expect_fate(record, Fate::Delivered, None);
    });
}

#[test]
fn a_peek_and_a_delivery_that_a_gap_left_without_their_numbers_are_open() {
    let numberless = |transfers: &mut [Transfer]| {
        for transfer in transfers {
            transfer.end.receiver_mut().unwrap().fd = None;
        }
    };
    let with = |fates: Option<[Fate; 2]>| {
        let (mut record, mut transfers) = (record(), vec![transfer()]);
        peeked(&mut record, &mut transfers);
        numberless(&mut transfers);
        if let Some(fates) = fates {
            for (transfer, fate) in transfers.iter_mut().zip(fates) {
                transfer.end = End::of(fate, None, transfer.receiver().cloned());
            }
        }
        let skipped = |transfer| (transfer, Meanwhile::RunsSkipped);
        judge(
            find("stream-one-fd").unwrap(),
            &record,
            transfers.into_iter().map(skipped).collect(),
            &fixture_plan(),
            true,
            Duration::ZERO,
        )
    };
    let open = with(None);
    assert_eq!(
        open.result,
        ScenarioResult::Inconclusive,
        "{:?}",
        open.reason()
    );
    assert!(open.lossy);
    // Two deliveries of one file are wrong, whatever was lost.
    let wrong = with(Some([Fate::Delivered, Fate::Delivered]));
    assert_eq!(wrong.result, ScenarioResult::Fail, "{:?}", wrong.reason());
}

/// A send that failed.
fn failed(record: &mut Record, transfers: &mut [Transfer]) {
    record
        .facts
        .retain(|fact| matches!(fact, Fact::Joined { .. }));
    record.testimonies.clear();
    record.facts.push(Fact::SendFailed {
        actor: SENDER,
        message: "m".into(),
        fds: vec![4],
        span: (10, 20),
        errno: libc::EPIPE,
    });
    let transfer = &mut transfers[0];
    transfer.end = End::of(Fate::Failed, Some(Cause::Errno(libc::EPIPE)), None);
    transfer.hops.truncate(1);
}

#[test]
fn a_send_that_fails_has_failed_transfers_with_its_errno() {
    let plan = fixture_plan();
    let (result, reason) = judged_by(&plan, |record, transfers| failed(record, transfers));
    assert_eq!((result, reason.as_str()), (ScenarioResult::Pass, ""));
    let (result, reason) = judged_by(&plan, |record, transfers| {
        failed(record, transfers);
        let end = transfers[0].end.clone();
        transfers[0].end = End::of(
            end.fate(),
            Some(Cause::Errno(libc::EPERM)),
            end.receiver().cloned(),
        );
    });
    assert_eq!(result, ScenarioResult::Fail);
    assert!(reason.contains("failed (eperm) of m's 4 where failed (epipe) is true"));
    // A cause of its own, where the scenario knows one.
    let (result, _) = judged_by(&plan, |record, transfers| {
        failed(record, transfers);
        expect_fate(record, Fate::Failed, Some(Cause::Passrights));
        let end = transfers[0].end.clone();
        transfers[0].end = End::of(end.fate(), Some(Cause::Passrights), end.receiver().cloned());
    });
    assert_eq!(result, ScenarioResult::Pass);
}

#[test]
fn a_fate_that_the_plan_cannot_show_is_an_open_question() {
    let sighted = fixture_plan();
    let mut blind = fixture_plan();
    for planned in &mut blind.hops {
        planned
            .hooks
            .retain(|hook| hook.target != "sock_send_length");
    }
    let lost = |record: &mut Record, transfers: &mut Vec<Transfer>| {
        failed(record, transfers);
        transfers.clear();
    };
    let (result, reason) = judged_by(&blind, lost);
    assert_eq!(result, ScenarioResult::Skip);
    assert!(
        reason.contains("what a send returns is not watched here"),
        "{reason}"
    );
    let (result, reason) = judged_by(&sighted, lost);
    assert_eq!(result, ScenarioResult::Fail);
    assert!(
        reason.contains("m's 4 not in the trace as failed (epipe)"),
        "{reason}"
    );
    // No word about what the call returned.
    let wordless = |record: &mut Record, transfers: &mut Vec<Transfer>| {
        failed(record, transfers);
        transfers[0].end = End::Lost(Lost {
            how: Loss::Failed,
            why: Err(CauseMissing::NotWatched),
            receiver: None,
        });
    };
    assert_eq!(judged_by(&blind, wordless).0, ScenarioResult::Skip);
    assert_eq!(judged_by(&sighted, wordless).0, ScenarioResult::Fail);
    let (mut record, mut transfers) = (record(), vec![transfer()]);
    wordless(&mut record, &mut transfers);
    let outcome = judged(&record, transfers, false);
    assert_eq!(outcome.result, ScenarioResult::Inconclusive);
    // A wrong word is a wrong word, whatever is not watched.
    let (result, _) = judged_by(&blind, |record, transfers| {
        failed(record, transfers);
        transfers[0].end = End::of(Fate::Discarded, None, transfers[0].receiver().cloned());
    });
    assert_eq!(result, ScenarioResult::Fail);
}

#[test]
fn where_functions_have_no_names_an_end_that_they_tell_is_an_open_question() {
    let (mut blind, sighted) = (fixture_plan(), fixture_plan());
    blind.unnamed = Some("this kernel hides where its functions are".to_owned());
    let collected = |end: End| {
        move |record: &mut Record, transfers: &mut Vec<Transfer>| {
            let is_receive = |fact: &Fact| matches!(fact, Fact::Received { .. });
            record.facts.retain(|fact| !is_receive(fact));
            record.testimonies.clear();
            let cause = Some(Cause::GarbageCollector);
            expect_fate(record, Fate::Collected, cause);
            transfers[0].end = end;
            transfers[0].hops.pop();
        }
    };
    let unknown = || collected(End::Unknown(None));
    let (result, reason) = judged_by(&blind, unknown());
    assert_eq!(result, ScenarioResult::Skip, "{reason}");
    assert!(
        reason.contains("what functions a list ends in is not watched here"),
        "{reason}"
    );
    assert_eq!(judged_by(&sighted, unknown()).0, ScenarioResult::Fail);
    // A wrong word is a wrong word.
    let discarded = collected(End::of(Fate::Discarded, Some(Cause::Dropped), None));
    assert_eq!(judged_by(&blind, discarded).0, ScenarioResult::Fail);
}
