//! Addresses that come back: what is another message's, though it lies at the same place.

use fdtrace::{
    judge::verdict,
    model::{Chain, Fate, Hop, Verdict},
};
use fdtrace_testkit::{Passing, head_mut, kernels::tracepoint_plan, tracker_with_room};

use super::{fates, track};

#[test]
fn a_list_address_that_is_queued_again_is_another_message() {
    let first = Passing::one();
    let second = Passing {
        sender_fd: 40,
        receiver_fd: 90,
        files: vec![0x77],
        ..first.clone()
    };
    let transfers = track([first.queued(1), second.delivered(2)].concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Unknown, None), (Fate::Delivered, None)]
    );
    assert_ne!(transfers[0].message, transfers[1].message);
    assert_eq!(transfers[1].sender.as_ref().unwrap().fd, Some(40));
}

#[test]
fn a_list_address_that_is_queued_again_before_the_receive_returns_keeps_both() {
    // The kernel frees the list before the receive is over, and gives its address to the next.
    let files = |base: u64| (1..20).map(|file| base + (file << 8)).collect::<Vec<_>>();
    let first = Passing {
        files: files(0x10_0000),
        ..Passing::one()
    };
    let second = Passing {
        skb: 0xb0b0,
        sender_fd: 104,
        receiver_fd: 109,
        files: files(0x20_0000),
        ..first.clone()
    };
    let events = [
        first.queued(1),
        first.dequeued(10),
        second.queued(20),
        first.returned(30, 19),
        second.dequeued(40),
        second.returned(50, 19),
    ];
    let transfers = track(events.concat());
    assert_eq!(transfers.len(), 38);
    for (place, transfer) in transfers.iter().enumerate() {
        assert_eq!(
            (transfer.fate(), transfer.chain),
            (Fate::Delivered, Chain::Whole)
        );
        let first_fd = if place < 19 { 4 } else { 104 };
        let fd = transfer.sender.as_ref().unwrap().fd.unwrap();
        assert_eq!(fd, first_fd + i32::from(transfer.index));
        assert_eq!(transfer.receiver().unwrap().fd, Some(fd + 5));
    }
}

#[test]
fn halves_of_two_messages_with_a_loss_between_are_lost() {
    // Same list, same skb, same file: nothing but the loss tells the two apart.
    let first = Passing::one();
    let second = Passing {
        sender_fd: 40,
        receiver_fd: 90,
        ..first.clone()
    };
    let mut rest = [second.dequeued(40), second.returned(50, 1)].concat();
    for event in &mut rest {
        head_mut(event).epoch = 1;
    }
    let transfers = track([first.queued(1), rest].concat());
    assert_eq!(transfers[0].chain, Chain::LossBetween);
    let plan = tracepoint_plan();
    assert_eq!(
        verdict::of_transfer(&transfers[0], |hop| plan.watches(hop), false),
        Some(Verdict::Lost)
    );
}

#[test]
fn a_list_read_from_another_skb_than_it_was_queued_on_is_another_message() {
    // The first one's end and the second one's queue both went unseen, without any loss.
    let first = Passing::one();
    let second = Passing {
        skb: 0xb0b0,
        receiver_fd: 90,
        ..first.clone()
    };
    let events = [first.queued(1), second.dequeued(40), second.returned(50, 1)];
    let transfers = track(events.concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Unknown, None), (Fate::Delivered, None)]
    );
    assert_eq!(transfers[1].chain, Chain::Gap { hop: Hop::Queue });
}

#[test]
fn a_record_of_before_what_was_forgotten_that_comes_after_proves_nothing() {
    let first = Passing::one();
    let next = Passing {
        receiver_fd: 20,
        ..first.clone()
    };
    let elsewhere = Passing {
        list: first.list + 0x1000,
        ..first.clone()
    };
    let mut tracker = tracker_with_room(1);
    let events = [
        // The receiver is faster than the sender's look; in between all of it is forgotten.
        first.dequeued(50),
        elsewhere.queued(100),
        first.queued(40),
        next.dequeued(80),
        next.returned(90, 1),
    ];
    for event in events.concat() {
        tracker.apply(event);
    }
    assert!(tracker.forgotten() > 0);
    let transfer = tracker.take_closed().pop().unwrap();
    assert_eq!(transfer.receiver().unwrap().fd, Some(20));
    assert_eq!(transfer.chain, Chain::LossBetween, "{transfer:?}");
}
