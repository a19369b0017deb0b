//! Who has received which open file: a relay and a second delivery are told, and nothing that was reused is
//! taken for what it was.

use std::collections::HashMap;

use fdtrace::{
    judge::Received,
    model::{
        Again, Cause, Doubt, End, Fate, FileIdentity, Hop, Judged, LookedAt, Sole, Table,
        TableLook, Verdict,
    },
};
use fdtrace_testkit::outcomes::{delivered, hop};

const SOCKFS: u64 = 0x534f_434b;
const O_PATH: u32 = 0o10_000_000;
const FILE: u64 = 0xf000;

/// A socket.
fn socket(ino: u64) -> FileIdentity {
    FileIdentity {
        ptr: FILE,
        ino,
        magic: SOCKFS,
        mode: 0o140_777,
        ..regular(ino)
    }
}

/// A file that may be opened again and again.
fn regular(ino: u64) -> FileIdentity {
    let mut file = delivered(1, 0, 1).transfer.file;
    (file.ptr, file.ino) = (FILE, ino);
    file
}

fn memfd(ino: u64) -> FileIdentity {
    let mut label = [0; 16];
    label[..7].copy_from_slice(b"memfd:x");
    FileIdentity {
        magic: 0x0102_1994,
        mode: 0o100_777,
        label: Some(label),
        ..regular(ino)
    }
}

/// A transfer that was queued at `sent_ns` and received 100 ns later, by processes of one thread each.
fn pass(id: u64, file: FileIdentity, from: u32, to: u32, sent_ns: u64) -> Judged {
    let mut judged = delivered(id, 0, 1);
    let transfer = &mut judged.transfer;
    (transfer.message, transfer.file) = (id, file);
    let sender = transfer.sender.as_mut().unwrap();
    (sender.pid, sender.tid, sender.t_ns) = (from, Some(from), sent_ns);
    sender.comm = format!("p{from}").into();
    let receiver = transfer.end.receiver_mut().unwrap();
    (receiver.pid, receiver.tid) = (to, to);
    transfer.hops = vec![
        hop(Hop::Queue, sent_ns, file.ptr, Some(2)),
        hop(Hop::Dequeue, sent_ns + 90, file.ptr, Some(2)),
        hop(Hop::Install, sent_ns + 100, file.ptr, Some(3)),
    ];
    for seen in &mut transfer.hops {
        let at = if seen.hop == Hop::Queue { from } else { to };
        (seen.pid, seen.tid) = (at, at);
    }
    judged
}

/// What is said of the last of these: the ids of its relay and of what it is again.
fn said(transfers: &[Judged]) -> (Option<u64>, Option<u64>) {
    let mut received = Received::default();
    let earlier = transfers.iter().map(|judged| received.note(judged));
    let last = earlier.last().unwrap();
    (
        last.relay.map(|relay| relay.transfer),
        last.again.map(|again| again.transfer),
    )
}

#[test]
fn what_is_handed_on_has_the_id_of_what_it_was_received_by() {
    let mut received = Received::default();
    let first = received.note(&pass(1, socket(7), 1, 2, 1000));
    assert_eq!(first, Default::default());
    let second = received.note(&pass(2, socket(7), 2, 3, 2000));
    let relay = second.relay.clone().unwrap();
    assert_eq!((relay.transfer, relay.after_ns), (1, 900));
    assert_eq!(relay.from, Some(("p1".into(), 1)));
    assert_eq!((second.again, second.transfer()), (None, Some(1)));
    // And on and on.
    let third = received.note(&pass(3, socket(7), 3, 4, 3000));
    assert_eq!(third.relay.unwrap().transfer, 2);
}

#[test]
fn what_is_received_again_has_the_id_of_the_first_and_the_time_between() {
    let mut received = Received::default();
    received.note(&pass(1, socket(7), 1, 2, 1000));
    let second = received.note(&pass(2, socket(7), 1, 2, 3000));
    let again = Again {
        transfer: 1,
        after_ns: 2000,
    };
    assert_eq!((second.relay, second.again), (None, Some(again)));
    // From somebody else too, but not by somebody else.
    let third = received.note(&pass(3, socket(7), 9, 2, 4000));
    assert_eq!(third.again.unwrap().transfer, 2);
    let other = received.note(&pass(4, socket(7), 1, 5, 5000));
    assert_eq!(other, Default::default());
}

#[test]
fn whoever_did_not_receive_it_relays_nothing() {
    assert_eq!(
        said(&[
            pass(1, socket(7), 1, 2, 1000),
            pass(2, socket(7), 1, 3, 2000)
        ]),
        (None, None)
    );
    // Nor whoever got it from itself.
    assert_eq!(
        said(&[
            pass(1, socket(7), 1, 1, 1000),
            pass(2, socket(7), 1, 3, 2000)
        ]),
        (None, None)
    );
}

#[test]
fn an_address_that_came_back_is_not_the_old_file() {
    let both = |first, second| {
        let on = said(&[pass(1, first, 1, 2, 1000), pass(2, second, 2, 3, 2000)]);
        let again = said(&[pass(1, first, 1, 2, 1000), pass(2, second, 1, 2, 2000)]);
        (on.0, again.1)
    };
    let other_device = FileIdentity {
        dev: 9,
        ..socket(7)
    };
    let place = FileIdentity {
        flags: O_PATH,
        ..socket(7)
    };
    let elsewhere = FileIdentity {
        ptr: FILE + 0x100,
        ..socket(7)
    };
    assert_eq!(both(socket(7), socket(7)), (Some(1), Some(1)));
    for (first, second) in [
        (socket(7), socket(8)),
        (socket(7), other_device),
        (socket(7), elsewhere),
        // The same inode may have been opened anew, at the same address.
        (regular(7), regular(7)),
        (memfd(7), memfd(7)),
        (place, place),
        (socket(7), place),
        (place, socket(7)),
        // What was not read is the same of many.
        (socket(0), socket(0)),
    ] {
        assert_eq!(both(first, second), (None, None), "{first:?} {second:?}");
    }
}

#[test]
fn what_was_queued_at_the_same_time_is_one_file() {
    for file in [regular(7), memfd(7)] {
        assert!(file.sole() != Sole::Always);
        let of = |second_ns| {
            let second = pass(2, file, 1, 2, second_ns);
            said(&[pass(1, file, 1, 2, 1000), second]).1
        };
        // It lay in the queue until 1090.
        assert_eq!(of(1050), Some(1));
        assert_eq!(of(1095), None);
        assert_eq!(of(5000), None);
        // Unless what was seen of one of them may be another's.
        let mut unsure = pass(2, file, 1, 2, 1050);
        unsure.verdict = Some(Verdict::Unverified);
        assert_eq!(said(&[pass(1, file, 1, 2, 1000), unsure]).1, None);
    }
    // Where functions are watched, the list is seen until its files are taken out.
    let mut first = pass(1, regular(7), 1, 2, 1000);
    first.transfer.hops[1].hop = Hop::Detach;
    let second = pass(2, regular(7), 1, 2, 1050);
    assert_eq!(said(&[first.clone(), second.clone()]).1, Some(1));
    // As they are installed, or later, it may be gone.
    first.transfer.hops[1].hop = Hop::End;
    assert_eq!(said(&[first, second]).1, None);
    // Address and inode must agree all the same.
    let (one, other) = (regular(7), regular(8));
    let both = [pass(1, one, 1, 2, 1000), pass(2, other, 1, 2, 1050)];
    assert_eq!(said(&both).1, None);
}

#[test]
fn what_was_sent_before_it_was_received_is_no_relay() {
    let first = || pass(1, socket(7), 1, 2, 1000);
    let of = |second: Judged| said(&[first(), second]).0;
    assert_eq!(of(pass(2, socket(7), 2, 3, 1050)), None);
    assert_eq!(of(pass(2, socket(7), 2, 3, 1200)), Some(1));
    // A look comes after the fact: of another thread it does not say when it was sent.
    let mut looked = pass(2, socket(7), 2, 3, 1200);
    looked.transfer.since_ns = Some(1050);
    assert_eq!(of(looked.clone()), Some(1));
    looked.transfer.hops[0].tid = 22;
    looked.transfer.sender.as_mut().unwrap().tid = Some(22);
    assert_eq!(of(looked.clone()), None);
    looked.transfer.since_ns = Some(1150);
    assert_eq!(of(looked.clone()), Some(1));
    // Nor does that of a process of which the thread is not known.
    looked.transfer.since_ns = Some(1050);
    looked.transfer.sender.as_mut().unwrap().tid = None;
    assert_eq!(of(looked), None);
}

#[test]
fn the_latest_receive_before_is_told_in_whatever_order_they_come() {
    let at = |id, t_ns| pass(id, socket(7), 1, 2, t_ns);
    let on = pass(9, socket(7), 2, 3, 2500);
    let all = [at(1, 1000), at(2, 2000), at(3, 3000), on.clone()];
    assert_eq!(said(&all).0, Some(2));
    assert_eq!(
        said(&[at(3, 3000), at(2, 2000), at(1, 1000), on]).0,
        Some(2)
    );
    assert_eq!(said(&[at(3, 3000), at(1, 1000)]).1, None);
}

#[test]
fn a_later_process_of_the_same_number_is_another() {
    let ended = |t_ns, at| TableLook {
        t_ns,
        at,
        below: None,
        lost: false,
        apart: false,
        tables: vec![Table {
            pid: 2,
            start_ns: 1,
            parent: 1,
            comm: "p2".to_owned(),
            numbers: Vec::new(),
        }],
    };
    let of = |look: &TableLook| {
        let mut received = Received::default();
        received.note(&pass(1, socket(7), 1, 2, 1000));
        received.look(look);
        let on = received.note(&pass(2, socket(7), 2, 3, 2000));
        let again = received.note(&pass(3, socket(7), 1, 2, 3000));
        (on.relay.is_some(), again.again.is_some())
    };
    assert_eq!(of(&ended(1500, LookedAt::ProcessEnd)), (false, false));
    // It ended before, or after, or did not end.
    assert_eq!(of(&ended(900, LookedAt::ProcessEnd)), (true, true));
    assert_eq!(of(&ended(2500, LookedAt::ProcessEnd)), (true, false));
    assert_eq!(of(&ended(1500, LookedAt::Every)), (true, true));
}

#[test]
fn what_was_lost_on_the_second_way_is_a_relay_and_what_failed_is_none() {
    let first = || pass(1, socket(7), 1, 2, 1000);
    let ended = |fate, cause| {
        let mut second = pass(2, socket(7), 2, 3, 2000);
        second.transfer.end = End::of(fate, cause, None);
        second.verdict = None;
        said(&[first(), second])
    };
    let lost = ended(Fate::Discarded, Some(Cause::PlainRead));
    assert_eq!(lost, (Some(1), None));
    assert_eq!(ended(Fate::Queued, None), (Some(1), None));
    assert_eq!(ended(Fate::Failed, Some(Cause::Errno(32))), (None, None));
}

#[test]
fn where_it_is_not_sure_which_file_it_was_nothing_is_said() {
    let change = |place: usize, change: fn(&mut Judged)| {
        let mut both = [
            pass(1, socket(7), 1, 2, 1000),
            pass(2, socket(7), 2, 3, 2000),
        ];
        change(&mut both[place]);
        said(&both).0
    };
    for place in [0, 1] {
        assert_eq!(change(place, |_| ()), Some(1));
        for verdict in [Verdict::Lost, Verdict::Different] {
            let lost: fn(&mut Judged) = match verdict {
                Verdict::Lost => |it| it.verdict = Some(Verdict::Lost),
                _ => |it| it.verdict = Some(Verdict::Different),
            };
            assert_eq!(change(place, lost), None);
        }
        assert_eq!(
            change(place, |it| {
                it.transfer.doubt = Some(Doubt::AddressReused);
            }),
            None
        );
        // It will come again.
        assert_eq!(change(place, |it| it.transfer.overdue = true), None);
    }
    // Who sent the first need not be known, but who sent the second must.
    assert_eq!(change(0, |it| it.transfer.sender = None), Some(1));
    assert_eq!(change(1, |it| it.transfer.sender = None), None);
}

#[test]
fn one_message_is_not_received_again_by_its_peek_or_its_second_number() {
    let mut both = [
        pass(1, socket(7), 1, 2, 1000),
        pass(2, socket(7), 1, 2, 2000),
    ];
    assert_eq!(said(&both).1, Some(1));
    both[1].transfer.message = 1;
    assert_eq!(said(&both).1, None);
    // When it was received must have been seen.
    let mut unseen = pass(1, socket(7), 1, 2, 1000);
    unseen.transfer.hops.retain(|seen| seen.hop != Hop::Install);
    assert_eq!(said(&[unseen, pass(2, socket(7), 2, 3, 2000)]).0, None);
    // What a peek left is handed on like anything else.
    let mut peek = pass(1, socket(7), 1, 2, 1000);
    let receiver = peek.transfer.receiver().cloned();
    peek.transfer.end = End::of(Fate::Peeked, None, receiver);
    assert_eq!(said(&[peek, pass(2, socket(7), 2, 3, 2000)]).0, Some(1));
}

#[test]
fn memory_is_bounded_and_the_oldest_go_first() {
    let mut received = Received::with_room(100);
    for id in 1..=1000 {
        received.note(&pass(id, socket(id), 1, 2, id * 1000));
    }
    let again = |received: &mut Received, ino| {
        let judged = pass(5000, socket(ino), 1, 2, 5_000_000);
        received.note(&judged).again.map(|again| again.transfer)
    };
    assert_eq!(again(&mut received, 1000), Some(1000));
    assert_eq!(again(&mut received, 902), Some(902));
    assert_eq!(again(&mut received, 1), None);
    // Ends are remembered in as little, and without them nothing is said.
    let mut received = Received::with_room(100);
    received.note(&pass(1, socket(7), 1, 2, 1000));
    for pid in 3..=103 {
        received.look(&TableLook {
            t_ns: 1,
            at: LookedAt::ProcessEnd,
            below: None,
            lost: false,
            apart: false,
            tables: vec![Table {
                pid,
                start_ns: 1,
                parent: 1,
                comm: String::new(),
                numbers: Vec::new(),
            }],
        });
    }
    assert_eq!(again(&mut received, 7), None);
}

/// A file as the kernel has it: its address is given away again as soon as nobody has it open.
#[derive(Clone, Copy)]
struct Open {
    identity: FileIdentity,
    /// Which one it is, among all that there ever were.
    which: u64,
}

/// Processes that open, close and pass, where an address is given to the next file at once.
struct Machine {
    state: u64,
    tables: Vec<Vec<Open>>,
    free: Vec<u64>,
    opened: u64,
}

impl Machine {
    fn random(&mut self, below: u64) -> u64 {
        // Knuth's.
        let next = self.state.wrapping_mul(6_364_136_223_846_793_005);
        self.state = next.wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn open(&mut self, process: usize) {
        self.opened += 1;
        let kind = self.random(4);
        let ptr = self.free.pop().unwrap_or(FILE + self.opened * 0x100);
        let identity = match kind {
            0 | 1 => socket(1000 + self.opened),
            2 => regular(1 + self.opened % 3),
            _ => FileIdentity {
                flags: O_PATH,
                ..socket(1000 + self.opened / 2)
            },
        };
        self.tables[process].push(Open {
            identity: FileIdentity { ptr, ..identity },
            which: self.opened,
        });
    }

    fn close(&mut self, process: usize) {
        let len = self.tables[process].len() as u64;
        if len == 0 {
            return;
        }
        let place = self.random(len) as usize;
        let closed = self.tables[process].swap_remove(place);
        let mut left = self.tables.iter().flatten();
        if left.all(|open| open.which != closed.which) {
            self.free.push(closed.identity.ptr);
        }
    }
}

#[test]
fn a_machine_that_reuses_every_address_at_once_is_never_misread() {
    const PROCESSES: u64 = 6;
    let mut machine = Machine {
        state: 4711,
        tables: vec![Vec::new(); PROCESSES as usize],
        free: Vec::new(),
        opened: 0,
    };
    let mut received = Received::default();
    // By id: which file it was, and who received it.
    let mut truth: HashMap<u64, (u64, u32)> = HashMap::new();
    let (mut relays, mut agains, mut reused) = (0, 0, 0);
    let mut latest: HashMap<(u64, u64), u64> = HashMap::new();
    for id in 1..=200_000_u64 {
        let from = machine.random(PROCESSES) as usize;
        match machine.random(3) {
            0 => machine.open(from),
            1 => machine.close(from),
            _ => {}
        }
        let len = machine.tables[from].len() as u64;
        if len == 0 {
            continue;
        }
        let place = machine.random(len) as usize;
        let open = machine.tables[from][place];
        let to = machine.random(PROCESSES) as usize;
        let (from, to) = (from as u32 + 1, to as u32 + 1);
        let earlier = received.note(&pass(id, open.identity, from, to, id * 1000));
        let (ptr, ino) = (open.identity.ptr, open.identity.ino);
        let before = latest.insert((ptr, ino), open.which);
        reused += u32::from(before.is_some_and(|which| which != open.which));
        if let Some(relay) = earlier.relay {
            assert_eq!(truth[&relay.transfer], (open.which, from));
            relays += 1;
        }
        if let Some(again) = earlier.again {
            assert_eq!(truth[&again.transfer], (open.which, to));
            agains += 1;
        }
        truth.insert(id, (open.which, to));
        machine.tables[to as usize - 1].push(open);
        // Tables stay small, so that files go.
        for process in 0..PROCESSES as usize {
            while machine.tables[process].len() > 8 {
                machine.close(process);
            }
        }
    }
    // It did come to what it is about.
    assert!(relays > 1000 && agains > 1000, "{relays} {agains}");
    assert!(reused > 1000, "{reused}");
}
