//! Which message a look was for that came when its list had left the queue.

use fdtrace::model::{Fate, Transfer, Verdict};
use fdtrace_common::records::{FLAG_HAS_URING, FLAG_RACED};
use fdtrace_testkit::{Event, OTHER_CALL, Passing, files_mut, head_mut, tracker};

use super::{
    another, another_after, assert_of_process, assert_without_sender, by_process, by_thread, only,
    track, verdict,
};

#[test]
fn a_look_is_not_taken_for_a_message_that_was_read_before_the_look_before() {
    let message = Passing::one();
    let next = another(&message, 1);
    let events = [
        message.dequeued(10),
        message.returned(20, 1),
        // The same thread has sent another one meanwhile, so its call at 40 began after 30.
        next.queued(30),
        message.raced(40),
    ];
    let transfers = track(events.concat());
    let delivered: Vec<&Transfer> = transfers
        .iter()
        .filter(|transfer| transfer.fate() == Fate::Delivered)
        .collect();
    assert_without_sender(delivered[0]);
    // The control: without the one between, it is.
    let events = [
        message.dequeued(10),
        message.returned(20, 1),
        message.raced(40),
    ];
    assert_eq!(verdict(&only(track(events.concat()))), Some(Verdict::Same));
}

#[test]
fn a_look_is_not_taken_for_a_message_with_another_file_at_the_same_address() {
    let message = Passing::one();
    let mut late = message.raced(25);
    files_mut(&mut late[0])[0].ino += 1;
    let events = [message.dequeued(10), message.returned(20, 1), late];
    assert_without_sender(&only(track(events.concat())));
}

#[test]
fn a_look_that_saw_a_list_go_away_is_not_taken_if_the_file_is_not_the_senders() {
    let message = Passing::one();
    let mut late = message.raced(25);
    files_mut(&mut late[0])[0].slot += 0x100;
    let events = [message.dequeued(10), message.returned(20, 1), late];
    assert_without_sender(&only(track(events.concat())));
}

#[test]
fn a_look_on_a_shared_socket_tells_the_process_if_that_is_one() {
    let message = Passing::one();
    let course = |by: fn(u32, Vec<Event>) -> Vec<Event>, other: Passing| {
        let events = [
            by(101, other.delivered(1)),
            message.dequeued(30),
            message.returned(40, 1),
            message.raced(45),
        ];
        track(events.concat()).remove(1)
    };
    let (same_file, other_file) = (another(&message, 1), another_after(&another(&message, 1)));
    // The other thread has sent the file as well, under another number.
    assert_of_process(&course(by_thread, same_file.clone()), None);
    assert_of_process(&course(by_thread, other_file.clone()), Some(4));
    assert_without_sender(&course(by_process, same_file));
    assert_without_sender(&course(by_process, other_file));
}

#[test]
fn looks_that_several_threads_files_may_have_been_for_are_settled_together() {
    const SECOND: u64 = 1_000_000_000;
    let (first, second) = (Passing::one(), another(&Passing::one(), 1));
    let course = |by: fn(u32, Vec<Event>) -> Vec<Event>| {
        let events = [
            first.dequeued(10),
            first.returned(12, 1),
            second.dequeued(20),
            second.returned(22, 1),
            by(101, second.raced(25)),
            first.raced(26),
        ];
        let mut tracker = tracker();
        events
            .concat()
            .into_iter()
            .for_each(|event| tracker.apply(event));
        // Another process's look may still come.
        assert!(tracker.take_closed().is_empty());
        tracker.settle(23 + SECOND);
        let transfers = tracker.take_closed();
        assert_eq!(transfers.len(), 2);
        transfers
    };
    for transfer in course(by_thread) {
        assert_of_process(&transfer, None);
    }
    course(by_process).iter().for_each(assert_without_sender);
    // Under one number they are the same whoever sent which.
    let same_number = |tid, mut events: Vec<Event>| {
        for event in &mut events {
            head_mut(event).tid = tid;
        }
        events
    };
    for transfer in course(same_number) {
        assert_of_process(&transfer, Some(4));
    }
}

/// Two looks of a thread that find their lists gone, at 5 and 25, and one message that both may have
/// sent: it is read at 10, by a thread that has received another one until `before`.
fn two_looks_and_one_read(first_number: i32, before: u64) -> Transfer {
    let message = Passing::one();
    let first = Passing {
        sender_fd: first_number,
        ..message.clone()
    };
    let other = another_after(&another(&message, 1));
    let read_before = [other.dequeued(before - 2), other.returned(before, 1)];
    let events = [
        first.raced(5),
        read_before.concat(),
        message.dequeued(10),
        message.returned(20, 1),
        message.raced(25),
    ];
    let transfers = track(events.concat());
    let mut delivered = transfers
        .into_iter()
        .filter(|one| one.fate() == Fate::Delivered);
    delivered.next().expect("it was")
}

#[test]
fn a_look_is_not_taken_while_an_earlier_one_waits_for_the_same_message() {
    // The message may have left its queue before 5, and only be seen read at 10.
    assert_without_sender(&two_looks_and_one_read(5, 4));
    // Under the same number it would be the same file all the same, but another call.
    assert_without_sender(&two_looks_and_one_read(4, 4));
    // The control: its reader was still busy with another one at 5.
    let transfer = two_looks_and_one_read(4, 6);
    assert_eq!(transfer.sender.as_ref().unwrap().t_ns, 25);
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
}

/// The records of two looks as two CPUs give them away at once.
fn mixed(one: Vec<Event>, two: Vec<Event>) -> Vec<Event> {
    assert!(one.len() > 1 && one.len() == two.len());
    one.into_iter()
        .zip(two)
        .flat_map(|(one, two)| [one, two])
        .collect()
}

#[test]
fn the_records_of_two_looks_may_come_mixed() {
    let one = Passing::one();
    let message = Passing {
        files: (0..20).map(|index| one.files[0] + index * 0x100).collect(),
        ..one
    };
    // Another process, on a socket of its own.
    let mut other = message.raced(6);
    for event in &mut other {
        let head = head_mut(event);
        (head.pid, head.tid, head.sender_ino) = (300, 300, 80);
        head.sender_sock += 0x1000;
    }
    let looks = mixed(message.raced(5), other);
    let read = [message.dequeued(10), message.returned(20, 20)].concat();
    // The one at 5 may have been for it as well as the next.
    let transfers = track([looks.clone(), read.clone(), message.raced(25)].concat());
    assert!(transfers.len() >= 20);
    let delivered = transfers
        .iter()
        .filter(|one| one.fate() == Fate::Delivered && one.receiver().is_some());
    delivered.for_each(assert_without_sender);
    // Unless it has found another one.
    let transfers = track([looks, read, another_after(&message).queued(25)].concat());
    for transfer in &transfers[..20] {
        assert_eq!(transfer.sender.as_ref().unwrap().t_ns, 5);
        assert_eq!(verdict(transfer), Some(Verdict::Same));
    }
}

#[test]
fn a_message_that_is_read_after_its_senders_look_has_it_when_the_thread_has_looked_again() {
    let message = Passing::one();
    let late = [
        message.raced(5),
        message.dequeued(10),
        message.returned(20, 1),
    ]
    .concat();
    // It may be of the thread's next call, whose look is still to come.
    assert_without_sender(&only(track(late.clone())));
    for next in [another_after(&message), another(&message, 1)] {
        let transfers = track([late.clone(), next.queued(30)].concat());
        let [delivered, queued] = transfers.as_slice() else {
            panic!("{transfers:?}");
        };
        assert_eq!(delivered.sender.as_ref().unwrap().t_ns, 5);
        assert_eq!(verdict(delivered), Some(Verdict::Same));
        assert_eq!(queued.sender.as_ref().unwrap().t_ns, 30);
    }
    // What it finds may be another thread's at the same address, and the one that was read its own.
    let transfers = track([late, message.queued(30)].concat());
    transfers
        .iter()
        .for_each(|one| assert_eq!(one.sender, None, "{one:?}"));
}

/// A `sendmmsg` has looked, found nothing, and does not know which of its messages that was for.
fn raced_in_batch(message: &Passing, t_ns: u64) -> Vec<Event> {
    let mut look = message.raced(t_ns);
    look.truncate(1);
    let Event::ListQueued(seen) = &mut look[0] else {
        panic!("{look:?}");
    };
    seen.files.clear();
    let head = head_mut(&mut look[0]);
    (head.count, head.total, head.files) = (0, 0, 0);
    head.call = OTHER_CALL;
    look
}

#[test]
fn what_was_sent_in_a_batch_is_not_the_next_calls() {
    let message = Passing::one();
    let read = [message.dequeued(10), message.returned(12, 1)].concat();
    for look in [5, 15] {
        let events = [
            read.clone(),
            raced_in_batch(&message, look),
            message.raced(25),
        ];
        assert_without_sender(&only(track(events.concat())));
    }
    // The control.
    let transfer = only(track([read, message.raced(25)].concat()));
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
}

#[test]
fn no_look_is_taken_of_a_thread_that_may_have_sent_through_io_uring() {
    let message = Passing::one();
    let course = |flags| {
        let mut look = message.raced(25);
        head_mut(&mut look[0]).flags |= flags;
        let events = [message.dequeued(10), message.returned(12, 1), look];
        only(track(events.concat()))
    };
    assert_without_sender(&course(FLAG_HAS_URING));
    // The control.
    assert_eq!(verdict(&course(0)), Some(Verdict::Same));
}

#[test]
fn what_no_look_will_tell_of_any_more_is_not_waited_for() {
    const SECOND: u64 = 1_000_000_000;
    let message = Passing::one();
    let read = [message.dequeued(10), message.returned(20, 1)].concat();
    let settled = |events: Vec<Event>| {
        let mut tracker = tracker();
        events.into_iter().for_each(|event| tracker.apply(event));
        assert!(!tracker.settle(20 + SECOND));
        assert!(tracker.take_closed().is_empty());
        assert!(tracker.settle(21 + SECOND));
        only(tracker.take_closed())
    };
    assert_without_sender(&settled(read.clone()));
    // The thread has sent nothing since its look, or it would have looked again.
    let transfer = settled([message.raced(5), read].concat());
    assert_eq!(transfer.sender.as_ref().unwrap().t_ns, 5);
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
}

#[test]
fn a_look_may_be_told_before_the_read_that_it_came_after() {
    let message = Passing::one();
    let events = [
        message.raced(15),
        message.dequeued(10),
        message.returned(20, 1),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(transfer.sender.as_ref().unwrap().t_ns, 15);
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
}

#[test]
fn a_look_whose_list_went_away_is_not_taken_for_a_later_message_at_its_address() {
    let message = Passing::one();
    let mut look = message.queued(5);
    head_mut(&mut look[0]).flags |= FLAG_RACED;
    let read = [message.dequeued(20), message.returned(22, 1)].concat();
    // By the thread's next look its list was gone, and the reader was still busy with another.
    let next = another(&message, 1);
    let next = [next.queued(8), next.dequeued(9), next.returned(10, 1)].concat();
    let transfers = track([look.clone(), next, read.clone()].concat());
    assert_without_sender(&transfers[1]);
    // Nor for one with the same file at another address.
    let other = another(&message, 1);
    let other = [other.dequeued(9), other.returned(10, 1)].concat();
    let transfers = track([look.clone(), other.clone()].concat());
    assert_without_sender(&only(transfers));
    // The control: it has not looked again, and its look may take its time.
    let transfers = track([look, other, read].concat());
    let sent: Vec<Option<u64>> = transfers
        .iter()
        .map(|one| one.sender.as_ref().map(|sender| sender.t_ns))
        .collect();
    // What is without a sender is told of last.
    assert_eq!(sent, [Some(5), None]);
}

#[test]
fn a_look_that_found_nothing_is_not_taken_for_a_message_that_has_a_sender() {
    // The read of what the second look was for has not been told yet.
    let message = Passing::one();
    let events = [
        message.dequeued(10),
        message.queued(9),
        message.raced(25),
        message.returned(30, 1),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(transfer.sender.as_ref().unwrap().t_ns, 9);
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
}

#[test]
fn a_look_on_another_socket_is_not_taken() {
    let message = Passing::one();
    let course = |to_sock, to_ino| {
        let mut look = message.raced(25);
        let head = head_mut(&mut look[0]);
        (head.sender_sock, head.sender_ino) =
            (head.sender_sock + to_sock, head.sender_ino + to_ino);
        let events = [message.dequeued(10), message.returned(20, 1), look];
        only(track(events.concat()))
    };
    assert_without_sender(&course(0x1000, 1));
    // The control.
    assert_eq!(verdict(&course(0, 0)), Some(Verdict::Same));
}

#[test]
fn a_look_for_other_files_disputes_nothing() {
    let message = Passing::one();
    let events = [
        another_after(&message).raced(5),
        message.dequeued(10),
        message.returned(20, 1),
        message.raced(25),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(transfer.sender.as_ref().unwrap().t_ns, 25);
}

#[test]
fn a_look_does_not_wait_for_ever() {
    let message = Passing::one();
    let course = |next| {
        let events = [
            message.raced(5),
            another(&message, 1).queued(next),
            message.dequeued(3),
            message.returned(20, 1),
        ];
        let transfers = track(events.concat());
        transfers
            .into_iter()
            .find(|one| one.fate() == Fate::Delivered)
            .expect("it was")
    };
    assert_without_sender(&course(5_000_000_000));
    // The control.
    assert_eq!(verdict(&course(3_000_000_000)), Some(Verdict::Same));
}

#[test]
fn one_of_two_looks_is_taken_when_the_other_has_its_message() {
    let first = Passing::one();
    let second = another(&first, 1);
    let events = [
        first.raced(5),
        first.dequeued(10),
        first.returned(12, 1),
        second.dequeued(20),
        second.returned(22, 1),
        // The second was read after the first, which was not before 10.
        second.raced(25),
    ];
    let transfers = track(events.concat());
    let mut times: Vec<(u64, u64)> = transfers
        .iter()
        .map(|one| (one.hops[0].t_ns, one.sender.as_ref().unwrap().t_ns))
        .collect();
    times.sort_unstable();
    assert_eq!(times, [(10, 5), (20, 25)]);
}

#[test]
fn a_look_is_not_taken_if_two_messages_may_be_its() {
    // One of them was sent by a call whose look was not seen.
    let first = Passing::one();
    let second = another(&first, 1);
    let course = |look_between: Vec<Event>| {
        let events = [
            first.dequeued(10),
            first.returned(12, 1),
            look_between,
            second.dequeued(20),
            second.returned(22, 1),
            second.raced(25),
        ];
        let transfers = track(events.concat());
        assert_eq!(transfers.len(), 2);
        transfers
    };
    course(Vec::new()).iter().for_each(assert_without_sender);
    // The control.
    for transfer in course(first.raced(15)) {
        assert_eq!(verdict(&transfer), Some(Verdict::Same));
    }
    // The second is still being read when the thread looks.
    let events = [
        first.dequeued(10),
        first.returned(12, 1),
        second.dequeued(20),
        second.raced(25),
        second.returned(30, 1),
    ];
    track(events.concat())
        .iter()
        .for_each(assert_without_sender);
}

#[test]
fn a_look_is_not_taken_when_too_many_wait_to_be_kept() {
    let message = Passing::one();
    let course = |others: u64| {
        let others = (0..others).flat_map(|number| {
            let other = Passing {
                sender: 1000 + number as u32,
                ..another_after(&message)
            };
            let mut look = other.raced(6 + number);
            // Each on a socket of its own.
            head_mut(&mut look[0]).sender_ino = 1000 + number;
            head_mut(&mut look[0]).sender_sock += 0x1_0000 * (number + 1);
            look
        });
        let events = [
            message.dequeued(200),
            message.returned(210, 1),
            message.raced(220),
        ];
        only(track(others.chain(events.concat()).collect::<Vec<_>>()))
    };
    assert_eq!(verdict(&course(63)), Some(Verdict::Same));
    // One had to go, which may have been for this message.
    assert_without_sender(&course(64));
}
