//! A kernel that hides where its functions are: what these tell is not known then, and nothing else is
//! told instead.

use fdtrace::model::{Cause, Fate, Transfer};
use fdtrace_common::records::FLAG_HAS_URING;
use fdtrace_testkit::{Event, PLAIN_READ, Passing, RECVMSG, head_mut, track, track_without_names};

use super::{DELIVERED, Ended, discarded, failed, sent, truncated};

/// How these events end where functions have names, and where they have none.
fn both(events: &[Vec<Event>]) -> [Vec<Ended>; 2] {
    let ended = |transfer: &Transfer| (transfer.fate(), transfer.cause());
    [
        track(events.concat()).iter().map(ended).collect(),
        track_without_names(events.concat())
            .iter()
            .map(ended)
            .collect(),
    ]
}

const UNKNOWN: Ended = (Fate::Unknown, None);

#[test]
fn what_only_functions_tell_is_unknown_without_their_names() {
    let message = Passing::one();
    let freed = message.destroyed(40, 0, 300);
    let read = [sent(&message), message.dequeued(35)].concat();
    let released = |syscall| message.released(40, message.receiver, syscall);
    for (begun, called, end, named) in [
        (
            sent(&message),
            &["kfree_skb_reason.part.0", "__unix_gc"][..],
            freed.clone(),
            (Fate::Collected, Some(Cause::GarbageCollector)),
        ),
        (
            sent(&message),
            &["unix_release_sock", "unix_release"],
            freed.clone(),
            discarded(Cause::ReceiverClosed),
        ),
        (
            sent(&message),
            &["sk_psock_verdict_recv", "unix_stream_sendmsg"],
            freed.clone(),
            discarded(Cause::Sockmap),
        ),
        (
            message.queued(1),
            &["unix_release"],
            freed,
            discarded(Cause::Dropped),
        ),
        (
            sent(&message),
            &["unix_stream_read_generic", "unix_stream_splice_read"],
            released(275),
            discarded(Cause::Splice),
        ),
        // The system call is known: that of a read which took data out of band, or of one which took
        // the list.
        (
            read.clone(),
            &[
                "unix_destruct_scm",
                "unix_stream_read_generic",
                "sock_read_iter",
            ],
            released(PLAIN_READ),
            discarded(Cause::Oob),
        ),
        (
            read.clone(),
            &["unix_stream_read_generic", "sock_read_iter"],
            released(PLAIN_READ),
            discarded(Cause::PlainRead),
        ),
        (
            read,
            &["unix_stream_read_generic", "____sys_recvmsg"],
            released(RECVMSG),
            truncated(Cause::NoControlRoom),
        ),
    ] {
        let ended = both(&[begun, message.called(called), end]);
        assert_eq!(ended, [vec![named], vec![UNKNOWN]], "{called:?}");
    }
}

#[test]
fn what_the_table_shows_needs_no_names_but_for_a_request_of_io_uring() {
    let message = Passing::one();
    let received = |flags: u16| {
        both(&[
            message.queued(10),
            message.dequeued(20),
            message.called(&["unix_stream_read_generic", "____sys_recvmsg"]),
            message.returned_with(30, RECVMSG, flags, Vec::new()),
        ])
    };
    let [named, unnamed] = received(0);
    assert_eq!(named, unnamed);
    assert_eq!(named[0].0, Fate::Truncated);
    let [named, unnamed] = received(FLAG_HAS_URING);
    assert_eq!((named[0].0, unnamed[0]), (Fate::Truncated, UNKNOWN));
    // What was seen to arrive has arrived.
    let arrived = both(&[
        message.queued(10),
        message.dequeued(20),
        message.returned(30, 1),
    ]);
    assert_eq!(arrived, [vec![DELIVERED], vec![DELIVERED]]);
}

/// Only a task that has an io_uring tells in which functions its send failed.
#[test]
fn a_send_that_fails_in_a_task_with_an_io_uring_may_be_another_than_the_call() {
    let message = Passing::one();
    let in_call = |called: &[&str]| {
        let mut called = message.called(called);
        let head = head_mut(&mut called[0]);
        (head.list, head.tid) = (0, message.sender);
        called
    };
    let by_itself = |errno: i32| {
        both(&[
            in_call(&["unix_stream_sendmsg"]),
            message.send_failed(20, -errno),
        ])
    };
    let [named, unnamed] = by_itself(libc::EPIPE);
    assert_eq!((named, unnamed), (vec![failed(libc::EPIPE)], vec![]));
    // Of one whose list was seen, it may have been io_uring's first try.
    let with_list = |errno: i32| {
        both(&[
            message.copied(10),
            message.released(11, message.sender, 46),
            in_call(&["unix_stream_sendmsg"]),
            message.send_returned(12, 10, -errno),
        ])
    };
    let [named, unnamed] = with_list(libc::EAGAIN);
    assert_eq!(named, [failed(libc::EAGAIN)]);
    assert_eq!(unnamed, [(Fate::Failed, None)]);
    assert_eq!(with_list(libc::EPIPE)[1], [failed(libc::EPIPE)]);
}
