//! Every fate and cause, without a kernel: what each mechanism shows of it, and what the tracker
//! must make of that. Each case differs from its neighbour by the one thing that tells them apart.

mod support;

use fdtrace::{
    event::Event,
    plan::Hop,
    tracker::{Cause, Chain, Fate, Transfer},
};
use fdtrace_common::records::{
    FLAG_DESTRUCTED, FLAG_INSTALLED_UNSEEN, FLAG_NO_RIGHTS, FLAG_OOB, FLAG_PEEK, FLAG_TABLE_FULL,
    FileSeen, NOT_TOLD,
};
use support::{Passing, SYS_READ, SYS_RECVMSG, files_mut, head_mut, track, tracker};

type Ended = (Fate, Option<Cause>);

fn fates(events: &[Vec<Event>]) -> Vec<Ended> {
    let ended = |transfer: &Transfer| (transfer.fate, transfer.cause);
    track(events.concat()).iter().map(ended).collect()
}

fn discarded(cause: Cause) -> Ended {
    (Fate::Discarded, Some(cause))
}

fn truncated(cause: Cause) -> Ended {
    (Fate::Truncated, Some(cause))
}

fn failed(errno: i32) -> Ended {
    (Fate::Failed, Some(Cause::Errno(errno)))
}

const LSM: Ended = (Fate::Refused, Some(Cause::Lsm));
const DELIVERED: Ended = (Fate::Delivered, None);

fn three() -> Passing {
    Passing {
        files: vec![0x1000, 0x2000, 0x3000],
        ..Passing::one()
    }
}

/// A message in its receiver's queue, seen by functions.
fn sent(message: &Passing) -> Vec<Event> {
    [
        message.copied(10),
        message.attached(20, 0),
        message.edged(30),
    ]
    .concat()
}

#[test]
fn a_freed_skb_is_told_by_the_functions_that_freed_it() {
    let message = Passing::one();
    for (called, expected) in [
        (
            &["kfree_skb_reason.part.0", "__unix_gc"][..],
            (Fate::Collected, Some(Cause::GarbageCollector)),
        ),
        // Up to 6.9 the collector runs in whoever closes a socket, or sends.
        (
            &["unix_gc", "unix_release_sock"],
            (Fate::Collected, Some(Cause::GarbageCollector)),
        ),
        (
            &["unix_gc", "unix_stream_sendmsg"],
            (Fate::Collected, Some(Cause::GarbageCollector)),
        ),
        (
            &["unix_release_sock", "unix_release"],
            discarded(Cause::ReceiverClosed),
        ),
        (
            &["unix_release_sock", "unix_release_sock", "unix_release"],
            discarded(Cause::ListenerClosed),
        ),
        (&["unix_dgram_disconnected"], discarded(Cause::Reconnect)),
        (&["unix_stream_read_generic"], discarded(Cause::Oob)),
        (&["__unix_dgram_recvmsg"], discarded(Cause::ReceiveFailed)),
        (
            &["sk_psock_verdict_recv", "unix_stream_sendmsg"],
            discarded(Cause::Sockmap),
        ),
        (&["unix_release"], discarded(Cause::Dropped)),
    ] {
        let end = [message.called(called), message.destroyed(40, 0, 300)];
        let by_tracepoints = [message.queued(1), end.concat()];
        assert_eq!(fates(&by_tracepoints), [expected], "{called:?}");
        let by_functions = [sent(&message), end.concat()];
        assert_eq!(fates(&by_functions), [expected], "{called:?}");
    }
}

#[test]
fn an_orphaned_skb_is_told_once_by_its_destructor() {
    let message = Passing::one();
    let called = message.called(&["sk_psock_verdict_recv", "unix_stream_sendmsg"]);
    let mut destructed = message.destroyed(40, 0, 100);
    head_mut(&mut destructed[0]).flags |= FLAG_DESTRUCTED;
    let events = [
        sent(&message),
        called.clone(),
        destructed.clone(),
        // The destructor gives the list back by the same function as calls do.
        called.clone(),
        message.released(41, 100, -1),
        called,
        destructed,
    ];
    assert_eq!(fates(&events), [discarded(Cause::Sockmap)]);
}

/// 6.12.117 and its likes: what a sockmap takes is given back without a destructor, and the call
/// that sends it does not say where.
#[test]
fn a_list_that_its_own_send_gives_back_from_the_queue_was_taken_by_a_sockmap() {
    let message = Passing::one();
    let given_back_by = |tid: u32| message.released(40, tid, 275);
    let fate_of = |end: Vec<Event>| fates(&[sent(&message), end]);
    assert_eq!(
        fate_of(given_back_by(message.sender)),
        [discarded(Cause::Sockmap)]
    );
    // The controls: by another thread, and after a loss, nobody knows.
    let unknown = [(Fate::Unknown, None)];
    assert_eq!(fate_of(given_back_by(message.receiver)), unknown);
    let mut after_loss = given_back_by(message.sender);
    head_mut(&mut after_loss[0]).epoch = 30;
    assert_eq!(fate_of(after_loss), unknown);
}

#[test]
fn a_list_that_a_call_gives_back_unread_was_spliced_or_taken_by_a_sockmap() {
    let message = Passing::one();
    for (called, expected) in [
        (
            &["unix_stream_read_generic", "unix_stream_splice_read"][..],
            discarded(Cause::Splice),
        ),
        (
            &["sk_psock_verdict_recv", "unix_stream_sendmsg"],
            discarded(Cause::Sockmap),
        ),
        (&["unix_release"], discarded(Cause::Dropped)),
        // The kernel skipped what would have shown that it was read: it may have arrived.
        (
            &["unix_stream_read_generic", "____sys_recvmsg"],
            (Fate::Unknown, None),
        ),
        (&["__unix_dgram_recvmsg"], (Fate::Unknown, None)),
        (&[], (Fate::Unknown, None)),
    ] {
        let released = [message.called(called), message.released(40, 200, 275)].concat();
        assert_eq!(fates(&[message.queued(1), released.clone()]), [expected]);
        assert_eq!(fates(&[sent(&message), released]), [expected]);
    }
}

#[test]
fn a_read_has_no_place_for_descriptors_and_a_receive_may_have_no_room() {
    let message = Passing::one();
    for (called, expected) in [
        (
            &["unix_stream_read_generic", "sock_read_iter"][..],
            discarded(Cause::PlainRead),
        ),
        (
            &["unix_stream_read_generic", "____sys_recvmsg"],
            truncated(Cause::NoControlRoom),
        ),
    ] {
        let events = [
            sent(&message),
            message.dequeued(40),
            message.called(called),
            message.released(50, 200, -1),
        ];
        assert_eq!(fates(&events), [expected], "{called:?}");
    }
}

#[test]
fn what_there_was_no_room_for_is_told_from_what_was_installed_unseen() {
    let message = three();
    let receive = |events: Vec<Vec<Event>>| {
        let events = [vec![sent(&message), message.dequeued(40)], events].concat();
        fates(&events)
    };
    let unknown = (Fate::Unknown, None);
    // The kernel skipped what would have shown the second file, for which there was room.
    assert_eq!(
        receive(vec![
            message.detached_into(50, 2),
            message.installed(51, 0, 9),
            message.released(60, 200, SYS_RECVMSG),
        ]),
        [DELIVERED, unknown, truncated(Cause::NoControlRoom)]
    );
    // Or the start of it all: of what came then, it is only known that something did.
    for (flags, expected) in [
        (0, truncated(Cause::NoControlRoom)),
        (FLAG_INSTALLED_UNSEEN, unknown),
    ] {
        let mut released = message.released(60, 200, SYS_RECVMSG);
        for part in &mut released {
            head_mut(part).flags |= flags;
        }
        let called = message.called(&["unix_stream_read_generic", "____sys_recvmsg"]);
        assert_eq!(receive(vec![called, released]), [expected; 3]);
    }
}

#[test]
fn by_tracepoints_the_functions_of_a_receive_tell_whether_it_had_a_place_for_descriptors() {
    const SYS_IO_URING_ENTER: i32 = 426;
    let message = Passing::one();
    for (called, expected) in [
        (&["io_recv"][..], discarded(Cause::PlainRead)),
        (&["io_recvmsg"], truncated(Cause::NoControlRoom)),
    ] {
        let events = [
            message.queued(10),
            message.dequeued(20),
            message.called(called),
            message.returned_with(30, SYS_IO_URING_ENTER, 0, Vec::new()),
        ];
        assert_eq!(fates(&events), [expected], "{called:?}");
    }
}

#[test]
fn what_a_send_returns_says_why_its_list_did_not_get_into_a_queue() {
    let message = Passing::one();
    let released = |result| {
        fates(&[
            message.copied(10),
            message.released(20, 100, 46),
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
    let early = [message.copied(10), message.released(20, 100, 46)];
    assert_eq!(
        fates(&[early.concat(), returned(-libc::EPERM)]),
        [failed(libc::EPERM)]
    );
}

#[test]
fn a_send_whose_return_was_not_seen_is_failed_without_an_errno() {
    let message = Passing::one();
    let other = Passing {
        list: 0xb0,
        ..Passing::one()
    };
    let not_sent = (Fate::Failed, Some(Cause::NotSent));
    let lost = [message.copied(10), message.released(20, 100, 46)];
    assert_eq!(fates(&lost), [not_sent]);
    // The return of another send of the same thread is not this one's.
    let events = [
        lost.concat(),
        other.copied(40),
        other.released(50, 100, 46),
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
    let lost = [message.copied(10), message.released(20, 100, 46)];
    let ends = |then: Vec<Event>| {
        let mut tracker = tracker().seeing_failed_sends(true);
        for event in [lost.concat(), then].concat() {
            tracker.apply(event);
        }
        tracker.close_open();
        let closed = tracker.take_closed();
        (closed[0].fate, closed[0].cause)
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
        original.released(40, 100, 46),
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
        original.released(40, 100, 46),
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
        assert_eq!((transfer.fate, transfer.cause), failed(libc::EBADF));
        let sender = transfer.sender.as_ref().unwrap();
        assert_eq!((sender.pid, sender.fd), (100, Some(4 + index as i32)));
        assert_eq!((transfer.count, usize::from(transfer.index)), (3, index));
        assert!(transfer.hops.is_empty() && transfer.receiver.is_none());
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
fn after_a_refusal_the_rest_is_not_tried_unless_the_errno_took_its_place() {
    let message = three();
    let begun = [sent(&message), message.dequeued(40), message.detached(50)].concat();
    let ended = message.released(90, 200, 47);
    let rest = |result| {
        fates(&[
            begun.clone(),
            message.installed(60, 0, 9),
            message.installed(70, 1, result),
            ended.clone(),
        ])
    };
    let rlimit = truncated(Cause::RlimitNofile);
    assert_eq!(rest(-libc::EMFILE), [DELIVERED, rlimit, rlimit]);
    assert_eq!(rest(-libc::EACCES), [DELIVERED, LSM, truncated(Cause::Lsm)]);
    // With SO_RIGHTS_NOTRUNC the receiver is told the errno, and the next has its turn.
    let mut refused = message.installed(70, 1, 0);
    if let Event::FdInstalled(seen) = &mut refused[1] {
        seen.files[0].told = -libc::EPERM;
    }
    let events = [
        begun,
        message.installed(60, 0, 9),
        refused,
        message.installed(80, 2, 10),
        ended,
    ];
    assert_eq!(fates(&events), [DELIVERED, LSM, DELIVERED]);
}

/// What a receive that had room for `room` returned, of which the first `told` were installed.
fn in_table(message: &Passing, installed: usize, room: u16, flags: u16) -> Vec<Ended> {
    let gained = (0..installed).map(|index| message.gained(index)).collect();
    let mut returned = message.returned_with(3, SYS_RECVMSG, flags, gained);
    for event in &mut returned {
        head_mut(event).room = room;
    }
    fates(&[message.queued(1), message.dequeued(2), returned])
}

#[test]
fn in_the_receivers_table_room_limit_and_refusal_are_told_apart() {
    let message = three();
    let room = truncated(Cause::NoControlRoom);
    assert_eq!(in_table(&message, 2, 2, 0), [DELIVERED, DELIVERED, room]);
    let rlimit = truncated(Cause::RlimitNofile);
    assert_eq!(
        in_table(&message, 1, 3, FLAG_TABLE_FULL),
        [DELIVERED, rlimit, rlimit]
    );
    // A full table is no reason where there was no room either.
    assert_eq!(
        in_table(&message, 1, 2, FLAG_TABLE_FULL),
        [DELIVERED, rlimit, room]
    );
    assert_eq!(
        in_table(&message, 1, 3, 0),
        [DELIVERED, LSM, truncated(Cause::Lsm)]
    );
}

#[test]
fn in_the_receivers_table_an_errno_in_a_files_place_is_a_refusal() {
    let message = three();
    let told = |file: FileSeen, told| FileSeen { told, ..file };
    let nothing = FileSeen {
        file: 0,
        slot: 0,
        fd: -1,
        ..message.gained(0)
    };
    let mut returned = message.returned_with(
        3,
        SYS_RECVMSG,
        0,
        vec![
            message.gained(0),
            told(message.gained(2), -libc::EPERM),
            told(nothing, message.gained(2).fd),
        ],
    );
    head_mut(&mut returned[0]).room = 3;
    let begun = [message.queued(1), message.dequeued(2)].concat();
    assert_eq!(
        fates(&[begun.clone(), returned]),
        [DELIVERED, LSM, DELIVERED]
    );
    // A number that is told and not there: closed again, or left over. Nobody can say.
    let mut returned = message.returned_with(
        3,
        SYS_RECVMSG,
        0,
        vec![
            message.gained(0),
            told(nothing, 77),
            told(nothing, NOT_TOLD),
        ],
    );
    head_mut(&mut returned[0]).room = 3;
    assert_eq!(
        fates(&[begun, returned])[..2],
        [DELIVERED, (Fate::Unknown, None)]
    );
}

#[test]
fn a_peek_that_takes_no_descriptors_and_an_out_of_band_byte_leave_the_message_in_the_queue() {
    let message = Passing::one();
    let duplicate = Passing {
        list: 0xd0,
        ..Passing::one()
    };
    let queued = (Fate::Queued, None);
    let closed = [
        message.called(&["unix_release_sock"]),
        message.destroyed(90, 0, 200),
    ]
    .concat();
    let by_functions = [
        sent(&message),
        message.dequeued(40),
        duplicate.duplicated(50, message.list),
        duplicate.called(&["sock_read_iter"]),
        duplicate.released(60, 200, SYS_READ),
    ]
    .concat();
    let seen = |flag| {
        let begun = [message.queued(1), message.dequeued(2)].concat();
        let returned = message.returned_with(3, SYS_RECVMSG, flag, Vec::new());
        [begun, returned].concat()
    };
    for events in [by_functions, seen(FLAG_PEEK), seen(FLAG_OOB)] {
        assert_eq!(fates(std::slice::from_ref(&events)), [queued]);
        // Whoever closes it then received nothing.
        let transfers = track([events, closed.clone()].concat());
        assert_eq!(transfers.len(), 1);
        assert_eq!(
            (transfers[0].fate, transfers[0].cause),
            discarded(Cause::ReceiverClosed)
        );
        assert_eq!(transfers[0].receiver, None);
        assert!(
            transfers[0]
                .hops
                .iter()
                .all(|seen| seen.hop != Hop::Dequeue)
        );
    }
}

#[test]
fn what_may_have_ended_unseen_is_not_called_queued() {
    for (sees_every_end, expected) in [(true, Fate::Queued), (false, Fate::Unknown)] {
        let mut tracker = tracker().seeing_every_end(sees_every_end);
        for event in Passing::one().queued(1) {
            tracker.apply(event);
        }
        tracker.close_open();
        assert_eq!(tracker.take_closed()[0].fate, expected);
    }
}

#[test]
fn each_lists_end_is_its_own() {
    let first = Passing::one();
    let second = Passing {
        list: 0xb000,
        skb: 0xb001,
        sender_fd: 40,
        ..Passing::one()
    };
    // Both are in flight; the records of their ends interleave.
    let events = [
        first.queued(1),
        second.queued(2),
        first.called(&["unix_release_sock"]),
        second.called(&["unix_dgram_disconnected"]),
        second.destroyed(3, 0, 300),
        first.destroyed(4, 0, 300),
    ];
    let transfers = track(events.concat());
    let by_number = |fd| {
        let mut found = transfers.iter();
        found
            .find(|transfer| transfer.sender.as_ref().unwrap().fd == Some(fd))
            .map(|transfer| (transfer.fate, transfer.cause))
    };
    assert_eq!(by_number(4), Some(discarded(Cause::ReceiverClosed)));
    assert_eq!(by_number(40), Some(discarded(Cause::Reconnect)));
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
fn half_of_a_failed_send_is_forgotten_when_a_trace_ends() {
    let message = Passing {
        files: (1..=40).map(|file| file << 8).collect(),
        ..Passing::one()
    };
    let mut records = message.send_failed(10, -libc::EBADF);
    let last = records.pop().unwrap();
    let told = |ends_between: bool| {
        let mut tracker = tracker();
        for event in records.clone() {
            tracker.apply(event);
        }
        if ends_between {
            tracker.close_open();
        }
        tracker.apply(last.clone());
        tracker.close_open();
        tracker.take_closed().len()
    };
    assert_eq!(told(false), 40);
    assert_eq!(told(true), 0);
}

#[test]
fn a_file_has_the_label_of_whichever_hop_looked() {
    let message = Passing::one();
    let mut looked = message.attached(20, 0);
    let file = &mut files_mut(&mut looked[0])[0];
    file.parent = file.dentry;
    file.name[..5].copy_from_slice(b"memfd");
    let label = file.name;
    let transfers = track([message.copied(10), looked].concat());
    assert_eq!(transfers[0].file.label, Some(label));
    let transfers = track([message.copied(10), message.attached(20, 0)].concat());
    assert_eq!(transfers[0].file.label, None);
}
