//! Stories, made of events as the kernel half would write them, for kernels that nobody booted.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use fdtrace::{
    explain::{
        Explainer, KernelPath, RunLog, Story,
        recorder::{Checkpoint, Descriptor, Process},
    },
    model::{PointerStyle, Pointers},
    plan::{Attach, plan},
    report::{write_comparison, write_story},
    verify::{
        self,
        fact::{Actor, Fact},
    },
    witness::Birth,
};
use fdtrace_testkit::{
    Event, Passing, SYS_READ, SYS_RECVMSG, UNIX_RELEASE_SOCK, files_mut,
    kernels::{KERNELS, fixture},
    tracker,
};
use unicode_width::UnicodeWidthStr as _;

/// The story of these events on a recorded kernel.
fn story(kernel: &str, events: &[Vec<Event>]) -> Story {
    story_with(kernel, events, Vec::new())
}

/// The same with moments at which an actor was held.
fn story_with(kernel: &str, events: &[Vec<Event>], checkpoints: Vec<Checkpoint>) -> Story {
    let view = fixture(kernel);
    let plan = plan(&view, Attach::Auto).unwrap();
    let path = KernelPath::of(&view).unwrap();
    let mut tracker = tracker();
    for event in events.iter().flatten() {
        tracker.apply(event.clone());
    }
    tracker.close_open();
    let explainer = Explainer {
        plan: &plan,
        path: &path,
    };
    let (sender, receiver) = (Passing::one().sender, Passing::one().receiver);
    let recording = RunLog {
        facts: [(sender, true), (receiver, false)]
            .map(|(pid, sends)| fact(pid, sends))
            .to_vec(),
        checkpoints,
        ..RunLog::default()
    };
    explainer.explain(
        verify::find("stream-one-fd").unwrap(),
        &recording,
        &tracker.take_closed(),
        &mut Pointers::new(PointerStyle::Alias, 0),
    )
}

fn fact(pid: u32, sends: bool) -> Fact {
    let actor = Actor { pid, tid: pid };
    if sends {
        Fact::Sent {
            actor,
            message: "m".into(),
            fds: vec![4],
            span: (0, 1),
        }
    } else {
        Fact::Joined { actor }
    }
}

#[test]
fn a_file_that_is_handed_on_goes_from_process_to_process() {
    let first = Passing::one();
    let on = Passing {
        list: first.list + 0x1000,
        skb: first.skb + 0x1000,
        sender: first.receiver,
        receiver: 300,
        ..first.clone()
    };
    let ways =
        |on: &Passing, at_ns| story("6.12", &[first.delivered(10), on.delivered(at_ns)]).ways;
    let told = ways(&on, 5000);
    let stations: Vec<(u32, Option<u64>)> = told
        .iter()
        .flat_map(|way| &way.stations)
        .map(|station| (station.pid, station.message))
        .collect();
    let (sender, receiver) = (first.sender, first.receiver);
    let chain = [(sender, None), (receiver, Some(1)), (300, Some(2))];
    assert_eq!(stations, chain);
    let text = text(&story("6.12", &[first.delivered(10), on.delivered(5000)]));
    assert!(text.contains("A goes from process to process:"), "{text}");
    assert!(text.contains(" message 2 ┌ "), "{text}");
    // Another file, another sender, or sent before the first was received.
    let other_file = Passing {
        files: vec![first.files[0] + 0x100],
        ..on.clone()
    };
    let other_sender = Passing {
        sender: 400,
        ..on.clone()
    };
    assert!(ways(&other_file, 5000).is_empty());
    assert!(ways(&other_sender, 5000).is_empty());
    assert!(ways(&on, 11).is_empty());
}

fn refs(mut events: Vec<Event>, refs: i64) -> Vec<Event> {
    for file in events.iter_mut().flat_map(files_mut) {
        file.refs = refs;
    }
    events
}

/// What functions show of one delivered file. Up to 6.9 the skb gets a list of its own.
fn by_functions(duplicates: bool) -> Vec<Vec<Event>> {
    let sent = Passing::one();
    let queued = Passing {
        list: sent.list + if duplicates { 0x1000 } else { 0 },
        ..sent.clone()
    };
    let (origin, both) = if duplicates { (sent.list, 3) } else { (0, 2) };
    let mut events = vec![refs(sent.copied(10), 2)];
    if duplicates {
        events.push(queued.duplicated(19, sent.list));
    }
    events.extend([
        refs(queued.attached(20, origin), both),
        refs(queued.edged(30), both),
    ]);
    events.extend([refs(queued.dequeued(40), 2), refs(queued.detached(50), 2)]);
    let mut installed = refs(queued.installed(60, 0, 9), 2);
    files_mut(&mut installed[1])[0].refs = 3;
    events.push(installed);
    events.push(refs(queued.released(70, queued.receiver, SYS_RECVMSG), 3));
    events
}

fn text(story: &Story) -> String {
    let mut out = Vec::new();
    write_story(&mut out, story, None).unwrap();
    anstream::adapter::strip_bytes(&out)
        .into_vec()
        .try_into()
        .unwrap()
}

/// Steps of all passages: function and what is left of it.
fn steps(story: &Story) -> Vec<(String, String)> {
    let story = serde_json::to_value(story).unwrap();
    story["parts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|act| act["steps"].as_array())
        .flatten()
        .map(|step| {
            let text = |name: &str| step[name].as_str().unwrap().to_owned();
            (text("function"), text("standing"))
        })
        .collect()
}

fn standing(story: &Story, function: &str) -> Option<String> {
    let found = steps(story).into_iter().find(|(name, _)| name == function);
    found.map(|(_, standing)| standing)
}

#[test]
fn a_story_names_what_each_kernel_has() {
    for kernel in KERNELS {
        let story = story(kernel, &by_functions(false));
        let is = |function: &str| standing(&story, function);
        // Nobody has this one; everybody has that.
        assert_eq!(is("scm_fp_copy").as_deref(), Some("inlined"), "{kernel}");
        assert_eq!(is("__scm_send").as_deref(), Some("function"), "{kernel}");
        let attach = if kernel == "5.10" {
            "function"
        } else {
            "inlined"
        };
        assert_eq!(is("unix_attach_fds").as_deref(), Some(attach), "{kernel}");
        assert_eq!(is("unix_add_edges").is_some(), kernel != "5.10", "{kernel}");
        assert_eq!(is("unix_inflight").is_some(), kernel == "5.10", "{kernel}");
        let receive = match kernel {
            "5.10" | "6.1" => "__receive_fd",
            "7.3" => "scm_recv_one_fd",
            _ => "receive_fd",
        };
        for name in ["__receive_fd", "receive_fd", "scm_recv_one_fd"] {
            assert_eq!(is(name).is_some(), name == receive, "{kernel}: {name}");
        }
        if let "5.10" | "6.1" = kernel {
            assert_eq!(is("scm_recv").as_deref(), Some("clone"), "{kernel}");
        }
    }
}

#[test]
fn the_story_of_7_3() {
    insta::assert_snapshot!(text(&story("7.3", &by_functions(false))));
}

#[test]
fn the_story_of_5_10_has_a_second_list() {
    insta::assert_snapshot!(text(&story("5.10", &by_functions(true))));
}

#[test]
fn the_story_of_a_kernel_that_shows_little_says_so() {
    insta::assert_snapshot!(text(&story("6.18-locked", &[Passing::one().delivered(10)])));
}

#[test]
fn a_story_ends_where_the_descriptor_did() {
    let passing = Passing::one();
    let closed = [
        passing.queued(10),
        passing.called(&["unix_release_sock"]),
        passing.destroyed(20, UNIX_RELEASE_SOCK, passing.receiver),
    ];
    let closed = story("7.3", &closed);
    assert!(standing(&closed, "unix_release_sock").is_some());
    assert!(standing(&closed, "fd_install").is_none());
    assert!(text(&closed).contains("discarded (receiver-closed)"));

    let mut read = vec![passing.copied(10), passing.queued(20), passing.dequeued(30)];
    read.push(passing.released(40, passing.receiver, SYS_READ));
    let read = story("7.3", &read);
    assert!(standing(&read, "scm_destroy").is_some());
    assert!(standing(&read, "scm_detach_fds").is_none());
    assert!(text(&read).contains("here every descriptor of the message was lost"));

    // A listener closes the connections in its queue, and they what is in theirs.
    let embryo = [
        passing.queued(10),
        passing.called(&["unix_release_sock", "unix_release_sock"]),
        passing.destroyed(20, 0, passing.receiver),
    ];
    let embryo = story("7.3", &embryo);
    let closes = steps(&embryo);
    let closes = closes
        .iter()
        .filter(|(name, _)| name == "unix_release_sock");
    assert_eq!(closes.count(), 2);
    let embryo = text(&embryo);
    assert!(embryo.contains("discarded (listener-closed)"), "{embryo}");
    assert_eq!(
        embryo
            .matches("here the connection was still waiting")
            .count(),
        1
    );

    // The same message, delivered, goes where none of them does.
    let delivered = story("7.3", &by_functions(false));
    assert!(standing(&delivered, "fd_install").is_some());
    assert!(standing(&delivered, "scm_destroy").is_none());
    assert!(standing(&delivered, "unix_release_sock").is_none());
}

#[test]
fn a_count_that_somebody_else_moved_is_not_explained_away() {
    let mut events = by_functions(false);
    for file in events[4].iter_mut().flat_map(files_mut) {
        file.refs = 7;
    }
    let text = text(&story("7.3", &events));
    assert!(text.contains("references 2 → 7, +5 by"), "{text}");
    let undisturbed = self::text(&story("7.3", &by_functions(false)));
    assert!(!undisturbed.contains("by other calls"), "{undisturbed}");
}

#[test]
fn hostile_names_reach_a_terminal_by_their_code() {
    let mut events = by_functions(false);
    for event in events.iter_mut().flatten() {
        fdtrace_testkit::head_mut(event).comm[..9]
            .copy_from_slice("\u{1b}[2J\u{202e}\n\0".as_bytes());
    }
    let text = text(&story("7.3", &events));
    assert!(text.contains("\\u{1b}[2J\\u{202e}"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
}

#[test]
fn a_story_ends_where_another_file_came_out() {
    let mut events = by_functions(false);
    // The function that installs shows another file than the list had.
    for event in events[5].iter_mut() {
        for file in files_mut(event) {
            file.file += 0x40;
            file.slot = file.file;
        }
    }
    let story = story("7.3", &events);
    let steps = steps(&story);
    let text = text(&story);
    assert!(text.contains("here it went wrong"), "{text}");
    assert!(text.contains("what came out is not what went in"), "{text}");
    assert!(!text.contains("fd_install"), "{text}");
    assert_eq!(
        steps.last().map(|(name, _)| name.as_str()),
        Some("scm_recv_one_fd")
    );
}

#[test]
fn stories_fit_every_terminal() {
    let told = story("7.3", &by_functions(false));
    let plain = |out: Vec<u8>| -> String {
        String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap()
    };
    for width in [80, 100, 120, 160, 200] {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        write_story(&mut alone, &told, Some(width)).unwrap();
        write_comparison(&mut beside, &told, &told, Some(width)).unwrap();
        for text in [plain(alone), plain(beside)] {
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
            if width == 80 {
                insta::assert_snapshot!(text);
            }
        }
    }
}

#[test]
fn two_stories_side_by_side_part_where_their_descriptors_did() {
    let passing = Passing::one();
    let delivered = story("7.3", &by_functions(false));
    let mut read = by_functions(false);
    read.truncate(4);
    read.push(passing.released(40, passing.receiver, SYS_READ));
    let lost = story("7.3", &read);
    let mut out = Vec::new();
    write_comparison(&mut out, &delivered, &lost, None).unwrap();
    let text = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
    assert!(text.contains("They part after"), "{text}");
    assert!(text.contains("discarded (plain-read)"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 116),
        "{text}"
    );

    let mut out = Vec::new();
    write_comparison(&mut out, &delivered, &delivered, None).unwrap();
    let text = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
    assert!(text.contains("Both go the same way"), "{text}");
}

/// A moment before a send, with the sender's file as /proc shows it.
fn before_sending(t_ns: u64, birth: Option<Birth>) -> Checkpoint {
    let passing = Passing::one();
    let actor = Actor {
        pid: passing.sender,
        tid: passing.sender,
    };
    let descriptor = Descriptor {
        fd: passing.sender_fd,
        file: passing.files[0],
        refs: 1,
        link: "/file".to_owned(),
        ino: Some(passing.files[0] >> 4),
        birth,
        queued: None,
    };
    Checkpoint {
        t_ns,
        fact: Fact::Sending {
            actor,
            message: "m".into(),
            fds: vec![passing.sender_fd],
            hold: false,
        },
        processes: vec![Process {
            pid: passing.sender,
            comm: "stage".to_owned(),
            descriptors: vec![descriptor],
        }],
    }
}

#[test]
fn a_file_at_the_address_and_the_inode_of_one_that_is_gone_has_a_letter_of_its_own() {
    let passing = Passing::one();
    let events = [passing.delivered(20), passing.delivered(120)];
    let birth = |generation: Option<u8>, seconds| {
        Some(Birth {
            handle: generation.map(|generation| (1, vec![7, generation])),
            time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        })
    };
    for ([first, second], letters) in [
        ([birth(None, 1), birth(None, 2)], vec!["A", "B"]),
        // Both were made within one tick of the file system's clock.
        ([birth(Some(1), 1), birth(Some(2), 1)], vec!["A", "B"]),
        ([birth(Some(1), 1), birth(Some(1), 1)], vec!["A"]),
        ([birth(None, 1), birth(None, 1)], vec!["A"]),
        ([None, None], vec!["A"]),
    ] {
        let checkpoints = vec![before_sending(10, first), before_sending(110, second)];
        let story = story_with("7.3", &events, checkpoints);
        let named: Vec<&str> = story.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(named, letters);
        let ends: Vec<&str> = story.endings.iter().map(|end| end.file.as_str()).collect();
        assert_eq!(ends, [letters[0], letters[letters.len() - 1]]);
    }
}

/// What docs/labs/6-kernels.md does to the story of a kernel, and what comes of that there.
fn printed_in_lab_six(kernel: &str) -> (&'static str, Vec<&'static str>) {
    let lab = include_str!("../../docs/labs/6-kernels.md");
    let mut lines = lab.lines();
    let command = format!("$ cargo xtask vm --kernel {kernel} -- fdtrace explain | ");
    let pipeline = lines.find_map(|line| line.strip_prefix(&command)).unwrap();
    (pipeline, lines.take_while(|line| *line != "```").collect())
}

#[test]
fn lab_six_prints_what_each_kernel_has() {
    for (kernel, duplicates) in [("5.10", true), ("7.3", false)] {
        let (pipeline, printed) = printed_in_lab_six(kernel);
        let mut shell = Command::new("sh")
            .args(["-c", pipeline])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let story = text(&story(kernel, &by_functions(duplicates)));
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(story.as_bytes())
            .unwrap();
        let output = shell.wait_with_output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.lines().collect::<Vec<_>>(), printed, "{kernel}");
    }
}
