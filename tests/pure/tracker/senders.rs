//! The sender's look at the queue, which comes after the fact.

use fdtrace::{
    judge::verdict,
    model::{Chain, Fate, Hop, Verdict},
};
use fdtrace_testkit::{Passing, files_mut, head_mut, kernels::tracepoint_plan};

use super::{fates, track};

#[test]
fn a_receiver_faster_than_the_senders_look_changes_nothing_but_the_order_of_hops() {
    let message = Passing::one();
    let events = [
        message.dequeued(990),
        message.queued(1000),
        message.returned(1010, 1),
    ];
    let transfers = track(events.concat());
    assert_eq!(fates(&transfers), [(Fate::Delivered, None)]);
    assert_eq!(transfers[0].chain, Chain::Whole);
    assert_eq!(transfers[0].hops[0].hop, Hop::Dequeue);
    assert_eq!(transfers[0].queued_ns, Some(0));
}

#[test]
fn a_senders_number_that_stands_for_another_file_by_now_proves_nothing() {
    let mut events = Passing::one().delivered(1);
    files_mut(&mut events[0])[0].slot = 0x666;
    let transfers = track(events);
    assert_eq!(transfers[0].chain, Chain::SenderUnknown);
    let plan = tracepoint_plan();
    assert_eq!(
        verdict::of_transfer(&transfers[0], |hop| plan.watches(hop), true),
        Some(Verdict::Unverified)
    );
}

#[test]
fn a_sender_that_the_receiver_overtook_is_found_by_socket_and_files() {
    let files: Vec<u64> = (1..40).map(|file| file << 8).collect();
    let message = Passing {
        files,
        ..Passing::one()
    };
    let received = [message.dequeued(10), message.returned(20, 39)].concat();
    // Before the receive has returned, and after.
    for events in [
        [
            message.dequeued(10),
            message.raced(15),
            message.returned(20, 39),
        ]
        .concat(),
        [received, message.raced(25)].concat(),
    ] {
        let transfers = track(events);
        assert_eq!(transfers.len(), 39);
        for transfer in &transfers {
            assert_eq!(transfer.chain, Chain::Whole);
            assert_eq!(
                transfer.sender.as_ref().unwrap().fd,
                Some(4 + i32::from(transfer.index))
            );
            // Known from the sender, not seen in the queue.
            assert!(transfer.hops.iter().all(|seen| seen.hop != Hop::Queue));
        }
    }
}

/// The look found the list, and a receiver took it while its files were read: after the look began,
/// which a look without a list may not say of itself.
#[test]
fn a_sender_whose_list_is_taken_under_its_eyes_is_found_by_that_list() {
    let message = Passing::one();
    let received = [message.dequeued(10), message.returned(20, 1)].concat();
    let late = |list: u64, skb: u64| {
        let mut events = message.raced(5);
        let head = head_mut(&mut events[0]);
        (head.list, head.skb) = (list, skb);
        track([received.clone(), events].concat())
    };
    let transfers = late(message.list, message.skb);
    assert_eq!(transfers[0].chain, Chain::Whole);
    assert_eq!(transfers[0].sender.as_ref().unwrap().fd, Some(4));
    // The controls: another list, or the same address on another skb, is another message's.
    for (list, skb) in [(0x777, message.skb), (message.list, 0x777)] {
        let transfers = late(list, skb);
        assert_eq!(transfers[0].chain, Chain::Gap { hop: Hop::Queue });
        assert_eq!(transfers[0].sender, None);
    }
}

#[test]
fn a_sender_with_other_files_or_another_socket_is_not_taken() {
    let message = Passing::one();
    let received = [message.dequeued(10), message.returned(20, 1)].concat();
    let other_files = Passing {
        files: vec![0x666],
        ..message.clone()
    };
    let mut other_socket = message.raced(25);
    head_mut(&mut other_socket[0]).sender_sock = 0x777;
    for late in [other_files.raced(25), other_socket, message.raced(5)] {
        let transfers = track([received.clone(), late].concat());
        assert_eq!(transfers[0].sender, None);
        assert_eq!(transfers[0].chain, Chain::Gap { hop: Hop::Queue });
        let plan = tracepoint_plan();
        assert_eq!(
            verdict::of_transfer(&transfers[0], |hop| plan.watches(hop), true),
            Some(Verdict::Unverified)
        );
    }
}
