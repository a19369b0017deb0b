//! Lists that nobody received.

use fdtrace::{
    judge::verdict,
    model::{Cause, CauseMissing, Fate, Hop, Verdict},
};
use fdtrace_testkit::{
    Passing, SKB_QUEUE_PURGE, UNIX_GC, UNIX_RELEASE_SOCK, kernels::tracepoint_plan,
};

use super::{fates, track};

#[test]
fn the_code_that_freed_the_skb_tells_the_cause() {
    let message = Passing::one();
    for (location, expected) in [
        (UNIX_GC, (Fate::Collected, Some(Cause::GarbageCollector))),
        // What called these is not told: a listener, perhaps, or a socket's own end.
        (UNIX_RELEASE_SOCK, (Fate::Discarded, None)),
        (SKB_QUEUE_PURGE, (Fate::Discarded, None)),
        (0, (Fate::Discarded, None)),
    ] {
        let transfers = track([message.queued(1), message.destroyed(2, location, 300)].concat());
        assert_eq!(fates(&transfers), [expected]);
        let missing = expected.1.is_none().then_some(CauseMissing::NotSeen);
        assert_eq!(transfers[0].cause_missing(), missing);
        // Whoever freed it received nothing.
        assert_eq!(transfers[0].receiver(), None);
        assert_eq!(
            transfers[0].hops.last().map(|seen| seen.hop),
            Some(Hop::End)
        );
    }
}

#[test]
fn what_is_still_open_at_the_end_is_queued_or_unknown() {
    let read = Passing {
        list: 0xb0,
        ..Passing::one()
    };
    let events = [Passing::one().queued(1), read.queued(2), read.dequeued(3)];
    let transfers = track(events.concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Queued, None), (Fate::Unknown, None)]
    );
    let plan = tracepoint_plan();
    let verdict = verdict::of_transfer(&transfers[1], |hop| plan.watches(hop), false);
    assert_eq!(verdict, Some(Verdict::Lost));
}
