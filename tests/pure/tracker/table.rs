//! What is seen in the receiver's table: which new numbers are the message's.

use fdtrace::{
    judge::verdict,
    model::{Cause, Chain, Fate, Hop, Verdict},
};
use fdtrace_common::records::{
    FLAG_PEEK, FLAG_TABLE_SHARED, FLAG_WINDOW_SHORT, FileSeen, NOT_TOLD,
};
use fdtrace_testkit::{OTHER_CALL, PLAIN_READ, Passing, RECVMSG, kernels::tracepoint_plan};

use super::{fates, same, track};

#[test]
fn a_delivered_descriptor_is_the_same_under_its_new_number() {
    let transfers = track(Passing::one().delivered(1000));
    let [transfer] = &transfers[..] else {
        panic!("{transfers:?}")
    };
    assert_eq!(
        (transfer.fate(), transfer.chain),
        (Fate::Delivered, Chain::Whole)
    );
    assert_eq!(transfer.sender.as_ref().unwrap().fd, Some(4));
    assert_eq!(transfer.receiver().unwrap().fd, Some(9));
    assert!(!transfer.receiver().unwrap().fd_inferred);
    assert_eq!(transfer.queued_ns, Some(10));
    let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
    assert_eq!(hops, [Hop::Queue, Hop::Dequeue, Hop::Install]);
    assert!(same(tracepoint_plan(), transfer));
}

#[test]
fn files_that_did_not_fit_are_truncated() {
    let message = Passing {
        files: vec![0x10, 0x20, 0x30],
        ..Passing::one()
    };
    let events = [
        message.queued(1),
        message.dequeued(2),
        message.returned(3, 2),
    ];
    let delivered = (Fate::Delivered, None);
    let truncated = (Fate::Truncated, Some(Cause::NoControlRoom));
    assert_eq!(
        fates(&track(events.concat())),
        [delivered, delivered, truncated]
    );
}

#[test]
fn a_plain_read_discards() {
    let message = Passing::one();
    let returned = message.returned_with(3, PLAIN_READ, 0, Vec::new());
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Discarded, Some(Cause::PlainRead))]
    );
    let plan = tracepoint_plan();
    let verdict = verdict::of_transfer(&transfers[0], |hop| plan.watches(hop), true);
    assert_eq!(verdict, None);
}

#[test]
fn a_peek_installs_a_duplicate_and_leaves_the_message() {
    let message = Passing::one();
    let peeked = message.returned_with(3, RECVMSG, FLAG_PEEK, vec![message.gained(0)]);
    let again = Passing {
        receiver_fd: 10,
        ..message.clone()
    };
    let events = [
        message.queued(1),
        message.dequeued(2),
        peeked,
        again.dequeued(4),
        again.returned(5, 1),
    ];
    let transfers = track(events.concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Peeked, None), (Fate::Delivered, None)]
    );
    assert_eq!(transfers[0].message, transfers[1].message);
    assert!(
        transfers
            .iter()
            .all(|transfer| same(tracepoint_plan(), transfer))
    );
}

#[test]
fn what_other_threads_open_meanwhile_is_not_taken_for_the_files() {
    let message = Passing::one();
    let strangers = FileSeen {
        file: 0x666,
        fd: 8,
        told: 9,
        ..message.gained(0)
    };
    let ours = FileSeen {
        told: NOT_TOLD,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, RECVMSG, 0, vec![strangers, ours]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(fates(&transfers), [(Fate::Delivered, None)]);
    assert_eq!(transfers[0].receiver().unwrap().fd, Some(9));
    assert_eq!(transfers[0].chain, Chain::Whole);
}

#[test]
fn numbers_come_from_the_table_and_not_from_the_receivers_memory() {
    let message = Passing {
        files: vec![0x10, 0x20],
        ..Passing::one()
    };
    // Another thread has swapped the numbers there, or left what an earlier receive wrote.
    for told in [[10, 9], [4, 4], [-13, 9], [NOT_TOLD; 2]] {
        let gained = [0, 1].map(|index| FileSeen {
            told: told[index],
            ..message.gained(index)
        });
        let returned = message.returned_with(3, RECVMSG, 0, gained.to_vec());
        let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
        let fds = transfers.iter().map(|transfer| {
            assert!(same(tracepoint_plan(), transfer));
            transfer.receiver().unwrap().fd
        });
        assert_eq!(fds.collect::<Vec<_>>(), [Some(9), Some(10)], "{told:?}");
    }
}

#[test]
fn without_a_control_message_the_number_is_inferred_and_said_to_be() {
    let message = Passing::one();
    let gained = FileSeen {
        told: NOT_TOLD,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, OTHER_CALL, 0, vec![gained]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert!(transfers[0].receiver().unwrap().fd_inferred);
    assert!(same(tracepoint_plan(), &transfers[0]));
}

#[test]
fn a_number_is_not_inferred_where_another_thread_may_have_made_a_duplicate() {
    let message = Passing::one();
    let gained = FileSeen {
        told: NOT_TOLD,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, OTHER_CALL, FLAG_TABLE_SHARED, vec![gained]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    let receiver = transfers[0].receiver().unwrap();
    assert_eq!((receiver.fd, receiver.fd_inferred), (None, true));
    assert_eq!(fates(&transfers), [(Fate::Delivered, None)]);
    assert!(!same(tracepoint_plan(), &transfers[0]));
}

#[test]
fn a_number_that_names_another_file_is_different() {
    let message = Passing::one();
    let other = FileSeen {
        file: 0x666,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, RECVMSG, 0, vec![other]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(transfers[0].chain, Chain::Differs { hop: Hop::Install });
    let plan = tracepoint_plan();
    assert_eq!(
        verdict::of_transfer(&transfers[0], |hop| plan.watches(hop), true),
        Some(Verdict::Different)
    );
    // With losses about, even that is no longer certain.
    assert_eq!(
        verdict::of_transfer(&transfers[0], |hop| plan.watches(hop), false),
        Some(Verdict::Lost)
    );
}

#[test]
fn numbers_beyond_the_window_leave_the_end_unknown() {
    let message = Passing::one();
    let returned = message.returned_with(3, RECVMSG, FLAG_WINDOW_SHORT, Vec::new());
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(fates(&transfers), [(Fate::Unknown, None)]);
}
