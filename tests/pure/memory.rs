//! The tracker's memory, without a kernel: a trace may last for days, and what a message waits for
//! may never come. What is kept is bounded then, the oldest leave first, and it is counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use fdtrace::model::Fate;
use fdtrace_testkit::{Event, Passing, RECVMSG, files_mut, head_mut, tracker, tracker_with_room};

/// Counts the bytes that this thread has in use: other tests run beside these.
struct Counting;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    // Threads end with what others have used of theirs, and then there is nothing to count with.
    let _ = IN_USE.try_with(|in_use| in_use.set(in_use.get() + size));
}

fn in_use() -> usize {
    IN_USE.get().unsigned_abs()
}

// SAFETY: all it does is the system's allocator's, and counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as asked of this.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as asked of this.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A message of its own: every address and every thread is another than in those before.
fn message(number: u64, files: u64) -> Passing {
    let address = 0xffff_8880_0000_0000 + number * 0x1_0000;
    Passing {
        list: address,
        skb: address + 0x8000,
        sender: 1_000_000 + number as u32,
        receiver: 2_000_000_000 + number as u32,
        files: (0..files)
            .map(|file| address + 0x1000 + file * 0x20)
            .collect(),
        ..Passing::one()
    }
}

/// What a message leaves behind that never ends, in every way that there is.
fn unfinished(number: u64) -> Vec<Event> {
    let message = message(number, 1 + number % 3);
    let mut events = vec![Event::SocketNamed {
        // Of a queueing that is lost.
        head: *head_mut(&mut message.queued(1)[0]),
        name: vec![b'x'; 100],
    }];
    let origin = message.list + 0x10;
    match number % 6 {
        0 => events.extend(message.queued(1)),
        1 => {
            events.extend(message.queued(1));
            events.extend(message.dequeued(2));
        }
        // The next message takes its address before the receive has returned.
        2 => {
            events.extend(message.queued(1));
            events.extend(message.dequeued(2));
            events.extend(message.queued(3));
        }
        // A peek whose duplicate is never given back.
        3 => {
            events.extend(message.queued(1));
            let mut duplicated = message.duplicated(2, message.list);
            head_mut(&mut duplicated[0]).list = origin;
            events.extend(duplicated);
            let mut detached = message.detached(3);
            head_mut(&mut detached[0]).list = origin;
            events.extend(detached);
        }
        // A duplicate of which nothing else is heard, and the functions of an end that is not.
        4 => {
            events.extend(message.duplicated(1, origin));
            events.extend(message.called(&["unix_gc", "__unix_gc"]));
        }
        // A send whose return is not seen.
        _ => {
            events.extend(message.copied(1));
            events.extend(message.released(2, message.sender, 46));
        }
    }
    events
}

#[test]
fn what_never_ends_takes_no_more_memory_however_long_it_goes_on() {
    const ROOM: usize = 1500;
    let mut tracker = tracker_with_room(ROOM);
    let mut ended = 0;
    let mut at_most = [0, 0];
    let number = 30_000;
    for (half, most) in at_most.iter_mut().enumerate() {
        for number in half as u64 * number..(half as u64 + 1) * number {
            for event in unfinished(number) {
                tracker.apply(event);
            }
            ended += tracker.take_closed().len();
            *most = (*most).max(in_use());
        }
    }
    let [first, second] = at_most;
    // The first half has filled everything there is to fill.
    assert!(
        second < first + first / 10,
        "{first} bytes at most, and then {second}"
    );
    assert!(second < 20 << 20, "{second} bytes");
    assert!(tracker.forgotten() > 50_000, "{}", tracker.forgotten());
    assert!(ended > 50_000, "{ended}");
}

#[test]
fn a_message_that_is_looked_at_over_and_over_does_not_grow() {
    let message = message(1, 3);
    let mut tracker = tracker();
    for event in message.queued(1) {
        tracker.apply(event);
    }
    let look = |tracker: &mut fdtrace_testkit::Tracker, t_ns| {
        for event in message.dequeued(t_ns) {
            tracker.apply(event);
        }
    };
    look(&mut tracker, 2);
    let before = in_use();
    for t_ns in 3..50_000 {
        look(&mut tracker, t_ns);
    }
    let after = in_use();
    assert!(after < before + 64 * 1024, "{before} bytes, then {after}");
    // And it is still the message that it was.
    for event in message.returned(60_000, 3) {
        tracker.apply(event);
    }
    let transfers = tracker.take_closed();
    assert_eq!(transfers.len(), 3);
    assert!(transfers.iter().all(|it| it.fate() == Fate::Delivered));
}

#[test]
fn the_oldest_leave_first_and_none_without_an_end() {
    // Each message counts as one more than its two files, and an eighth goes at a time.
    const ROOM: usize = 60 * 3;
    let mut tracker = tracker_with_room(ROOM);
    for number in 0..200 {
        for event in message(number, 2).queued(1000 + number) {
            tracker.apply(event);
        }
    }
    let gone = tracker.forgotten();
    assert!((200 - 60..=200 - 52).contains(&gone), "{gone}");
    let forgotten = tracker.take_closed();
    let messages: Vec<u64> = forgotten.iter().map(|it| it.message).collect();
    let expected: Vec<u64> = (1..=gone).flat_map(|id| [id, id]).collect();
    assert_eq!(messages, expected);
    assert!(forgotten.iter().all(|it| it.fate() == Fate::Unknown));
    tracker.close_open();
    let kept = tracker.take_closed();
    assert_eq!(kept.len() as u64, 2 * (200 - gone));
    assert!(kept.iter().all(|it| it.fate() == Fate::Queued));
}

#[test]
fn the_receive_of_a_forgotten_message_is_shown_without_its_sender() {
    let mut tracker = tracker_with_room(4);
    let old = message(0, 1);
    let mut events = old.queued(1);
    for number in 1..4 {
        events.extend(message(number, 1).queued(1 + number));
    }
    events.extend(old.dequeued(10));
    events.extend(old.returned(11, 1));
    for event in events {
        tracker.apply(event);
    }
    tracker.close_open();
    let transfers = tracker.take_closed();
    let delivered: Vec<_> = transfers
        .iter()
        .filter(|it| it.fate() == Fate::Delivered)
        .collect();
    assert_eq!(delivered.len(), 1);
    assert!(delivered[0].sender.is_none());
    assert_eq!(delivered[0].receiver().unwrap().fd, Some(9));
}

#[test]
fn a_trace_that_keeps_up_forgets_nothing() {
    let mut tracker = tracker_with_room(4);
    for number in 0..1000 {
        for event in message(number, 1).delivered(1000 + number * 100) {
            tracker.apply(event);
        }
        let transfers = tracker.take_closed();
        assert_eq!(transfers.len(), 1);
        assert_eq!(transfers[0].fate(), Fate::Delivered);
    }
    // A receive whose files are another's by now changes nothing about that.
    let mut read = message(2000, 1).returned_with(5, RECVMSG, 0, Vec::new());
    assert!(files_mut(&mut read[0]).is_empty());
    tracker.apply(read.remove(0));
    assert_eq!(tracker.forgotten(), 0);
}
