//! Sends whose list did not get into a queue, or was not seen to.

use fdtrace::model::{Cause, CauseMissing, Chain, Fate};
use fdtrace_common::records::FLAG_NO_RIGHTS;
use fdtrace_testkit::{Event, OTHER_CALL, Passing, head_mut, track, tracker};

use super::{DELIVERED, discarded, failed, fates, three};

#[test]
fn what_a_send_returns_says_why_its_list_did_not_get_into_a_queue() {
    let message = Passing::one();
    let released = |result| {
        fates(&[
            message.copied(10),
            message.released(20, 100, OTHER_CALL),
            message.send_returned(30, 10, result),
        ])
    };
    assert_eq!(released(-libc::EPIPE), [failed(libc::EPIPE)]);
    assert_eq!(released(-libc::ETOOMANYREFS), [failed(libc::ETOOMANYREFS)]);
    assert_eq!(released(-libc::EPERM), [failed(libc::EPERM)]);
    // A stream message without data is none.
    assert_eq!(released(0), [discarded(Cause::ZeroLength)]);
    // The receiver is asked when the list is on its skb.
    let attached = |result| {
        fates(&[
            message.copied(10),
            message.attached(15, 0),
            message.called(&["unix_stream_sendmsg"]),
            message.destroyed(20, 0, 100),
            message.send_returned(30, 10, result),
        ])
    };
    assert_eq!(attached(-libc::EPIPE), [failed(libc::EPIPE)]);
    // A datagram's receiver that is connected to somebody else says so with the same errno.
    assert_eq!(attached(-libc::EPERM), [failed(libc::EPERM)]);
}

/// The send found that its receiver takes messages from it, but no descriptors.
fn without_rights(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).flags |= FLAG_NO_RIGHTS;
    }
    events
}

#[test]
fn a_receiver_that_takes_no_descriptors_is_why_a_send_got_eperm() {
    let message = Passing::one();
    let attached = [
        message.copied(10),
        message.attached(15, 0),
        message.called(&["unix_stream_sendmsg"]),
        message.destroyed(20, 0, 100),
    ]
    .concat();
    let returned = |result| without_rights(message.send_returned(30, 10, result));
    let passrights = (Fate::Failed, Some(Cause::Passrights));
    assert_eq!(
        fates(&[attached.clone(), returned(-libc::EPERM)]),
        [passrights]
    );
    // It is not why another errno came, nor one that came before the receiver was asked.
    assert_eq!(
        fates(&[attached, returned(-libc::EPIPE)]),
        [failed(libc::EPIPE)]
    );
    let early = [message.copied(10), message.released(20, 100, OTHER_CALL)];
    assert_eq!(
        fates(&[early.concat(), returned(-libc::EPERM)]),
        [failed(libc::EPERM)]
    );
}

#[test]
fn a_send_whose_return_was_not_seen_has_failed_only_if_its_skb_was_freed() {
    let message = Passing::one();
    let other = Passing {
        list: 0xb0,
        ..Passing::one()
    };
    let not_sent = (Fate::Unknown, None);
    let lost = [message.copied(10), message.released(20, 100, OTHER_CALL)];
    assert_eq!(fates(&lost), [not_sent]);
    let freed = [
        message.copied(10),
        message.attached(15, 0),
        message.called(&["unix_stream_sendmsg"]),
        message.destroyed(20, 0, 100),
    ];
    let transfers = track(freed.concat());
    assert_eq!(
        (transfers[0].fate(), transfers[0].cause()),
        (Fate::Failed, None)
    );
    assert_eq!(transfers[0].cause_missing(), Some(CauseMissing::NotWatched));
    // The return of another send of the same thread is not this one's.
    let events = [
        lost.concat(),
        other.copied(40),
        other.released(50, 100, OTHER_CALL),
        other.send_returned(60, 40, -libc::EPIPE),
    ];
    assert_eq!(fates(&events), [not_sent, failed(libc::EPIPE)]);
    let stranger = [lost.concat(), message.send_returned(30, 9, -libc::EPIPE)];
    assert_eq!(fates(&stranger), [not_sent]);
}

#[test]
fn a_list_may_be_queued_whose_sends_return_should_have_been_seen() {
    // The kernel has room for so many returns at a time alone, and does not tell which it skipped.
    let message = Passing::one();
    let lost = [message.copied(10), message.released(20, 100, OTHER_CALL)];
    let ends = |then: Vec<Event>| {
        let mut tracker = tracker().seeing_failed_sends(true);
        for event in [lost.concat(), then].concat() {
            tracker.apply(event);
        }
        tracker.close_open();
        let closed = tracker.take_closed();
        (closed[0].fate(), closed[0].cause())
    };
    let unknown = (Fate::Unknown, None);
    assert_eq!(ends(Vec::new()), unknown);
    let next = Passing {
        list: 0xb0,
        ..Passing::one()
    };
    assert_eq!(ends(next.copied(40)), unknown);
    // It sent something, so the list was queued, unseen.
    assert_eq!(ends(message.send_returned(30, 10, 1)), unknown);
    // The controls: it failed, or there was nothing to send.
    let returned = |result| ends(message.send_returned(30, 10, result));
    assert_eq!(returned(-libc::EPIPE), failed(libc::EPIPE));
    assert_eq!(returned(0), discarded(Cause::ZeroLength));
}

#[test]
fn up_to_6_9_the_senders_own_list_is_given_back_after_every_send() {
    let original = Passing::one();
    let duplicate = Passing {
        list: 0xd0,
        ..Passing::one()
    };
    let events = [
        original.copied(10),
        duplicate.duplicated(15, original.list),
        duplicate.attached(20, original.list),
        duplicate.edged(30),
        original.released(40, 100, OTHER_CALL),
        original.send_returned(50, 10, 5),
        duplicate.dequeued(60),
        duplicate.detached(70),
        duplicate.installed(80, 0, 9),
        duplicate.released(90, 200, 47),
    ];
    assert_eq!(fates(&events), [DELIVERED]);
}

#[test]
fn a_duplicate_that_the_sender_made_is_no_peek_though_nothing_shows_it_on_an_skb() {
    let original = Passing::one();
    let duplicate = Passing {
        list: 0xd0,
        ..Passing::one()
    };
    let received = [
        duplicate.dequeued(60),
        duplicate.detached(70),
        duplicate.installed(80, 0, 9),
        duplicate.released(90, 200, 47),
    ];
    let sent = [
        original.copied(10),
        duplicate.duplicated(15, original.list),
        original.released(40, 100, OTHER_CALL),
        original.send_returned(50, 10, 5),
    ];
    assert_eq!(fates(&[sent, received.clone()].concat()), [DELIVERED]);
    // The next message at the address of one that was not seen has nothing to do with it.
    let unseen = [
        duplicate.duplicated(15, original.list),
        original.copied(55),
        original.attached(56, 0),
    ];
    let ends = fates(&[&unseen[..], &received[..]].concat());
    assert!(
        ends.iter().all(|(fate, _)| *fate != Fate::Peeked),
        "{ends:?}"
    );
}

#[test]
fn a_send_that_never_had_a_list_tells_its_numbers_itself() {
    let message = three();
    let transfers = track(message.send_failed(10, -libc::EBADF));
    assert_eq!(transfers.len(), 3);
    for (index, transfer) in transfers.iter().enumerate() {
        assert_eq!((transfer.fate(), transfer.cause()), failed(libc::EBADF));
        let sender = transfer.sender.as_ref().unwrap();
        assert_eq!((sender.pid, sender.fd), (100, Some(4 + index as i32)));
        assert_eq!((transfer.count, usize::from(transfer.index)), (3, index));
        assert!(transfer.hops.is_empty() && transfer.receiver().is_none());
        assert_ne!(transfer.chain, Chain::Whole);
    }
    assert_eq!(
        fates(&[three().send_failed(10, 0)]),
        [discarded(Cause::ZeroLength); 3]
    );
    let many = Passing {
        files: (1..=253).map(|file| file << 12).collect(),
        ..Passing::one()
    };
    // 254 numbers, of which a list's worth is told.
    let mut events = many.send_failed(10, -libc::EINVAL);
    for event in &mut events {
        head_mut(event).count = 254;
    }
    let too_many = (Fate::Failed, Some(Cause::TooManyFds));
    assert_eq!(fates(&[events]), [too_many; 253]);
    let as_many = many.send_failed(10, -libc::EINVAL);
    assert_eq!(fates(&[as_many]), [failed(libc::EINVAL); 253]);
}

#[test]
fn an_skb_that_its_sender_freed_belongs_to_the_send_that_says_its_numbers() {
    let message = Passing::one();
    let freed = [
        message.called(&["unix_dgram_sendmsg"]),
        message.destroyed(10, 0, 100),
    ]
    .concat();
    let passrights = (Fate::Failed, Some(Cause::Passrights));
    let eperm = || message.send_failed(20, -libc::EPERM);
    let refused = [freed.clone(), without_rights(eperm())];
    assert_eq!(fates(&refused), [passrights]);
    let elsewhere = [freed.clone(), eperm()];
    assert_eq!(fates(&elsewhere), [failed(libc::EPERM)]);
    let full = [freed, message.send_failed(20, -libc::EAGAIN)];
    assert_eq!(fates(&full), [failed(libc::EAGAIN)]);
    // Without an skb nobody was asked.
    assert_eq!(fates(&[without_rights(eperm())]), [failed(libc::EPERM)]);
}

#[test]
fn an_errno_has_its_name_and_what_has_none_its_number() {
    for (errno, name) in [
        (libc::ENOTDIR, "enotdir"),
        (libc::ELOOP, "eloop"),
        (libc::ENAMETOOLONG, "enametoolong"),
        (libc::EIO, "eio"),
        (libc::EAGAIN, "eagain"),
        (libc::EHWPOISON, "ehwpoison"),
        (41, "errno-41"),
        (4095, "errno-4095"),
        (i32::MAX, "no-errno"),
    ] {
        assert_eq!(Cause::Errno(errno).name(), name);
        assert_eq!(
            fates(&[Passing::one().send_failed(10, -errno)]),
            [failed(errno)]
        );
    }
}

#[test]
fn sends_that_fail_are_messages_of_their_own() {
    let message = three();
    let events = [
        message.send_failed(10, -libc::EBADF),
        message.send_failed(20, -libc::EBADF),
    ];
    let numbers: Vec<u64> = track(events.concat())
        .iter()
        .map(|transfer| transfer.message)
        .collect();
    assert_eq!(numbers, [1, 1, 1, 2, 2, 2]);
}

#[test]
fn of_a_failed_send_whose_last_record_was_lost_the_others_are_shown() {
    let message = Passing {
        files: (1..=40).map(|file| file << 8).collect(),
        ..Passing::one()
    };
    let mut records = message.send_failed(10, -libc::EBADF);
    assert_eq!(track(records.clone()).len(), 40);
    records.pop();
    let transfers = track(records);
    assert_eq!(transfers.len(), 32);
    let failed = (Fate::Failed, Some(Cause::Errno(libc::EBADF)));
    assert!(
        transfers
            .iter()
            .all(|it| (it.fate(), it.cause()) == failed && it.count == 40)
    );
}

#[test]
fn what_is_sent_on_another_socket_than_a_unix_one_is_passed_over_and_nothing_else_is() {
    let message = three();
    let ignored = track(message.ignored(10));
    let not_unix = (Fate::Discarded, Some(Cause::NotUnix));
    for (index, transfer) in ignored.iter().enumerate() {
        assert_eq!((transfer.fate(), transfer.cause()), not_unix);
        let sender = transfer.sender.as_ref().expect("it says itself who it is");
        assert_eq!(sender.fd, Some(message.sender_fd + index as i32));
        assert_eq!((transfer.socket.kind, transfer.doubt), (None, None));
    }
    assert_eq!(ignored.len(), 3);
    // The same thread passes the same files the proper way afterwards, and before.
    let properly = [message.copied(20), message.delivered(30)].concat();
    let both = [message.ignored(10), properly.clone()].concat();
    assert_eq!(fates(&[both]), [[not_unix; 3], [DELIVERED; 3]].concat());
    let both = [properly, message.ignored(100)].concat();
    assert_eq!(fates(&[both]), [[DELIVERED; 3], [not_unix; 3]].concat());
}
