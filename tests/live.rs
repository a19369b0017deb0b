//! fdtrace on the kernel at hand: every scenario, and every way in which a run can end.
//!
//! Needs root. One test at a time has its turn, because what they measure (time, lost records,
//! programs in the kernel) is the machine's; others may trace meanwhile, so that what a test finds
//! left over is told apart by what only its own fdtrace has: the ids of its programs, and a mark
//! in its environment that its stages inherit.

mod command;
mod contract;

use std::{
    any::type_name_of_val,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use command::{FDTRACE, Run, fdtrace, run, skip};
use contract::Schema;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::Value;

/// How long something may take that happens at once unless it never happens.
const DEADLINE: Duration = Duration::from_secs(30);

/// Every scenario with the number of transfers that it makes. `None`: as many as it takes.
const TRANSFERS: [(&str, Option<usize>); 28] = [
    ("stream-one-fd", Some(1)),
    ("dgram-one-fd", Some(1)),
    ("seqpacket-one-fd", Some(1)),
    ("child-to-parent-file", Some(2)),
    ("unrelated-path", Some(1)),
    ("unrelated-abstract", Some(1)),
    ("two-fds", Some(2)),
    ("three-fds", Some(3)),
    ("max-fds", Some(253)),
    ("same-fd-twice", Some(2)),
    ("sender-keeps", Some(1)),
    ("sender-closes-first", Some(2)),
    ("sender-socket-closed-first", Some(2)),
    ("two-messages", Some(2)),
    ("two-cmsgs-merge", Some(3)),
    ("shared-offset", Some(1)),
    ("relay", Some(2)),
    ("concurrent-receive", Some(1)),
    ("pid-namespace", Some(1)),
    ("libuv-handle", Some(1)),
    ("accept-handoff", Some(4)),
    ("sibling-broadcast", Some(10)),
    ("reopened-path", Some(1)),
    ("number-as-data", Some(1)),
    ("pipe-cannot", Some(1)),
    ("inet-carries-none", Some(1)),
    ("reused-number", Some(1)),
    ("reused-pointer", None),
];

/// Negative controls in which one process sends to itself; everywhere else two take part.
const SINGLE_PROCESS: [&str; 5] = [
    "number-as-data",
    "pipe-cannot",
    "inet-carries-none",
    "reused-number",
    "reused-pointer",
];

/// Why nothing here can run; `None` if it can.
fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE
        .get_or_init(|| {
            if !geteuid().is_root() {
                return Some("not root".to_owned());
            }
            let btf = "/sys/kernel/btf/vmlinux";
            if let Err(error) = fs::metadata(btf) {
                return Some(format!("no kernel type information: {btf}: {error}"));
            }
            // In a process of its own, for what it reads would count as memory of this one's
            // children.
            let doctor = run(&mut fdtrace(&["doctor", "--format", "json"]));
            let findings: Value = serde_json::from_str(&doctor.stdout)
                .unwrap_or_else(|error| panic!("{error}: {doctor:?}"));
            if let Some(obstacle) = findings["obstacles"][0].as_str() {
                return Some(obstacle.to_owned());
            }
            let plan = findings["plan"].as_array().expect("the plan is a list");
            ["queue", "dequeue", "install"].into_iter().find_map(|hop| {
                let entry = plan.iter().find(|entry| entry["hop"] == hop)?;
                let why = entry["why"].as_str().unwrap_or_default();
                (entry["skipped"] == true).then(|| format!("{hop} is not watched: {why}"))
            })
        })
        .as_deref()
}

const ALL_HOPS: [&str; 8] = [
    "copy", "attach", "queue", "dequeue", "detach", "receive", "install", "end",
];

/// Holds this machine's turn until it is dropped.
struct Turn {
    _lock: File,
}

/// A test's turn, or `None` and a note of why it cannot run.
fn turn(test: &str) -> Option<Turn> {
    if let Some(why) = obstacle() {
        skip(test, why);
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // It need not be there where the tests were not built.
    let folder = if folder.is_dir() {
        folder.to_owned()
    } else {
        std::env::temp_dir()
    };
    let lock = File::create(folder.join("fdtrace-live.lock")).expect("there is room for a lock");
    lock.lock().expect("it can be locked");
    Some(Turn { _lock: lock })
}

/// Waits for the turn of the test it stands in, or ends that test.
macro_rules! turn {
    () => {{
        fn here() {}
        let path = type_name_of_val(&here);
        let test = path.rsplit("::").nth(1).unwrap_or(path);
        match turn(test) {
            Some(turn) => turn,
            None => return,
        }
    }};
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(
            begin.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        thread::yield_now();
    }
}

/// JSON Lines of a run, each as the schema says.
struct Lines(Vec<Value>);

impl Lines {
    fn of(run: &Run) -> Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        let schema = SCHEMA.get_or_init(|| {
            let schema = command::run(&mut fdtrace(&["schema"]));
            Schema::parse(&schema.stdout)
        });
        Self(schema.assert_lines(&run.stdout))
    }

    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line["type"] == kind)
    }

    fn scenario(&self, name: &str) -> &Value {
        let mut found = self.of_type("scenario").filter(|line| line["name"] == name);
        let scenario = found.next();
        assert!(found.next().is_none(), "{name} is there twice");
        scenario.unwrap_or_else(|| panic!("{name} is not there"))
    }

    /// The scenario's transfers, in the order of their ids.
    fn transfers(&self, name: &str) -> Vec<&Value> {
        let ids = self.scenario(name)["transfers"].as_array().expect("ids");
        let mut transfers: Vec<&Value> = self
            .of_type("transfer")
            .filter(|line| ids.contains(&line["id"]))
            .collect();
        transfers.sort_by_key(|line| line["id"].as_u64());
        assert_eq!(transfers.len(), ids.len(), "{name}");
        transfers
    }

    fn summary(&self) -> &Value {
        let last = self.0.last().expect("there is a line");
        assert_eq!(last["type"], "summary");
        last
    }

    fn lost(&self) -> u64 {
        let counts = self.summary()["lost_events"].as_object().expect("counts");
        counts.values().filter_map(Value::as_u64).sum()
    }
}

fn verify(args: &[&str]) -> Run {
    run(fdtrace(&["verify", "--format", "json"]).args(args))
}

/// One run of everything, for all tests that only look at it.
fn everything() -> &'static Lines {
    static EVERYTHING: OnceLock<Lines> = OnceLock::new();
    EVERYTHING.get_or_init(|| {
        let run = verify(&[]);
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (Some(0), ""),
            "{}",
            run.stdout
        );
        Lines::of(&run)
    })
}

fn names() -> impl Iterator<Item = &'static str> {
    TRANSFERS.iter().map(|(name, _)| *name)
}

/// Names of a list of names, whatever their order.
fn set(list: &Value) -> BTreeSet<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn every_scenario_passes() {
    let _turn = turn!();
    let lines = everything();
    let played: Vec<&str> = lines
        .of_type("scenario")
        .filter_map(|line| line["name"].as_str())
        .collect();
    assert_eq!(played, names().collect::<Vec<_>>());
    for line in lines.of_type("scenario") {
        assert_eq!(line["result"], "pass", "{line}");
        assert_eq!(line["reason"], Value::Null, "{line}");
        assert_eq!(line["inconclusive"], false, "{line}");
    }
    assert_eq!(
        lines.summary()["scenarios"],
        serde_json::json!({ "pass": 28 })
    );
    assert_eq!(lines.summary()["exit_code"], 0);
    assert_eq!(lines.summary()["interrupted"], false);
    assert_eq!(lines.0[0]["type"], "start");
}

#[test]
fn every_transfer_is_delivered_and_the_same_file() {
    let _turn = turn!();
    let lines = everything();
    for line in lines.of_type("transfer") {
        assert_eq!(line["fate"], "delivered", "{line}");
        assert_eq!(line["cause"], Value::Null, "{line}");
        assert_eq!(line["verdict"], "same", "{line}");
    }
    let count = lines.of_type("transfer").count();
    assert_eq!(
        lines.summary()["fates"],
        serde_json::json!({ "delivered": count })
    );
    assert_eq!(
        lines.summary()["verdicts"],
        serde_json::json!({ "same": count })
    );
}

#[test]
fn each_scenario_has_the_transfers_it_makes_and_no_other() {
    let _turn = turn!();
    let lines = everything();
    let mut ids = BTreeSet::new();
    for (name, expected) in TRANSFERS {
        let transfers = lines.transfers(name);
        match expected {
            Some(expected) => assert_eq!(transfers.len(), expected, "{name}"),
            // It tries in pairs until an address comes back.
            None => assert!(
                transfers.len() >= 2 && transfers.len().is_multiple_of(2),
                "{name}"
            ),
        }
        ids.extend(transfers.iter().filter_map(|line| line["id"].as_u64()));
    }
    // Every transfer belongs to one scenario.
    assert_eq!(lines.of_type("transfer").count(), ids.len());
}

#[test]
fn the_kernels_own_list_agrees_in_every_scenario() {
    let _turn = turn!();
    for name in names() {
        let witnesses = everything().scenario(name)["witnesses"]
            .as_array()
            .expect("a list");
        let listed: Vec<&Value> = witnesses
            .iter()
            .filter(|it| it["name"] == "iter/task_file" && it["about"] == "passed")
            .collect();
        assert_eq!(listed.len(), 1, "{name}");
        for witness in witnesses.iter().filter(|it| it["about"] == "passed") {
            assert_eq!(witness["verdict"], "same", "{name}: {witness}");
        }
    }
}

#[test]
fn kcmp_agrees_wherever_an_original_is_held() {
    let _turn = turn!();
    // SAFETY: kcmp reads its arguments and nothing of our memory. 0 is KCMP_FILE.
    let itself = unsafe {
        let pid = libc::c_long::from(Pid::this().as_raw());
        libc::syscall(libc::SYS_kcmp, pid, pid, 0_i64, 0_i64, 0_i64)
    };
    if itself != 0 {
        return skip(
            "kcmp_agrees_wherever_an_original_is_held",
            "this kernel has no kcmp",
        );
    }
    for name in names() {
        let witnesses = everything().scenario(name)["witnesses"]
            .as_array()
            .expect("a list");
        let said = witnesses
            .iter()
            .find(|it| it["name"] == "kcmp" && it["about"] == "passed");
        let said = said.map(|witness| &witness["verdict"]);
        // A duplicate to compare with would keep the address from coming back.
        let expected = (name != "reused-pointer").then(|| Value::from("same"));
        assert_eq!(said, expected.as_ref(), "{name}");
    }
}

#[test]
fn what_only_looks_alike_is_told_apart_by_the_trace_and_every_witness() {
    let _turn = turn!();
    let mistakable = |name: &str| -> BTreeMap<&str, &str> {
        let witnesses = everything().scenario(name)["witnesses"]
            .as_array()
            .expect("a list");
        let text = |value: &'static Value| value.as_str().expect("a name");
        witnesses
            .iter()
            .filter(|it| it["about"] == "mistakable")
            .map(|it| (text(&it["name"]), text(&it["verdict"])))
            .collect()
    };
    for name in names() {
        let said = mistakable(name);
        let asked = ["reopened-path", "reused-number", "reused-pointer"].contains(&name);
        assert_eq!(said.is_empty(), !asked, "{name}: {said:?}");
        assert!(
            said.values().all(|verdict| *verdict == "different"),
            "{name}: {said:?}"
        );
        assert_eq!(said.contains_key("trace"), asked, "{name}: {said:?}");
    }
    for name in ["reopened-path", "reused-number"] {
        assert_eq!(
            mistakable(name).get("iter/task_file"),
            Some(&"different"),
            "{name}"
        );
        assert_eq!(mistakable(name).get("offset"), Some(&"different"), "{name}");
    }
}

#[test]
fn numbers_and_places_are_those_of_the_message() {
    let _turn = turn!();
    for name in names() {
        let mut messages: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for transfer in everything().transfers(name) {
            let message = transfer["message"].as_u64().expect("a number");
            messages.entry(message).or_default().push(transfer);
        }
        for transfers in messages.values() {
            let places: Vec<u64> = transfers
                .iter()
                .filter_map(|it| it["index"].as_u64())
                .collect();
            let expected: Vec<u64> = (0..transfers.len() as u64).collect();
            assert_eq!(places, expected, "{name}");
            assert!(
                transfers.iter().all(|it| it["count"] == transfers.len()),
                "{name}"
            );
            // Within a message every file gets a number of its own.
            let received: BTreeSet<_> = transfers
                .iter()
                .map(|it| it["receiver"]["fd"].as_i64())
                .collect();
            assert_eq!(received.len(), transfers.len(), "{name}");
            assert!(received.iter().all(Option::is_some), "{name}");
        }
    }
}

#[test]
fn sender_and_receiver_are_two_processes_where_they_are_two() {
    let _turn = turn!();
    for name in names() {
        for transfer in everything().transfers(name) {
            let (sender, receiver) = (&transfer["sender"]["pid"], &transfer["receiver"]["pid"]);
            assert!(
                sender.as_u64() > Some(1) && receiver.as_u64() > Some(1),
                "{transfer}"
            );
            let single = SINGLE_PROCESS.contains(&name);
            assert_eq!(sender == receiver, single, "{name}: {transfer}");
        }
    }
}

#[test]
fn every_transfer_is_seen_at_each_hop_that_is_watched_and_missed_at_the_others() {
    let _turn = turn!();
    // Of what tracepoints show, the end of a delivered list is not part.
    let by_tracepoint = |entry: &Value| entry["mechanism"] == "tracepoint";
    let start = everything()
        .of_type("start")
        .next()
        .expect("it comes first");
    let plan = start["plan"].as_array().expect("the plan is a list");
    let (watched, unwatched): (Vec<_>, Vec<_>) = ALL_HOPS.into_iter().partition(|hop| {
        plan.iter().any(|entry| {
            entry["hop"] == *hop
                && entry["skipped"] != true
                && !(*hop == "end" && by_tracepoint(entry))
        })
    });
    assert!(watched.len() >= 3, "{start}");
    for transfer in everything().of_type("transfer") {
        assert_eq!(
            set(&transfer["hops"]),
            watched.iter().copied().collect::<BTreeSet<_>>()
        );
        assert_eq!(transfer["missing"], serde_json::json!(unwatched));
        assert!(transfer["queued_ns"].is_u64(), "{transfer}");
    }
}

#[test]
fn nothing_is_lost_in_a_buffer_of_the_usual_size() {
    let _turn = turn!();
    let summary = everything().summary();
    let lost = summary["lost_events"].as_object().expect("counts");
    assert_eq!(
        set(&Value::from(lost.keys().cloned().collect::<Vec<_>>())),
        BTreeSet::from(ALL_HOPS)
    );
    for (hop, count) in lost {
        assert_eq!(*count, 0, "{hop}: {summary}");
    }
    assert_eq!(summary["window_full"], 0);
}

#[test]
fn max_fds_are_253_files_under_253_numbers() {
    let _turn = turn!();
    let transfers = everything().transfers("max-fds");
    let distinct = |path: &str| {
        let values = transfers
            .iter()
            .map(|it| contract::field(it, path).map(Value::to_string));
        values.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(distinct("file.ptr"), 253);
    assert_eq!(distinct("sender.fd"), 253);
    assert_eq!(distinct("receiver.fd"), 253);
    assert_eq!(distinct("message"), 1);
}

#[test]
fn a_relayed_file_is_one_object_in_two_messages() {
    let _turn = turn!();
    let transfers = everything().transfers("relay");
    let [first, second] = transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!(first["file"]["ptr"], second["file"]["ptr"]);
    assert_ne!(first["message"], second["message"]);
    assert_eq!(first["receiver"]["pid"], second["sender"]["pid"]);
    assert_eq!(first["receiver"]["fd"], second["sender"]["fd"]);
    assert_ne!(first["sender"]["pid"], second["receiver"]["pid"]);
}

#[test]
fn one_file_sent_twice_is_one_object_under_two_numbers() {
    let _turn = turn!();
    let transfers = everything().transfers("same-fd-twice");
    let [first, second] = transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!(first["file"]["ptr"], second["file"]["ptr"]);
    assert_eq!(first["sender"]["fd"], second["sender"]["fd"]);
    assert_ne!(first["receiver"]["fd"], second["receiver"]["fd"]);
    assert_eq!(first["message"], second["message"]);
    // The control: files that only travel together have addresses of their own.
    let two = everything().transfers("two-fds");
    assert_ne!(two[0]["file"]["ptr"], two[1]["file"]["ptr"]);
}

#[test]
fn an_address_that_came_back_is_another_file() {
    let _turn = turn!();
    let transfers = everything().transfers("reused-pointer");
    let [.., first, second] = &transfers[..] else {
        panic!("{transfers:?}");
    };
    assert_eq!(first["file"]["ptr"], second["file"]["ptr"]);
    assert_ne!(first["file"]["ino"], second["file"]["ino"]);
    assert_ne!(first["message"], second["message"]);
}

#[test]
fn transfers_say_how_each_scenario_passed_them() {
    let _turn = turn!();
    let first = |name: &str| everything().transfers(name)[0];
    for (name, kind) in [
        ("stream-one-fd", "stream"),
        ("dgram-one-fd", "dgram"),
        ("seqpacket-one-fd", "seqpacket"),
        ("accept-handoff", "seqpacket"),
    ] {
        assert_eq!(first(name)["socket"]["type"], kind, "{name}");
    }
    assert_eq!(first("stream-one-fd")["file"]["kind"], "regular");
    assert_eq!(first("accept-handoff")["file"]["kind"], "socket");
    assert_eq!(first("stream-one-fd")["sender"]["comm"], "stage");
    assert_eq!(first("stream-one-fd")["receiver"]["comm"], "receiver");

    let path = |name: &str| first(name)["socket"]["path"].as_str();
    assert_eq!(path("stream-one-fd"), None);
    assert!(path("unrelated-path").is_some_and(|path| path.ends_with("/meet")));
    assert!(path("unrelated-abstract").is_some_and(|path| path.starts_with("@fdtrace-verify-")));

    for name in names() {
        let cloexec = &first(name)["receiver"]["cloexec"];
        assert_eq!(*cloexec, name == "libuv-handle", "{name}");
    }
    let receiver = &first("concurrent-receive")["receiver"];
    assert_ne!(receiver["tid"], receiver["pid"], "{receiver}");
}

#[test]
fn hops_show_one_file_with_its_references_at_each() {
    let _turn = turn!();
    let run = verify(&["--hops", "sender-closes-first", "two-fds"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = Lines::of(&run);
    let hops = |transfer: &Value| -> Vec<&Value> {
        let id = &transfer["id"];
        lines
            .of_type("hop")
            .filter(|line| line["transfer"] == *id)
            .collect()
    };
    for transfer in lines.of_type("transfer") {
        let hops = hops(transfer);
        let seen = transfer["hops"].as_array().expect("a list").len();
        assert_eq!(hops.len(), seen, "{transfer}");
        for hop in hops {
            assert!(hop["refs"].as_i64() >= Some(1), "{hop}");
            assert_eq!(hop["file"], transfer["file"]["ptr"], "{hop}");
            let side = if ["copy", "attach", "queue"]
                .iter()
                .any(|sent| hop["hop"] == *sent)
            {
                "sender"
            } else {
                "receiver"
            };
            assert_eq!(hop["pid"], transfer[side]["pid"], "{hop}");
        }
    }
    // Of the second message nobody holds a duplicate and the sender has closed its own: the list
    // in the queue is all that keeps the file.
    let transfers = lines.transfers("sender-closes-first");
    let at_dequeue = |transfer: &Value| {
        let hop = hops(transfer)
            .into_iter()
            .find(|hop| hop["hop"] == "dequeue");
        hop.and_then(|hop| hop["refs"].as_i64())
    };
    assert!(transfers[0]["message"].as_u64() < transfers[1]["message"].as_u64());
    assert_eq!(at_dequeue(transfers[1]), Some(1));
    // The control: of the first message the verifier has one.
    assert_eq!(at_dequeue(transfers[0]), Some(2));
}

#[test]
fn hops_are_printed_only_when_asked_for() {
    let _turn = turn!();
    assert_eq!(everything().of_type("hop").count(), 0);
}

#[test]
fn aliases_hide_every_address() {
    let _turn = turn!();
    let args = ["--hops", "relay", "--pointers"];
    let aliased = verify(&[&args[..], &["alias"]].concat());
    assert_eq!(aliased.code, Some(0), "{aliased:?}");
    assert!(!aliased.stdout.contains("0xff"), "{aliased:?}");
    let lines = Lines::of(&aliased);
    let files: Vec<&Value> = lines
        .of_type("transfer")
        .map(|line| &line["file"]["ptr"])
        .collect();
    // The relayed file is one, so it has one name.
    assert_eq!(files, ["file#1", "file#1"]);
    let raw = verify(&[&args[..], &["raw"]].concat());
    assert!(raw.stdout.contains("0xff"), "{raw:?}");
}

#[test]
fn lost_records_leave_the_question_open_and_never_make_it_different() {
    let _turn = turn!();
    // One page, for records of 253 files at three hops.
    let run = verify(&["--buffer", "4", "max-fds"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let lines = Lines::of(&run);
    let scenario = lines.scenario("max-fds");
    assert_eq!(scenario["result"], "skip", "{scenario}");
    assert_eq!(scenario["inconclusive"], true, "{scenario}");
    assert!(scenario["reason"].is_string(), "{scenario}");
    assert!(lines.lost() > 0, "{}", lines.summary());
    let verdicts = &lines.summary()["verdicts"];
    assert!(verdicts["lost"].as_u64() > Some(0), "{verdicts}");
    assert_eq!(verdicts.get("different"), None, "{verdicts}");
    assert_eq!(lines.summary()["exit_code"], 3);
    // The witnesses do not depend on the trace, and still say what is true.
    let witnesses = scenario["witnesses"].as_array().expect("a list");
    assert!(!witnesses.is_empty());
    assert!(
        witnesses.iter().all(|witness| witness["verdict"] == "same"),
        "{scenario}"
    );
}

#[test]
fn losses_of_one_scenario_do_not_weaken_the_next() {
    let _turn = turn!();
    let run = verify(&["--buffer", "4", "max-fds", "two-fds"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let lines = Lines::of(&run);
    assert!(lines.lost() > 0, "{}", lines.summary());
    assert_eq!(lines.scenario("max-fds")["inconclusive"], true);
    assert_eq!(lines.scenario("two-fds")["result"], "pass");
    for transfer in lines.transfers("two-fds") {
        assert_eq!(transfer["verdict"], "same", "{transfer}");
    }
}

/// The environment variable that tells this test's processes from all others.
const MARK: &str = "FDTRACE_TEST_MARK";

fn new_mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}", std::process::id())
}

/// Processes that carry the mark, and whether each is a stage or an actor.
fn marked(mark: &str) -> Vec<(i32, bool)> {
    let entry = format!("{MARK}={mark}").into_bytes();
    let pids = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|process| {
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            // A process that has ended has no environment any more.
            let environment = fs::read(process.path().join("environ")).ok()?;
            environment
                .split(|byte| *byte == 0)
                .find(|it| *it == entry)?;
            let command = fs::read(process.path().join("cmdline")).ok()?;
            let stage = command.split(|byte| *byte == 0).any(|it| it == b"__stage");
            Some((pid, stage))
        });
    pids.collect()
}

fn stages(mark: &str) -> usize {
    marked(mark).iter().filter(|(_, stage)| *stage).count()
}

/// Ids of the eBPF programs that a process holds, by its descriptors.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return BTreeSet::new();
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .filter_map(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            line.trim().parse().ok()
        })
        .collect()
}

/// Names of those of the programs that are in the kernel.
fn loaded(ids: &BTreeSet<u32>) -> BTreeSet<String> {
    aya::programs::loaded_programs()
        // One may go away while the list is walked.
        .filter_map(Result::ok)
        .filter(|program| ids.contains(&program.id()))
        .filter_map(|program| program.name_as_str().map(str::to_owned))
        .collect()
}

/// A verify that is under way.
struct Session {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
    mark: String,
    programs: BTreeSet<u32>,
    /// No pipe: stages inherit it, and one that was left would keep it open.
    stderr: File,
}

impl Session {
    /// Starts a run that takes many seconds, and waits until it is in the middle of it: a result
    /// has been printed, a stage is on, and the programs are in the kernel.
    fn in_the_middle(more: &[&str]) -> Self {
        const REPEATS: usize = 300;
        let mark = new_mark();
        let stderr = tempfile::tempfile().expect("there is room");
        let mut child = fdtrace(&["verify", "--format", "json"])
            .args(more)
            .args(["max-fds"; REPEATS])
            .env(MARK, &mark)
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone().expect("it is open"))
            .spawn()
            .expect("fdtrace can be started");
        let stdout = BufReader::new(child.stdout.take().expect("it has one"));
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| {
                // Nobody listens any more when the test has failed.
                let _ = tell.send(line);
            });
        });
        let mut session = Self {
            child,
            lines,
            seen: String::new(),
            mark,
            programs: BTreeSet::new(),
            stderr,
        };
        if !more.contains(&"-o") {
            while !session.next_line().starts_with(r#"{"type":"scenario""#) {}
        }
        wait_until("a stage is on", || stages(&session.mark) > 0);
        session.programs = programs_of(session.child.id());
        let names = loaded(&session.programs);
        // The kernel keeps 15 bytes of a name. These are there whatever else the plan has.
        for name in ["end_kfree_skb", "end_consume_skb", "snapshot_task_f"] {
            assert!(names.contains(name), "no {name} in {names:?}");
        }
        session
    }

    fn next_line(&mut self) -> &str {
        let line = self
            .lines
            .recv_timeout(DEADLINE)
            .expect("it prints another line");
        let start = self.seen.len();
        self.seen += &line;
        self.seen.push('\n');
        &self.seen[start..]
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it is still there");
    }

    /// Waits for its end, and until nothing is left of it.
    fn end(mut self) -> Ended {
        self.seen
            .extend(self.lines.iter().flat_map(|line| [line, "\n".to_owned()]));
        let status = self.child.wait().expect("it ends");
        // What a process leaves is cleared away while others already see its end.
        wait_until("no process is left", || marked(&self.mark).is_empty());
        wait_until("no program is left", || loaded(&self.programs).is_empty());
        Ended {
            status,
            stdout: self.seen,
            stderr: command::written(&mut self.stderr),
        }
    }
}

struct Ended {
    status: std::process::ExitStatus,
    stdout: String,
    stderr: String,
}

fn interrupted_by(signal: Signal) {
    let session = Session::in_the_middle(&[]);
    session.signal(signal);
    let ended = session.end();
    assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
    let lines = Lines::of(&Run {
        code: ended.status.code(),
        stdout: ended.stdout,
        stderr: ended.stderr,
    });
    let summary = lines.summary();
    assert_eq!(summary["interrupted"], true, "{summary}");
    assert_eq!(summary["exit_code"], 3, "{summary}");
    // What was done until then is reported, and it was not all.
    let done = lines.of_type("scenario").count();
    assert!((1..300).contains(&done), "{done}");
    assert_eq!(summary["scenarios"], serde_json::json!({ "pass": done }));
}

#[test]
fn an_interrupt_ends_the_run_with_its_summary_and_leaves_nothing() {
    let _turn = turn!();
    interrupted_by(Signal::SIGINT);
}

#[test]
fn a_termination_ends_the_run_with_its_summary_and_leaves_nothing() {
    let _turn = turn!();
    interrupted_by(Signal::SIGTERM);
}

#[test]
fn a_kill_leaves_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    let _turn = turn!();
    let session = Session::in_the_middle(&[]);
    session.signal(Signal::SIGKILL);
    let ended = session.end();
    assert_eq!(ended.status.signal(), Some(Signal::SIGKILL as i32));
    assert!(!ended.stdout.contains(r#""type":"summary""#));
}

#[test]
fn an_interrupted_report_is_whole_in_its_file() {
    let _turn = turn!();
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let path = dir.path().join("report.jsonl");
    let session = Session::in_the_middle(&["-o", path.to_str().expect("its name is text")]);
    // Not there before it is whole.
    assert!(!path.exists());
    session.signal(Signal::SIGINT);
    let ended = session.end();
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), ""));
    let lines = Lines::of(&Run {
        code: Some(3),
        stdout: fs::read_to_string(&path).expect("it is there now"),
        stderr: ended.stderr,
    });
    assert_eq!(lines.summary()["interrupted"], true);
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_and_is_success() {
    let _turn = turn!();
    let mark = new_mark();
    for lines_read in [0, 2] {
        let mut child = fdtrace(&["verify"])
            .env(MARK, &mark)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fdtrace can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("it has one"));
        for _ in 0..lines_read {
            stdout
                .read_line(&mut String::new())
                .expect("it can be read");
        }
        drop(stdout);
        let run = Run::of(&child.wait_with_output().expect("it ends"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
        wait_until("no process is left", || marked(&mark).is_empty());
    }
}

#[test]
fn a_scenario_over_its_time_fails_with_the_limit_and_leaves_no_process() {
    let _turn = turn!();
    let mark = new_mark();
    let args = ["verify", "--format", "json", "--time-limit", "0.0001"];
    let run = run(fdtrace(&args)
        .args(["stream-one-fd", "two-fds"])
        .env(MARK, &mark));
    // No waiting: fdtrace itself waits until the actors are gone.
    assert_eq!(marked(&mark), []);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
    let lines = Lines::of(&run);
    for name in ["stream-one-fd", "two-fds"] {
        let scenario = lines.scenario(name);
        assert_eq!(scenario["result"], "fail", "{scenario}");
        let reason = scenario["reason"].as_str().expect("it says why");
        assert!(reason.contains("0.0001 s"), "{reason}");
    }
    assert_eq!(lines.summary()["exit_code"], 1);
    assert_eq!(lines.summary()["interrupted"], false);
}

#[test]
fn a_long_time_limit_is_one_too() {
    let _turn = turn!();
    let run = verify(&["--time-limit", "4294967295", "stream-one-fd"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
}

/// Loose bounds, for a machine that does other things too: they are there to notice a mistake of
/// another order, such as reading all of the kernel's symbols once for each scenario. Unoptimised
/// builds get more.
fn bound(release: u64, debug: u64) -> u64 {
    if cfg!(debug_assertions) {
        debug
    } else {
        release
    }
}

#[test]
fn everything_is_verified_in_seconds() {
    let _turn = turn!();
    let begin = Instant::now();
    let run = run(&mut fdtrace(&["verify", "-v"]));
    let took = begin.elapsed();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("28 passed, 0 failed"), "{run:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");

    // On an idle machine it is under 200 ms, most of it the kernel's own work.
    let line = run.stderr.lines().next().expect("-v says something");
    let attached = line
        .rsplit_once("attached after ")
        .and_then(|(_, rest)| rest.strip_suffix(" ms"));
    let attached: u64 = attached
        .and_then(|ms| ms.parse().ok())
        .expect("it says how long");
    assert!(attached <= bound(1000, 3000), "{line}");
}

/// The most memory that a process has had at once, while it is there to ask.
fn most_memory_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn memory_stays_within_bounds() {
    let _turn = turn!();
    let mut child = fdtrace(&["verify"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("fdtrace can be started");
    // Asked at each line, for at its end there is nobody left to ask. What wait4 says would count
    // this process too, from which fdtrace was forked.
    let stdout = BufReader::new(child.stdout.take().expect("it has one"));
    let mut most = 0;
    for line in stdout.lines() {
        line.expect("it can be read");
        most = most_memory_kib(child.id()).unwrap_or(most);
    }
    assert!(child.wait().expect("it ends").success());
    assert!(most > 4 * 1024, "{most} KiB cannot be all");
    assert!(most <= bound(40 * 1024, 80 * 1024), "{most} KiB");
}

#[test]
fn an_object_that_is_none_is_an_error_in_one_line() {
    let _turn = turn!();
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let object = include_bytes!("../fdtrace/bpf/fdtrace.bpf.o");
    let attempt = |path: &Path| -> Run {
        run(fdtrace(&["verify", "stream-one-fd"]).env("FDTRACE_BPF_OBJECT", path))
    };
    let with = |content: &[u8]| -> Run {
        let path = dir.path().join("object");
        let mut file = File::create(&path).expect("there is room");
        file.write_all(content).expect("there is room");
        attempt(&path)
    };
    let cannot = "cannot load the eBPF object: ";
    let eighth = object.len() / 8;
    let cuts = (0..8)
        .map(|part| part * eighth)
        .chain([4, 64, object.len() - 1]);
    for cut in cuts {
        with(&object[..cut]).assert_complaint(cannot, None);
    }
    with(b"garbage, and a line\nand another\n").assert_complaint(cannot, None);
    with(&[0xff; 4096]).assert_complaint(cannot, None);
    // ELF, but not for eBPF.
    attempt(Path::new(FDTRACE.as_str())).assert_complaint("", None);
    attempt(&dir.path().join("missing")).assert_complaint("missing", None);
    attempt(dir.path()).assert_complaint(cannot, None);

    // The control: the whole object is one.
    let whole = with(object);
    assert_eq!(whole.code, Some(0), "{whole:?}");
}

#[test]
fn a_mark_is_found_on_a_stage_and_on_nothing_else() {
    let _turn = turn!();
    // The control of every "no process is left".
    let mark = new_mark();
    assert_eq!(marked(&mark), []);
    let mut sleeper = Command::new("cat")
        .env(MARK, &mark)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("there is cat");
    let pid = sleeper.id().cast_signed();
    wait_until("cat is on", || marked(&mark) == [(pid, false)]);
    assert_eq!(stages(&mark), 0);
    drop(sleeper.stdin.take());
    sleeper.wait().expect("it ends");
    assert_eq!(marked(&mark), []);
}
