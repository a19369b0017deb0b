//! What a filter may want of messages whose sender is not known.

use fdtrace::model::{Fate, Transfer};
use fdtrace_common::records::{FLAG_DISPUTED, FLAG_FIRST_SEEN, FLAG_WANTED};
use fdtrace_testkit::{Event, Passing, head_mut, track};

/// A wanted task sends on the socket of `passing`, and what it sends cannot be read.
fn wanted_sender(passing: &Passing, t_ns: u64) -> Vec<Event> {
    let mut events = passing.queued(t_ns);
    let mut head = *head_mut(&mut events[0]);
    (head.list, head.skb, head.count) = (0, 0, 0);
    head.flags = FLAG_WANTED;
    vec![Event::SenderWanted(head)]
}

fn flagged(mut events: Vec<Event>, flags: u16) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).flags |= flags;
    }
    events
}

fn only(events: Vec<Vec<Event>>) -> Transfer {
    let mut transfers = track(events.into_iter().flatten());
    assert_eq!(transfers.len(), 1, "{transfers:#?}");
    transfers.remove(0)
}

#[test]
fn what_nobody_known_has_sent_is_wanted_where_a_wanted_task_sends() {
    let passing = Passing::one();
    let received = || [passing.dequeued(2), passing.returned(3, 1)];
    let unread = wanted_sender(&passing, 4);
    let transfer = only([received().to_vec(), vec![unread.clone()]].concat());
    assert_eq!(transfer.fate(), Fate::Delivered);
    assert_eq!(transfer.sender, None);
    // The record came too late for it, and a message that is read next is judged by it.
    let transfer = only([vec![unread.clone()], received().to_vec()].concat());
    assert!(transfer.wanted && transfer.sender.is_none());

    // It says nothing of another socket, and a task that is not wanted says nothing at all.
    let mut elsewhere = unread.clone();
    head_mut(&mut elsewhere[0]).sender_ino += 1;
    let mut unwanted = unread;
    head_mut(&mut unwanted[0]).flags = 0;
    for other in [elsewhere, unwanted] {
        let transfer = only([vec![other], received().to_vec()].concat());
        assert!(!transfer.wanted, "{transfer:#?}");
    }
}

#[test]
fn a_sender_that_is_known_and_not_wanted_makes_nothing_wanted() {
    let passing = Passing::one();
    let transfer = only(vec![
        wanted_sender(&passing, 1),
        passing.queued(2),
        passing.dequeued(3),
        passing.returned(4, 1),
    ]);
    // Two threads send there, and one number stands for the file: it is the first one's.
    assert!(
        transfer.sender.is_some() && !transfer.wanted,
        "{transfer:#?}"
    );
}

#[test]
fn the_first_look_on_a_socket_is_given_no_message_that_it_did_not_find() {
    let passing = Passing::one();
    let raced = |flags| {
        only(vec![
            passing.dequeued(1),
            passing.returned(2, 1),
            flagged(passing.raced(3), FLAG_WANTED | flags),
        ])
    };
    // Others may have sent it, of whom nothing was told by then.
    let first = raced(FLAG_FIRST_SEEN);
    assert!(first.sender.is_none() && first.wanted, "{first:#?}");
    let later = raced(0);
    assert!(later.sender.is_some() && later.wanted, "{later:#?}");
}

#[test]
fn a_list_that_two_threads_have_taken_for_theirs_has_no_sender() {
    let passing = Passing::one();
    let queued = |flags| {
        only(vec![
            flagged(passing.queued(1), flags),
            passing.dequeued(2),
            passing.returned(3, 1),
        ])
    };
    assert_eq!(queued(FLAG_DISPUTED).sender, None);
    assert!(queued(0).sender.is_some());
}
