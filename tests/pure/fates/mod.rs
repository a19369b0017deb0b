//! Every fate and cause, without a kernel: what each mechanism shows of it, and what the tracker
//! must make of that. Each case differs from its neighbour by the one thing that tells them apart.

mod put_off;
mod queues;
mod sends;
mod unnamed;

use fdtrace::model::{Cause, Fate, Hop, Transfer};
use fdtrace_common::records::{
    FLAG_DESTRUCTED, FLAG_HAS_URING, FLAG_INSTALLED_UNSEEN, FLAG_LEFT, FLAG_OOB, FLAG_TABLE_FULL,
    FileSeen, NO_CONTROL, ROOM_UNKNOWN,
};
use fdtrace_testkit::{
    Event, OTHER_CALL, PLAIN_READ, Passing, RECVMSG, files_mut, head_mut, track, tracker,
};

type Ended = (Fate, Option<Cause>);

fn fates(events: &[Vec<Event>]) -> Vec<Ended> {
    let ended = |transfer: &Transfer| (transfer.fate(), transfer.cause());
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
fn a_list_that_its_own_sender_gives_back_from_the_queue_was_taken_by_a_sockmap_only_if_one_was_seen()
 {
    let message = Passing::one();
    let given_back_in = |called: &[&str]| {
        let end = message.released(40, message.sender, 275);
        fates(&[sent(&message), message.called(called), end])
    };
    assert_eq!(
        given_back_in(&["sk_psock_verdict_recv", "unix_stream_sendmsg"]),
        [discarded(Cause::Sockmap)]
    );
    // The thread has gone on since: where the kernel passes returns over, that goes unseen.
    assert_eq!(
        given_back_in(&["unix_stream_read_generic", "unix_stream_splice_read"]),
        [discarded(Cause::Splice)]
    );
    assert_eq!(
        given_back_in(&["unix_destruct_scm", "unix_release_sock", "unix_release"]),
        [discarded(Cause::ReceiverClosed)]
    );
    let unknown = [(Fate::Unknown, None)];
    assert_eq!(given_back_in(&["unix_stream_sendmsg"]), unknown);
    assert_eq!(given_back_in(&[]), unknown);
}

/// Where a destructor is inlined, a list is given back within its skb's end: whatever had begun to read
/// it had not taken it.
#[test]
fn a_list_that_goes_with_its_skb_was_not_taken_by_who_had_read_it() {
    let message = Passing::one();
    for (called, syscall, expected) in [
        (
            &[
                "unix_destruct_scm",
                "__unix_dgram_recvmsg",
                "____sys_recvmsg",
            ][..],
            RECVMSG,
            discarded(Cause::ReceiveFailed),
        ),
        (
            &[
                "unix_destruct_scm",
                "unix_stream_read_generic",
                "sock_read_iter",
            ],
            PLAIN_READ,
            discarded(Cause::Oob),
        ),
        (
            &["unix_destruct_scm", "unix_release_sock", "unix_release"],
            3,
            discarded(Cause::ReceiverClosed),
        ),
        // The control: it had left its skb.
        (
            &["__unix_dgram_recvmsg", "____sys_recvmsg"],
            RECVMSG,
            truncated(Cause::NoControlRoom),
        ),
    ] {
        let events = [
            sent(&message),
            message.dequeued(40),
            message.called(called),
            message.released(50, message.receiver, syscall),
        ];
        assert_eq!(fates(&events), [expected], "{called:?}");
    }
}

#[test]
fn a_receive_from_a_stream_that_fails_takes_nothing() {
    let message = Passing::one();
    let read = |kind: u16, result: i32, flags: u16| {
        let begun = [message.queued(10), message.dequeued(20)].concat();
        let mut failed = message.returned_with(30, RECVMSG, flags, Vec::new());
        let head = head_mut(&mut failed[0]);
        (head.result, head.socket_type) = (result, kind);
        let taken = [message.dequeued(40), message.returned(50, 1)];
        (
            fates(&[begun.clone(), failed.clone()]),
            fates(&[&[begun, failed][..], &taken].concat()),
        )
    };
    const STREAM: u16 = 1;
    const DGRAM: u16 = 2;
    let queued = (Fate::Queued, None);
    assert_eq!(
        read(STREAM, -libc::EFAULT, 0),
        (vec![queued], vec![DELIVERED])
    );
    let lost = discarded(Cause::ReceiveFailed);
    assert_eq!(read(DGRAM, -libc::EFAULT, 0).0, [lost]);
    // The data before it was copied, and its own could not be: it is on its skb still.
    assert_eq!(read(STREAM, 1, FLAG_LEFT), (vec![queued], vec![DELIVERED]));
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
        (
            &["unix_destruct_scm", "unix_release_sock", "unix_release"],
            discarded(Cause::ReceiverClosed),
        ),
        // Nothing says that it was still on its skb.
        (&["unix_release"], (Fate::Unknown, None)),
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
            message.released(60, 200, RECVMSG),
        ]),
        [DELIVERED, unknown, truncated(Cause::NoControlRoom)]
    );
    // Or the start of it all: of what came then, it is only known that something did.
    for (flags, expected) in [
        (0, truncated(Cause::NoControlRoom)),
        (FLAG_INSTALLED_UNSEEN, unknown),
    ] {
        let mut released = message.released(60, 200, RECVMSG);
        for part in &mut released {
            head_mut(part).flags |= flags;
        }
        let called = message.called(&["unix_stream_read_generic", "____sys_recvmsg"]);
        assert_eq!(receive(vec![called, released]), [expected; 3]);
    }
}

#[test]
fn by_tracepoints_the_functions_of_a_receive_tell_whether_it_had_a_place_for_descriptors() {
    let message = Passing::one();
    let course = |called: &[&str], syscall, flags| {
        let read = [message.queued(10), message.dequeued(20)].concat();
        let mut returned = message.returned_with(30, syscall, flags, Vec::new());
        head_mut(&mut returned[0]).room = ROOM_UNKNOWN;
        fates(&[read, message.called(called), returned])
    };
    let unexplained = (Fate::Truncated, None);
    for (called, expected) in [
        (&["io_recv"][..], discarded(Cause::PlainRead)),
        // Whether it had a control buffer is not seen.
        (&["io_recvmsg"], unexplained),
        // Within another call, whose registers the task has.
        (&["io_recvmsg", "sock_read_iter"], unexplained),
        (&["io_recv", "____sys_recvmsg"], discarded(Cause::PlainRead)),
    ] {
        for syscall in [OTHER_CALL, PLAIN_READ, RECVMSG] {
            assert_eq!(
                course(called, syscall, FLAG_HAS_URING),
                [expected],
                "{called:?}"
            );
        }
    }
    // Without an io_uring there is no other call.
    assert_eq!(course(&[], PLAIN_READ, 0), [discarded(Cause::PlainRead)]);
    assert_eq!(course(&[], PLAIN_READ, FLAG_HAS_URING), [unexplained]);
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

/// What a receive returned that installed so many, with `left` bytes of its control buffer and
/// MSG_CTRUNC.
fn in_table(message: &Passing, installed: usize, left: u64, flags: u16) -> Vec<Ended> {
    let read = [message.queued(1), message.dequeued(2)].concat();
    let gained = (0..installed).map(|index| message.gained(index)).collect();
    let mut returned = message.returned_leaving((left, libc::MSG_CTRUNC), RECVMSG, gained);
    for event in &mut returned {
        head_mut(event).flags |= flags;
    }
    fates(&[read, returned])
}

const UNEXPLAINED: Ended = (Fate::Truncated, None);

#[test]
fn in_the_receivers_table_room_and_limit_are_told_and_nothing_is_guessed() {
    let message = three();
    let room = truncated(Cause::NoControlRoom);
    // Two numbers take 24 bytes; with more, there was room for a third.
    assert_eq!(in_table(&message, 2, 0, 0), [DELIVERED, DELIVERED, room]);
    assert_eq!(in_table(&message, 2, 3, 0), [DELIVERED, DELIVERED, room]);
    assert_eq!(
        in_table(&message, 2, 4, 0),
        [DELIVERED, DELIVERED, UNEXPLAINED]
    );
    // One file twice is two of them.
    let twice = Passing {
        files: vec![0x1000, 0x1000, 0x2000],
        ..Passing::one()
    };
    assert_eq!(in_table(&twice, 2, 0, 0), [DELIVERED, DELIVERED, room]);
    // Nothing was written: a header alone has no number.
    assert_eq!(in_table(&message, 0, 19, 0), [room; 3]);
    assert_eq!(in_table(&message, 0, NO_CONTROL, 0), [room; 3]);
    assert_eq!(in_table(&message, 0, 20, 0), [UNEXPLAINED, room, room]);
    let rlimit = truncated(Cause::RlimitNofile);
    assert_eq!(
        in_table(&message, 1, 8, FLAG_TABLE_FULL),
        [DELIVERED, rlimit, rlimit]
    );
    // A full table is no reason where there was no room either.
    assert_eq!(
        in_table(&message, 2, 0, FLAG_TABLE_FULL),
        [DELIVERED, DELIVERED, room]
    );
    // It may be a security module, or memory that cannot be written: neither is seen here.
    assert_eq!(
        in_table(&message, 1, 8, 0),
        [DELIVERED, UNEXPLAINED, UNEXPLAINED]
    );
}

#[test]
fn after_several_numbers_the_room_is_what_they_took_and_what_is_left() {
    let message = Passing {
        files: (1..=8).map(|file| file << 12).collect(),
        ..Passing::one()
    };
    let rest = |ended: &[(usize, Ended)]| {
        let rest = ended.iter().flat_map(|(many, how)| vec![*how; *many]);
        [DELIVERED; 3].into_iter().chain(rest).collect::<Vec<_>>()
    };
    let room = truncated(Cause::NoControlRoom);
    let rlimit = truncated(Cause::RlimitNofile);
    // Three take 32 bytes with their padding. There were 40, which hold six.
    assert_eq!(
        in_table(&message, 3, 8, FLAG_TABLE_FULL),
        rest(&[(3, rlimit), (2, room)])
    );
    // All the room that is left may be all that there was, if the header could not be written.
    assert_eq!(
        in_table(&message, 3, 16 + 3 * 4, FLAG_TABLE_FULL),
        rest(&[(5, UNEXPLAINED)])
    );
}

#[test]
fn where_the_padding_ends_the_buffer_only_its_beginning_tells_the_room() {
    let message = Passing {
        files: vec![0x10, 0x20],
        ..Passing::one()
    };
    let course = |ends: u16| {
        let gained = vec![message.gained(0)];
        let left = (0, libc::MSG_CTRUNC);
        let mut returned = message.returned_leaving(left, RECVMSG, gained);
        head_mut(&mut returned[0]).room = ends;
        fates(&[message.queued(1), message.dequeued(2), returned])
    };
    // 20 bytes hold one number, 24 two.
    assert_eq!(course(4), [DELIVERED, truncated(Cause::NoControlRoom)]);
    assert_eq!(course(0), [DELIVERED, UNEXPLAINED]);
    assert_eq!(course(ROOM_UNKNOWN), [DELIVERED, UNEXPLAINED]);
}

#[test]
fn in_the_receivers_table_one_that_is_left_out_was_refused() {
    let message = three();
    let without = |index: usize, ctrunc| {
        let mut gained: Vec<FileSeen> = (0..3).map(|index| message.gained(index)).collect();
        gained.remove(index);
        // With all of them in their places, that would have been padded.
        let left = if ctrunc == 0 { 8 } else { 0 };
        let returned = message.returned_leaving((left, ctrunc), RECVMSG, gained);
        fates(&[message.queued(1), message.dequeued(2), returned])
    };
    let refused = (Fate::Refused, None);
    assert_eq!(without(1, 0), [DELIVERED, refused, DELIVERED]);
    assert_eq!(
        without(1, libc::MSG_CTRUNC),
        [DELIVERED, refused, DELIVERED]
    );
    // Of the last one, MSG_CTRUNC says whether anything has its place.
    assert_eq!(without(2, 0), [DELIVERED, DELIVERED, refused]);
    let room = truncated(Cause::NoControlRoom);
    assert_eq!(without(2, libc::MSG_CTRUNC), [DELIVERED, DELIVERED, room]);
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
        duplicate.released(60, 200, PLAIN_READ),
    ]
    .concat();
    let seen = |flag| {
        let begun = [message.queued(1), message.dequeued(2)].concat();
        let returned = message.returned_with(3, RECVMSG, flag, Vec::new());
        [begun, returned].concat()
    };
    for events in [by_functions, seen(FLAG_OOB)] {
        assert_eq!(fates(std::slice::from_ref(&events)), [queued]);
        // Whoever closes it then received nothing.
        let transfers = track([events, closed.clone()].concat());
        assert_eq!(transfers.len(), 1);
        assert_eq!(
            (transfers[0].fate(), transfers[0].cause()),
            discarded(Cause::ReceiverClosed)
        );
        assert_eq!(transfers[0].receiver(), None);
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
        assert_eq!(tracker.take_closed()[0].fate(), expected);
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
            .map(|transfer| (transfer.fate(), transfer.cause()))
    };
    assert_eq!(by_number(4), Some(discarded(Cause::ReceiverClosed)));
    assert_eq!(by_number(40), Some(discarded(Cause::Reconnect)));
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
