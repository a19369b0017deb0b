//! Recordings: what was written comes back, and what was damaged is read up to the damage.

use std::{fs, path::Path};

use fdtrace::{
    model::{
        FileDescription, FileIdentity, FoundFile, Losses, Occasion, QueueFact, QueuedPart,
        SocketType,
    },
    recording::{End, FORMAT, Header, Item, ReadError, Reader, Writer},
};
use fdtrace_common::records::{Head, RecordKind};
use fdtrace_testkit::{
    Passing, UNIX_GC,
    command::{self, Run, fdtrace, run},
    contract::Schema,
    recordings,
};
use zerocopy::FromBytes as _;

/// East of UTC, and not all queues were read.
fn header() -> Header {
    Header {
        utc_offset_s: 3600,
        machine: fdtrace::model::Machine {
            arch: Some("aarch64".to_owned()),
            host: Some("there".to_owned()),
            boot_id: None,
        },
        unread_at_start: Some("1 queue was too long".to_owned()),
        ..recordings::header()
    }
}

/// One descriptor that is delivered, and one that the garbage collector takes.
fn recording() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    let passing = Passing::one();
    for event in passing.delivered(2000) {
        writer.event(&event.bytes()).unwrap();
    }
    writer.pause(3000).unwrap();
    let lost = Passing {
        list: passing.list + 0x1000,
        ..Passing::one()
    };
    for event in lost.queued(4000) {
        writer.event(&event.bytes()).unwrap();
    }
    writer.symbol(UNIX_GC, "unix_gc").unwrap();
    for event in lost.destroyed(5000, UNIX_GC, 7) {
        writer.event(&event.bytes()).unwrap();
    }
    writer.pause(6000).unwrap();
    writer
        .end(&End {
            t_ns: 7000,
            command_status: Some(3),
            losses: Losses::default(),
            unread_at_end: Some("2 queues kept changing".to_owned()),
        })
        .unwrap()
}

/// What can be read, and why no more can.
fn read(bytes: &[u8]) -> (Vec<Item>, Option<ReadError>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut items = Vec::new();
    loop {
        match reader.next_item() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, None),
            Err(error) => return (items, Some(error)),
        }
    }
}

#[test]
fn what_was_written_comes_back() {
    let bytes = recording();
    let reader = Reader::new(bytes.as_slice()).unwrap();
    assert_eq!(*reader.header(), header());
    let (items, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(items.len(), 9);
    let kinds: Vec<u16> = items
        .iter()
        .filter_map(|item| match item {
            Item::Event(record) => Head::read_from_prefix(record).ok(),
            _ => None,
        })
        .map(|(head, _)| head.kind)
        .collect();
    let expected = [
        RecordKind::ListQueued,
        RecordKind::ListDequeued,
        RecordKind::ReceiveReturned,
        RecordKind::ListQueued,
        RecordKind::ListDestroyed,
    ];
    assert_eq!(kinds, expected.map(|kind| kind as u16));
    assert!(matches!(items.last(), Some(Item::End(_))));
}

#[test]
fn a_recording_cut_anywhere_is_read_up_to_there() {
    let bytes = recording();
    let (whole, _) = read(&bytes);
    let mut longest = 0;
    for len in 0..bytes.len() {
        let (items, error) = read(&bytes[..len]);
        assert!(
            error.is_some(),
            "{len} of {} bytes are no whole",
            bytes.len()
        );
        assert_eq!(items, whole[..items.len()], "after {len} bytes");
        assert!(items.len() >= longest, "more bytes give more");
        longest = items.len();
    }
    assert_eq!(longest, whole.len() - 1, "all but the end");
}

#[test]
fn a_changed_byte_is_found() {
    let bytes = recording();
    let (whole, _) = read(&bytes);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let (items, error) = read(&damaged);
        assert!(error.is_some(), "byte {at} was changed");
        assert_eq!(items, whole[..items.len()], "byte {at}");
    }
}

#[test]
fn chunks_of_a_later_version_are_skipped() {
    let mut bytes = recording();
    let end = bytes.len();
    // Between the header and the first record, a chunk of kind 999.
    let (mut chunk, payload) = (Vec::new(), b"later");
    chunk.extend(5_u32.to_le_bytes());
    chunk.extend(999_u16.to_le_bytes());
    chunk.extend([0, 0]);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&chunk[4..]);
    hasher.update(payload);
    chunk.extend(hasher.finalize().to_le_bytes());
    chunk.extend(payload);
    let header_len = u32::from_le_bytes(bytes[18..22].try_into().unwrap()) as usize;
    let at = 18 + 12 + header_len;
    bytes.splice(at..at, chunk);
    assert!(bytes.len() > end);
    let (items, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(items, read(&recording()).0);
}

#[test]
fn a_later_format_is_refused() {
    let later = Header {
        format: FORMAT + 1,
        ..header()
    };
    let bytes = Writer::new(Vec::new(), &later)
        .and_then(|writer| writer.end(&End::default()))
        .unwrap();
    let (_, error) = read(&bytes);
    assert!(matches!(error, Some(ReadError::NewerFormat { found }) if found == FORMAT + 1));
    let (_, error) = read(b"PNG and so on, which is long enough");
    assert!(matches!(error, Some(ReadError::NotARecording)));
}

fn replay(bytes: &[u8], args: &[&str]) -> Run {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let path: &Path = file.path();
    run(fdtrace(&["replay", path.to_str().unwrap()]).args(args))
}

#[test]
fn replay_shows_what_was_recorded() {
    let run = replay(&recording(), &[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    insta::assert_snapshot!(run.stdout, @r"
    fdtrace 0.1.0 on Linux 6.18.0-test, watching queue, dequeue, install, end by tracepoint

    23:13:20.000001   test[100] 4 → test[200] 9  regular 254:0/1152913292931366912 stream    10 ns  inheritable
    23:13:20.000004 ✗ test[100] 4 → nobody  collected: garbage-collector  regular 254:0/1152913292931366912 stream        –
                      garbage-collector: do not send a socket over itself or in a circle, and keep one end open until its queue has been read

    transfers  1 delivered, 1 collected in 6.0 µs; verdict 1 same
    between          1  test → nobody
                     1  test → test
    in queue   p50 ≤ 10 ns, p90 ≤ 10 ns, p99 ≤ 10 ns, max 10 ns
    lost       nothing
    not read   queues at the start: 1 queue was too long
    not read   queues at the end: 2 queues kept changing
    command    exit status 3
    ");
}

#[test]
fn replay_gives_json_as_the_schema_says() {
    let schema = Schema::parse(&run(&mut fdtrace(&["schema"])).stdout);
    let run = replay(&recording(), &["--format", "json", "--hops"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = schema.assert_lines(&run.stdout);
    let transfers: Vec<_> = lines.iter().filter(|l| l["type"] == "transfer").collect();
    assert_eq!(transfers.len(), 2);
    assert_eq!(transfers[0]["verdict"], "same");
    assert_eq!(transfers[1]["fate"], "collected");
    assert_eq!(lines[0]["kernel"], "6.18.0-test");
    let last = lines.last().unwrap();
    assert_eq!(last["command_status"], 3);
    let unread = &last["unread_queues"];
    assert_eq!(unread["at_start"], "1 queue was too long");
    assert_eq!(unread["at_end"], "2 queues kept changing");
    assert_eq!(last["pairs"][0]["sender"], "test");
    let hops = lines.iter().filter(|line| line["type"] == "hop").count();
    assert_eq!(hops, 5);
}

#[test]
fn what_came_without_a_sender_is_shown_when_no_look_can_tell_of_it_any_more() {
    let first_of = |pause: u64| {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        let passing = Passing::one();
        let late = [passing.dequeued(2000), passing.returned(2010, 1)].concat();
        for event in late {
            writer.event(&event.bytes()).unwrap();
        }
        writer.pause(pause).unwrap();
        let other = Passing {
            files: vec![passing.files[0] + 0x100],
            ..passing
        };
        for event in other.delivered(3_000_000_000) {
            writer.event(&event.bytes()).unwrap();
        }
        let recording = writer.end(&End {
            t_ns: 4_000_000_000,
            command_status: None,
            losses: Losses::default(),
            unread_at_end: None,
        });
        let run = replay(&recording.unwrap(), &["--format", "json"]);
        let mut lines = run.stdout.lines();
        let first = lines.find(|line| line.contains(r#""type":"transfer""#));
        let first: serde_json::Value = serde_json::from_str(first.unwrap()).unwrap();
        first["verdict"].clone()
    };
    assert_eq!(first_of(1_000_002_011), "unverified");
    // The control: a look may still come.
    assert_eq!(first_of(1_000_002_010), "same");
}

#[test]
fn a_skipped_run_takes_away_what_was_on_its_way_and_nothing_else() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    let mut pass = |t_ns, reading: Option<Losses>| {
        for event in Passing::one().delivered(t_ns) {
            writer.event(&event.bytes()).unwrap();
        }
        if let Some(losses) = reading {
            writer.losses(&losses).unwrap();
        }
        writer.pause(t_ns + 100).unwrap();
    };
    let skipped = Losses {
        recursion_misses: 1,
        read_ns: 5500,
        ..Losses::default()
    };
    pass(2000, None);
    pass(4000, Some(skipped.clone()));
    // Begun while the counters were read.
    pass(5450, None);
    // Sent before its sender was seen: perhaps at once when that had sent the one before.
    pass(6000, None);
    pass(6500, None);
    let recording = writer.end(&End {
        t_ns: 7000,
        losses: skipped,
        ..End::default()
    });
    let run = replay(&recording.unwrap(), &["--format", "json"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let schema = Schema::parse(&command::run(&mut fdtrace(&["schema"])).stdout);
    let lines = schema.assert_lines(&run.stdout);
    let transfers = lines.iter().filter(|line| line["type"] == "transfer");
    let told: Vec<_> = transfers
        .map(|it| (it["verdict"].as_str(), it["doubt"].as_str()))
        .collect();
    let lost = (Some("lost"), Some("records-lost-meanwhile"));
    let same = (Some("same"), None);
    assert_eq!(told, [same, lost, lost, lost, same]);
}

#[test]
fn replay_selects() {
    for (args, expected) in [
        (["--fate", "collected"], 1),
        (["--fate", "refused"], 0),
        (["--kind", "regular"], 2),
        (["--kind", "pipe"], 0),
        (["--kind", "eventfd"], 0),
        (["--pid", "200"], 1),
        (["--pid", "100"], 2),
        (["--comm", "test"], 2),
        (["--comm", "tes"], 0),
        (["--limit-events", "1"], 1),
    ] {
        let run = replay(&recording(), &["--format", "json", args[0], args[1]]);
        let transfers = run.stdout.matches(r#""type":"transfer""#).count();
        assert_eq!(transfers, expected, "{args:?}: {run:?}");
    }
}

#[test]
fn replay_of_a_damaged_recording_says_so() {
    let whole = recording();
    let run = replay(&whole[..whole.len() - 10], &["--format", "json"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert_eq!(run.stdout.matches(r#""type":"transfer""#).count(), 2);
    assert!(run.stderr.contains("breaks off after"), "{run:?}");
    let incomplete = |stdout: &str| {
        let last = stdout.lines().last().unwrap();
        let summary: serde_json::Value = serde_json::from_str(last).unwrap();
        summary["incomplete"].as_str().map(str::to_owned)
    };
    assert!(incomplete(&run.stdout).is_some_and(|why| why.contains("breaks off after")));
    let run = replay(&whole, &["--format", "json"]);
    assert_eq!(incomplete(&run.stdout), None);
    let run = replay(b"something else", &[]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("not an fdtrace recording"), "{run:?}");
}

#[test]
fn what_was_found_in_queues_comes_back() {
    let lies = QueueFact::Lies(QueuedPart {
        occasion: Occasion::First,
        t_ns: 5,
        wanted: true,
        list: 1,
        skb: 2,
        sender_sock: 3,
        receiver_sock: 4,
        sender_ino: None,
        receiver_ino: Some(70),
        kind: Some(SocketType::Dgram),
        socket_name: Some("@name".to_owned()),
        count: 2,
        first: 1,
        files: vec![FoundFile {
            file: FileIdentity {
                ptr: 9,
                ino: 42,
                dev: 1,
                rdev: 0,
                mode: 0o100_644,
                flags: 2,
                magic: 0xef53,
                label: None,
            },
            refs: 2,
            description: Some(FileDescription::Rootless("pipe:[42]".to_owned())),
        }],
    });
    let all = QueueFact::LookedThrough {
        t_ns: 6,
        every: false,
    };
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.found(&lies).unwrap();
    writer.found(&all).unwrap();
    let bytes = writer.end(&End::default()).unwrap();
    let (items, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(items[..2], [Item::Found(lies), Item::Found(all)]);
}
