//! Which number is which file's, where threads share a table.

use fdtrace::model::{Cause, Chain, Fate, Hop, Transfer, Verdict};
use fdtrace_common::records::{
    FLAG_CONTROL_SEEN, FLAG_HOLE, FLAG_PEEK, FLAG_TABLE_FULL, FLAG_TABLE_SHARED, FileSeen,
    NO_CONTROL, NOT_TOLD, ROOM_UNKNOWN,
};
use fdtrace_testkit::{OTHER_CALL, PLAIN_READ, Passing, RECVMSG, files_mut, head_mut};

use super::{only, track, verdict};

#[test]
fn an_address_that_is_another_file_by_the_time_of_the_install_proves_nothing() {
    let message = Passing::one();
    let mut gained = message.gained(0);
    gained.ino += 1;
    let events = [
        message.queued(10),
        message.dequeued(20),
        message.returned_with(30, RECVMSG, 0, vec![gained]),
    ];
    let transfer = only(track(events.concat()));
    assert_eq!(transfer.fate(), Fate::Delivered);
    assert_eq!(transfer.chain, Chain::Gap { hop: Hop::Install });
    assert_eq!(verdict(&transfer), Some(Verdict::Unverified));
}

/// A receive of two files whose table gained nothing. The kernel's header says what is left.
fn returned_without_new_numbers(
    left: u64,
    ctrunc: i32,
    syscall: i32,
    flags: u16,
) -> Vec<(Fate, Option<Cause>)> {
    let message = Passing {
        files: vec![0x10_000, 0x20_000],
        ..Passing::one()
    };
    let read = [message.queued(10), message.dequeued(20)].concat();
    let mut returned = message.returned_leaving((left, ctrunc), syscall, Vec::new());
    let head = head_mut(&mut returned[0]);
    head.flags |= flags;
    if syscall == PLAIN_READ {
        // It has none.
        head.flags &= !FLAG_CONTROL_SEEN;
    }
    let events = [read, returned];
    let transfers = track(events.concat());
    transfers
        .iter()
        .map(|transfer| (transfer.fate(), transfer.cause()))
        .collect()
}

#[test]
fn a_number_that_another_thread_closed_meanwhile_may_be_the_files() {
    let unknown = (Fate::Unknown, None);
    let truncated = (Fate::Truncated, Some(Cause::NoControlRoom));
    let fates = returned_without_new_numbers;
    let ctrunc = libc::MSG_CTRUNC;
    for syscall in [RECVMSG, OTHER_CALL] {
        assert_eq!(fates(8, ctrunc, syscall, FLAG_TABLE_SHARED), [unknown; 2]);
        // Without a word that anything did not fit, all has come, under whatever numbers.
        let came = (Fate::Delivered, None);
        assert_eq!(fates(8, 0, syscall, FLAG_TABLE_SHARED), [came; 2]);
        // The controls: nobody else could close it, or there is no control message at all.
        assert_eq!(fates(8, ctrunc, syscall, 0), [truncated; 2]);
        assert_eq!(
            fates(NO_CONTROL, ctrunc, syscall, FLAG_TABLE_SHARED),
            [truncated; 2]
        );
    }
    let discarded = (Fate::Discarded, Some(Cause::PlainRead));
    assert_eq!(fates(0, 0, PLAIN_READ, FLAG_TABLE_SHARED), [discarded; 2]);
}

#[test]
fn a_peek_whose_number_another_thread_closed_meanwhile_may_have_installed_it() {
    let message = Passing::one();
    let course = |flags| {
        let read = [message.queued(10), message.dequeued(20)].concat();
        let told = FileSeen {
            file: 0,
            ..message.gained(0)
        };
        let peek = message.returned_with(30, RECVMSG, FLAG_PEEK | flags, vec![told]);
        track([read, peek].concat())
            .iter()
            .map(Transfer::fate)
            .collect::<Vec<_>>()
    };
    // The message itself is queued still.
    assert_eq!(course(FLAG_TABLE_SHARED), [Fate::Unknown, Fate::Queued]);
    assert_eq!(course(0), [Fate::Truncated, Fate::Queued]);
}

/// A receive in a table that others use, which gained `new`, each a file and a number; `told` is what
/// the receiver's memory says.
fn in_a_shared_table(
    files: &[u64],
    new: &[(u64, i32)],
    told: &[i32],
    flags: u16,
) -> Vec<(Fate, Option<i32>)> {
    let message = Passing {
        files: files.to_vec(),
        ..Passing::one()
    };
    let rows = (0..new.len().max(told.len())).map(|place| {
        let (file, fd) = new.get(place).copied().unwrap_or((0, -1));
        FileSeen {
            file,
            slot: file,
            fd,
            told: told.get(place).copied().unwrap_or(NOT_TOLD),
            ..message.gained(0)
        }
    });
    let read = [message.queued(10), message.dequeued(20)].concat();
    let left = (8, libc::MSG_CTRUNC);
    let mut returned = message.returned_leaving(left, RECVMSG, rows.collect());
    for event in &mut returned {
        head_mut(event).flags |= FLAG_TABLE_SHARED | flags;
    }
    let transfers = track([read, returned].concat());
    transfers
        .iter()
        .map(|transfer| {
            let receiver = transfer.receiver();
            (transfer.fate(), receiver.and_then(|receiver| receiver.fd))
        })
        .collect()
}

#[test]
fn in_a_table_that_others_use_a_number_is_given_where_nothing_speaks_against_it() {
    const FILE: u64 = 0x10_000;
    const OTHER: u64 = 0x20_000;
    let unknown = (Fate::Unknown, None);
    let course = in_a_shared_table;
    assert_eq!(
        course(&[FILE], &[(FILE, 8)], &[8], 0),
        [(Fate::Delivered, Some(8))]
    );
    // Zero is a number, where standard input is closed.
    assert_eq!(
        course(&[FILE], &[(FILE, 0)], &[0], 0),
        [(Fate::Delivered, Some(0))]
    );
    assert_eq!(
        course(&[FILE, FILE], &[(FILE, 8), (FILE, 9)], &[8, 9], 0),
        [(Fate::Delivered, Some(8)), (Fate::Delivered, Some(9))]
    );
    // What another thread opens above it does no harm.
    assert_eq!(
        course(&[FILE], &[(FILE, 8), (OTHER, 9)], &[8], 0),
        [(Fate::Delivered, Some(8))]
    );
    // Its duplicate is there as well, or alone: the lower number is free, or another file's.
    assert_eq!(
        course(&[FILE], &[(FILE, 8), (FILE, 13)], &[13], 0),
        [unknown]
    );
    const LAST: u64 = 0x30_000;
    let gained = [(FILE, 8), (OTHER, 9), (LAST, 10), (FILE, 13)];
    assert_eq!(
        course(&[FILE, OTHER, LAST], &gained, &[8, 9, 10], 0),
        [
            unknown,
            (Fate::Delivered, Some(9)),
            (Fate::Delivered, Some(10))
        ]
    );
    assert_eq!(course(&[FILE], &[(FILE, 13)], &[13], FLAG_HOLE), [unknown]);
    assert_eq!(
        course(&[FILE], &[(OTHER, 8), (FILE, 13)], &[13], 0),
        [unknown]
    );
    // The receiver was told another number, or nothing that can be read.
    assert_eq!(course(&[FILE], &[(FILE, 8)], &[5], 0), [unknown]);
    assert_eq!(course(&[FILE], &[(FILE, 8)], &[], 0), [unknown]);
    // A refusal may have been written over a number.
    let refused = [-libc::EPERM];
    assert_eq!(course(&[FILE], &[(FILE, 8)], &refused, 0), [unknown]);
    assert_eq!(course(&[FILE], &[], &refused, 0), [unknown]);
}

#[test]
fn in_a_table_that_others_use_what_has_no_number_had_no_room_if_all_numbers_are_accounted_for() {
    let message = Passing {
        files: vec![0x10_000, 0x20_000],
        ..Passing::one()
    };
    // What became of both where the table gained the first, or nothing.
    let ended_with = |flags: u16, gained: bool, told: i32, ends: u16| {
        let read = [message.queued(10), message.dequeued(20)].concat();
        let row = FileSeen {
            file: if gained { message.files[0] } else { 0 },
            told,
            ..message.gained(0)
        };
        let left = if flags == 0 { 0 } else { 24 };
        let left = (left, libc::MSG_CTRUNC);
        let mut returned = message.returned_leaving(left, RECVMSG, vec![row]);
        let head = head_mut(&mut returned[0]);
        head.flags |= FLAG_TABLE_SHARED | flags;
        head.room = ends;
        let transfers = track([read, returned].concat());
        [0, 1].map(|index| (transfers[index].fate(), transfers[index].cause()))
    };
    let ended = |gained, told, ends| ended_with(0, gained, told, ends);
    let number = message.receiver_fd;
    let delivered = (Fate::Delivered, None);
    let truncated = (Fate::Truncated, Some(Cause::NoControlRoom));
    let unknown = (Fate::Unknown, None);
    // 20 bytes hold one number, and the receiver was told of one.
    assert_eq!(ended(true, number, 4), [delivered, truncated]);
    // It may have been told of more.
    assert_eq!(ended(true, number, ROOM_UNKNOWN), [delivered, unknown]);
    // Something was written, and another thread has written over it, or closed the number too.
    for ends in [0, 4] {
        assert_eq!(ended(true, NOT_TOLD, ends), [unknown; 2]);
    }
    for ends in [0, 4] {
        assert_eq!(ended(false, NOT_TOLD, ends), [unknown; 2]);
    }
    // A number would have had to be free for that.
    let rlimit = (Fate::Truncated, Some(Cause::RlimitNofile));
    let full = |gained| ended_with(FLAG_TABLE_FULL, gained, NOT_TOLD, 0);
    assert_eq!(full(false), [rlimit; 2]);
    assert_eq!(full(true), [unknown; 2]);
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
    assert_eq!(replaced.fate(), Fate::Unknown, "{replaced:?}");
    assert_eq!(verdict(&replaced), Some(Verdict::Unverified));
    // Where nobody else has the table, the kernel itself has installed another file.
    assert_eq!(verdict(&ending(0)), Some(Verdict::Different));
}

#[test]
fn numbers_of_one_return_are_not_taken_for_those_of_the_next_where_records_of_both_are_lost() {
    let message = Passing {
        files: vec![Passing::one().files[0]; 40],
        ..Passing::one()
    };
    let later = Passing {
        receiver_fd: message.receiver_fd + 100,
        ..message.clone()
    };
    let gained = (0..40).map(|index| message.gained(index)).collect();
    let course = |is_lossy: bool| {
        let read = [message.queued(10), message.dequeued(20)].concat();
        let mut peek = message.returned_with(30, RECVMSG, FLAG_PEEK, Vec::clone(&gained));
        let again = later.dequeued(40);
        let mut returned = later.returned(50, 40);
        if is_lossy {
            peek.pop();
            returned.remove(0);
        }
        track([read, peek, again, returned].concat())
    };
    let numbers = |transfers: &[Transfer], fate| {
        let fated = transfers.iter().filter(|transfer| transfer.fate() == fate);
        let numbers = fated.filter_map(|transfer| {
            let fd = transfer.receiver()?.fd?;
            Some(fd - i32::from(transfer.index))
        });
        numbers.collect::<Vec<_>>()
    };
    let whole = course(false);
    assert_eq!(numbers(&whole, Fate::Peeked), [message.receiver_fd; 40]);
    assert_eq!(numbers(&whole, Fate::Delivered), [later.receiver_fd; 40]);
    let lossy = course(true);
    // Neither return is whole, so neither says which number is whose.
    assert!(
        lossy
            .iter()
            .all(|transfer| transfer.fate() == Fate::Unknown),
        "{lossy:?}"
    );
}
