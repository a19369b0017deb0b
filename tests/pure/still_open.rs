//! The book of what is still open, by looks that were made up: nothing that was reused is taken for what it
//! was, and nothing grows without bound.

use fdtrace::{
    judge::still_open::Book,
    model::{
        Cause, End, Fate, Hop, Judged, LookedAt, OpenNumber, Side, StillOpen, StillOpenMissing,
        Table, TableLook,
    },
};
use fdtrace_testkit::outcomes::delivered;

const RECEIVER: u32 = 200;
const SENDER: u32 = 100;
const SOCKFS: u64 = 0x534f_434b;

/// A socket that was delivered under this number, at this time.
fn socket(id: u64, fd: i32, t_ns: u64) -> Judged {
    let mut judged = delivered(id, 0, 1);
    let transfer = &mut judged.transfer;
    transfer.file.ptr = 0xf000 + id * 0x100;
    transfer.file.ino = id;
    transfer.file.magic = SOCKFS;
    transfer.file.mode = 0o140_777;
    transfer.sender.as_mut().unwrap().fd = Some(1000 + id as i32);
    transfer.end.receiver_mut().unwrap().fd = Some(fd);
    for seen in &mut transfer.hops {
        seen.t_ns = t_ns;
    }
    judged
}

/// What number `fd` stands for where it still stands for that.
fn still(judged: &Judged, fd: i32) -> OpenNumber {
    let file = &judged.transfer.file;
    OpenNumber {
        fd,
        file: file.ptr,
        ino: file.ino,
        dev: file.dev,
        path: false,
        made: false,
    }
}

fn table(pid: u32, start_ns: u64, numbers: &[OpenNumber]) -> Table {
    Table {
        pid,
        start_ns,
        parent: 1,
        comm: format!("p{pid}"),
        numbers: numbers.to_vec(),
    }
}

fn look(at: LookedAt, t_ns: u64, tables: &[Table]) -> TableLook {
    TableLook {
        t_ns,
        at,
        below: None,
        lost: false,
        apart: false,
        tables: tables.to_vec(),
    }
}

/// What a look says of receivers' numbers: transfer and state.
fn said(book: &mut Book, look: &TableLook) -> Vec<(u64, StillOpen)> {
    let later = book.look(look).into_iter();
    let of_receivers = later.filter(|later| later.side == Side::Receiver);
    of_receivers
        .map(|later| (later.transfer, later.state))
        .collect()
}

#[test]
fn a_number_that_is_given_away_again_was_closed() {
    let mut book = Book::default();
    let (one, two) = (socket(1, 5, 100), socket(2, 5, 200));
    book.note(&one);
    book.note(&two);
    let table = table(RECEIVER, 1, &[still(&two, 5)]);
    let last = look(LookedAt::Last, 300, &[table]);
    let both = [(1, StillOpen::Replaced), (2, StillOpen::Open)];
    assert_eq!(said(&mut book, &last), both);
    let holdings = book.holdings();
    let receiver = holdings
        .processes
        .iter()
        .find(|it| it.side == Side::Receiver)
        .unwrap();
    assert_eq!((receiver.all, receiver.open), (2, 1));
}

#[test]
fn a_duplicate_of_a_number_that_was_given_away_again_is_found() {
    let mut book = Book::default();
    let (one, two) = (socket(1, 5, 100), socket(2, 5, 200));
    book.note(&one);
    book.note(&two);
    let numbers = [still(&two, 5), still(&one, 9)];
    let last = look(LookedAt::Last, 300, &[table(RECEIVER, 1, &numbers)]);
    let both = [(1, StillOpen::Moved), (2, StillOpen::Open)];
    assert_eq!(said(&mut book, &last), both);
}

#[test]
fn what_has_the_number_of_one_that_was_given_away_again_is_of_interest() {
    let mut book = Book::default();
    let (one, two, stranger) = (socket(1, 5, 100), socket(2, 5, 200), socket(3, 5, 400));
    book.note(&one);
    book.note(&two);
    let at = |t_ns, number| look(LookedAt::Every, t_ns, &[table(RECEIVER, 1, &[number])]);
    // A duplicate of the first is left, and nobody has the number itself.
    let first = at(300, still(&one, 9));
    assert_eq!(
        said(&mut book, &first),
        [(1, StillOpen::Moved), (2, StillOpen::Closed)]
    );
    let second = book.relevant(at(500, still(&stranger, 5)));
    assert_eq!(said(&mut book, &second), [(1, StillOpen::Replaced)]);
}

#[test]
fn another_thread_may_have_a_table_of_its_own() {
    let mut book = Book::default();
    let (one, mut two) = (socket(1, 5, 100), socket(2, 5, 200));
    two.transfer.end.receiver_mut().unwrap().tid = 999;
    book.note(&one);
    book.note(&two);
    let both = [still(&one, 5), still(&two, 5)];
    let last = look(LookedAt::Last, 300, &[table(RECEIVER, 1, &both)]);
    assert_eq!(
        said(&mut book, &last),
        [(1, StillOpen::Open), (2, StillOpen::Open)]
    );
}

#[test]
fn the_same_thread_may_have_a_table_of_its_own_by_then() {
    let (mut one, two) = (socket(1, 5, 100), socket(2, 5, 200));
    // Of a kind that is never certain, too.
    for (magic, state) in [(SOCKFS, StillOpen::Open), (0x0904_1934, StillOpen::Unknown)] {
        one.transfer.file.magic = magic;
        one.transfer.file.mode = if magic == SOCKFS { 0o140_777 } else { 0o600 };
        // In whichever order they are told.
        for order in [[&one, &two], [&two, &one]] {
            let mut book = Book::default();
            for judged in order {
                book.note(judged);
            }
            let both = [still(&one, 5), still(&two, 5)];
            let last = look(LookedAt::Last, 300, &[table(RECEIVER, 1, &both)]);
            assert_eq!(said(&mut book, &last), [(1, state), (2, StillOpen::Open)]);
        }
    }
}

#[test]
fn of_threads_with_their_own_tables_a_process_end_tells_what_it_sees() {
    let mut book = Book::default();
    let (one, two) = (socket(1, 5, 100), socket(2, 6, 100));
    book.note(&one);
    book.note(&two);
    let mut end = look(
        LookedAt::ProcessEnd,
        200,
        &[table(RECEIVER, 1, &[still(&one, 5)])],
    );
    end.apart = true;
    let both = [(1, StillOpen::Open), (2, StillOpen::Unknown)];
    assert_eq!(said(&mut book, &end), both);
}

#[test]
fn a_process_that_passes_to_itself_holds_what_it_had_before() {
    let mut book = Book::default();
    let mut one = socket(1, 5, 100);
    let sender = one.transfer.sender.as_mut().unwrap();
    (sender.pid, sender.t_ns) = (RECEIVER, 90);
    book.note(&one);
    let last = look(
        LookedAt::Last,
        300,
        &[table(RECEIVER, 1, &[still(&one, 1001)])],
    );
    assert_eq!(said(&mut book, &last), [(1, StillOpen::Closed)]);
    let holdings = book.holdings();
    let open = |side| {
        let mut all = holdings.processes.iter();
        all.find(|it| it.side == side).unwrap().open
    };
    assert_eq!((open(Side::Sender), open(Side::Receiver)), (1, 0));
}

#[test]
fn one_file_that_came_a_hundred_times_is_held_once() {
    let mut book = Book::default();
    for id in 0..100 {
        let mut judged = socket(1, 10 + id, 100);
        judged.transfer.id = 1 + id as u64;
        judged.transfer.sender = None;
        book.note(&judged);
    }
    let one = still(&socket(1, 5, 100), 109);
    book.look(&look(LookedAt::Last, 300, &[table(RECEIVER, 1, &[one])]));
    let holdings = book.holdings();
    assert_eq!(holdings.processes.len(), 1);
    let receiver = &holdings.processes[0];
    assert_eq!((receiver.all, receiver.open, receiver.unknown), (100, 1, 0));
}

#[test]
fn a_process_with_the_number_of_an_earlier_one_is_told_for_itself() {
    let mut book = Book::default();
    // Nobody saw the first one's end.
    let (one, two) = (socket(1, 5, 100), socket(2, 5, 200));
    book.note(&one);
    book.note(&two);
    let its = table(RECEIVER, 150, &[still(&two, 5)]);
    for at in [LookedAt::Every, LookedAt::ProcessEnd] {
        let mut book = Book::default();
        book.note(&one);
        book.note(&two);
        let both = [(1, StillOpen::Ended), (2, StillOpen::Open)];
        assert_eq!(
            said(&mut book, &look(at, 300, std::slice::from_ref(&its))),
            both
        );
        let holdings = book.holdings();
        let receiver = holdings
            .processes
            .iter()
            .find(|it| it.side == Side::Receiver)
            .unwrap();
        assert_eq!((receiver.all, receiver.open), (2, 1));
        assert_eq!((receiver.unknown, receiver.unseen), (0, 1));
        assert_eq!(receiver.ended, at == LookedAt::ProcessEnd);
    }
}

#[test]
fn what_comes_after_a_process_has_ended_is_not_looked_for_in_its_table() {
    let mut book = Book::default();
    let (one, two) = (socket(1, 5, 100), socket(2, 5, 200));
    // Both are told of before anybody learns of the first one's end.
    book.note(&one);
    book.note(&two);
    let first = table(RECEIVER, 1, &[still(&one, 5)]);
    let second = table(RECEIVER, 160, &[]);
    let end = |t_ns, of: Table| look(LookedAt::ProcessEnd, t_ns, &[of]);
    assert_eq!(said(&mut book, &end(150, first)), [(1, StillOpen::Open)]);
    assert_eq!(said(&mut book, &end(250, second)), [(2, StillOpen::Closed)]);
    let holdings = book.holdings();
    let receivers = holdings.processes.iter();
    let receivers = receivers.filter(|it| it.side == Side::Receiver);
    let figures: Vec<_> = receivers.map(|it| (it.all, it.open, it.ended)).collect();
    assert_eq!(figures, [(1, 1, true), (1, 0, true)]);
}

#[test]
fn what_is_closed_is_told_once() {
    let mut book = Book::default();
    let (one, two) = (socket(1, 5, 100), socket(2, 6, 100));
    book.note(&one);
    book.note(&two);
    let at =
        |t_ns, numbers: &[OpenNumber]| look(LookedAt::Every, t_ns, &[table(RECEIVER, 1, numbers)]);
    let first = said(&mut book, &at(200, &[still(&one, 5)]));
    assert_eq!(first, [(1, StillOpen::Open), (2, StillOpen::Closed)]);
    assert_eq!(
        said(&mut book, &at(300, &[still(&one, 9)])),
        [(1, StillOpen::Moved)]
    );
    assert_eq!(said(&mut book, &at(400, &[])), [(1, StillOpen::Closed)]);
    assert!(said(&mut book, &at(500, &[still(&one, 5)])).is_empty());
    // What the sender has was never looked at: it has no table.
    assert!(book.holdings().processes.iter().all(|it| it.open == 0));
}

#[test]
fn a_process_that_ends_is_remembered_for_what_it_had() {
    let mut book = Book::default();
    let (one, two, late) = (socket(1, 5, 100), socket(2, 6, 110), socket(3, 7, 120));
    book.note(&one);
    book.note(&two);
    assert_eq!(book.take_new_pids().len(), 2);
    let numbers = [still(&one, 5), still(&late, 7)];
    let end = look(LookedAt::ProcessEnd, 200, &[table(RECEIVER, 1, &numbers)]);
    assert_eq!(
        said(&mut book, &end),
        [(1, StillOpen::Open), (2, StillOpen::Closed)]
    );
    // What is told of later was there by then.
    book.note(&late);
    let late = book.take_late();
    let late: Vec<_> = late
        .iter()
        .filter(|(_, it)| it.side == Side::Receiver)
        .collect();
    assert_eq!(
        (late.len(), late[0].0, late[0].1.state),
        (1, 200, StillOpen::Open)
    );
    // The next process of that number has nothing to do with it.
    let next = socket(4, 5, 300);
    book.note(&next);
    let last = look(
        LookedAt::Last,
        400,
        &[table(RECEIVER, 250, &[still(&one, 5)])],
    );
    assert_eq!(said(&mut book, &last), [(4, StillOpen::Replaced)]);
    let holdings = book.holdings();
    let of = |ended| {
        let mut all = holdings.processes.iter();
        all.find(|it| it.side == Side::Receiver && it.ended == ended)
            .unwrap()
    };
    assert_eq!((of(true).all, of(true).open), (3, 2));
    assert_eq!((of(false).all, of(false).open), (1, 0));
}

#[test]
fn a_process_whose_end_was_not_seen_leaves_it_open() {
    let mut book = Book::default();
    book.note(&socket(1, 5, 100));
    let last = look(LookedAt::Last, 400, &[]);
    assert_eq!(said(&mut book, &last), [(1, StillOpen::Ended)]);
    let holdings = book.holdings();
    let receiver = holdings
        .processes
        .iter()
        .find(|it| it.side == Side::Receiver)
        .unwrap();
    assert_eq!(
        (receiver.open, receiver.unseen, receiver.ended),
        (0, 1, true)
    );
}

#[test]
fn a_file_that_can_be_opened_again_is_never_certain() {
    let mut book = Book::default();
    let mut file = socket(1, 5, 100);
    (file.transfer.file.magic, file.transfer.file.mode) = (0xef53, 0o100_644);
    book.note(&file);
    let last = look(
        LookedAt::Last,
        400,
        &[table(RECEIVER, 1, &[still(&file, 5)])],
    );
    let later = book.look(&last);
    let of_receiver = later.iter().find(|it| it.side == Side::Receiver).unwrap();
    assert_eq!(of_receiver.state, StillOpen::Unknown);
    assert_eq!(of_receiver.missing, Some(StillOpenMissing::MayBeAnother));
    assert_eq!(of_receiver.holders, None);
}

#[test]
fn who_else_has_it_is_told_and_whether_it_was_inherited() {
    let mut book = Book::default();
    let one = socket(1, 5, 100);
    book.note(&one);
    let child = |pid, start_ns, parent, fd| Table {
        parent,
        ..table(pid, start_ns, &[still(&one, fd)])
    };
    let tables = [
        table(RECEIVER, 1, &[still(&one, 5)]),
        table(SENDER, 1, &[still(&one, 1001)]),
        child(301, 150, RECEIVER, 5),
        // Under another number, from before, and of somebody else.
        child(302, 150, RECEIVER, 6),
        child(303, 50, RECEIVER, 5),
        child(304, 150, 1, 5),
    ];
    let later = book.look(&look(LookedAt::Last, 400, &tables));
    let holders = later
        .iter()
        .find(|it| it.side == Side::Receiver)
        .unwrap()
        .holders
        .clone()
        .unwrap();
    let inherited: Vec<_> = holders.iter().map(|it| (it.pid, it.inherited)).collect();
    assert_eq!(
        inherited,
        [
            (200, false),
            (100, false),
            (301, true),
            (302, false),
            (303, false),
            (304, false)
        ]
    );
    let holdings = book.holdings();
    let receiver = holdings
        .processes
        .iter()
        .find(|it| it.side == Side::Receiver)
        .unwrap();
    // Who sent it is told of for itself.
    let also: Vec<_> = receiver
        .also
        .iter()
        .map(|it| (it.pid, it.files, it.inherited))
        .collect();
    assert_eq!(
        also,
        [
            (301, 1, true),
            (302, 1, false),
            (303, 1, false),
            (304, 1, false)
        ]
    );
}

#[test]
fn one_file_behind_many_numbers_is_told_in_bounds() {
    const NUMBERS: i32 = 20_000;
    let mut book = Book::default();
    let one = socket(1, 0, 100);
    for fd in 0..NUMBERS {
        let mut judged = socket(1, fd, 100 + fd as u64);
        judged.transfer.id = 1 + fd as u64;
        book.note(&judged);
    }
    let numbers: Vec<OpenNumber> = (0..NUMBERS).map(|fd| still(&one, fd)).collect();
    let mut tables = vec![table(RECEIVER, 1, &numbers)];
    tables.extend((0..100).map(|child| table(1000 + child, 1, &numbers[..1])));
    // Whoever compares each number with each takes minutes.
    let later = book.look(&look(LookedAt::Every, 1_000_000, &tables));
    let of_receiver: Vec<_> = later
        .iter()
        .filter(|later| later.side == Side::Receiver)
        .collect();
    assert_eq!(of_receiver.len(), NUMBERS as usize);
    for later in of_receiver {
        assert_eq!(later.state, StillOpen::Open);
        let holders = later.holders.as_ref().unwrap();
        assert_eq!((holders.len(), later.holders_more), (64, 37));
        let own = &holders[0];
        assert_eq!((own.fds.len(), own.fds_more), (64, 19_936));
    }
}

#[test]
fn a_full_table_is_told_with_what_came_into_it() {
    let mut book = Book::default();
    book.note(&socket(1, 5, 100));
    book.note(&socket(2, 6, 100));
    book.note(&socket(3, 6, 200));
    let mut refused = socket(4, 7, 300);
    refused.transfer.end.receiver_mut().unwrap().fd = None;
    let receiver = refused.transfer.receiver().cloned();
    refused.transfer.end = End::of(Fate::Truncated, Some(Cause::RlimitNofile), receiver);
    refused.verdict = None;
    book.note(&refused);
    // What it has nobody knows before a look; that one is asked for.
    let full = |book: &Book| book.holdings().full[0].clone();
    let none = full(&book);
    assert_eq!(
        (none.pid, none.looked_ns, none.received),
        (RECEIVER, None, 0)
    );
    assert!(book.asks_for_look());
    assert!(!book.asks_for_look());
    // Number 5 is another file's by now.
    let (mut own, late) = (still(&socket(9, 0, 1), 5), socket(5, 7, 350));
    own.file += 0x80;
    book.note(&late);
    let numbers = [own, still(&socket(3, 6, 200), 6), still(&late, 7)];
    book.look(&look(
        LookedAt::Crowded,
        400,
        &[table(RECEIVER, 1, &numbers)],
    ));
    assert!(!book.asks_for_look());
    let told = full(&book);
    assert_eq!((told.looked_ns, told.received), (Some(400), 2));
    assert_eq!(told.files[0].1, 2);
}

#[test]
fn only_so_much_is_remembered_and_the_rest_is_counted() {
    let mut book = Book::with_room(100);
    for id in 1..=1000 {
        book.note(&socket(id, id as i32, 100 + id));
    }
    assert!(book.asks_for_look());
    // If that look fails, the next message is no reason for another.
    assert!(!book.asks_for_look());
    let holdings = book.holdings();
    // Each has two ends.
    assert_eq!(holdings.let_go, 1900);
    for holding in &holdings.processes {
        assert_eq!((holding.all, holding.unknown), (1000, 1000));
    }
    assert_eq!(book.files().len(), 50);
}

#[test]
fn what_was_given_away_again_or_sent_again_makes_room_too() {
    let mut book = Book::with_room(100);
    for id in 1..=5000 {
        let mut judged = socket(id, id as i32 % 40, 100 + id);
        // One listener, again and again.
        let transfer = &mut judged.transfer;
        (transfer.file.ptr, transfer.file.ino) = (0xf00, 7);
        let sender = transfer.sender.as_mut().unwrap();
        (sender.fd, sender.t_ns) = (Some(3), 99 + id);
        book.note(&judged);
    }
    assert_eq!((book.holdings().let_go, book.files().len()), (0, 1));
    for id in 5001..=6000 {
        book.note(&socket(id, id as i32, 100 + id));
    }
    // 41 before, two for each of these, and room for a hundred.
    assert_eq!(book.holdings().let_go, 41 + 2000 - 100);
    assert_eq!(book.files().len(), 50);
}

#[test]
fn processes_come_and_go_and_only_so_many_are_remembered() {
    let mut book = Book::default();
    for id in 1..=20_000_u64 {
        let mut judged = socket(id, 5, 100 + id);
        let receiver = judged.transfer.end.receiver_mut().unwrap();
        receiver.pid = 10_000 + id as u32;
        let end = look(
            LookedAt::ProcessEnd,
            101 + id,
            &[table(receiver.pid, 1, &[])],
        );
        book.note(&judged);
        book.look(&end);
    }
    let holdings = book.holdings();
    assert!(
        holdings.processes.len() <= 4096 + 256,
        "{}",
        holdings.processes.len()
    );
    assert_eq!(holdings.processes.len() as u64 + holdings.others, 20_001);
}

#[test]
fn install_is_what_counts_as_the_time() {
    let mut book = Book::default();
    let mut one = socket(1, 5, 100);
    for seen in &mut one.transfer.hops {
        seen.t_ns = if seen.hop == Hop::Install { 100 } else { 900 };
    }
    book.note(&one);
    // The process began after the descriptor was installed: it is another.
    let last = look(
        LookedAt::Last,
        1000,
        &[table(RECEIVER, 500, &[still(&one, 5)])],
    );
    assert_eq!(said(&mut book, &last), [(1, StillOpen::Ended)]);
}
