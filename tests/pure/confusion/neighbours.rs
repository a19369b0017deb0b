//! Messages one after another at one address, and threads that read at it at once.

use fdtrace::model::{Chain, Fate, Hop, Judged, Transfer, Verdict};
use fdtrace_testkit::{Event, Passing, RECVMSG, head_mut};

use super::{
    another_after, assert_without_sender, by_thread, only, peeked, to_thread, track, verdict,
};

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
    assert_eq!(transfers[0].fate(), Fate::Unknown);
    assert_eq!(transfers[1].sender.as_ref().unwrap().tid, Some(101));
    assert_eq!(verdict(&transfers[1]), Some(Verdict::Same));
}

/// A list that was seen in its queue, and then one with these files being received at its address:
/// the runs of the programs between the two were skipped.
fn received_at_the_address(sent: &Passing, files: Vec<u64>) -> Vec<Transfer> {
    let received = Passing {
        files,
        ..sent.clone()
    };
    let events = [
        sent.copied(10),
        sent.attached(12, 0),
        sent.edged(14),
        received.detached(50),
        received.installed(51, 0, 9),
        received.released(60, 200, RECVMSG),
    ];
    track(events.concat())
}

#[test]
fn what_is_detached_with_other_files_is_another_list() {
    let sent = Passing {
        files: vec![0x1000, 0x2000],
        ..Passing::one()
    };
    let transfers = received_at_the_address(&sent, vec![0x3000, 0x4000]);
    assert_eq!(transfers.len(), 2, "{transfers:?}");
    for transfer in transfers {
        assert_eq!(transfer.fate(), Fate::Unknown, "{transfer:?}");
        assert_eq!(transfer.receiver(), None, "{transfer:?}");
    }
    // The control: one file that is another is no other list, but must not go unnoticed.
    let transfers = received_at_the_address(&sent, vec![0x3000, 0x2000]);
    assert_eq!(transfers[0].fate(), Fate::Delivered);
    assert_eq!(transfers[0].chain, Chain::Differs { hop: Hop::Detach });
}

#[test]
fn what_is_received_in_anothers_turn_is_of_another_list() {
    let message = Passing::one();
    let next = another_after(&message);
    // What ends the first, and what begins the second, was skipped.
    let course = |tried: Vec<Event>| {
        let events = [
            message.copied(10),
            message.attached(12, 0),
            message.edged(14),
            message.dequeued(20),
            message.detached(22),
            tried,
            next.installed(50, 0, 9),
        ];
        only(track(events.concat()))
    };
    let mut tried = message.installed(24, 0, 9);
    tried.truncate(1);
    let transfer = course(tried);
    assert_eq!(transfer.fate(), Fate::Unknown, "{transfer:?}");
    assert_eq!(transfer.receiver().map(|receiver| receiver.fd), Some(None));
    // The control: in its own turn it is another file, which must not go unnoticed.
    let transfer = course(Vec::new());
    assert_eq!(transfer.fate(), Fate::Delivered);
    assert_eq!(transfer.chain, Chain::Differs { hop: Hop::Receive });
    let clean = Judged::of(transfer.clone(), |_| true, true);
    assert_eq!(clean.verdict, Some(Verdict::Different));
    assert_eq!(clean.transfer.receiver().unwrap().fd, Some(9));
    // Where records were lost, it may be of another list all the same, and so may the number.
    let lossy = Judged::of(transfer, |_| true, false);
    assert_eq!(lossy.verdict, Some(Verdict::Lost));
    assert_eq!(lossy.transfer.fate(), Fate::Unknown);
    assert_eq!(lossy.transfer.receiver().unwrap().fd, None);
    let mut hops = lossy.transfer.hops.iter();
    assert!(hops.all(|seen| seen.hop <= Hop::Detach));
}

#[test]
fn a_number_that_holds_another_file_is_not_told_with_losses() {
    // The receive that returns says which read it is of. But what was read may be another message
    // than the one that was queued, and so the number is not told beside that one's sender.
    let message = Passing::one();
    let read = [message.queued(10), message.dequeued(20)].concat();
    let events = [read, another_after(&message).returned(30, 1)];
    let lossy = Judged::of(only(track(events.concat())), |_| true, false);
    assert_eq!(lossy.transfer.fate(), Fate::Delivered);
    assert_eq!(lossy.transfer.sender.as_ref().unwrap().fd, Some(4));
    assert_eq!(lossy.transfer.receiver().unwrap().fd, None);
    assert_eq!(lossy.verdict, Some(Verdict::Lost));
}

#[test]
fn a_peek_whose_end_was_skipped_is_no_read_of_the_receive() {
    let message = Passing::one();
    let peeked = Passing {
        list: 0x0222,
        ..message.clone()
    };
    let course = |read: Vec<Event>| {
        let events = [
            message.copied(10),
            message.attached(12, 0),
            message.edged(14),
            message.dequeued(20),
            to_thread(200, peeked.duplicated(22, message.list)),
            peeked.detached(24),
            peeked.installed(26, 0, 20),
            read,
            message.detached(50),
            message.installed(52, 0, 21),
            message.released(60, 200, RECVMSG),
        ];
        let transfer = only(track(events.concat()));
        assert_eq!(transfer.fate(), Fate::Delivered);
        let mut hops = transfer.hops.iter();
        let read = hops.find(|seen| seen.hop == Hop::Dequeue);
        read.map(|seen| seen.t_ns)
    };
    assert_eq!(course(Vec::new()), None);
    // The control: the receive's own read was seen.
    assert_eq!(course(message.dequeued(40)), Some(40));
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
            let receiver = transfer.receiver().unwrap();
            (transfer.fate(), receiver.tid, verdict(transfer))
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
    assert_eq!(first.receiver().unwrap().tid, 200);
    assert_eq!(verdict(first), Some(Verdict::Same));
    assert_eq!(second.receiver().unwrap().tid, 201);
    assert_ne!(first.message, second.message);
    assert_without_sender(second);
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
        (ended.fate(), ended.file.ptr),
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
        let receiver = |transfer: &&Transfer| transfer.receiver().map(|it| it.tid);
        transfers
            .iter()
            .find(|transfer| receiver(transfer) == Some(tid))
            .unwrap()
    };
    assert_without_sender(to(200));
    assert_eq!(to(201).sender.as_ref().unwrap().tid, Some(101));
    assert_eq!(verdict(to(201)), Some(Verdict::Same));
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
    assert_eq!(of(second.files[0]).fate(), Fate::Discarded);
}

#[test]
fn an_end_with_another_file_in_the_list_is_another_messages() {
    let first = Passing::one();
    let second = another_after(&first);
    let transfers = track([first.queued(10), second.destroyed(20, 0, 200)].concat());
    let ends: Vec<_> = transfers
        .iter()
        .map(|transfer| (transfer.file.ptr, transfer.fate()))
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
            to_thread(200, duplicate.duplicated(t_ns, message.list)),
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
        duplicate(&second).released(40, 200, RECVMSG),
    ];
    let peeks: Vec<_> = track(events.concat())
        .into_iter()
        .filter(|transfer| transfer.fate() == Fate::Peeked)
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
    assert_eq!(ended.fate(), Fate::Unknown);
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
        duplicate.released(50, 200, RECVMSG),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(
        (transfer.fate(), transfer.file.ptr),
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
        let receiver = |transfer: &&Transfer| transfer.receiver().map(|it| it.tid);
        transfers
            .iter()
            .find(|transfer| receiver(transfer) == Some(tid))
    };
    assert_eq!(verdict(of(200).unwrap()), Some(Verdict::Same));
    assert_without_sender(of(201).unwrap());
}
