//! A scenario that passes, and every way of spoiling it: each must be noticed.

mod actors;
mod fates;
mod witnesses;

use std::path::Path;

use super::*;
use crate::{
    judge::Meanwhile,
    kernel::KernelView,
    model::{
        Cause, CauseMissing, Chain, Context, End, Fate, FileIdentity, FileKind, Hop, HopSeen, Loss,
        Lost, Receiver, Sender, Socket,
    },
    plan::{Attach, Plan, plan},
    verify::{
        fact::Actor,
        find,
        record::{Mistakable, Record},
    },
};

fn fixture_plan() -> Plan {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kernels/6.18-locked");
    plan(&KernelView::fixture(&dir).unwrap(), Attach::Tracepoint).unwrap()
}

const SENDER: Actor = Actor { pid: 100, tid: 100 };
const RECEIVER: Actor = Actor { pid: 200, tid: 200 };

/// One descriptor, 4 in the sender and 9 in the receiver, sent at 10..20 and received at 30..40.
fn record() -> Record {
    let same = |witness| Testimony {
        witness,
        verdict: Verdict::Same,
    };
    let facts = vec![
        Fact::Joined { actor: SENDER },
        Fact::Joined { actor: RECEIVER },
        Fact::Sent {
            actor: SENDER,
            message: "m".into(),
            fds: vec![4],
            span: (10, 20),
        },
        Fact::Received {
            actor: RECEIVER,
            message: "m".into(),
            fds: vec![9],
            span: (30, 40),
            cloexec: vec![false],
            truncated: Some(false),
            truncates: false,
            peek: false,
        },
    ];
    let testimonies = vec![vec![same(Witness::TaskFile), same(Witness::Kcmp)]];
    Record {
        facts,
        testimonies: [("m".into(), testimonies)].into(),
        ..Record::default()
    }
}

fn hop(hop: Hop, t_ns: u64, actor: Actor) -> HopSeen {
    HopSeen {
        hop,
        t_ns,
        cpu: 0,
        pid: actor.pid,
        tid: actor.tid,
        comm: "test".into(),
        file: 0xf11e,
        skb: 0x5b,
        list: 0x115,
        sender_sock: 0,
        receiver_sock: 0,
        refs: Some(2),
    }
}

fn transfer() -> Transfer {
    Transfer {
        id: 1,
        message: 1,
        index: 0,
        count: 1,
        file: FileIdentity {
            ptr: 0xf11e,
            ino: 7,
            dev: 1,
            rdev: 0,
            mode: 0o100_644,
            flags: 0,
            magic: 0,
            label: None,
        },
        sender: Some(Sender {
            pid: SENDER.pid,
            tid: Some(SENDER.tid),
            comm: "sender".into(),
            fd: Some(4),
            socket_fd: Some(3),
            t_ns: 15,
        }),
        socket: Socket::default(),
        end: End::Delivered(Receiver {
            pid: RECEIVER.pid,
            tid: RECEIVER.tid,
            comm: "receiver".into(),
            fd: Some(9),
            cloexec: Some(false),
            fd_inferred: false,
        }),
        chain: Chain::Whole,
        doubt: None,
        wanted: false,
        peek: false,
        overdue: false,
        found_ns: None,
        failed_send: None,
        context: Context::default(),
        queued_ns: Some(1),
        total_ns: None,
        since_ns: None,
        hops: vec![
            hop(Hop::Queue, 15, SENDER),
            hop(Hop::Dequeue, 35, RECEIVER),
            hop(Hop::Install, 36, RECEIVER),
        ],
    }
}

fn judged(record: &Record, transfers: Vec<Transfer>, lossless: bool) -> Judgement {
    let scenario = find("stream-one-fd").unwrap();
    let with = |transfer| (transfer, Meanwhile::from(lossless));
    judge(
        scenario,
        record,
        transfers.into_iter().map(with).collect(),
        &fixture_plan(),
        lossless,
        Duration::ZERO,
    )
}

#[test]
fn a_run_that_was_skipped_before_a_scenario_leaves_it_open() {
    let judged = |meanwhile| {
        let scenario = find("stream-one-fd").unwrap();
        let seen = vec![(transfer(), meanwhile)];
        judge(
            scenario,
            &record(),
            seen,
            &fixture_plan(),
            true,
            Duration::ZERO,
        )
    };
    let open = judged(Meanwhile::RunsSkipped);
    assert_eq!(open.result, ScenarioResult::Inconclusive);
    assert!(open.lossy);
    assert_eq!(judged(Meanwhile::AllSeen).result, ScenarioResult::Pass);
}

#[test]
fn a_number_that_is_withheld_because_of_a_loss_is_open_and_not_called_unwatched() {
    let judged = |meanwhile, spoil: fn(&mut Transfer)| {
        let mut transfer = transfer();
        spoil(&mut transfer);
        let lossless = meanwhile == Meanwhile::AllSeen;
        let scenario = find("stream-one-fd").unwrap();
        let seen = vec![(transfer, meanwhile)];
        judge(
            scenario,
            &record(),
            seen,
            &fixture_plan(),
            lossless,
            Duration::ZERO,
        )
    };
    let numberless: [fn(&mut Transfer); 2] = [
        |it| it.sender.as_mut().unwrap().fd = None,
        |it| match &mut it.end {
            End::Delivered(receiver) => (receiver.fd, receiver.fd_inferred) = (None, true),
            _ => unreachable!(),
        },
    ];
    for spoil in numberless {
        let open = judged(Meanwhile::RunsSkipped, spoil);
        assert_eq!(open.result, ScenarioResult::Inconclusive, "{open:?}");
        assert!(open.lossy, "it is run again");
        let blind = judged(Meanwhile::AllSeen, spoil);
        assert_eq!(blind.result, ScenarioResult::Skip, "{blind:?}");
    }
}

/// Judges a record and transfers that were spoiled; gives the result and the reason.
fn spoiled(spoil: impl FnOnce(&mut Record, &mut Vec<Transfer>)) -> (ScenarioResult, String) {
    let (mut record, mut transfers) = (record(), vec![transfer()]);
    spoil(&mut record, &mut transfers);
    let outcome = judged(&record, transfers, true);
    (outcome.result, outcome.reason().unwrap_or_default())
}

fn judged_by(
    plan: &Plan,
    spoil: impl FnOnce(&mut Record, &mut Vec<Transfer>),
) -> (ScenarioResult, String) {
    let (mut record, mut transfers) = (record(), vec![transfer()]);
    spoil(&mut record, &mut transfers);
    let scenario = find("stream-one-fd").unwrap();
    let seen = transfers.into_iter().map(|it| (it, Meanwhile::AllSeen));
    let outcome = judge(
        scenario,
        &record,
        seen.collect(),
        plan,
        true,
        Duration::ZERO,
    );
    (outcome.result, outcome.reason().unwrap_or_default())
}

fn assert_fails(reason: &str, spoil: impl FnOnce(&mut Record, &mut Vec<Transfer>)) {
    let (result, found) = spoiled(spoil);
    assert_eq!(result, ScenarioResult::Fail, "{reason}");
    assert!(found.contains(reason), "{found:?} instead of {reason:?}");
}

#[test]
fn what_agrees_passes() {
    let outcome = judged(&record(), vec![transfer()], true);
    assert_eq!(
        (outcome.result, outcome.reason()),
        (ScenarioResult::Pass, None)
    );
    assert_eq!(outcome.transfers[0].verdict, Some(Verdict::Same));
}

#[test]
fn losses_elsewhere_do_not_spoil_a_whole_chain() {
    assert_eq!(
        judged(&record(), vec![transfer()], false).result,
        ScenarioResult::Pass
    );
}

#[test]
fn a_transfer_that_is_missing_fails_and_with_losses_is_inconclusive() {
    assert_fails("m's 4 → 9 not in the trace", |_, transfers| {
        transfers.clear();
    });
    assert_eq!(
        judged(&record(), Vec::new(), false).result,
        ScenarioResult::Inconclusive
    );
}

#[test]
fn another_play_may_answer_what_losses_alone_left_open() {
    assert!(judged(&record(), Vec::new(), false).lossy);
    // Neither a pass, nor a failure, nor what was not lost.
    assert!(!judged(&record(), vec![transfer()], false).lossy);
    let (mut leak, mut blind) = (record(), transfer());
    leak.leaks.push(Finding::Uncounted {
        message: "m".into(),
    });
    let failed = judged(&leak, Vec::new(), false);
    assert_eq!((failed.result, failed.lossy), (ScenarioResult::Fail, false));
    blind.chain = Chain::SenderUnknown;
    assert!(!judged(&record(), vec![blind.clone()], true).lossy);
    // Nor what is not watched here, however much was lost beside it.
    blind.sender.as_mut().unwrap().fd = None;
    let unwatched = judged(&record(), vec![blind], false);
    assert_eq!(unwatched.result, ScenarioResult::Skip);
    assert!(!unwatched.lossy, "{:?}", unwatched.reason());
}

#[test]
fn wrong_numbers_processes_and_times_fail() {
    assert_fails("not in the trace", |_, transfers| {
        transfers[0].sender.as_mut().unwrap().fd = Some(5);
    });
    assert_fails("not in the trace", |_, transfers| {
        transfers[0].end.receiver_mut().unwrap().fd = Some(8);
    });
    assert_fails("not in the trace", |_, transfers| {
        transfers[0].end.receiver_mut().unwrap().pid = 201;
    });
    assert_fails("not in the trace", |_, transfers| {
        transfers[0].hops[0].t_ns = 25;
    });
    assert_fails("not in the trace", |_, transfers| {
        transfers[0].hops[2].t_ns = 41;
    });
    assert_fails("not in the trace", |_, transfers| transfers[0].index = 1);
}

#[test]
fn a_transfer_that_nobody_made_fails_even_with_losses() {
    let extra = || Transfer {
        id: 2,
        message: 2,
        ..transfer()
    };
    assert_fails("that no actor made", |_, transfers| transfers.push(extra()));
    let outcome = judged(&record(), vec![transfer(), extra()], false);
    assert_eq!(outcome.result, ScenarioResult::Fail);
}

#[test]
fn half_a_transfer_that_nobody_made_fails_and_with_losses_is_inconclusive() {
    let end = || {
        let mut half = Transfer {
            id: 2,
            message: 2,
            end: End::of(
                Fate::Discarded,
                Some(Cause::Oob),
                transfer().receiver().cloned(),
            ),
            chain: Chain::SenderUnknown,
            ..transfer()
        };
        half.hops = vec![hop(Hop::Dequeue, 35, RECEIVER), hop(Hop::End, 37, RECEIVER)];
        half
    };
    let halves = [
        Transfer {
            sender: None,
            ..end()
        },
        Transfer {
            sender: transfer()
                .sender
                .map(|sender| Sender { fd: None, ..sender }),
            ..end()
        },
    ];
    for half in halves {
        assert_fails("that no actor made", |_, transfers| {
            transfers.push(half.clone());
        });
        let outcome = judged(&record(), vec![transfer(), half], false);
        assert_eq!(outcome.result, ScenarioResult::Inconclusive);
    }
    // What tells whose it would be is a word that the trace has to stand by.
    let outcome = judged(&record(), vec![transfer(), end()], false);
    assert_eq!(outcome.result, ScenarioResult::Fail);
}

#[test]
fn transfers_of_others_are_not_ours() {
    let mut others = transfer();
    others.sender.as_mut().unwrap().pid = 300;
    others.end.receiver_mut().unwrap().pid = 301;
    let outcome = judged(&record(), vec![others, transfer()], true);
    assert_eq!(
        (outcome.result, outcome.transfers.len()),
        (ScenarioResult::Pass, 1)
    );
}

#[test]
fn a_different_pointer_fails_and_an_unseen_one_is_inconclusive() {
    assert_fails("says different", |_, transfers| {
        transfers[0].chain = Chain::Differs { hop: Hop::Install };
    });
    let (result, _) = spoiled(|_, transfers| transfers[0].chain = Chain::SenderUnknown);
    assert_eq!(result, ScenarioResult::Inconclusive);
}

#[test]
fn a_number_that_was_not_seen_is_inconclusive_only_where_nothing_shows_it() {
    let unseen = |_: &mut Record, transfers: &mut Vec<Transfer>| {
        transfers[0].sender.as_mut().unwrap().fd = None;
        transfers[0].chain = Chain::SenderUnknown;
    };
    let (result, reason) = judged_by(&fixture_plan(), unseen);
    assert_eq!(result, ScenarioResult::Skip, "{reason}");
    assert!(reason.contains("sender's numbers"), "{reason}");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kernels/6.18");
    let plan = plan(&KernelView::fixture(&dir).unwrap(), Attach::Auto).unwrap();
    let (result, reason) = judged_by(&plan, unseen);
    assert_eq!(result, ScenarioResult::Fail, "{reason}");
}

#[test]
fn what_was_found_is_more_than_its_text() {
    let missing = Finding::Missing {
        message: "m".into(),
        fd: 4,
        number: Some(9),
        more: 0,
        expected: Ended {
            fate: Fate::Delivered,
            cause: None,
        },
    };
    let found = judged(&record(), Vec::new(), true);
    assert_eq!(found.findings, [missing]);
    assert_eq!(
        found.reason().as_deref(),
        Some("m's 4 → 9 not in the trace from end to end")
    );
}
