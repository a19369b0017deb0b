//! What holds for every course of events, and for all bytes.

use fdtrace::{
    judge::{Meanwhile, missing_hops, verdict},
    model::{Fate, Judged, Verdict},
    wire::{self, DecodeError, decode},
};
use fdtrace_common::records::{FLAG_PEEK, FileSeen, Head, RecordKind};
use fdtrace_testkit::{
    Event, PLAIN_READ, Passing, RECVMSG, UNIX_RELEASE_SOCK, files_mut, head_mut,
    kernels::tracepoint_plan, tracker, tracker_with_room,
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    courses::{self, APART, End, Gone, courses, ends, gone, is_wrong, pairs_up},
    fates, same, track,
};

/// Few addresses, so that they are reused all the time; a number of its own for every file, so
/// that a wrong pairing shows.
fn course() -> impl Strategy<Value = Vec<(Vec<u64>, End, bool, u8)>> {
    let files = prop::collection::vec(
        (1..4_u64).prop_map(|file| 0xffff_8881_0000_0000 + file * 256),
        1..20,
    );
    prop::collection::vec((files, ends(), any::<bool>(), any::<u8>()), 1..12)
}

/// The records of several messages, mixed as concurrent CPUs might mix them: each message's own
/// are in order, and no two messages have the same list at the same time.
fn interleave(course: &[(Vec<u64>, End, bool, u8)]) -> Vec<Event> {
    const LISTS: usize = 3;
    let mut lanes: Vec<Vec<Event>> = vec![Vec::new(); LISTS];
    let mut number = 0;
    let mut t_ns = 1000;
    for (files, end, receiver_first, choice) in course {
        let lane = usize::from(*choice) % LISTS;
        let message = Passing {
            list: 0xffff_8882_0000_0000 + lane as u64 * 4096,
            skb: 0xffff_8883_0000_0000 + u64::from(choice % 2) * 256,
            sender: 100,
            receiver: 200,
            files: files.clone(),
            sender_fd: 1000 + number,
            receiver_fd: 1000 + APART + number,
            read_at: std::cell::Cell::new(0),
        };
        number += files.len() as i32;
        let mut step = || {
            t_ns += 10;
            t_ns
        };
        let mut parts = vec![message.queued(step())];
        match end {
            End::Destroyed => parts.push(message.destroyed(step(), UNIX_RELEASE_SOCK, 300)),
            End::PeekedThenDelivered => {
                let gained = (0..files.len())
                    .map(|index| message.gained(index))
                    .collect();
                parts.push(message.dequeued(step()));
                parts.push(message.returned_with(step(), RECVMSG, FLAG_PEEK, gained));
                parts.push(message.dequeued(step()));
                parts.push(message.returned(step(), files.len()));
            }
            End::Delivered | End::Truncated | End::Read => {
                parts.push(message.dequeued(step()));
                if *receiver_first {
                    parts.swap(0, 1);
                }
                parts.push(match end {
                    End::Truncated => message.returned(step(), files.len() / 2),
                    End::Read => message.returned_with(step(), PLAIN_READ, 0, Vec::new()),
                    _ => message.returned(step(), files.len()),
                });
            }
        }
        lanes[lane].extend(parts.concat());
    }
    // One record from each lane in turn, in an order that the choices decide.
    let mut lanes: Vec<std::collections::VecDeque<Event>> =
        lanes.into_iter().map(Into::into).collect();
    let mut mixed = Vec::new();
    let mut turn = course
        .iter()
        .map(|(.., choice)| usize::from(*choice))
        .cycle();
    while lanes.iter().any(|lane| !lane.is_empty()) {
        let lane = turn.next().unwrap_or_default() % LISTS;
        let next = (0..LISTS).map(|offset| (lane + offset) % LISTS);
        if let Some(event) = next.filter_map(|lane| lanes[lane].pop_front()).next() {
            mixed.push(event);
        }
    }
    mixed
}

/// Loses record `at`, as a full ring buffer does: the rest of its hop goes too, and whatever is
/// begun later knows that something was lost.
fn lose(events: &mut Vec<Event>, at: usize) {
    let lost = *head_mut(&mut events[at]);
    let mut index = 0;
    events.retain_mut(|event| {
        let head = head_mut(event);
        let same_hop = (head.t_ns, head.kind, head.list) == (lost.t_ns, lost.kind, lost.list);
        let keep = index < at || !same_hop;
        if index > at && !same_hop && head.t_ns > lost.t_ns {
            // The last loss before it, in whatever order they are made here.
            head.epoch = head.epoch.max(lost.t_ns);
        }
        index += 1;
        keep
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_legal_interleaving_gives_every_file_its_own_fate(course in course()) {
        let plan = tracepoint_plan();
        let transfers = track(interleave(&course));
        let expected = courses::fates(course.iter().map(|(files, end, ..)| (files.len(), *end)));
        let mut found = std::collections::BTreeMap::new();
        for transfer in &transfers {
            *found.entry(transfer.fate()).or_insert(0) += 1;
            if matches!(transfer.fate(), Fate::Delivered | Fate::Peeked) {
                prop_assert!(same(plan, transfer), "{transfer:?}");
                prop_assert!(pairs_up(transfer), "{transfer:?}");
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn losing_records_never_makes_a_wrong_same(
        course in course(),
        losses in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
    ) {
        let plan = tracepoint_plan();
        let mut events = interleave(&course);
        for at in &losses {
            if !events.is_empty() {
                let at = at.index(events.len());
                lose(&mut events, at);
            }
        }
        for transfer in track(events) {
            match verdict::of_transfer(&transfer, |hop| plan.watches(hop), false) {
                Some(Verdict::Same) => prop_assert!(pairs_up(&transfer), "{transfer:?}"),
                Some(Verdict::Different) => prop_assert!(false, "{transfer:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn forgetting_messages_never_makes_a_wrong_same(course in course(), room in 1..30_usize) {
        let plan = tracepoint_plan();
        let events = interleave(&course);
        let mut tracker = tracker_with_room(room);
        for event in events.clone() {
            tracker.apply(event);
        }
        tracker.close_open();
        let transfers = tracker.take_closed();
        for transfer in &transfers {
            let begin = transfer.hops.iter().map(|seen| seen.t_ns).min().unwrap_or(0);
            match verdict::of_transfer(transfer, |hop| plan.watches(hop), begin > tracker.forgotten_at()) {
                Some(Verdict::Same) => prop_assert!(pairs_up(transfer), "{transfer:?}"),
                Some(Verdict::Different) => prop_assert!(false, "{transfer:?}"),
                _ => {}
            }
        }
        if tracker.forgotten() == 0 {
            prop_assert_eq!(fates(&transfers), fates(&track(events)));
        }
    }

    #[test]
    fn one_changed_pointer_gives_exactly_one_different(
        // With another file in it, a list of one is another list.
        count in 2..40_usize,
        hop in 0..3_usize,
        victim in any::<prop::sample::Index>(),
        bit in 0..48_u32,
    ) {
        let plan = tracepoint_plan();
        let files: Vec<u64> = (0..count as u64).map(|file| 0xffff_8881_0000_0000 + file * 256).collect();
        let message = Passing { files, sender_fd: 1000, receiver_fd: 5000, ..Passing::one() };
        let mut parts = [message.queued(1), message.dequeued(2), message.returned(3, count)];
        let victim = victim.index(count);
        let mut index = 0;
        for event in &mut parts[hop] {
            for file in files_mut(event) {
                if index == victim {
                    file.file ^= 1 << bit;
                }
                index += 1;
            }
        }
        let transfers = track(parts.concat());
        prop_assert_eq!(transfers.len(), count);
        for transfer in &transfers {
            let expected =
                if usize::from(transfer.index) == victim { Verdict::Different } else { Verdict::Same };
            prop_assert_eq!(verdict::of_transfer(transfer, |hop| plan.watches(hop), true), Some(expected));
        }
    }

    #[test]
    fn bytes_cut_anywhere_are_an_error_or_a_whole_event(cut in 0..400_usize, kind in 0..16_u16, files in 0..20_u16) {
        let mut head = match Passing::one().queued(1).remove(0) {
            Event::ListQueued(seen) => seen.head,
            other => panic!("{other:?}"),
        };
        head.kind = kind;
        head.files = files;
        let mut bytes = head.as_bytes().to_vec();
        bytes.resize(400, 0xff);
        bytes.truncate(cut);
        let known = (RecordKind::ListQueued as u16..=RecordKind::ListFound as u16).contains(&kind);
        match decode(&bytes) {
            Ok(_) => prop_assert!(known),
            Err(DecodeError::UnknownKind(found)) => prop_assert!(!known && found == kind),
            Err(DecodeError::Truncated { found }) => prop_assert_eq!(found, bytes.len()),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut tracker = tracker();
        if let Ok(event) = decode(&bytes) {
            tracker.apply(event);
        }
        tracker.close_open();
    }

    #[test]
    fn any_records_of_one_list_are_taken_in(records in prop::collection::vec(records(), 1..12)) {
        let mut tracker = tracker();
        for record in &records {
            let event = decode(record);
            // Otherwise this would say nothing of the tracker.
            prop_assert!(event.is_ok(), "{event:?}");
            event.into_iter().for_each(|event| tracker.apply(event));
        }
        tracker.close_open();
        for transfer in tracker.take_closed() {
            let judged = Judged::of(transfer, |hop| tracepoint_plan().watches(hop), true);
            let is_explained = judged.verdict != Some(Verdict::Unverified)
                || judged.doubt().is_some()
                || !missing_hops(&judged.transfer).is_empty();
            prop_assert!(is_explained, "{judged:?}");
        }
    }

    #[test]
    fn whatever_goes_unseen_never_makes_a_wrong_same(course in courses(), gone in gone()) {
        for judged in course.judged(&gone, tracepoint_plan(), |meanwhile| meanwhile) {
            prop_assert!(!is_wrong(&judged), "{judged:#?}");
        }
    }

    #[test]
    fn a_course_that_is_seen_whole_is_told_as_it_was(course in courses()) {
        let judged = course.judged(&Gone::default(), tracepoint_plan(), |meanwhile| meanwhile);
        let mut fates = std::collections::BTreeMap::new();
        for it in &judged {
            let fate = it.transfer.fate();
            *fates.entry(fate).or_insert(0) += 1;
            if matches!(fate, Fate::Delivered | Fate::Peeked) {
                prop_assert_eq!(it.verdict, Some(Verdict::Same), "{:?}", it);
                prop_assert!(pairs_up(&it.transfer), "{it:?}");
                prop_assert_eq!(it.doubt(), None);
            }
        }
        prop_assert_eq!(fates, course.fates(), "{:?}", course.way());
    }
}

/// Bytes of a record of any known kind, in which all that the tracker pairs by is from a few values.
fn records() -> impl Strategy<Value = Vec<u8>> {
    let kinds = (RecordKind::ListQueued as u16..=RecordKind::ListFoundLast as u16)
        .filter(|kind| *kind != RecordKind::SocketNamed as u16)
        .collect::<Vec<_>>();
    let kind = prop_oneof![
        8 => prop::sample::select(kinds),
        1 => Just(RecordKind::TaskDescribed as u16),
    ];
    let numbers = (any::<u16>(), 0..4_u16, 0..4_u16, -2..5_i32, any::<i32>());
    let places = (0..3_u64, 0..3_u64, 100..103_u32, 0..50_u64, 0..50_u64);
    let bytes = prop::collection::vec(any::<u8>(), 1024);
    (kind, numbers, places, bytes).prop_map(|(kind, numbers, places, mut bytes)| {
        let (flags, count, first, call, result) = numbers;
        let (list, skb, tid, t_ns, origin) = places;
        let mut head = Head::read_from_prefix(&bytes).expect("there is room").0;
        (head.kind, head.flags, head.count, head.first) = (kind, flags, count, first);
        (head.files, head.total, head.tid, head.pid) = (count.min(3), count, tid, tid);
        (head.list, head.skb, head.t_ns, head.origin) = (list, skb, t_ns, origin);
        (head.call, head.result, head.epoch) = (call, result, 0);
        (head.sender_sock, head.sender_ino) = (1, 1);
        bytes[..size_of::<Head>()].copy_from_slice(head.as_bytes());
        // Of a list of callers, the length.
        if kind == RecordKind::Called as u16 {
            bytes[size_of::<Head>()..][..4].copy_from_slice(&3_u32.to_ne_bytes());
        }
        bytes
    })
}

/// The control: if a skipped run counted for no more than a lost record, which tells later ones of
/// itself, some of these courses would be told wrongly.
#[test]
fn the_model_finds_what_is_wrong_where_skipped_runs_do_not_count() {
    let forgiving = |meanwhile| match meanwhile {
        Meanwhile::RunsSkipped => Meanwhile::RecordsLost,
        meanwhile => meanwhile,
    };
    let mut runner = TestRunner::deterministic();
    let mut wrong = 0;
    for _ in 0..4000 {
        let mut draw = || (courses(), gone()).new_tree(&mut runner).unwrap().current();
        let (course, gone) = draw();
        let judged = course.judged(&gone, tracepoint_plan(), forgiving);
        wrong += judged.iter().filter(|judged| is_wrong(judged)).count();
    }
    assert!(wrong > 0);
}

#[test]
fn a_record_survives_the_way_through_bytes() {
    let Event::ListQueued(seen) = Passing::one().queued(7).remove(0) else {
        panic!()
    };
    let bytes = [seen.head.as_bytes(), seen.files[0].as_bytes()].concat();
    assert_eq!(bytes.len(), size_of::<Head>() + size_of::<FileSeen>());
    match decode(&bytes) {
        Ok(wire::Record::Event(wire::Event {
            kind: wire::EventKind::ListQueued(_),
            seen: back,
        })) => {
            assert_eq!(back.stamp.at.ns, 7);
            assert_eq!(back.files[0].file.ptr, seen.files[0].file);
        }
        other => panic!("{other:?}"),
    }
}
