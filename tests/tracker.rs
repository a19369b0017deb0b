//! The tracker and the verdicts, without a kernel: what each course of events comes to, and what
//! holds for all of them.

mod support;

use fdtrace::{
    event::{DecodeError, Event, decode},
    plan::{Hop, Plan},
    tracker::{Cause, Chain, Fate, Tracker, Transfer},
    verdict::{self, Verdict},
};
use fdtrace_common::records::{
    FLAG_DESTRUCTED, FLAG_PEEK, FLAG_RACED, FLAG_WINDOW_SHORT, FileSeen, Head, NOT_TOLD, RecordKind,
};
use proptest::prelude::*;
use support::{
    Passing, SKB_QUEUE_PURGE, SYS_READ, SYS_RECVMSG, UNIX_GC, UNIX_RELEASE_SOCK, files_mut,
    head_mut, tracepoint_plan, tracker, tracker_with_room,
};
use zerocopy::IntoBytes as _;

fn track(events: impl IntoIterator<Item = Event>) -> Vec<Transfer> {
    let mut tracker: Tracker = tracker();
    for event in events {
        tracker.apply(event);
    }
    tracker.close_open();
    tracker.take_closed()
}

fn same(plan: &Plan, transfer: &Transfer) -> bool {
    verdict::of_transfer(transfer, plan, true) == Some(Verdict::Same)
}

fn fates(transfers: &[Transfer]) -> Vec<(Fate, Option<Cause>)> {
    transfers
        .iter()
        .map(|transfer| (transfer.fate, transfer.cause))
        .collect()
}

#[test]
fn a_delivered_descriptor_is_the_same_under_its_new_number() {
    let transfers = track(Passing::one().delivered(1000));
    let [transfer] = &transfers[..] else {
        panic!("{transfers:?}")
    };
    assert_eq!(
        (transfer.fate, transfer.chain),
        (Fate::Delivered, Chain::Whole)
    );
    assert_eq!(transfer.sender.as_ref().unwrap().fd, Some(4));
    assert_eq!(transfer.receiver.as_ref().unwrap().fd, Some(9));
    assert!(!transfer.receiver.as_ref().unwrap().fd_inferred);
    assert_eq!(transfer.queued_ns, Some(10));
    let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
    assert_eq!(hops, [Hop::Queue, Hop::Dequeue, Hop::Install]);
    assert!(same(&tracepoint_plan(), transfer));
}

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
    let returned = message.returned_with(3, SYS_READ, 0, Vec::new());
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Discarded, Some(Cause::PlainRead))]
    );
    assert_eq!(
        verdict::of_transfer(&transfers[0], &tracepoint_plan(), true),
        None
    );
}

#[test]
fn a_peek_installs_a_duplicate_and_leaves_the_message() {
    let message = Passing::one();
    let peeked = message.returned_with(3, SYS_RECVMSG, FLAG_PEEK, vec![message.gained(0)]);
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
            .all(|transfer| same(&tracepoint_plan(), transfer))
    );
}

#[test]
fn the_code_that_freed_the_skb_tells_the_cause() {
    let message = Passing::one();
    for (location, expected) in [
        (
            UNIX_RELEASE_SOCK,
            (Fate::Discarded, Some(Cause::ReceiverClosed)),
        ),
        (UNIX_GC, (Fate::Collected, Some(Cause::GarbageCollector))),
        (SKB_QUEUE_PURGE, (Fate::Discarded, Some(Cause::Reconnect))),
        (0, (Fate::Discarded, Some(Cause::Dropped))),
    ] {
        let transfers = track([message.queued(1), message.destroyed(2, location, 300)].concat());
        assert_eq!(fates(&transfers), [expected]);
        // Whoever freed it received nothing.
        assert_eq!(transfers[0].receiver, None);
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
    assert_eq!(
        verdict::of_transfer(&transfers[1], &tracepoint_plan(), false),
        Some(Verdict::Lost)
    );
}

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
            (transfer.fate, transfer.chain),
            (Fate::Delivered, Chain::Whole)
        );
        let first_fd = if place < 19 { 4 } else { 104 };
        let fd = transfer.sender.as_ref().unwrap().fd.unwrap();
        assert_eq!(fd, first_fd + i32::from(transfer.index));
        assert_eq!(transfer.receiver.as_ref().unwrap().fd, Some(fd + 5));
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
        verdict::of_transfer(&transfers[0], &plan, false),
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
    let returned = message.returned_with(3, SYS_RECVMSG, 0, vec![strangers, ours]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(fates(&transfers), [(Fate::Delivered, None)]);
    assert_eq!(transfers[0].receiver.as_ref().unwrap().fd, Some(9));
    assert_eq!(transfers[0].chain, Chain::Whole);
}

#[test]
fn a_control_message_left_over_from_an_earlier_receive_delivers_nothing() {
    let message = Passing::one();
    // The buffer still says 7. What became open is another thread's 8, even if it is this file.
    let stranger = FileSeen {
        fd: 8,
        told: 7,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, SYS_RECVMSG, 0, vec![stranger]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Truncated, Some(Cause::NoControlRoom))]
    );
}

#[test]
fn without_a_control_message_the_number_is_inferred_and_said_to_be() {
    const SYS_RECVMMSG: i32 = 299;
    let message = Passing::one();
    let gained = FileSeen {
        told: NOT_TOLD,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, SYS_RECVMMSG, 0, vec![gained]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert!(transfers[0].receiver.as_ref().unwrap().fd_inferred);
    assert!(same(&tracepoint_plan(), &transfers[0]));
}

#[test]
fn a_number_that_names_another_file_is_different() {
    let message = Passing::one();
    let other = FileSeen {
        file: 0x666,
        ..message.gained(0)
    };
    let returned = message.returned_with(3, SYS_RECVMSG, 0, vec![other]);
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(transfers[0].chain, Chain::Differs { hop: Hop::Install });
    let plan = tracepoint_plan();
    assert_eq!(
        verdict::of_transfer(&transfers[0], &plan, true),
        Some(Verdict::Different)
    );
    // With losses about, even that is no longer certain.
    assert_eq!(
        verdict::of_transfer(&transfers[0], &plan, false),
        Some(Verdict::Lost)
    );
}

#[test]
fn a_senders_number_that_stands_for_another_file_by_now_proves_nothing() {
    let mut events = Passing::one().delivered(1);
    files_mut(&mut events[0])[0].slot = 0x666;
    let transfers = track(events);
    assert_eq!(transfers[0].chain, Chain::SenderUnknown);
    let plan = tracepoint_plan();
    assert_eq!(
        verdict::of_transfer(&transfers[0], &plan, true),
        Some(Verdict::Unverified)
    );
}

/// What a sender's hook reports when the list has left the queue.
fn raced(message: &Passing, t_ns: u64) -> Vec<Event> {
    let mut events = message.queued(t_ns);
    for event in &mut events {
        let head = head_mut(event);
        head.flags |= FLAG_RACED;
        (head.list, head.skb) = (0, 0);
    }
    events
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
            raced(&message, 15),
            message.returned(20, 39),
        ]
        .concat(),
        [received, raced(&message, 25)].concat(),
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
        let mut events = raced(&message, 5);
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
    let mut other_socket = raced(&message, 25);
    head_mut(&mut other_socket[0]).sender_sock = 0x777;
    for late in [raced(&other_files, 25), other_socket, raced(&message, 5)] {
        let transfers = track([received.clone(), late].concat());
        assert_eq!(transfers[0].sender, None);
        assert_eq!(transfers[0].chain, Chain::Gap { hop: Hop::Queue });
        let plan = tracepoint_plan();
        assert_eq!(
            verdict::of_transfer(&transfers[0], &plan, true),
            Some(Verdict::Unverified)
        );
    }
}

#[test]
fn numbers_beyond_the_window_leave_the_end_unknown() {
    let message = Passing::one();
    let returned = message.returned_with(3, SYS_RECVMSG, FLAG_WINDOW_SHORT, Vec::new());
    let transfers = track([message.queued(1), message.dequeued(2), returned].concat());
    assert_eq!(fates(&transfers), [(Fate::Unknown, None)]);
}

/// A message on its way to the receiver, seen by functions.
fn sent_by_functions(message: &Passing) -> Vec<Event> {
    [
        message.copied(10),
        message.attached(20, 0),
        message.edged(30),
        message.dequeued(40),
    ]
    .concat()
}

#[test]
fn functions_show_all_eight_hops() {
    let files: Vec<u64> = (1..20).map(|file| file << 8).collect();
    let message = Passing {
        files,
        ..Passing::one()
    };
    let installs = (0..19).map(|index| message.installed(60, index, 9 + index as i32));
    let events = [
        sent_by_functions(&message),
        message.detached(50),
        installs.flatten().collect(),
        message.released(70, 200, SYS_RECVMSG),
    ];
    let transfers = track(events.concat());
    assert_eq!(transfers.len(), 19);
    for transfer in &transfers {
        let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
        assert_eq!(hops, Hop::ALL);
        assert_eq!(
            (transfer.fate, transfer.chain),
            (Fate::Delivered, Chain::Whole)
        );
        assert_eq!(transfer.total_ns, Some(51));
        assert_eq!(
            transfer.sender.as_ref().unwrap().fd,
            Some(4 + i32::from(transfer.index))
        );
        assert_eq!(
            transfer.receiver.as_ref().unwrap().fd,
            Some(9 + i32::from(transfer.index))
        );
    }
}

#[test]
fn a_list_duplicated_for_the_skb_is_the_message_from_then_on() {
    // As on 5.10 and 6.1, where the sender gives up its own list as sendmsg ends.
    let own = Passing {
        list: 0x0111,
        ..Passing::one()
    };
    let skbs = Passing::one();
    let events = [
        own.copied(10),
        skbs.duplicated(15, own.list),
        skbs.attached(20, own.list),
        skbs.edged(30),
        own.released(35, 100, 46),
        skbs.dequeued(40),
        skbs.detached(50),
        skbs.installed(60, 0, 9),
        skbs.released(70, 200, SYS_RECVMSG),
    ];
    let transfers = track(events.concat());
    assert_eq!(fates(&transfers), [(Fate::Delivered, None)]);
    assert_eq!(transfers[0].hops.len(), 8);
    assert_eq!(transfers[0].chain, Chain::Whole);
}

#[test]
fn a_list_duplicated_by_a_peek_leaves_the_message() {
    let message = Passing::one();
    let peeked = Passing {
        list: 0x0222,
        receiver_fd: 20,
        ..message.clone()
    };
    let events = [
        sent_by_functions(&message),
        peeked.duplicated(45, message.list),
        peeked.detached(50),
        peeked.installed(60, 0, 20),
        peeked.released(70, 200, SYS_RECVMSG),
        message.dequeued(80),
        message.detached(90),
        message.installed(100, 0, 21),
        message.released(110, 200, SYS_RECVMSG),
    ];
    let transfers = track(events.concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Peeked, None), (Fate::Delivered, None)]
    );
    let fds: Vec<_> = transfers
        .iter()
        .map(|transfer| transfer.receiver.as_ref().unwrap().fd)
        .collect();
    assert_eq!(fds, [Some(20), Some(21)]);
    assert_eq!(transfers[0].message, transfers[1].message);
}

#[test]
fn why_a_file_was_not_installed_is_told_by_the_function_that_did_not() {
    let message = Passing {
        files: vec![0x100, 0x200],
        ..Passing::one()
    };
    for (result, expected) in [
        (-libc::EMFILE, (Fate::Truncated, Some(Cause::RlimitNofile))),
        (-libc::EPERM, (Fate::Refused, Some(Cause::Lsm))),
    ] {
        let events = [
            sent_by_functions(&message),
            message.detached(50),
            message.installed(60, 0, 9),
            message.installed(62, 1, result),
            message.released(70, 200, SYS_RECVMSG),
        ];
        assert_eq!(
            fates(&track(events.concat())),
            [(Fate::Delivered, None), expected]
        );
    }
    // Not even asked for: no room in the control buffer.
    let events = [
        sent_by_functions(&message),
        message.detached(50),
        message.installed(60, 0, 9),
        message.released(70, 200, SYS_RECVMSG),
    ];
    let truncated = (Fate::Truncated, Some(Cause::NoControlRoom));
    assert_eq!(
        fates(&track(events.concat())),
        [(Fate::Delivered, None), truncated]
    );
}

#[test]
fn a_list_that_is_released_without_a_detach_was_read_without_a_control_buffer() {
    let message = Passing::one();
    let read = [
        sent_by_functions(&message),
        message.released(50, 200, SYS_READ),
    ];
    assert_eq!(
        fates(&track(read.concat())),
        [(Fate::Discarded, Some(Cause::PlainRead))]
    );
}

#[test]
fn a_list_that_never_got_into_a_queue_is_a_failed_send() {
    let message = Passing::one();
    let events = [message.copied(10), message.released(20, 100, 46)];
    assert_eq!(
        fates(&track(events.concat())),
        [(Fate::Failed, Some(Cause::NotSent))]
    );
}

#[test]
fn descriptors_that_are_installed_for_other_reasons_are_no_transfers() {
    // pidfd_getfd and SCM_PIDFD go through the same functions, without a list of ours.
    let strangers = Passing {
        list: 0x0333,
        ..Passing::one()
    };
    assert!(
        track(
            [
                strangers.installed(10, 0, 9),
                strangers.released(20, 200, 438)
            ]
            .concat()
        )
        .is_empty()
    );
}

#[test]
fn an_skb_whose_freeing_was_seen_is_not_told_of_again_as_it_is_destructed() {
    let message = Passing::one();
    let mut destructed = message.destroyed(60, 0, 300);
    head_mut(&mut destructed[0]).flags |= FLAG_DESTRUCTED;
    let both = [
        sent_by_functions(&message),
        message.destroyed(50, UNIX_RELEASE_SOCK, 300),
        destructed.clone(),
    ];
    assert_eq!(
        fates(&track(both.concat())),
        [(Fate::Discarded, Some(Cause::ReceiverClosed))]
    );
    // Without the other hook it is all there is.
    let alone = [sent_by_functions(&message), destructed];
    assert_eq!(
        fates(&track(alone.concat())),
        [(Fate::Discarded, Some(Cause::Dropped))]
    );
}

/// How a generated message ends.
#[derive(Clone, Debug)]
enum End {
    Delivered,
    PeekedThenDelivered,
    Truncated,
    Read,
    Destroyed,
}

/// Few addresses, so that they are reused all the time; a number of its own for every file, so
/// that a wrong pairing shows.
fn course() -> impl Strategy<Value = Vec<(Vec<u64>, End, bool, u8)>> {
    let files = prop::collection::vec(
        (1..4_u64).prop_map(|file| 0xffff_8881_0000_0000 + file * 256),
        1..20,
    );
    let end = prop_oneof![
        4 => Just(End::Delivered),
        1 => Just(End::PeekedThenDelivered),
        1 => Just(End::Truncated),
        1 => Just(End::Read),
        1 => Just(End::Destroyed),
    ];
    prop::collection::vec((files, end, any::<bool>(), any::<u8>()), 1..12)
}

/// The records of several messages, mixed as concurrent CPUs might mix them: each message's own
/// are in order, and no two messages have the same list at the same time.
fn interleave(course: &[(Vec<u64>, End, bool, u8)]) -> Vec<Event> {
    const LISTS: usize = 3;
    let mut lanes: Vec<Vec<Event>> = vec![Vec::new(); LISTS];
    let mut number = 0;
    let mut t_ns = 1000;
    for (files, end, receiver_first, choice) in course {
        let lane = usize::from(*choice) % LISTS;
        let message = Passing {
            list: 0xffff_8882_0000_0000 + lane as u64 * 4096,
            skb: 0xffff_8883_0000_0000 + u64::from(choice % 2) * 256,
            sender: 100,
            receiver: 200,
            files: files.clone(),
            sender_fd: 1000 + number,
            receiver_fd: 5000 + number,
            read_at: std::cell::Cell::new(0),
        };
        number += files.len() as i32;
        let mut step = || {
            t_ns += 10;
            t_ns
        };
        let mut parts = vec![message.queued(step())];
        match end {
            End::Destroyed => parts.push(message.destroyed(step(), UNIX_RELEASE_SOCK, 300)),
            End::PeekedThenDelivered => {
                let gained = (0..files.len())
                    .map(|index| message.gained(index))
                    .collect();
                parts.push(message.dequeued(step()));
                parts.push(message.returned_with(step(), SYS_RECVMSG, FLAG_PEEK, gained));
                parts.push(message.dequeued(step()));
                parts.push(message.returned(step(), files.len()));
            }
            End::Delivered | End::Truncated | End::Read => {
                parts.push(message.dequeued(step()));
                if *receiver_first {
                    parts.swap(0, 1);
                }
                parts.push(match end {
                    End::Truncated => message.returned(step(), files.len() / 2),
                    End::Read => message.returned_with(step(), SYS_READ, 0, Vec::new()),
                    _ => message.returned(step(), files.len()),
                });
            }
        }
        lanes[lane].extend(parts.concat());
    }
    // One record from each lane in turn, in an order that the choices decide.
    let mut lanes: Vec<std::collections::VecDeque<Event>> =
        lanes.into_iter().map(Into::into).collect();
    let mut mixed = Vec::new();
    let mut turn = course
        .iter()
        .map(|(.., choice)| usize::from(*choice))
        .cycle();
    while lanes.iter().any(|lane| !lane.is_empty()) {
        let lane = turn.next().unwrap_or_default() % LISTS;
        let next = (0..LISTS).map(|offset| (lane + offset) % LISTS);
        if let Some(event) = next.filter_map(|lane| lanes[lane].pop_front()).next() {
            mixed.push(event);
        }
    }
    mixed
}

/// Loses record `at`, as a full ring buffer does: the rest of its hop goes too, and whatever is
/// begun later knows that something was lost.
fn lose(events: &mut Vec<Event>, at: usize) {
    let lost = *head_mut(&mut events[at]);
    let mut index = 0;
    events.retain_mut(|event| {
        let head = head_mut(event);
        let same_hop = (head.t_ns, head.kind, head.list) == (lost.t_ns, lost.kind, lost.list);
        let keep = index < at || !same_hop;
        if index > at && !same_hop && head.t_ns > lost.t_ns {
            // The last loss before it, in whatever order they are made here.
            head.epoch = head.epoch.max(lost.t_ns);
        }
        index += 1;
        keep
    });
}

/// Whether sender's and receiver's numbers are of the same generated file.
fn pairs_up(transfer: &Transfer) -> bool {
    let sender = transfer.sender.as_ref().and_then(|sender| sender.fd);
    let receiver = transfer.receiver.as_ref().and_then(|receiver| receiver.fd);
    matches!((sender, receiver), (Some(sent), Some(received)) if sent + 4000 == received)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_legal_interleaving_gives_every_file_its_own_fate(course in course()) {
        let plan = tracepoint_plan();
        let transfers = track(interleave(&course));
        let mut expected = std::collections::BTreeMap::new();
        for (files, end, ..) in &course {
            let n = files.len();
            let mut add = |fate: Fate, count: usize| *expected.entry(fate).or_insert(0) += count;
            match end {
                End::Delivered => add(Fate::Delivered, n),
                End::PeekedThenDelivered => { add(Fate::Peeked, n); add(Fate::Delivered, n) }
                End::Truncated => { add(Fate::Delivered, n / 2); add(Fate::Truncated, n - n / 2) }
                End::Read | End::Destroyed => add(Fate::Discarded, n),
            }
        }
        expected.retain(|_, count| *count > 0);
        let mut found = std::collections::BTreeMap::new();
        for transfer in &transfers {
            *found.entry(transfer.fate).or_insert(0) += 1;
            if matches!(transfer.fate, Fate::Delivered | Fate::Peeked) {
                prop_assert!(same(&plan, transfer), "{transfer:?}");
                prop_assert!(pairs_up(transfer), "{transfer:?}");
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn losing_records_never_makes_a_wrong_same(
        course in course(),
        losses in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
    ) {
        let plan = tracepoint_plan();
        let mut events = interleave(&course);
        for at in &losses {
            if !events.is_empty() {
                let at = at.index(events.len());
                lose(&mut events, at);
            }
        }
        for transfer in track(events) {
            match verdict::of_transfer(&transfer, &plan, false) {
                Some(Verdict::Same) => prop_assert!(pairs_up(&transfer), "{transfer:?}"),
                Some(Verdict::Different) => prop_assert!(false, "{transfer:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn forgetting_messages_never_makes_a_wrong_same(course in course(), room in 1..30_usize) {
        let plan = tracepoint_plan();
        let events = interleave(&course);
        let mut tracker = tracker_with_room(room);
        for event in events.clone() {
            tracker.apply(event);
        }
        tracker.close_open();
        let transfers = tracker.take_closed();
        for transfer in &transfers {
            let begin = transfer.hops.iter().map(|seen| seen.t_ns).min().unwrap_or(0);
            match verdict::of_transfer(transfer, &plan, begin > tracker.forgotten_at()) {
                Some(Verdict::Same) => prop_assert!(pairs_up(transfer), "{transfer:?}"),
                Some(Verdict::Different) => prop_assert!(false, "{transfer:?}"),
                _ => {}
            }
        }
        if tracker.forgotten() == 0 {
            prop_assert_eq!(fates(&transfers), fates(&track(events)));
        }
    }

    #[test]
    fn one_changed_pointer_gives_exactly_one_different(
        count in 1..40_usize,
        hop in 0..3_usize,
        victim in any::<prop::sample::Index>(),
        bit in 0..48_u32,
    ) {
        let plan = tracepoint_plan();
        let files: Vec<u64> = (0..count as u64).map(|file| 0xffff_8881_0000_0000 + file * 256).collect();
        let message = Passing { files, sender_fd: 1000, receiver_fd: 5000, ..Passing::one() };
        let mut parts = [message.queued(1), message.dequeued(2), message.returned(3, count)];
        let victim = victim.index(count);
        let mut index = 0;
        for event in &mut parts[hop] {
            for file in files_mut(event) {
                if index == victim {
                    file.file ^= 1 << bit;
                }
                index += 1;
            }
        }
        let transfers = track(parts.concat());
        prop_assert_eq!(transfers.len(), count);
        for transfer in &transfers {
            let expected =
                if usize::from(transfer.index) == victim { Verdict::Different } else { Verdict::Same };
            prop_assert_eq!(verdict::of_transfer(transfer, &plan, true), Some(expected));
        }
    }

    #[test]
    fn bytes_cut_anywhere_are_an_error_or_a_whole_event(cut in 0..400_usize, kind in 0..16_u16, files in 0..20_u16) {
        let mut head = match Passing::one().queued(1).remove(0) {
            Event::ListQueued(seen) => seen.head,
            other => panic!("{other:?}"),
        };
        head.kind = kind;
        head.files = files;
        let mut bytes = head.as_bytes().to_vec();
        bytes.resize(400, 0xff);
        bytes.truncate(cut);
        let known = (RecordKind::ListQueued as u16..=RecordKind::ListFound as u16).contains(&kind);
        match decode(&bytes) {
            Ok(_) => prop_assert!(known),
            Err(DecodeError::UnknownKind(found)) => prop_assert!(!known && found == kind),
            Err(DecodeError::Truncated { found }) => prop_assert_eq!(found, bytes.len()),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut tracker = tracker();
        if let Ok(event) = decode(&bytes) {
            tracker.apply(event);
        }
        tracker.close_open();
    }
}

#[test]
fn a_record_survives_the_way_through_bytes() {
    let Event::ListQueued(seen) = Passing::one().queued(7).remove(0) else {
        panic!()
    };
    let bytes = [seen.head.as_bytes(), seen.files[0].as_bytes()].concat();
    assert_eq!(bytes.len(), size_of::<Head>() + size_of::<FileSeen>());
    match decode(&bytes) {
        Ok(Event::ListQueued(back)) => {
            assert_eq!(back.head.t_ns, 7);
            assert_eq!(back.files[0].file, seen.files[0].file);
        }
        other => panic!("{other:?}"),
    }
}
