//! Sends that the kernel starts again: after a signal, or for an io_uring.

use fdtrace::model::{CauseMissing, Fate, Transfer};
use fdtrace_common::records::Head;
use fdtrace_testkit::{Event, OTHER_CALL, Passing, head_mut, track, tracker, tracker_with_room};

use super::{DELIVERED, failed, fates, three};

const ERESTARTSYS: i32 = 512;

/// A send that a signal interrupted at `t_ns`, as each mechanism shows it.
fn interrupted(message: &Passing, by_functions: bool, t_ns: u64) -> Vec<Event> {
    match by_functions {
        true => [
            message.copied(t_ns),
            message.released(t_ns + 1, message.sender, 46),
            message.send_returned(t_ns + 2, t_ns, -ERESTARTSYS),
        ]
        .concat(),
        false => message.send_failed(t_ns, -ERESTARTSYS),
    }
}

fn queued_by(message: &Passing, by_functions: bool, t_ns: u64) -> Vec<Event> {
    match by_functions {
        true => [
            message.copied(t_ns),
            message.attached(t_ns + 1, 0),
            message.edged(t_ns + 2),
        ]
        .concat(),
        false => message.queued(t_ns),
    }
}

#[test]
fn a_send_that_is_restarted_after_signals_is_one() {
    let message = three();
    let delivered = |by_functions| {
        let read = message.dequeued(60);
        match by_functions {
            true => [
                read,
                message.detached(61),
                message.installed(62, 0, 9),
                message.installed(64, 1, 10),
                message.installed(66, 2, 11),
                message.released(68, 200, 47),
            ]
            .concat(),
            false => [read, message.returned(70, 3)].concat(),
        }
    };
    for by_functions in [true, false] {
        let events = [
            interrupted(&message, by_functions, 10),
            interrupted(&message, by_functions, 20),
            interrupted(&message, by_functions, 30),
            queued_by(&message, by_functions, 40),
            delivered(by_functions),
        ];
        assert_eq!(fates(&events), [DELIVERED; 3]);
        // A signal's handler may send something itself before that.
        let other = Passing {
            list: 0xb0,
            skb: 0xb1,
            sender_fd: 40,
            files: vec![0x9000],
            ..Passing::one()
        };
        let events = [
            interrupted(&message, by_functions, 10),
            queued_by(&other, by_functions, 20),
            queued_by(&message, by_functions, 40),
        ];
        assert_eq!(fates(&events), [(Fate::Queued, None); 4]);
        // It may fail then.
        let events = match by_functions {
            true => [
                interrupted(&message, true, 10),
                message.copied(20),
                message.released(21, 100, OTHER_CALL),
                message.send_returned(22, 20, -libc::EPIPE),
            ]
            .concat(),
            false => [
                interrupted(&message, false, 10),
                message.send_failed(20, -libc::EPIPE),
            ]
            .concat(),
        };
        assert_eq!(fates(&[events]), [failed(libc::EPIPE); 3]);
    }
}

#[test]
fn a_send_that_does_not_come_back_after_a_signal_has_failed_for_no_known_cause() {
    let message = Passing::one();
    for by_functions in [true, false] {
        let ended = |then: Vec<Event>| {
            let events = [interrupted(&message, by_functions, 10), then].concat();
            let transfers = track(events);
            let it = |transfer: &&Transfer| {
                let sender = transfer.sender.as_ref();
                sender.is_some_and(|sender| sender.fd == Some(4))
            };
            let interrupted = transfers.iter().find(it).unwrap();
            (
                interrupted.fate(),
                interrupted.cause(),
                interrupted.cause_missing(),
            )
        };
        let not_known = (Fate::Failed, None, Some(CauseMissing::Interrupted));
        assert_eq!(ended(Vec::new()), not_known);
        // The same number is another file's by then, or another thread's.
        let other = Passing {
            list: 0xb0,
            files: vec![0x9000],
            sender_fd: 5,
            ..Passing::one()
        };
        assert_eq!(ended(queued_by(&other, by_functions, 20)), not_known);
        // The control: its coming back may be among what was lost.
        let mut later = Passing {
            list: 0xb0,
            sender: 300,
            sender_fd: 9,
            ..Passing::one()
        }
        .queued(90);
        head_mut(&mut later[0]).epoch = 50;
        assert_eq!(ended(later), (Fate::Unknown, None, None));
    }
}

#[test]
fn a_send_comes_back_only_with_the_same_files_and_numbers_through_the_same_socket() {
    let message = Passing {
        files: vec![0x1000, 0x2000],
        ..Passing::one()
    };
    let came_back = |by_functions, other: Passing, change: fn(&mut Head)| {
        let again = Passing {
            list: 0xb0,
            ..other
        };
        let mut again = queued_by(&again, by_functions, 20);
        again.iter_mut().for_each(|event| change(head_mut(event)));
        let events = [interrupted(&message, by_functions, 10), again];
        let failed = track(events.concat())
            .iter()
            .filter(|transfer| transfer.fate() == Fate::Failed)
            .count();
        assert!([0, 2].contains(&failed), "all of a send, or nothing");
        failed == 0
    };
    let with = |files: &[u64], sender_fd| Passing {
        files: files.to_vec(),
        sender_fd,
        ..Passing::one()
    };
    for by_functions in [true, false] {
        let same = || with(&[0x1000, 0x2000], 4);
        assert!(came_back(by_functions, same(), |_| {}));
        // Other numbers, another first or second file, fewer or more of them.
        for other in [
            with(&[0x1000, 0x2000], 5),
            with(&[0x3000, 0x2000], 4),
            with(&[0x1000, 0x3000], 4),
            with(&[0x1000], 4),
            with(&[0x1000, 0x2000, 0x3000], 4),
        ] {
            assert!(!came_back(by_functions, other.clone(), |_| {}), "{other:?}");
        }
        // Another socket.
        assert!(!came_back(by_functions, same(), |head| head.sender_sock += 64));
    }
}

#[test]
fn an_interrupted_send_is_told_of_soon_after_its_thread_has_gone_on() {
    const SECOND: u64 = 1_000_000_000;
    let message = Passing::one();
    let other = Passing {
        list: 0xb0,
        sender_fd: 9,
        files: vec![0x9000],
        ..Passing::one()
    };
    let told = |goes_on: bool, until: u64| {
        let mut tracker = tracker();
        let then = if goes_on {
            other.queued(20)
        } else {
            Vec::new()
        };
        for event in [interrupted(&message, false, 10), then].concat() {
            tracker.apply(event);
        }
        tracker.settle(until);
        tracker.take_closed().len()
    };
    assert_eq!(told(true, 3 * SECOND), 1);
    // A handler may have sent it, or the process may stand still.
    assert_eq!(told(true, SECOND / 2), 0);
    assert_eq!(told(true, SECOND + 20), 0);
    assert_eq!(told(false, 3 * SECOND), 0);
}

#[test]
fn too_many_interrupted_sends_are_forgotten_and_not_called_failed() {
    const SENDS: u32 = 9000;
    let mut tracker = tracker_with_room(16_384);
    for sender in 1..=SENDS {
        let message = Passing {
            sender,
            ..Passing::one()
        };
        for event in interrupted(&message, false, sender.into()) {
            tracker.apply(event);
        }
    }
    let gone = tracker.take_closed();
    assert!(gone.iter().all(|transfer| transfer.fate() == Fate::Unknown));
    assert_eq!(tracker.forgotten(), gone.len() as u64);
    assert!(!gone.is_empty());
    tracker.close_open();
    let kept = tracker.take_closed();
    assert_eq!(gone.len() + kept.len(), SENDS as usize);
    // As after a loss, nothing is proved across that moment.
    assert!(kept.iter().all(|transfer| transfer.receiver().is_none()));
}

/// A send that found no room, in these functions.
fn without_room(message: &Passing, t_ns: u64, called: &str) -> Vec<Event> {
    let mut called = message.called(&["unix_dgram_sendmsg", called]);
    let head = head_mut(&mut called[0]);
    (head.list, head.tid) = (0, message.sender);
    [
        message.copied(t_ns),
        message.released(t_ns + 1, message.sender, 426),
        called,
        message.send_returned(t_ns + 2, t_ns, -libc::EAGAIN),
    ]
    .concat()
}

#[test]
fn what_io_uring_tries_again_has_not_failed() {
    let message = Passing::one();
    let again = Passing {
        list: 0xc0,
        skb: 0xc1,
        ..Passing::one()
    };
    let queued = (Fate::Queued, None);
    // Its worker has another thread's number.
    let mut by_worker = queued_by(&again, true, 90);
    for event in &mut by_worker {
        head_mut(event).tid += 1;
    }
    let first = without_room(&message, 10, "io_sendmsg");
    assert_eq!(fates(&[first.clone(), by_worker.clone()]), [queued]);
    // One that does not come back is not in a queue.
    let transfers = track(first);
    assert_eq!(transfers[0].fate(), Fate::Failed);
    assert_eq!(
        transfers[0].cause_missing(),
        Some(CauseMissing::Interrupted)
    );
    // The control: a call that does not wait has failed.
    let call = without_room(&message, 10, "io_recvmsg");
    assert_eq!(fates(&[call]), [failed(libc::EAGAIN)]);
}

#[test]
fn what_io_uring_sends_within_a_call_is_not_that_calls() {
    let message = Passing::one();
    let mut called = message.called(&["unix_stream_sendmsg", "io_sendmsg"]);
    let head = head_mut(&mut called[0]);
    (head.list, head.tid) = (0, message.sender);
    let failed_by_uring = [called, message.send_failed(20, -libc::EPIPE)].concat();
    let queued = [(Fate::Queued, None)];
    assert_eq!(
        fates(&[failed_by_uring.clone(), message.queued(30)]),
        queued
    );
    // The control: its own failure is.
    assert_eq!(
        fates(&[message.send_failed(20, -libc::EPIPE)]),
        [failed(libc::EPIPE)]
    );
}
