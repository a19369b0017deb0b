//! From records to events: the parts of one hop are one event, whatever comes between them, and what is
//! lost of it ends where the hop's records end.

use fdtrace::wire::{Assembler, Event, EventKind, Record};
use fdtrace_testkit::{Event as Written, Passing, address_of, head_mut};

const SECOND: u64 = 1_000_000_000;

/// A message of 40 files, which takes three records at each hop.
fn long() -> Passing {
    Passing {
        files: (1..=40).map(|file| file << 8).collect(),
        ..Passing::one()
    }
}

fn assembler() -> Assembler {
    Assembler::new(Box::new(|address| {
        (address == address_of("unix_gc")).then(|| "unix_gc".to_owned())
    }))
}

/// The events of these records, and then those of which no more came.
fn assembled(records: Vec<Written>) -> (Vec<Event>, Vec<Event>) {
    let mut assembler = assembler();
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    for record in records {
        assembler.take(Record::from(record), &mut |event| whole.push(event.clone()));
    }
    assembler.end(&mut |event| cut.push(event.clone()));
    (whole, cut)
}

/// Which list, and how many of its files.
fn lens(events: &[Event]) -> Vec<(u64, usize)> {
    let of = |event: &Event| {
        event
            .seen
            .stamp
            .list
            .map_or(0, fdtrace::wire::List::address)
    };
    let of = |event: &Event| (of(event), event.seen.files.len());
    events.iter().map(of).collect()
}

#[test]
fn the_parts_of_a_hop_are_one_event() {
    let message = long();
    let records = message.dequeued(10);
    assert_eq!(records.len(), 3);
    let (whole, cut) = assembled(records);
    assert_eq!(lens(&whole), [(message.list, 40)]);
    assert!(cut.is_empty());
    let files: Vec<u64> = whole[0].seen.files.iter().map(|it| it.file.ptr).collect();
    assert_eq!(files, message.files);
}

#[test]
fn what_an_interrupt_brings_into_the_thread_does_not_part_them() {
    let message = long();
    let other = Passing {
        list: 0xbeef_0000,
        ..Passing::one()
    };
    // Both are freed unread in the same thread, the second while the first one's records are written.
    let mut records = message.destroyed(10, 0, 300);
    records.splice(1..1, other.destroyed(11, 0, 300));
    let (whole, cut) = assembled(records);
    assert_eq!(lens(&whole), [(other.list, 1), (message.list, 40)]);
    assert!(cut.is_empty());
}

#[test]
fn the_next_list_at_its_address_does_not_part_a_receive_that_returns() {
    let message = long();
    let mut records = message.returned(10, 40);
    let next = Passing {
        sender: 77,
        ..Passing::one()
    };
    records.splice(1..1, next.queued(11));
    let (whole, cut) = assembled(records);
    assert_eq!(lens(&whole), [(message.list, 1), (message.list, 40)]);
    assert!(cut.is_empty());
}

#[test]
fn a_hop_whose_last_records_are_lost_is_as_long_as_the_others() {
    let message = long();
    let mut queued = message.queued(10);
    queued.pop();
    // The next hop of the list shows that no more is to come.
    let (whole, cut) = assembled([queued.clone(), message.dequeued(20)].concat());
    assert_eq!(lens(&whole), [(message.list, 32), (message.list, 40)]);
    assert!(cut.is_empty());
    // So does the next such hop of the thread at that address.
    let (whole, _) = assembled([queued.clone(), message.queued(30)].concat());
    assert_eq!(lens(&whole), [(message.list, 32), (message.list, 40)]);
    // And time, which a preempted program may take, up to a second.
    let mut assembler = assembler();
    let mut events = Vec::new();
    for record in queued {
        assembler.take(Record::from(record), &mut |event| {
            events.push(event.clone());
        });
    }
    assembler.settle(10 + SECOND, &mut |event| events.push(event.clone()));
    assert!(events.is_empty());
    assembler.settle(11 + SECOND, &mut |event| events.push(event.clone()));
    assert_eq!(lens(&events), [(message.list, 32)]);
}

#[test]
fn a_part_behind_one_that_is_missing_is_an_event_of_its_own() {
    let message = long();
    let mut records = message.dequeued(10);
    records.remove(1);
    let (whole, cut) = assembled(records);
    assert_eq!(lens(&whole), [(message.list, 16), (message.list, 8)]);
    assert_eq!(whole[1].seen.first, 32);
    assert!(cut.is_empty());
    // The part of another hop is none of this one's, though it would fit.
    let mut records = message.dequeued(10);
    records.truncate(1);
    records.extend(message.dequeued(20).into_iter().skip(1));
    let (whole, _) = assembled(records);
    assert_eq!(lens(&whole), [(message.list, 16), (message.list, 24)]);
}

#[test]
fn a_backtrace_is_of_the_next_end_of_its_list_or_of_its_threads_send() {
    let message = Passing::one();
    let other = Passing {
        list: 0xbeef_0000,
        ..Passing::one()
    };
    let backtraces = |records: Vec<Written>| -> Vec<bool> {
        let (whole, _) = assembled(records);
        let ends = whole.iter().filter(|event| {
            !matches!(
                event.kind,
                EventKind::ListQueued(_) | EventKind::ListDequeued
            )
        });
        ends.map(|event| !event.seen.aside.backtrace.is_empty())
            .collect()
    };
    let records = [
        message.called(&["unix_gc"]),
        message.queued(1),
        other.destroyed(3, 0, 300),
        message.destroyed(4, 0, 300),
        message.destroyed(5, 0, 300),
    ];
    assert_eq!(backtraces(records.concat()), [false, true, false]);
    // The list of a send that failed is gone: its thread tells.
    let mut of_send = message.called(&["unix_gc"]);
    let head = head_mut(&mut of_send[0]);
    (head.list, head.tid) = (0, message.sender);
    let returned = message.send_returned(2, 1, -libc::EAGAIN);
    assert_eq!(backtraces([of_send, returned].concat()), [true]);
}
