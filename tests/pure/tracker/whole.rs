//! Two records that tell of a whole message say what one for each hop does.

use fdtrace::model::{Cause, CauseMissing, Chain, Fate, Hop, Transfer};
use fdtrace_common::records::{
    FLAG_DESTRUCTED, FLAG_INSTALLED_UNSEEN, FLAG_NO_RIGHTS, IN_PLACE, NOT_TOLD,
};
use fdtrace_testkit::{Event, OTHER_CALL, Passing, RECVMSG, Tracker, files_mut, head_mut, tracker};

/// A tracker of what such records show: no dequeue, and no failed send.
fn tracker_by_message() -> Tracker {
    tracker().watching([Hop::Copy, Hop::Queue, Hop::Detach, Hop::Install, Hop::End])
}

fn track(events: &[Vec<Event>]) -> Vec<Transfer> {
    let mut tracker = tracker_by_message();
    for event in events.concat() {
        tracker.apply(event);
    }
    tracker.close_open();
    tracker.take_closed()
}

fn fates(events: &[Vec<Event>]) -> Vec<(Fate, Option<Cause>)> {
    let transfers = track(events);
    transfers.iter().map(|it| (it.fate(), it.cause())).collect()
}

fn several(files: u64) -> Passing {
    Passing {
        files: (1..=files).map(|file| file << 8).collect(),
        ..Passing::one()
    }
}

#[test]
fn two_records_tell_of_a_whole_message() {
    let message = several(40);
    let numbers: Vec<i32> = (9..49).collect();
    let transfers = track(&[
        message.sent_whole(10, 30),
        message.received_whole(50, 70, &numbers),
    ]);
    assert_eq!(transfers.len(), 40);
    for transfer in &transfers {
        let hops: Vec<(Hop, u64, bool)> = transfer
            .hops
            .iter()
            .map(|seen| (seen.hop, seen.t_ns, seen.refs.is_some()))
            .collect();
        assert_eq!(
            hops,
            [
                (Hop::Copy, 10, false),
                (Hop::Queue, 30, true),
                (Hop::Detach, 50, false),
                (Hop::Install, 70, false),
                (Hop::End, 70, true),
            ]
        );
        let place = i32::from(transfer.index);
        let sender = transfer.sender.as_ref().expect("it was seen");
        assert_eq!((sender.fd, sender.t_ns), (Some(4 + place), 10));
        let receiver = transfer.receiver().expect("it was seen");
        assert_eq!((receiver.fd, receiver.pid), (Some(9 + place), 200));
        assert_eq!(
            (transfer.fate(), transfer.chain),
            (Fate::Delivered, Chain::Whole)
        );
        let times = (transfer.queued_ns, transfer.total_ns);
        assert_eq!(times, (Some(20), Some(60)));
    }
}

#[test]
fn another_file_that_is_installed_shows_wherever_it_comes_from() {
    let message = several(2);
    let sent = message.sent_whole(10, 30);
    let mut strange = message.received_whole(50, 70, &[9, 10]);
    files_mut(&mut strange[0])[1].slot = 0xbad00;
    let chains = |received: Vec<Event>| {
        let transfers = track(&[sent.clone(), received]);
        let chains = transfers.iter().map(|transfer| transfer.chain);
        chains.collect::<Vec<_>>()
    };
    let other = Chain::Differs { hop: Hop::Install };
    assert_eq!(chains(strange), [Chain::Whole, other]);
    // A run was skipped: what is told in the first turn is of the second file.
    let mut skipped = message.received_whole(50, 70, &[10]);
    files_mut(&mut skipped[0])[0].slot = message.files[1];
    let transfers = track(&[sent.clone(), skipped]);
    assert_eq!(transfers[0].fate(), Fate::Unknown);
    let receiver = transfers[1].receiver().expect("it was seen");
    assert_eq!(
        (transfers[1].fate(), receiver.fd),
        (Fate::Delivered, Some(10))
    );
}

#[test]
fn what_another_thread_has_overwritten_is_not_known() {
    let message = several(2);
    let mut mixed = message.received_whole(50, 70, &[9, 10]);
    let file = &mut files_mut(&mut mixed[0])[1];
    (file.slot, file.told, file.fd) = (0, NOT_TOLD, -1);
    let fates = fates(&[message.sent_whole(10, 30), mixed]);
    assert_eq!(fates, [(Fate::Delivered, None), (Fate::Unknown, None)]);
    // Of one whose copy went unseen, no number is told.
    let mut uncopied = message.sent_whole(0, 30);
    for file in files_mut(&mut uncopied[0]) {
        (file.fd, file.slot) = (-1, 0);
    }
    let transfers = track(&[uncopied, message.received_whole(50, 70, &[9, 10])]);
    assert_eq!(transfers[0].chain, Chain::SenderUnknown);
}

#[test]
fn refusals_and_room_are_told_as_by_each_hop() {
    let message = several(3);
    let sent = message.sent_whole(10, 30);
    let limit = message.received_whole(50, 70, &[9, -libc::EMFILE]);
    let truncated = (Fate::Truncated, Some(Cause::RlimitNofile));
    let delivered = (Fate::Delivered, None);
    assert_eq!(
        fates(&[sent.clone(), limit]),
        [delivered, truncated, truncated]
    );
    let mut in_place = message.received_whole(50, 70, &[9, -libc::EACCES, 10]);
    files_mut(&mut in_place[0])[1].cloexec = IN_PLACE;
    assert_eq!(
        fates(&[sent.clone(), in_place]),
        [delivered, (Fate::Refused, Some(Cause::Lsm)), delivered]
    );
    let mut narrow = message.received_whole(50, 70, &[9]);
    head_mut(&mut narrow[0]).room = 1;
    let no_room = (Fate::Truncated, Some(Cause::NoControlRoom));
    assert_eq!(fates(&[sent, narrow]), [delivered, no_room, no_room]);
}

#[test]
fn a_call_that_takes_a_list_and_installs_nothing_is_known_by_its_functions() {
    let message = Passing::one();
    let ends = |functions: &[&str], flags: u16| {
        let mut released = message.released(60, 200, OTHER_CALL);
        head_mut(&mut released[0]).flags = flags;
        let transfers = track(&[
            message.sent_whole(10, 30),
            message.called(functions),
            released,
        ]);
        let it = &transfers[0];
        (it.fate(), it.cause(), it.receiver().map(|it| it.pid))
    };
    let no_room = (Fate::Truncated, Some(Cause::NoControlRoom), Some(200));
    assert_eq!(ends(&["____sys_recvmsg"], 0), no_room);
    let read = (Fate::Discarded, Some(Cause::PlainRead), Some(200));
    assert_eq!(ends(&["sock_read_iter"], 0), read);
    let closed = ends(&["unix_destruct_scm", "unix_release_sock"], 0);
    assert_eq!(closed, (Fate::Discarded, Some(Cause::ReceiverClosed), None));
    // It installed files, and nothing saw that begin.
    let unseen = ends(&["____sys_recvmsg"], FLAG_INSTALLED_UNSEEN);
    assert_eq!((unseen.0, unseen.1), (Fate::Unknown, None));
    assert_eq!(ends(&[], 0), (Fate::Unknown, None, None));
}

#[test]
fn the_first_failed_send_asks_for_what_sends_return_and_is_told_without_a_cause() {
    let message = Passing::one();
    let mut tracker = tracker_by_message();
    for event in message.unsent(10, 20, false) {
        tracker.apply(event);
    }
    assert!(tracker.asks_for_returns());
    tracker.close_open();
    let first = tracker.take_closed();
    assert_eq!((first[0].fate(), first[0].cause()), (Fate::Failed, None));
    assert_eq!(first[0].cause_missing(), Some(CauseMissing::NotYetWatched));
    assert_eq!(first[0].sender.as_ref().and_then(|it| it.fd), Some(4));
    // A stream that is sent nothing may say so without failing.
    let mut empty = message.unsent(10, 20, false);
    head_mut(&mut empty[0]).room = 1;
    assert_eq!(fates(&[empty]), [(Fate::Unknown, None)]);
    // One that was interrupted comes back.
    let again = Passing {
        list: 0xb0,
        ..Passing::one()
    };
    let delivered = [
        message.unsent(10, 20, false),
        again.sent_whole(30, 40),
        again.received_whole(50, 60, &[9]),
    ];
    assert_eq!(fates(&delivered), [(Fate::Delivered, None)]);
}

#[test]
fn a_send_whose_return_is_told_fails_for_what_it_returns() {
    let message = Passing::one();
    let failed = (Fate::Failed, Some(Cause::Errno(libc::EPIPE)));
    let events = [
        message.unsent(10, 20, true),
        message.send_returned(30, 10, -libc::EPIPE),
    ];
    assert_eq!(fates(&events), [failed]);
    let nothing = [
        message.unsent(10, 20, true),
        message.send_returned(30, 10, 0),
    ];
    let zero_length = (Fate::Discarded, Some(Cause::ZeroLength));
    assert_eq!(fates(&nothing), [zero_length]);
    // The call was under way as its function began to be watched.
    assert_eq!(
        fates(&[message.unsent(10, 20, true)]),
        [(Fate::Unknown, None)]
    );
}

#[test]
fn a_peek_takes_a_duplicate_and_leaves_the_message() {
    let message = Passing::one();
    let duplicate = Passing {
        list: 0xd0,
        sender: 200,
        ..Passing::one()
    };
    let transfers = track(&[
        message.sent_whole(10, 20),
        duplicate.duplicated(30, message.list),
        duplicate.received_whole(40, 50, &[9]),
        message.received_whole(60, 70, &[10]),
    ]);
    let told: Vec<_> = transfers.iter().map(|it| (it.fate(), it.message)).collect();
    assert_eq!(told, [(Fate::Peeked, 1), (Fate::Delivered, 1)]);
    let without_control = track(&[
        message.sent_whole(10, 20),
        duplicate.duplicated(30, message.list),
        duplicate.called(&["____sys_recvmsg"]),
        duplicate.released(50, 200, RECVMSG),
        message.received_whole(60, 70, &[10]),
    ]);
    let told: Vec<_> = without_control
        .iter()
        .map(|it| (it.fate(), it.peek))
        .collect();
    assert_eq!(told, [(Fate::Truncated, true), (Fate::Delivered, false)]);
}

#[test]
fn what_is_sent_and_not_received_is_queued() {
    let message = Passing::one();
    assert_eq!(fates(&[message.sent_whole(10, 20)]), [(Fate::Queued, None)]);
}

#[test]
fn a_receiver_takes_no_descriptors_only_if_an_skb_had_them() {
    let message = Passing::one();
    let eperm = |flags| {
        let mut unsent = message.unsent(10, 20, true);
        head_mut(&mut unsent[0]).flags |= flags;
        let mut returned = message.send_returned(30, 10, -libc::EPERM);
        head_mut(&mut returned[0]).flags |= FLAG_NO_RIGHTS;
        fates(&[unsent, returned])
    };
    let passrights = (Fate::Failed, Some(Cause::Passrights));
    assert_eq!(eperm(FLAG_DESTRUCTED), [passrights]);
    let refused = (Fate::Failed, Some(Cause::Errno(libc::EPERM)));
    assert_eq!(eperm(0), [refused]);
}

#[test]
fn what_is_received_is_told_whether_or_not_its_sender_was_seen() {
    let message = several(2);
    let transfers = track(&[message.received_whole(50, 70, &[9, 10])]);
    assert_eq!(transfers.len(), 2);
    for (transfer, number) in transfers.iter().zip([9, 10]) {
        assert_eq!(
            (transfer.fate(), &transfer.sender),
            (Fate::Delivered, &None)
        );
        let receiver = transfer.receiver().expect("it was seen");
        assert_eq!((receiver.fd, receiver.pid), (Some(number), 200));
        assert_ne!(transfer.chain, Chain::Whole);
    }
    // Another list that was at its address is no message of these.
    let other = Passing {
        files: vec![0xc000, 0xc100],
        ..several(2)
    };
    let ends = fates(&[
        other.sent_whole(10, 20),
        message.received_whole(50, 70, &[9, 10]),
    ]);
    assert_eq!(ends[2..], [(Fate::Delivered, None); 2]);
    assert_eq!(ends.len(), 4);
}

#[test]
fn a_peek_at_a_message_whose_sender_was_not_seen_is_one() {
    let message = Passing::one();
    let duplicate = Passing {
        list: 0xd0,
        sender: 200,
        ..Passing::one()
    };
    let transfers = track(&[
        duplicate.duplicated(30, message.list),
        duplicate.received_whole(40, 50, &[9]),
        message.received_whole(60, 70, &[10]),
    ]);
    let told: Vec<_> = transfers.iter().map(|it| (it.fate(), it.message)).collect();
    assert_eq!(told, [(Fate::Peeked, 1), (Fate::Delivered, 1)]);
    assert!(
        transfers
            .iter()
            .all(|it| it.sender.is_none() && it.chain != Chain::Whole)
    );
}
