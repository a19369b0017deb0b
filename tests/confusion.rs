//! Orders of events that adversaries brought about, in which one message could be taken for
//! another: what cannot be told apart has to stay open.

mod support;

use fdtrace::{
    event::Event,
    plan::Hop,
    tracker::{Cause, Chain, Fate, Transfer},
    verdict::{self, Verdict},
};
use fdtrace_common::records::{FLAG_PEEK, FLAG_RACED, FLAG_TABLE_SHARED};
use support::{Passing, SYS_READ, SYS_RECVMSG, files_mut, head_mut, tracepoint_plan, tracker};

const SYS_RECVMMSG: i32 = 299;

fn track(events: impl IntoIterator<Item = Event>) -> Vec<Transfer> {
    let mut tracker = tracker();
    for event in events {
        tracker.apply(event);
    }
    tracker.close_open();
    tracker.take_closed()
}

fn only(transfers: Vec<Transfer>) -> Transfer {
    let [transfer] = <[Transfer; 1]>::try_from(transfers).expect("there is one");
    transfer
}

fn verdict(transfer: &Transfer) -> Option<Verdict> {
    verdict::of_transfer(transfer, &tracepoint_plan(), true)
}

/// The transfer was delivered, and nobody is named as its sender.
fn assert_without_sender(transfer: &Transfer) {
    assert_eq!(transfer.fate, Fate::Delivered, "{transfer:?}");
    assert_eq!(transfer.sender, None, "{transfer:?}");
    assert_eq!(verdict(transfer), Some(Verdict::Unverified), "{transfer:?}");
    // The look of a thread that may not have sent it is no hop of its way.
    let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
    assert!(!hops.contains(&Hop::Queue), "{transfer:?}");
    assert_eq!(transfer.queued_ns, None, "{transfer:?}");
}

/// The same events in another thread of the sender, which has the files under numbers of its own.
fn by_thread(tid: u32, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).tid = tid;
        for file in files_mut(event) {
            file.fd += 10;
        }
    }
    events
}

fn with_refs(refs: i64, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        for file in files_mut(event) {
            file.refs = refs;
        }
    }
    events
}

/// The sender's hook looked, and the list was gone.
fn raced(message: &Passing, t_ns: u64) -> Vec<Event> {
    let mut events = message.queued(t_ns);
    for event in &mut events {
        let head = head_mut(event);
        head.flags |= FLAG_RACED;
        (head.list, head.skb) = (0, 0);
    }
    events
}

/// Another list, through the same sockets.
fn another(message: &Passing, number: u64) -> Passing {
    Passing {
        list: message.list + number * 0x1000,
        skb: message.skb + number * 0x100,
        ..message.clone()
    }
}

#[test]
fn a_list_that_two_threads_take_for_theirs_has_no_sender() {
    let message = Passing::one();
    let second = by_thread(101, message.queued(12));
    let events = [
        message.queued(10),
        second.clone(),
        message.dequeued(20),
        message.returned(30, 1),
    ];
    assert_without_sender(&only(track(events.concat())));
    // The receiver may have begun to read it before the second thread looks.
    let events = [
        message.queued(10),
        message.dequeued(11),
        second,
        message.returned(30, 1),
    ];
    assert_without_sender(&only(track(events.concat())));
}

#[test]
fn a_list_at_the_address_of_one_whose_end_went_unseen_has_its_own_sender() {
    // The control: other files cannot be the same list.
    let first = Passing::one();
    let second = Passing {
        files: vec![0xffff_8881_2222_0000],
        ..first.clone()
    };
    let events = [
        first.queued(10),
        by_thread(101, second.queued(12)),
        second.dequeued(20),
        second.returned(30, 1),
    ];
    let transfers = track(events.concat());
    assert_eq!(transfers.len(), 2);
    assert_eq!(transfers[0].fate, Fate::Unknown);
    assert_eq!(transfers[1].sender.as_ref().unwrap().tid, 101);
    assert_eq!(verdict(&transfers[1]), Some(Verdict::Same));
}

#[test]
fn on_a_shared_socket_a_file_with_other_numbers_may_be_anybodys() {
    let first = Passing::one();
    let second = another(&first, 1);
    let course = |refs| {
        let events = [
            first.delivered(10),
            with_refs(refs, by_thread(101, second.queued(40))),
            second.dequeued(50),
            second.returned(60, 1),
        ];
        track(events.concat()).pop().unwrap()
    };
    assert_without_sender(&course(3));
    // The control: nobody else has it when the list and one number hold all references.
    let transfer = course(2);
    assert_eq!(transfer.sender.as_ref().unwrap().fd, Some(14));
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
    // Another control: the first thread alone may have as many numbers as it likes.
    let events = [first.delivered(10), with_refs(3, second.delivered(40))];
    assert_eq!(verdict(&track(events.concat())[1]), Some(Verdict::Same));
}

#[test]
fn a_look_is_not_taken_for_a_message_that_was_read_before_the_look_before() {
    let message = Passing::one();
    let next = another(&message, 1);
    let events = [
        message.dequeued(10),
        message.returned(20, 1),
        // The same thread has sent another one meanwhile, so its call at 40 began after 30.
        next.queued(30),
        raced(&message, 40),
    ];
    let transfers = track(events.concat());
    let delivered: Vec<&Transfer> = transfers
        .iter()
        .filter(|transfer| transfer.fate == Fate::Delivered)
        .collect();
    assert_without_sender(delivered[0]);
    // The control: without the one between, it is.
    let events = [
        message.dequeued(10),
        message.returned(20, 1),
        raced(&message, 40),
    ];
    assert_eq!(verdict(&only(track(events.concat()))), Some(Verdict::Same));
}

#[test]
fn a_look_is_not_taken_for_a_message_with_another_file_at_the_same_address() {
    let message = Passing::one();
    let mut late = raced(&message, 25);
    files_mut(&mut late[0])[0].ino += 1;
    let events = [message.dequeued(10), message.returned(20, 1), late];
    assert_without_sender(&only(track(events.concat())));
}

#[test]
fn a_look_that_saw_a_list_go_away_is_not_taken_if_the_file_is_not_the_senders() {
    let message = Passing::one();
    let mut late = raced(&message, 25);
    files_mut(&mut late[0])[0].slot += 0x100;
    let events = [message.dequeued(10), message.returned(20, 1), late];
    assert_without_sender(&only(track(events.concat())));
}

#[test]
fn a_look_on_a_shared_socket_is_not_taken() {
    let message = Passing::one();
    let events = [
        by_thread(101, another(&message, 1).delivered(1)),
        message.dequeued(30),
        message.returned(40, 1),
        raced(&message, 45),
    ];
    assert_without_sender(&track(events.concat())[1]);
}

#[test]
fn a_look_is_not_taken_while_another_number_of_the_file_waits_for_its_message() {
    let message = Passing::one();
    let under_another_number = Passing {
        sender_fd: 5,
        ..message.clone()
    };
    let events = [
        raced(&under_another_number, 5),
        message.dequeued(10),
        message.returned(20, 1),
        raced(&message, 25),
    ];
    assert_without_sender(&only(track(events.concat())));
    // The control: under the same number it makes no difference whose it was.
    let events = [
        raced(&message, 5),
        message.dequeued(10),
        message.returned(20, 1),
        raced(&message, 25),
    ];
    assert_eq!(verdict(&only(track(events.concat()))), Some(Verdict::Same));
}

#[test]
fn an_address_that_is_another_file_by_the_time_of_the_install_proves_nothing() {
    let message = Passing::one();
    let mut gained = message.gained(0);
    gained.ino += 1;
    let events = [
        message.queued(10),
        message.dequeued(20),
        message.returned_with(30, SYS_RECVMSG, 0, vec![gained]),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(transfer.fate, Fate::Delivered);
    assert_eq!(transfer.chain, Chain::Gap { hop: Hop::Install });
    assert_eq!(verdict(&transfer), Some(Verdict::Unverified));
}

/// A receive of two files whose table gained nothing, though the control message names `told`.
fn returned_without_new_numbers(told: u64, syscall: i32, flags: u16) -> Vec<(Fate, Option<Cause>)> {
    let message = Passing {
        files: vec![0x10_000, 0x20_000],
        ..Passing::one()
    };
    let mut events = [
        message.queued(10),
        message.dequeued(20),
        message.returned_with(30, syscall, flags, Vec::new()),
    ];
    head_mut(&mut events[2][0]).location = told;
    let transfers = track(events.concat());
    transfers
        .iter()
        .map(|transfer| (transfer.fate, transfer.cause))
        .collect()
}

#[test]
fn a_number_that_another_thread_closed_meanwhile_may_be_the_files() {
    let unknown = (Fate::Unknown, None);
    let truncated = (Fate::Truncated, Some(Cause::NoControlRoom));
    let fates = returned_without_new_numbers;
    assert_eq!(
        fates(1, SYS_RECVMSG, FLAG_TABLE_SHARED),
        [unknown, truncated]
    );
    // Where fdtrace does not see the control message, any may be.
    assert_eq!(fates(0, SYS_RECVMMSG, FLAG_TABLE_SHARED), [unknown; 2]);
    // The controls: nobody else could close it, or there is no control message at all.
    assert_eq!(fates(1, SYS_RECVMSG, 0), [truncated; 2]);
    assert_eq!(fates(0, SYS_RECVMMSG, 0), [truncated; 2]);
    let discarded = (Fate::Discarded, Some(Cause::PlainRead));
    assert_eq!(fates(0, SYS_READ, FLAG_TABLE_SHARED), [discarded; 2]);
}

#[test]
fn a_peek_whose_number_another_thread_closed_meanwhile_may_have_installed_it() {
    let message = Passing::one();
    let course = |flags| {
        let read = [message.queued(10), message.dequeued(20)].concat();
        let mut peek = message.returned_with(30, SYS_RECVMSG, FLAG_PEEK | flags, Vec::new());
        head_mut(&mut peek[0]).location = 1;
        track([read, peek].concat())
            .iter()
            .map(|transfer| transfer.fate)
            .collect::<Vec<_>>()
    };
    // The message itself is queued still.
    assert_eq!(course(FLAG_TABLE_SHARED), [Fate::Unknown, Fate::Queued]);
    assert_eq!(course(0), [Fate::Queued]);
}

#[test]
fn a_number_that_another_thread_gave_to_another_file_says_nothing_of_the_first() {
    let passing = Passing::one();
    let ending = |flags: u16| {
        let mut returned = passing.returned(3, 1);
        for event in &mut returned {
            let head = head_mut(event);
            head.flags |= flags;
            // The receiver's control message tells of one number.
            head.location = 1;
            for file in files_mut(event) {
                file.file += 0x100;
                file.ino += 1;
            }
        }
        let events = [passing.queued(1), passing.dequeued(2), returned].concat();
        only(track(events))
    };
    let replaced = ending(FLAG_TABLE_SHARED);
    assert_eq!(replaced.fate, Fate::Unknown, "{replaced:?}");
    assert_eq!(verdict(&replaced), Some(Verdict::Unverified));
    // Where nobody else has the table, the kernel itself has installed another file.
    assert_eq!(verdict(&ending(0)), Some(Verdict::Different));
}

/// The same message in another thread of the receiver, under other numbers there.
fn to_thread(tid: u32, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).tid = tid;
    }
    events
}

fn peeked(message: &Passing, t_ns: u64) -> Vec<Event> {
    message.returned_with(t_ns, SYS_RECVMSG, FLAG_PEEK, vec![message.gained(0)])
}

#[test]
fn a_peek_that_another_thread_overtakes_is_told_all_the_same() {
    let message = Passing::one();
    let first = [message.queued(10), message.dequeued(20)].concat();
    let first_returns = peeked(&message, 40);
    let second = to_thread(201, message.dequeued(30));
    let second_returns = to_thread(201, message.returned(50, 1));
    let transfers = track([first, second, first_returns, second_returns].concat());
    let fates: Vec<_> = transfers
        .iter()
        .map(|transfer| {
            let receiver = transfer.receiver.as_ref().unwrap();
            (transfer.fate, receiver.tid, verdict(transfer))
        })
        .collect();
    let same = Some(Verdict::Same);
    assert_eq!(
        fates,
        [(Fate::Peeked, 200, same), (Fate::Delivered, 201, same)]
    );
}

#[test]
fn who_takes_a_message_leaves_its_sender_nothing_to_do_with_what_another_thread_reads() {
    // The second message lies at the first one's address, on its skb, with its file; its sender's
    // hook found nothing.
    let message = Passing::one();
    let first = [message.queued(10), message.dequeued(20)].concat();
    let first_returns = message.returned(40, 1);
    let second = to_thread(201, message.dequeued(30));
    let second_returns = to_thread(201, message.returned(50, 1));
    let transfers = track([first, second, first_returns, second_returns].concat());
    let [first, second] = transfers.as_slice() else {
        panic!("{transfers:?}");
    };
    assert_eq!(first.receiver.as_ref().unwrap().tid, 200);
    assert_eq!(verdict(first), Some(Verdict::Same));
    assert_eq!(second.receiver.as_ref().unwrap().tid, 201);
    assert_ne!(first.message, second.message);
    assert_without_sender(second);
}

/// At the first one's address, on its skb, from its sender's socket.
fn another_after(first: &Passing) -> Passing {
    Passing {
        files: vec![0xffff_8881_2222_0000],
        ..first.clone()
    }
}

#[test]
fn a_message_whose_end_was_skipped_is_no_sender_of_the_next_at_its_address() {
    let first = Passing::one();
    let second = another_after(&first);
    let transfers = track(
        [
            first.queued(10),
            second.dequeued(20),
            second.returned(30, 1),
        ]
        .concat(),
    );
    let [ended, arrived] = transfers.as_slice() else {
        panic!("{transfers:?}");
    };
    assert_eq!(
        (ended.fate, ended.file.ptr),
        (Fate::Unknown, first.files[0])
    );
    assert_eq!(arrived.file.ptr, second.files[0]);
    assert_without_sender(arrived);
}

#[test]
fn a_look_at_the_queue_after_the_receive_is_of_the_next_message_at_that_address() {
    // The records come in this order where the program at the return is preempted. The second
    // message has the same file, from another thread: one that has looked since the first was read,
    // and so cannot have sent that.
    let first = Passing::one();
    let before = Passing {
        list: first.list + 0x1000,
        ..another_after(&first)
    };
    let events = [
        first.dequeued(20),
        by_thread(101, before.queued(25)),
        by_thread(101, first.queued(40)),
        first.returned(30, 1),
        to_thread(201, first.dequeued(50)),
        to_thread(201, first.returned(60, 1)),
    ];
    let transfers = track(events.concat());
    let to = |tid| {
        let receiver = |transfer: &&Transfer| transfer.receiver.as_ref().map(|it| it.tid);
        transfers
            .iter()
            .find(|transfer| receiver(transfer) == Some(tid))
            .unwrap()
    };
    assert_without_sender(to(200));
    assert_eq!(to(201).sender.as_ref().unwrap().tid, 101);
    assert_eq!(verdict(to(201)), Some(Verdict::Same));
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
    assert_eq!(transfer.fate, Fate::Delivered);
    assert_eq!(verdict(&transfer), Some(Verdict::Same));
    // One that began later has found another message, with the same file at the same address.
    let transfers = track([received, message.queued(21)].concat());
    let [delivered, queued] = transfers.as_slice() else {
        panic!("{transfers:?}");
    };
    assert_eq!(queued.fate, Fate::Queued);
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
    let fates: Vec<Fate> = transfers.iter().map(|transfer| transfer.fate).collect();
    assert_eq!(fates, [Fate::Peeked, Fate::Queued]);
    assert!(transfers.iter().all(|transfer| transfer.sender.is_some()));
}

#[test]
fn a_look_at_the_queue_that_found_another_file_is_of_another_message() {
    let first = Passing::one();
    let second = another_after(&first);
    let events = [
        first.dequeued(20),
        second.queued(40),
        first.returned(30, 1),
        second.destroyed(50, 0, 200),
    ];
    let transfers = track(events.concat());
    let of = |file| {
        let mut found = transfers.iter();
        found.find(|transfer| transfer.file.ptr == file).unwrap()
    };
    assert_without_sender(of(first.files[0]));
    assert_eq!(of(second.files[0]).fate, Fate::Discarded);
}

#[test]
fn an_end_with_another_file_in_the_list_is_another_messages() {
    let first = Passing::one();
    let second = another_after(&first);
    let transfers = track([first.queued(10), second.destroyed(20, 0, 200)].concat());
    let ends: Vec<_> = transfers
        .iter()
        .map(|transfer| (transfer.file.ptr, transfer.fate))
        .collect();
    let expected = [
        (first.files[0], Fate::Unknown),
        (second.files[0], Fate::Discarded),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn two_peeks_whose_duplicates_have_one_address_are_two() {
    let [first, second] = [Passing::one(), another_after(&Passing::one())].map(|message| {
        let list = message.list + message.files[0] % 0x1_0000_0000;
        Passing { list, ..message }
    });
    let duplicate = |message: &Passing| Passing {
        list: 0xffff_8881_7777_0000,
        ..message.clone()
    };
    let peek = |message: &Passing, t_ns| {
        let duplicate = duplicate(message);
        [
            duplicate.duplicated(t_ns, message.list),
            duplicate.detached(t_ns + 1),
            duplicate.installed(t_ns + 2, 0, 9),
        ]
        .concat()
    };
    // The end of the first was skipped.
    let events = [
        first.copied(10),
        second.copied(11),
        peek(&first, 20),
        peek(&second, 30),
        duplicate(&second).released(40, 200, SYS_RECVMSG),
    ];
    let peeks: Vec<_> = track(events.concat())
        .into_iter()
        .filter(|transfer| transfer.fate == Fate::Peeked)
        .map(|transfer| (transfer.file.ptr, transfer.chain))
        .collect();
    let whole = Chain::Whole;
    assert_eq!(peeks, [(first.files[0], whole), (second.files[0], whole)]);
}

#[test]
fn a_message_from_another_socket_is_another_though_its_file_is_the_same() {
    let first = Passing::one();
    let mut read = first.dequeued(20);
    head_mut(&mut read[0]).sender_sock += 0x1000;
    let transfers = track([first.queued(10), read, first.returned(30, 1)].concat());
    let [ended, arrived] = transfers.as_slice() else {
        panic!("{transfers:?}");
    };
    assert_eq!(ended.fate, Fate::Unknown);
    assert_without_sender(arrived);
}

#[test]
fn a_peek_of_another_message_than_the_one_that_is_known_is_none_of_that() {
    let first = Passing::one();
    let second = another_after(&first);
    let duplicate = Passing {
        list: second.list + 0x1000,
        ..second
    };
    let events = [
        first.copied(5),
        first.edged(10),
        duplicate.duplicated(20, first.list),
        duplicate.detached(30),
        duplicate.installed(40, 0, 9),
        duplicate.released(50, 200, SYS_RECVMSG),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(
        (transfer.fate, transfer.file.ptr),
        (Fate::Queued, first.files[0])
    );
}

#[test]
fn what_another_thread_reads_with_another_file_in_it_is_another_message() {
    let first = Passing::one();
    let second = another_after(&first);
    let events = [
        first.queued(10),
        first.dequeued(20),
        to_thread(201, second.dequeued(30)),
        to_thread(201, second.returned(35, 1)),
        first.returned(40, 1),
    ];
    let transfers = track(events.concat());
    let of = |tid| {
        let receiver = |transfer: &&Transfer| transfer.receiver.as_ref().map(|it| it.tid);
        transfers
            .iter()
            .find(|transfer| receiver(transfer) == Some(tid))
    };
    assert_eq!(verdict(of(200).unwrap()), Some(Verdict::Same));
    assert_without_sender(of(201).unwrap());
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
        by_thread(101, raced(message, t_ns + 3)),
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
            raced(&message, 22),
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
    transfers.iter().for_each(assert_without_sender);
}
