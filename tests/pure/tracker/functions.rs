//! What the path's own functions show, from copy to end.

use fdtrace::model::{Cause, Chain, Fate, Hop};
use fdtrace_common::records::FLAG_DESTRUCTED;
use fdtrace_testkit::{Event, PLAIN_READ, Passing, RECVMSG, head_mut};

use super::{fates, track};

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
        message.released(70, 200, RECVMSG),
    ];
    let transfers = track(events.concat());
    assert_eq!(transfers.len(), 19);
    for transfer in &transfers {
        let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
        assert_eq!(hops, Hop::ALL);
        assert_eq!(
            (transfer.fate(), transfer.chain),
            (Fate::Delivered, Chain::Whole)
        );
        assert_eq!(transfer.total_ns, Some(51));
        assert_eq!(
            transfer.sender.as_ref().unwrap().fd,
            Some(4 + i32::from(transfer.index))
        );
        assert_eq!(
            transfer.receiver().unwrap().fd,
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
        skbs.released(70, 200, RECVMSG),
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
        peeked.released(70, 200, RECVMSG),
        message.dequeued(80),
        message.detached(90),
        message.installed(100, 0, 21),
        message.released(110, 200, RECVMSG),
    ];
    let transfers = track(events.concat());
    assert_eq!(
        fates(&transfers),
        [(Fate::Peeked, None), (Fate::Delivered, None)]
    );
    let fds: Vec<_> = transfers
        .iter()
        .map(|transfer| transfer.receiver().unwrap().fd)
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
            message.released(70, 200, RECVMSG),
        ];
        assert_eq!(
            fates(&track(events.concat())),
            [(Fate::Delivered, None), expected]
        );
    }
    // Not even asked for: no room in the control buffer.
    let events = [
        sent_by_functions(&message),
        message.detached_into(50, 1),
        message.installed(60, 0, 9),
        message.released(70, 200, RECVMSG),
    ];
    let truncated = (Fate::Truncated, Some(Cause::NoControlRoom));
    assert_eq!(
        fates(&track(events.concat())),
        [(Fate::Delivered, None), truncated]
    );
}

/// The kernel skips a run of a program that it has preempted on the same CPU; what the programs
/// count is behind from then on.
#[test]
fn a_skipped_run_leaves_its_own_file_open_and_no_other() {
    for files in [vec![0x100, 0x200, 0x300], vec![0x100, 0x100, 0x200]] {
        let message = Passing {
            files,
            ..Passing::one()
        };
        // The first file's install was not seen, so the others come one place too early.
        let early = |index: usize, t_ns: u64| {
            let mut events = message.installed(t_ns, index, 9 + index as i32);
            for event in &mut events {
                head_mut(event).first -= 1;
            }
            events
        };
        let mut first = message.installed(60, 0, 9);
        first.truncate(1);
        let events = [
            sent_by_functions(&message),
            message.detached(50),
            first,
            early(1, 62),
            early(2, 64),
            message.released(70, 200, RECVMSG),
        ];
        let transfers = track(events.concat());
        let delivered = (Fate::Delivered, None);
        assert_eq!(
            fates(&transfers),
            [(Fate::Unknown, None), delivered, delivered]
        );
        for (index, transfer) in transfers.iter().enumerate().skip(1) {
            assert_eq!(transfer.chain, Chain::Whole);
            let receiver = transfer.receiver().unwrap();
            assert_eq!(receiver.fd, Some(9 + index as i32));
        }
    }
}

#[test]
fn a_file_that_the_list_does_not_have_is_another_where_it_was_installed() {
    let message = Passing {
        files: vec![0x100, 0x200],
        ..Passing::one()
    };
    let other = Passing {
        files: vec![0x100, 0x666],
        ..message.clone()
    };
    let events = [
        sent_by_functions(&message),
        message.detached(50),
        message.installed(60, 0, 9),
        other.installed(62, 1, 10),
        message.released(70, 200, RECVMSG),
    ];
    let transfers = track(events.concat());
    assert_eq!(transfers[0].chain, Chain::Whole);
    assert_eq!(transfers[1].chain, Chain::Differs { hop: Hop::Receive });
}

#[test]
fn a_list_that_is_released_without_a_detach_was_read_without_a_control_buffer() {
    let message = Passing::one();
    let read = [
        sent_by_functions(&message),
        message.released(50, 200, PLAIN_READ),
    ];
    assert_eq!(
        fates(&track(read.concat())),
        [(Fate::Discarded, Some(Cause::PlainRead))]
    );
}

#[test]
fn a_list_that_its_sender_gives_back_may_be_a_spare_one() {
    // Up to 6.9 an skb gets a duplicate of it, which may be in a queue though nothing showed that.
    let message = Passing::one();
    let events = [message.copied(10), message.released(20, 100, 46)];
    assert_eq!(fates(&track(events.concat())), [(Fate::Unknown, None)]);
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
        message.called(&["unix_release_sock", "unix_release"]),
        message.destroyed(50, 0, 300),
        destructed.clone(),
    ];
    assert_eq!(
        fates(&track(both.concat())),
        [(Fate::Discarded, Some(Cause::ReceiverClosed))]
    );
    // Without the other hook it is all there is.
    let alone = [sent_by_functions(&message), destructed];
    assert_eq!(fates(&track(alone.concat())), [(Fate::Discarded, None)]);
}
