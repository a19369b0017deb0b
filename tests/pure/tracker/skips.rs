//! Runs that the kernel skipped: no record tells of them, only a counter does.

use fdtrace::{
    judge::{Meanwhile, Unseen},
    model::{Judged, Losses, Transfer, Verdict},
};
use fdtrace_testkit::{Passing, head_mut, kernels::tracepoint_plan};

use super::track;

/// The run at the first message's read was skipped, and the one at the second's queue: with one list,
/// skb and file, what is left looks like one message.
fn two_that_look_like_one() -> Transfer {
    let first = Passing::one();
    let second = Passing {
        sender_fd: 5,
        receiver_fd: 10,
        ..Passing::one()
    };
    let earlier = Passing {
        list: first.list + 0x1000,
        ..Passing::one()
    };
    let events = [
        earlier.delivered(2),
        first.queued(30),
        second.dequeued(50),
        second.returned(60, 1),
    ];
    let mut transfers = track(events.concat());
    assert_eq!(transfers.len(), 2);
    transfers.remove(1)
}

fn judged(meanwhile: Meanwhile) -> Judged {
    let plan = tracepoint_plan();
    Judged::of(two_that_look_like_one(), |hop| plan.watches(hop), meanwhile)
}

#[test]
fn what_may_be_made_of_two_messages_is_lost_and_has_no_number_of_the_first() {
    let lost = judged(Meanwhile::RunsSkipped);
    assert_eq!(lost.verdict, Some(Verdict::Lost));
    let sender = lost.transfer.sender.as_ref().unwrap();
    assert_eq!((sender.pid, sender.fd, sender.socket_fd), (100, None, None));
    assert_eq!(
        (lost.transfer.queued_ns, lost.transfer.total_ns),
        (None, None)
    );
    // The controls: all of it was seen, or what was lost left its mark in what came later.
    for meanwhile in [Meanwhile::AllSeen, Meanwhile::RecordsLost] {
        assert_eq!(judged(meanwhile).verdict, Some(Verdict::Same));
    }
}

#[test]
fn a_run_is_counted_where_it_was_skipped_while_a_transfer_was_on_its_way() {
    let counted = |skips| Losses {
        recursion_misses: skips,
        ..Losses::default()
    };
    let transfer = two_that_look_like_one();
    let mut unseen = Unseen::default();
    assert_eq!(unseen.meanwhile(&transfer), Meanwhile::AllSeen);
    // Before its thread had sent another one, at 2: the look for it, at 30, comes after the fact.
    assert!(unseen.read(&counted(1), 1));
    assert_eq!(unseen.meanwhile(&transfer), Meanwhile::AllSeen);
    assert!(!unseen.read(&counted(1), 40));
    assert_eq!(unseen.meanwhile(&transfer), Meanwhile::AllSeen);
    // Since, by the reading that came after its end.
    assert!(unseen.read(&counted(2), 61));
    assert_eq!(unseen.losses().recursion_misses, 2);
    assert_eq!(unseen.meanwhile(&transfer), Meanwhile::RunsSkipped);
    // What was counted while the counters were read may have happened later than they were asked.
    let mut unseen = Unseen::default();
    let reading = Losses {
        read_ns: 2,
        ..counted(1)
    };
    unseen.read(&reading, 1);
    assert_eq!(unseen.meanwhile(&transfer), Meanwhile::RunsSkipped);
}

#[test]
fn a_thread_has_sent_nothing_before_it_began() {
    let counted = Losses {
        recursion_misses: 1,
        ..Losses::default()
    };
    let message = Passing::one();
    let meanwhile = |began, skipped_by| {
        let mut queued = message.queued(1_000);
        head_mut(&mut queued[0]).location = began;
        let course = [queued, message.dequeued(1_010), message.returned(1_020, 1)];
        let mut unseen = Unseen::default();
        unseen.read(&counted, skipped_by);
        unseen.meanwhile(&track(course.concat())[0])
    };
    assert_eq!(meanwhile(900, 800), Meanwhile::AllSeen);
    assert_eq!(meanwhile(900, 950), Meanwhile::RunsSkipped);
    // Where it is not known when that was, the time before the look counts.
    assert_eq!(meanwhile(0, 800), Meanwhile::RunsSkipped);
}

#[test]
fn a_send_that_failed_was_on_its_way_no_longer_than_its_call() {
    let failed = Passing::one().send_failed(2_000_000_000, -libc::EPIPE);
    let mut unseen = Unseen::default();
    let counted = Losses {
        recursion_misses: 1,
        ..Losses::default()
    };
    unseen.read(&counted, 1_900_000_000);
    assert_eq!(unseen.meanwhile(&track(failed)[0]), Meanwhile::AllSeen);
}

#[test]
fn a_lost_record_is_no_skipped_run() {
    let lossy = Losses {
        window_full: 1,
        ..Losses::default()
    };
    let mut unseen = Unseen::default();
    unseen.read(&lossy, 61);
    let transfer = two_that_look_like_one();
    assert_eq!(unseen.meanwhile(&transfer), Meanwhile::RecordsLost);
}
