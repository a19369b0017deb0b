//! Who sent it, where the sender's look at the queue comes after the fact.

use fdtrace::model::{Doubt, Fate, Transfer, Verdict};
use fdtrace_common::records::FLAG_HAS_URING;
use fdtrace_testkit::{Event, Passing, files_mut, head_mut};

use super::{
    another, another_after, assert_of_process, assert_without_sender, by_process, by_thread, only,
    peeked, to_thread, track, verdict, with_refs,
};

/// Who does something instead.
type By = fn(u32, Vec<Event>) -> Vec<Event>;

/// Another thread, and another process.
const OTHERS: [By; 2] = [by_thread, by_process];

#[test]
fn a_list_that_two_take_for_theirs_has_no_sender_unless_they_are_one_process() {
    let message = Passing::one();
    for (by, other) in OTHERS.into_iter().enumerate() {
        let second = other(101, message.queued(12));
        let before_the_read = [
            message.queued(10),
            second.clone(),
            message.dequeued(20),
            message.returned(30, 1),
        ];
        // The receiver may have begun to read it before the second one looks.
        let after_the_read = [
            message.queued(10),
            message.dequeued(11),
            second,
            message.returned(30, 1),
        ];
        for events in [before_the_read, after_the_read] {
            let transfer = only(track(events.concat()));
            match by {
                // Each has a number of its own for it.
                0 => assert_of_process(&transfer, None),
                _ => {
                    assert_without_sender(&transfer);
                    assert_eq!(transfer.doubt, Some(Doubt::TwoProcessesSend));
                }
            }
        }
    }
}

#[test]
fn on_a_shared_socket_a_file_with_other_numbers_may_be_anybodys() {
    let first = Passing::one();
    let second = another(&first, 1);
    let course = |by: By, refs| {
        let events = [
            first.delivered(10),
            with_refs(refs, by(101, second.queued(40))),
            second.dequeued(50),
            second.returned(60, 1),
        ];
        track(events.concat()).pop().unwrap()
    };
    let transfer = course(by_process, 3);
    assert_without_sender(&transfer);
    assert_eq!(transfer.doubt, Some(Doubt::TwoProcessesSend));
    assert_of_process(&course(by_thread, 3), Some(14));
    // The control: nobody else has it when the list and one number hold all references.
    for by in OTHERS {
        let transfer = course(by, 2);
        assert_eq!(transfer.doubt, None);
        let sender = transfer.sender.as_ref().unwrap();
        assert_eq!((sender.tid, sender.fd), (Some(101), Some(14)));
        assert_eq!(verdict(&transfer), Some(Verdict::Same));
    }
    // Another control: the first thread alone may have as many numbers as it likes.
    let events = [first.delivered(10), with_refs(3, second.delivered(40))];
    assert_eq!(verdict(&track(events.concat())[1]), Some(Verdict::Same));
}

/// Two threads send the same file under numbers of their own. The first one's look finds the second
/// one's list, for its own has been read already.
fn a_look_that_finds_the_other_threads(by: By) -> Vec<Transfer> {
    let before = [Passing::one(), another(&Passing::one(), 1)];
    let (own, other) = (another(&before[0], 2), another(&before[0], 3));
    let events = [
        // Both have been seen sending on this socket.
        before[0].delivered(10),
        by(101, before[1].delivered(40)),
        own.dequeued(100),
        own.returned(110, 1),
        with_refs(4, other.queued(120)),
        other.dequeued(130),
        other.returned(140, 1),
        by(101, other.raced(150)),
    ];
    let mut transfers = track(events.concat());
    transfers.drain(..2);
    assert_eq!(transfers.len(), 2, "{transfers:?}");
    transfers
}

#[test]
fn a_number_is_not_told_where_another_thread_may_have_sent_the_file_under_another() {
    for transfer in a_look_that_finds_the_other_threads(by_thread) {
        assert_of_process(&transfer, None);
    }
    for transfer in a_look_that_finds_the_other_threads(by_process) {
        assert_without_sender(&transfer);
    }
}

#[test]
fn a_number_is_not_told_where_threads_may_have_found_each_others_in_turn() {
    let first = Passing::one();
    let [second, unseen, of_first, of_third] = [1, 2, 3, 4].map(|number| another(&first, number));
    let another_file = another_after(&another(&first, 5));
    let course = |unseen: Vec<Event>| {
        let events = [
            first.delivered(10),
            by_thread(101, second.delivered(40)),
            // The second thread's list, which nobody finds.
            unseen,
            another_file.delivered(105),
            // It finds the first thread's instead, and that finds what a third one has sent.
            with_refs(4, by_thread(101, of_first.queued(140))),
            with_refs(4, of_third.queued(150)),
            of_first.dequeued(160),
            of_first.returned(165, 1),
            of_third.dequeued(170),
            of_third.returned(175, 1),
            by_thread(102, by_thread(102, of_third.raced(180))),
        ];
        let transfers = track(events.concat());
        let found = transfers.into_iter().find(|it| it.hops[0].t_ns == 170);
        found.expect("it was delivered")
    };
    let read = [unseen.dequeued(90), unseen.returned(95, 1)].concat();
    assert_of_process(&course(read), None);
    // The control: if none is left over, each has found its own.
    assert_of_process(&course(Vec::new()), Some(4));
}

#[test]
fn of_more_than_can_wait_the_first_have_no_sender() {
    let message = Passing::one();
    let course = |others: u64| {
        // Both threads have been seen, with another file; and each of these lacks a look.
        let mut events = [
            another_after(&message).delivered(1),
            by_thread(101, another_after(&message).delivered(30)),
            message.queued(60),
            by_thread(101, message.queued(61)),
            message.dequeued(62),
            message.returned(63, 1),
        ]
        .concat();
        for number in 1..=others {
            let other = another(&message, number);
            let t_ns = 100 * number;
            events.extend([other.dequeued(t_ns), other.returned(t_ns + 1, 1)].concat());
        }
        let transfers = track(events);
        let contested = transfers.into_iter().find(|it| it.hops[0].t_ns == 62);
        contested.expect("it was delivered")
    };
    assert_of_process(&course(63), None);
    // One had to go, before it was known whether nobody else sends.
    assert_without_sender(&course(64));
}

#[test]
fn a_number_is_not_told_where_a_thread_may_have_sent_through_io_uring() {
    let first = Passing::one();
    let [unseen, found] = [2, 3].map(|number| another(&first, number));
    let course = |flags| {
        let mut others = by_thread(101, another_after(&another(&first, 1)).delivered(40));
        head_mut(&mut others[0]).flags |= flags;
        let events = [
            first.delivered(10),
            others,
            unseen.dequeued(100),
            unseen.returned(110, 1),
            with_refs(4, found.queued(120)),
            found.dequeued(130),
            found.returned(140, 1),
        ];
        let transfers = track(events.concat());
        let found = transfers.into_iter().find(|it| it.hops[0].t_ns == 130);
        found.expect("it was delivered")
    };
    assert_of_process(&course(FLAG_HAS_URING), None);
    // The control: the other one would have looked by now.
    assert_of_process(&course(0), Some(4));
}

#[test]
fn of_several_readers_of_datagrams_one_may_be_seen_late() {
    const SOCK_DGRAM: u16 = 2;
    let first = Passing::one();
    let [second, third] = [1, 2].map(|number| another(&first, number));
    let course = |kind, reader| {
        let mut events = [
            first.delivered(10),
            by_thread(101, second.queued(40)),
            to_thread(reader, second.dequeued(50)),
            to_thread(reader, second.returned(60, 1)),
            with_refs(3, third.delivered(70)),
        ]
        .concat();
        for event in &mut events {
            head_mut(event).socket_type = kind;
        }
        track(events).pop().unwrap()
    };
    // Both threads have sent that file before, under other numbers.
    assert_of_process(&course(SOCK_DGRAM, 201), None);
    // The controls: what one thread reads is in order, and so is a stream.
    assert_of_process(&course(SOCK_DGRAM, first.receiver), Some(4));
    assert_of_process(&course(1, 201), Some(4));
}

#[test]
fn a_look_that_may_have_found_what_was_sent_behind_its_own_names_no_sender() {
    // The first thread's own list is before the one that it finds at the tail. That one's sender
    // has never been seen: its look comes when all is over.
    let own = Passing::one();
    let other = Passing {
        list: own.list + 0x1000,
        skb: own.skb + 0x100,
        ..own.clone()
    };
    let events = |own: &Passing| {
        [
            with_refs(4, other.queued(10)),
            own.dequeued(20),
            own.returned(30, 1),
            other.dequeued(40),
            other.returned(50, 1),
        ]
        .concat()
    };
    for transfer in track(events(&own)) {
        assert_without_sender(&transfer);
    }
    // With another file it is not what the thread has sent.
    let same = track(events(&another_after(&own)))
        .into_iter()
        .find(|transfer| transfer.file.ptr == other.files[0]);
    assert_eq!(verdict(&same.unwrap()), Some(Verdict::Same));
}

#[test]
fn a_look_at_the_queue_may_be_told_when_all_is_over() {
    // The program at the queue was preempted before it gave its record away.
    let message = Passing::one();
    let received = [message.dequeued(20), message.returned(30, 1)].concat();
    let transfer = only(track([received.clone(), message.queued(10)].concat()));
    assert_eq!(transfer.fate(), Fate::Delivered);
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
    // One that began later has found another message, with the same file at the same address.
    let transfers = track([received, message.queued(21)].concat());
    let [delivered, queued] = transfers.as_slice() else {
        panic!("{transfers:?}");
    };
    assert_eq!(queued.fate(), Fate::Queued);
    assert_without_sender(delivered);
}

#[test]
fn a_look_at_the_queue_after_a_peek_may_be_of_the_message_that_was_peeked_at() {
    let message = Passing::one();
    let events = [
        message.dequeued(20),
        message.queued(40),
        peeked(&message, 30),
    ];
    let transfers = track(events.concat());
    let fates: Vec<Fate> = transfers.iter().map(Transfer::fate).collect();
    assert_eq!(fates, [Fate::Peeked, Fate::Queued]);
    assert!(transfers.iter().all(|transfer| transfer.sender.is_some()));
}

/// Records were lost at this time, and all of these came later.
fn after_loss_at(epoch: u64, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).epoch = epoch;
    }
    events
}

/// The first thread's list was read before it looked. It finds the second's, at the same address on
/// the same skb with the same file, which is read before the second looks. With its own numbers.
fn a_look_that_finds_the_next_list(message: &Passing, t_ns: u64) -> Vec<Event> {
    [
        message.queued(t_ns),
        message.dequeued(t_ns + 1),
        message.returned(t_ns + 2, 1),
        by_thread(101, message.raced(t_ns + 3)),
    ]
    .concat()
}

#[test]
fn a_look_after_a_loss_may_be_at_another_list_than_the_threads_own() {
    let message = Passing::one();
    // The read of the first list was lost at 15.
    let events = after_loss_at(15, a_look_that_finds_the_next_list(&message, 20));
    assert_without_sender(&only(track(events)));
    // The control: the thread has looked since the loss, so its list was read after that.
    let earlier = after_loss_at(15, another(&message, 1).delivered(16));
    let events = after_loss_at(15, a_look_that_finds_the_next_list(&message, 20));
    let transfers = track([earlier, events].concat());
    assert_eq!(verdict(&transfers[1]), Some(Verdict::Same));
    // Another: the loss was long ago.
    let events = after_loss_at(15, message.delivered(2_000_000_000));
    assert_eq!(verdict(&only(track(events))), Some(Verdict::Same));
}

#[test]
fn a_look_that_found_nothing_after_a_loss_may_be_for_a_read_that_was_lost() {
    let message = Passing::one();
    let course = |epoch| {
        let events = [
            message.dequeued(20),
            message.returned(21, 1),
            message.raced(22),
        ];
        only(track(after_loss_at(epoch, events.concat())))
    };
    assert_without_sender(&course(15));
    // The control.
    assert_eq!(verdict(&course(0)), Some(Verdict::Same));
}

#[test]
fn a_look_at_the_address_of_a_message_without_a_sender_may_be_that_messages() {
    let message = Passing::one();
    let first = [message.dequeued(10), message.returned(12, 1)].concat();
    let transfers = track([first, a_look_that_finds_the_next_list(&message, 20)].concat());
    assert_eq!(transfers.len(), 2, "{transfers:?}");
    // One of the two threads has sent each, under one of two numbers.
    for transfer in &transfers {
        assert_of_process(transfer, None);
    }
}

#[test]
fn a_look_at_the_next_message_keeps_its_places_where_records_of_it_are_lost() {
    // One file under forty numbers: nothing but its place tells which of them it was.
    let message = Passing {
        files: vec![Passing::one().files[0]; 40],
        ..Passing::one()
    };
    let before = Passing {
        list: message.list + 0x1000,
        ..another_after(&message)
    };
    // By a thread that has looked since the first one was read, and so cannot have sent that.
    let whole = by_thread(101, message.queued(40));
    let first_fd = files_mut(&mut whole.clone()[0])[0].fd;
    for lost in 0..whole.len() {
        let mut look = whole.clone();
        let unseen = files_mut(&mut look.remove(lost)).len();
        let events = [
            message.dequeued(20),
            by_thread(101, before.queued(25)),
            look,
            message.returned(30, 40),
            message.dequeued(50),
            message.returned(60, 40),
        ];
        let transfers = track(events.concat());
        let places = transfers.iter().filter_map(|transfer| {
            let fd = transfer.sender.as_ref()?.fd?;
            let is_same = verdict(transfer) == Some(Verdict::Same);
            is_same.then_some((i32::from(transfer.index), fd - first_fd))
        });
        let places: Vec<(i32, i32)> = places.collect();
        assert_eq!(places.len(), 40 - unseen, "{places:?}");
        assert!(places.iter().all(|(at, of)| at == of), "{places:?}");
    }
}
