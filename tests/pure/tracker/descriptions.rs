//! What files are called: what was told ahead of a hop is of that hop's files, and of no others.

use fdtrace::{
    model::{DescriptionMissing, Fate, FileDescription, Task, Transfer},
    wire::Described,
};
use fdtrace_common::records::{FLAG_DESCRIBED, FLAG_PEEK, FileSeen, Head, LIST_MAX};
use fdtrace_testkit::{Event, Passing, files_mut, head_mut, tracker};

/// The hop's events, ahead of them a description of each file: `/` and the index, below `folder`.
fn described(mut hop: Vec<Event>, folder: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for event in &mut hop {
        let head = head_mut(event);
        head.flags |= FLAG_DESCRIBED;
        let head = *head;
        for (index, file) in (head.first..).zip(files_mut(event)) {
            events.push(description(head, index, file, folder));
        }
    }
    events.extend(hop);
    events
}

fn description(head: Head, index: u16, file: &FileSeen, folder: &str) -> Event {
    Event::FileDescribed {
        head,
        described: Described {
            index,
            file: file.file,
            ino: file.ino,
            dev: file.dev,
            description: FileDescription::Rootless(format!("{folder}/{index}")).into(),
        },
    }
}

fn track(events: impl IntoIterator<Item = Event>) -> Vec<Transfer> {
    let mut tracker = tracker().seeing_descriptions(true);
    for event in events {
        tracker.apply(event);
    }
    tracker.close_open();
    tracker.take_closed()
}

/// What the transfers' files are called, or why that is not known.
fn names(transfers: &[Transfer]) -> Vec<Result<String, Option<DescriptionMissing>>> {
    let context = transfers.iter().map(|transfer| &transfer.context);
    context
        .map(|context| match &context.file {
            Some(file) => {
                assert_eq!(context.missing, None, "one or the other");
                Ok(file.to_string())
            }
            None => Err(context.missing),
        })
        .collect()
}

fn called(name: &str) -> Result<String, Option<DescriptionMissing>> {
    Ok(name.to_owned())
}

fn missing(why: DescriptionMissing) -> Result<String, Option<DescriptionMissing>> {
    Err(Some(why))
}

fn full() -> Passing {
    Passing {
        files: (1..=LIST_MAX as u64).map(|file| file << 8).collect(),
        ..Passing::one()
    }
}

#[test]
fn each_of_253_files_has_its_own_name() {
    let message = full();
    let events = [
        message.queued(1),
        described(message.dequeued(10), "/d"),
        message.returned(20, LIST_MAX),
    ];
    let expected: Vec<_> = (0..LIST_MAX)
        .map(|index| called(&format!("/d/{index}")))
        .collect();
    assert_eq!(names(&track(events.concat())), expected);
}

/// Something that makes a description another file's, and what is said of the file then.
type Change = (
    &'static str,
    fn(&mut Head, &mut Described),
    DescriptionMissing,
);

#[test]
fn what_was_told_of_another_list_time_thread_place_or_file_is_not_taken() {
    let changes: [Change; 7] = [
        ("list", |head, _| head.list += 64, DescriptionMissing::Lost),
        ("time", |head, _| head.t_ns -= 1, DescriptionMissing::Lost),
        ("thread", |head, _| head.tid += 1, DescriptionMissing::Lost),
        ("place", |_, it| it.index += 1, DescriptionMissing::Lost),
        ("file", |_, it| it.file += 64, DescriptionMissing::Changed),
        ("inode", |_, it| it.ino += 1, DescriptionMissing::Changed),
        ("device", |_, it| it.dev += 1, DescriptionMissing::Changed),
    ];
    let message = Passing::one();
    let events = |change: &dyn Fn(&mut Head, &mut Described)| {
        let mut read = described(message.dequeued(10), "/d");
        let Event::FileDescribed { head, described } = &mut read[0] else {
            panic!("the description comes first");
        };
        change(head, described);
        [message.queued(1), read, message.returned(20, 1)].concat()
    };
    assert_eq!(names(&track(events(&|_, _| {}))), [called("/d/0")]);
    for (what, change, why) in changes {
        let transfers = track(events(&change));
        assert_eq!(names(&transfers), [missing(why)], "another {what}");
    }
}

#[test]
fn a_name_is_not_inherited_from_an_earlier_message() {
    // The same file, address and inode; the second time its record found no room.
    let message = Passing::one();
    let mut events = [
        message.queued(1),
        described(message.dequeued(10), "/first"),
        message.returned(20, 1),
        message.queued(31),
    ]
    .concat();
    let mut read = described(message.dequeued(40), "/second");
    read.remove(0);
    events.extend(read);
    events.extend(message.returned(50, 1));
    let expected = [called("/first/0"), missing(DescriptionMissing::Lost)];
    assert_eq!(names(&track(events)), expected);
}

#[test]
fn a_name_is_kept_until_the_last_of_its_hops_records_and_no_longer() {
    let message = full();
    let twice = ["/first", "/second"].map(|folder| {
        [
            message.queued(1),
            described(message.dequeued(10), folder),
            message.returned(20, LIST_MAX),
        ]
    });
    // The same place and time again, which no hop has: only what was kept could answer for it.
    let transfers = track(twice.concat().concat());
    let named = names(&transfers);
    for (folder, named) in ["/first", "/second"].iter().zip(named.chunks(LIST_MAX)) {
        for (index, name) in named.iter().enumerate() {
            assert_eq!(*name, called(&format!("{folder}/{index}")));
        }
    }
}

#[test]
fn a_task_is_what_was_told_of_it_last() {
    let message = Passing::one();
    let told = |tid, uid| {
        let mut head = *head_mut(&mut message.queued(1)[0]);
        head.tid = tid;
        let task = Task {
            uid,
            ..Task::default()
        };
        vec![Event::TaskDescribed { head, task }]
    };
    let events = [
        told(message.sender, 1),
        told(message.sender, 2),
        told(message.receiver, 3),
        message.delivered(1),
    ];
    let transfers = track(events.concat());
    let context = &transfers[0].context;
    let uid = |task: Option<Task>| task.map(|task| task.uid);
    assert_eq!(
        (uid(context.sender), uid(context.receiver)),
        (Some(2), Some(3))
    );
    let untold = track(message.delivered(1));
    assert_eq!(uid(untold[0].context.sender), None);
}

#[test]
fn what_is_read_again_is_told_again() {
    let message = Passing::one();
    let peeked = |message: &Passing| {
        let gained = vec![message.gained(0)];
        [
            message.queued(1),
            described(message.dequeued(10), "/peeked"),
            message.returned_with(20, 47, FLAG_PEEK, gained),
        ]
        .concat()
    };
    let events = [
        peeked(&message),
        described(message.dequeued(30), "/received"),
        message.returned(40, 1),
    ];
    let transfers = track(events.concat());
    assert_eq!(transfers[0].fate(), Fate::Peeked);
    let expected = [called("/peeked/0"), called("/received/0")];
    assert_eq!(names(&transfers), expected);
    // The peek's name is not the receive's.
    let mut read = described(message.dequeued(30), "/received");
    read.remove(0);
    let events = [peeked(&message), read, message.returned(40, 1)];
    let expected = [called("/peeked/0"), missing(DescriptionMissing::Lost)];
    assert_eq!(names(&track(events.concat())), expected);
}

#[test]
fn who_destroys_or_fails_to_send_tells_too() {
    let message = Passing::one();
    let closed = [
        message.queued(1),
        described(message.destroyed(10, 0, 200), "/closed"),
    ];
    assert_eq!(names(&track(closed.concat())), [called("/closed/0")]);
    let released = [
        message.copied(1),
        described(message.released(5, 100, 46), "/unsent"),
    ];
    let released = [released.concat(), message.send_returned(6, 1, -32)].concat();
    assert_eq!(names(&track(released)), [called("/unsent/0")]);
    let failed = track(described(full().send_failed(1, -9), "/failed"));
    assert_eq!(failed.len(), LIST_MAX);
    for (index, name) in names(&failed).iter().enumerate() {
        assert_eq!(*name, called(&format!("/failed/{index}")));
    }
}

#[test]
fn a_number_that_is_not_open_has_no_file() {
    let mut events = Passing::one().send_failed(1, -9);
    head_mut(&mut events[0]).flags |= FLAG_DESCRIBED;
    files_mut(&mut events[0])[0].file = 0;
    assert_eq!(names(&track(events)), [missing(DescriptionMissing::NoFile)]);
}

#[test]
fn a_message_that_nobody_was_seen_to_read_has_a_reason() {
    let queued = Passing::one().queued(1);
    assert_eq!(
        names(&track(queued.clone())),
        [missing(DescriptionMissing::NotSeen)]
    );
    // A hop that announces no description has lost none.
    let read = Passing::one().delivered(1);
    assert_eq!(names(&track(read)), [missing(DescriptionMissing::NotSeen)]);
    // A look at its queue tells.
    let found = [
        queued.clone(),
        described_last(&Passing::one(), "/queued", |_| {}),
    ];
    assert_eq!(names(&track(found.concat())), [called("/queued/0")]);
    // But not of another file.
    let other = described_last(&Passing::one(), "/queued", |described| described.file += 64);
    let found = [queued.clone(), other].concat();
    assert_eq!(names(&track(found)), [missing(DescriptionMissing::Changed)]);
    // Who did not ask is not told what is missing.
    let mut tracker = tracker();
    queued.into_iter().for_each(|event| tracker.apply(event));
    tracker.close_open();
    assert_eq!(names(&tracker.take_closed()), [Err(None)]);
}

/// The last look, which has no files of its own.
fn described_last(message: &Passing, folder: &str, change: impl Fn(&mut Described)) -> Vec<Event> {
    let mut events = message.found_last(90);
    let head = head_mut(&mut events[0]);
    head.flags |= FLAG_DESCRIBED;
    let mut told = description(*head, 0, &message.gained(0), folder);
    if let Event::FileDescribed { described, .. } = &mut told {
        change(described);
    }
    events.insert(0, told);
    events
}

#[test]
fn what_a_hop_shows_of_a_file_by_itself_needs_no_description() {
    let shown = |magic: u64, mode: u16, label: &[u8]| {
        let message = Passing::one();
        let mut events = message.delivered(1);
        for event in &mut events {
            head_mut(event).flags |= FLAG_DESCRIBED;
            for file in files_mut(event) {
                (file.ino, file.magic, file.mode, file.parent) = (77, magic, mode, file.dentry);
                file.name[..label.len()].copy_from_slice(label);
            }
        }
        names(&track(events)).remove(0)
    };
    let pipe = shown(0x5049_5045, 0o010_600, b"");
    assert_eq!(pipe, called("pipe:[77]"));
    let anonymous = shown(0x0904_1934, 0o600, b"[eventfd]");
    assert_eq!(anonymous, called("anon_inode:[eventfd]"));
    // One that fills its room may be longer.
    let cut = shown(0x0904_1934, 0o600, b"[sixteen letters");
    assert_eq!(cut, missing(DescriptionMissing::Lost));
    assert_eq!(
        shown(0xef53, 0o100_644, b""),
        missing(DescriptionMissing::Lost)
    );
}

#[test]
fn an_earlier_version_told_of_the_one_file_with_an_inode() {
    let old = |files: Vec<u64>| {
        let message = Passing {
            files,
            ..Passing::one()
        };
        let mut read = message.dequeued(10);
        let head = *head_mut(&mut read[0]);
        let mut told = description(head, 0, &files_mut(&mut read[0])[1], "/old");
        if let Event::FileDescribed { described, .. } = &mut told {
            described.file = 0;
        }
        let count = message.files.len();
        let events = [
            message.queued(1),
            vec![told],
            read,
            message.returned(20, count),
        ];
        let mut tracker = tracker();
        events
            .concat()
            .into_iter()
            .for_each(|event| tracker.apply(event));
        names(&tracker.take_closed())
    };
    let other = || Err(None);
    assert_eq!(old(vec![0x1000, 0x2000]), [other(), called("/old/0")]);
    let three = vec![0x1000, 0x2000, 0x3000];
    assert_eq!(old(three), [other(), called("/old/0"), other()]);
    // Two links of one inode, or two that share an anonymous one: it may be either's.
    assert_eq!(old(vec![0x2001, 0x2002]), [other(), other()]);
}
