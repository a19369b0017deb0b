//! What is in a queue still, and what of it a peek lost.

use fdtrace::model::{Cause, Fate, Mark, Transfer};
use fdtrace_common::records::FLAG_PEEK;
use fdtrace_testkit::{Event, PLAIN_READ, Passing, RECVMSG, head_mut, track, tracker};

use super::{DELIVERED, Ended, discarded, fates, sent, three, truncated};

#[test]
fn what_was_not_found_at_last_is_queued_only_if_nothing_can_have_hidden_its_end() {
    let message = Passing::one();
    let ended = |then: Vec<Event>, lost_by: u64| {
        let mut tracker = tracker();
        for event in [message.queued(10), then].concat() {
            tracker.apply(event);
        }
        tracker.note_loss(lost_by);
        tracker.close_open();
        tracker.take_closed()[0].fate()
    };
    let looked = |every| message.queues_read(50, every);
    let found = message.found_last(50);
    // Nobody looked.
    assert_eq!(ended(Vec::new(), 5), Fate::Queued);
    assert_eq!(ended(Vec::new(), 20), Fate::Unknown);
    // Somebody did, everywhere: what is not there has gone.
    assert_eq!(
        ended([found.clone(), looked(true)].concat(), 60),
        Fate::Queued
    );
    assert_eq!(ended(looked(true), 5), Fate::Unknown);
    // Or not everywhere.
    assert_eq!(ended(looked(false), 5), Fate::Queued);
    assert_eq!(ended(looked(false), 20), Fate::Unknown);
    // One that was read since is not there any more, though its end went unseen.
    assert_eq!(
        ended([found, looked(true), message.dequeued(55)].concat(), 5),
        Fate::Unknown
    );
    // What is at its address by now is another message.
    let another = Passing {
        files: vec![0x5000],
        ..Passing::one()
    };
    let mut elsewhere = another.found_last(50);
    elsewhere.extend(looked(true));
    assert_eq!(ended(elsewhere, 60), Fate::Unknown);
}

#[test]
fn a_loss_that_a_record_tells_of_may_have_hidden_an_end() {
    let (message, other) = (
        Passing::one(),
        Passing {
            list: 0xb0,
            ..Passing::one()
        },
    );
    let ended = |epoch: u64| {
        let mut later = other.queued(40);
        head_mut(&mut later[0]).epoch = epoch;
        fates(&[message.queued(10), later])
    };
    let (queued, unknown) = ((Fate::Queued, None), (Fate::Unknown, None));
    assert_eq!(ended(0), [queued, queued]);
    assert_eq!(ended(30), [unknown, queued]);
}

#[test]
fn what_a_peek_loses_is_told_and_stays_in_the_queue() {
    let message = three();
    let mut duplicate = Passing {
        list: 0xd0,
        ..three()
    };
    duplicate.sender = duplicate.receiver;
    let room = truncated(Cause::NoControlRoom);
    let peeked = (Fate::Peeked, None);
    let by_functions = [
        sent(&message),
        message.dequeued(40),
        duplicate.duplicated(50, message.list),
        duplicate.detached_into(51, 2),
        duplicate.installed(52, 0, 9),
        duplicate.installed(54, 1, 10),
        duplicate.released(60, 200, RECVMSG),
    ]
    .concat();
    let mut returned = message.returned_with(
        50,
        RECVMSG,
        FLAG_PEEK,
        vec![message.gained(0), message.gained(1)],
    );
    head_mut(&mut returned[0]).room = 2;
    let by_table = [message.queued(10), message.dequeued(40), returned].concat();
    let taken = |by_table: bool| {
        let read = message.dequeued(70);
        let rest = match by_table {
            true => message.returned(80, 3),
            false => [
                message.detached(75),
                message.installed(76, 0, 11),
                message.installed(78, 1, 12),
                message.installed(80, 2, 13),
                message.released(90, 200, RECVMSG),
            ]
            .concat(),
        };
        [read, rest].concat()
    };
    for (events, is_table) in [(by_functions, false), (by_table, true)] {
        let transfers = track([events, taken(is_table)].concat());
        let ended: Vec<Ended> = transfers
            .iter()
            .map(|transfer| (transfer.fate(), transfer.cause()))
            .collect();
        assert_eq!(ended[..3], [peeked, peeked, room], "by table: {is_table}");
        assert_eq!(ended[3..], [DELIVERED; 3], "by table: {is_table}");
        let marks = |transfer: &Transfer| Mark::of(transfer).contains(&Mark::Peek);
        let marked: Vec<bool> = transfers.iter().map(marks).collect();
        assert_eq!(marked, [false, false, true, false, false, false]);
    }
    // Without a control buffer it loses all; a read has no use for any.
    let without = |called: &[&str], syscall| {
        fates(&[
            sent(&message),
            message.dequeued(40),
            duplicate.duplicated(50, message.list),
            duplicate.called(called),
            duplicate.released(60, 200, syscall),
        ])
    };
    let queued = [(Fate::Queued, None); 3];
    let lost = without(&["unix_stream_read_generic", "____sys_recvmsg"], RECVMSG);
    assert_eq!(lost, [[room; 3], queued].concat());
    assert_eq!(without(&["sock_read_iter"], PLAIN_READ), queued);
}

#[test]
fn what_may_have_left_is_told_of_as_still_queued_only_if_it_was_looked_for() {
    let message = Passing::one();
    let told = |sees_every_end: bool, then: Vec<Event>, lost_by: u64| {
        let mut tracker = tracker().seeing_every_end(sees_every_end);
        for event in message.queued(10) {
            tracker.apply(event);
        }
        tracker.note_loss(lost_by);
        let asks = tracker.asks_what_is_overdue(20);
        for event in then {
            tracker.apply(event);
        }
        (asks, tracker.take_overdue(20).len())
    };
    let mut looked = message.found_last(30);
    head_mut(&mut looked[0]).result = 1;
    // Every end is watched, and nothing was lost.
    assert_eq!(told(true, Vec::new(), 5), (false, 1));
    assert_eq!(told(true, Vec::new(), 15), (true, 0));
    assert_eq!(told(false, Vec::new(), 5), (true, 0));
    assert_eq!(told(false, looked.clone(), 5), (true, 1));
    assert_eq!(told(true, looked.clone(), 15), (true, 1));
    // Such a look is not the last one.
    let mut tracker = tracker().seeing_every_end(false);
    for event in [message.queued(10), looked].concat() {
        tracker.apply(event);
    }
    tracker.close_open();
    assert_eq!(tracker.take_closed()[0].fate(), Fate::Unknown);
}

#[test]
fn of_a_peek_whose_end_was_not_seen_only_what_it_installed_is_shown() {
    let message = Passing {
        files: vec![0x1000, 0x2000],
        ..Passing::one()
    };
    let sent = [message.copied(1), message.attached(2, 0), message.edged(3)].concat();
    // A peek gets a duplicate at an address that the next peek's has again.
    let duplicate = Passing {
        list: 0xd00d_0000,
        ..message.clone()
    };
    let peek = |t_ns: u64| {
        let mut duplicated = duplicate.duplicated(t_ns + 1, message.list);
        head_mut(&mut duplicated[0]).tid = message.receiver;
        let read = message.dequeued(t_ns);
        [read, duplicated, duplicate.detached(t_ns + 2)].concat()
    };
    let first = [peek(10), duplicate.installed(13, 0, 50)].concat();
    let transfers = track([sent, first, peek(30)].concat());
    let ended: Vec<_> = transfers.iter().map(|it| (it.index, it.fate())).collect();
    // The second is under way as the trace ends.
    assert_eq!(
        ended,
        [(0, Fate::Peeked), (0, Fate::Unknown), (1, Fate::Unknown)]
    );
}

#[test]
fn a_kept_receive_queue_is_purged_by_connect_alone() {
    let message = Passing::one();
    let ended = |called: &[&str]| {
        let end = [message.called(called), message.destroyed(40, 0, 300)].concat();
        fates(&[sent(&message), end])
    };
    assert_eq!(
        ended(&["skb_queue_purge", "unix_dgram_connect"]),
        [discarded(Cause::Reconnect)]
    );
    // A socket's own end purges likewise.
    assert_eq!(
        ended(&["skb_queue_purge", "unix_release"]),
        [discarded(Cause::Dropped)]
    );
}
