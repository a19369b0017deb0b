//! Kernels that lack a function of the plan's: each in its turn is taken out of the symbols, as if the
//! compiler had inlined it. What is told must be so, or said to be unknown, and never be worse than what
//! tracepoints alone tell.
//!
//! `cargo xtask vm --kernel 6.12 --timeout 3000 --test live -- live --test-threads=1 --nocapture refusals::lacking`
//! prints the table of docs/compatibility.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::MetadataExt as _,
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
};

use fdtrace::{kernel::KernelView, passing, plan::places};
use fdtrace_testkit::{command::Run, take_turn};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair},
};
use serde_json::Value;

use crate::trace_live::tracing::{Tracing, lines, transfers};

use super::confine::{bound, confine, confined};

/// What is true of one file: how it was passed, and each end that it had.
struct Passed {
    what: &'static str,
    file: OwnedFd,
    ends: &'static [&'static str],
}

/// Passes descriptors in every way of which the end is certain. What is queued is kept so.
fn play() -> (Vec<Passed>, Vec<OwnedFd>) {
    let mut passed = Vec::new();
    let mut kept: Vec<OwnedFd> = Vec::new();
    let mut pass = |what, ends, way: &mut dyn FnMut(i32)| {
        let file = memfd_create(what, MFdFlags::MFD_CLOEXEC).unwrap();
        way(file.as_raw_fd());
        passed.push(Passed { what, file, ends });
    };
    let pair = |kind| socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let send = |socket: &OwnedFd, file| passing::send(socket.as_raw_fd(), b"x", &[&[file]]);
    let receive =
        |socket: &OwnedFd, room, flags| passing::receive(socket.as_raw_fd(), room, flags).unwrap();
    for (what, kind) in [
        ("stream", SockType::Stream),
        ("datagram", SockType::Datagram),
        ("seqpacket", SockType::SeqPacket),
    ] {
        pass(what, &["delivered null"], &mut |file| {
            let (sender, receiver) = pair(kind);
            send(&sender, file).unwrap();
            assert_eq!(receive(&receiver, 1, MsgFlags::empty()).fds.len(), 1);
        });
    }
    pass("peek", &["delivered null", "peeked null"], &mut |file| {
        let (sender, receiver) = pair(SockType::Stream);
        send(&sender, file).unwrap();
        assert_eq!(receive(&receiver, 1, MsgFlags::MSG_PEEK).fds.len(), 1);
        assert_eq!(receive(&receiver, 1, MsgFlags::empty()).fds.len(), 1);
    });
    pass("no room", &["truncated no-control-room"], &mut |file| {
        let (sender, receiver) = pair(SockType::Datagram);
        send(&sender, file).unwrap();
        assert_eq!(receive(&receiver, 0, MsgFlags::empty()).fds.len(), 0);
    });
    pass("plain read", &["discarded plain-read"], &mut |file| {
        let (sender, receiver) = pair(SockType::Stream);
        send(&sender, file).unwrap();
        assert_eq!(nix::unistd::read(&receiver, &mut [0; 4]), Ok(1));
    });
    pass(
        "receiver closes",
        &["discarded receiver-closed"],
        &mut |file| {
            let (sender, receiver) = pair(SockType::Stream);
            send(&sender, file).unwrap();
            drop(receiver);
        },
    );
    let folder = tempfile::tempdir().unwrap();
    pass(
        "listener closes",
        &["discarded listener-closed"],
        &mut |file| {
            let path = folder.path().join("listener");
            let listener = UnixListener::bind(&path).unwrap();
            let sender = OwnedFd::from(UnixStream::connect(&path).unwrap());
            send(&sender, file).unwrap();
            drop(listener);
        },
    );
    pass("stream gone", &["failed epipe"], &mut |file| {
        let (sender, receiver) = pair(SockType::Stream);
        drop(receiver);
        assert!(send(&sender, file).is_err());
    });
    pass("datagram gone", &["failed econnrefused"], &mut |file| {
        let path = folder.path().join("gone");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        drop(receiver);
        assert!(send(&sender.into(), file).is_err());
    });
    pass("queued", &["queued null"], &mut |file| {
        let (sender, receiver) = pair(SockType::Stream);
        send(&sender, file).unwrap();
        kept.extend([sender, receiver]);
    });
    (passed, kept)
}

/// What a trace said of a play, by what was passed.
type Said = BTreeMap<&'static str, Answer>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// It is so.
    Right,
    /// It is said that something is not known.
    Open(Vec<String>),
    Wrong(Vec<String>),
}

/// Plays while `args` traces, with these symbols.
fn traced(args: &[&str], symbols: Option<&str>) -> (Said, Vec<Value>) {
    let mut args = args.to_vec();
    args.extend(["--format", "json"]);
    let file = symbols.map(symbols_file);
    let tracing = Tracing::start_as(&args, |command| {
        if let Some(file) = &file {
            confine(command, bound(file.path(), "/proc/kallsyms"));
        }
    });
    let (passed, kept) = play();
    let traced = tracing.stop();
    drop(kept);
    assert!(matches!(traced.code, Some(0 | 3)), "{traced:?}");
    let lines = lines(&traced.stdout);
    let said = passed.iter().map(|passed| {
        let ino = fs::metadata(format!("/proc/self/fd/{}", passed.file.as_raw_fd()));
        let ino = ino.unwrap().ino().to_string();
        let told = transfers(&lines).into_iter();
        let told: Vec<&Value> = told.filter(|it| it["file"]["ino"] == ino).collect();
        (passed.what, answer(passed, &told))
    });
    (said.collect(), lines)
}

fn answer(passed: &Passed, told: &[&Value]) -> Answer {
    let word = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let number = i64::from(passed.file.as_raw_fd());
    let mut left: Vec<&str> = passed.ends.to_vec();
    let mut all = Vec::new();
    let (mut is_wrong, mut is_open) = (false, false);
    for transfer in told {
        let (fate, cause) = (word(&transfer["fate"]), word(&transfer["cause"]));
        let sent = transfer["sender"]["fd"].as_i64();
        let verdict = word(&transfer["verdict"]);
        all.push(format!("{fate} {cause} {sent:?} {verdict}"));
        is_wrong |= sent.is_some_and(|sent| sent != number) || verdict == "different";
        let same = |end: &&str| **end == format!("{fate} {cause}");
        // Where the cause is not known.
        let less = |end: &&str| cause == "null" && end.split(' ').next() == Some(fate.as_str());
        let place = left.iter().position(same);
        is_open |= place.is_none() || sent.is_none() || verdict == "unverified";
        match place.or_else(|| left.iter().position(less)) {
            Some(place) => drop(left.remove(place)),
            None if fate == "unknown" && !left.is_empty() => drop(left.remove(0)),
            None => is_wrong = true,
        }
    }
    is_open |= !left.is_empty();
    match (is_wrong, is_open) {
        (true, _) => Answer::Wrong(all),
        (_, true) => Answer::Open(all),
        _ => Answer::Right,
    }
}

fn symbols_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// This kernel's symbols without this one.
fn without(symbols: &str, function: &str) -> String {
    let ends = format!(" {function}");
    let kept = symbols.lines().filter(|line| !line.ends_with(&ends));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// What came of each scenario.
fn results(run: &Run) -> BTreeMap<String, String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = lines(&run.stdout);
    let scenarios = lines.iter().filter(|line| line["type"] == "scenario");
    scenarios
        .map(|it| {
            (
                word(&it["name"]),
                format!("{} {}", word(&it["result"]), word(&it["reason"])),
            )
        })
        .collect()
}

const VERIFY: [&str; 3] = ["verify", "--format", "json"];

/// The functions that this kernel has of those that a plan may name, or those that `FDTRACE_LACKING` names.
/// Where none can be hooked no plan depends on them. Then it is those that backtraces are read by.
fn functions() -> BTreeSet<&'static str> {
    let view = KernelView::live().unwrap();
    let by_tracepoints = view.no_trampolines.is_some() && view.no_kprobes.is_some();
    let chosen = match std::env::var("FDTRACE_LACKING") {
        Ok(chosen) => chosen,
        Err(_) if by_tracepoints => "unix_stream_sendmsg,unix_destruct_scm".to_owned(),
        Err(_) => String::new(),
    };
    let is_chosen = |name: &str| chosen.is_empty() || chosen.split(',').any(|it| it == name);
    places(&view)
        .unwrap()
        .into_iter()
        .filter(|place| !place.is_tracepoint && view.symbols.exact(place.target).is_some())
        .map(|place| place.target)
        .filter(|name| is_chosen(name))
        .collect()
}

/// `2 by trampoline, 4 by tracepoint`: how many hops are watched by what.
fn by_what(lines: &[Value]) -> String {
    let plan = lines[0]["plan"].as_array().unwrap();
    let mut hops: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in plan {
        if let (Some(mechanism), Some(hop)) = (entry["mechanism"].as_str(), entry["hop"].as_str()) {
            hops.entry(mechanism).or_default().insert(hop);
        }
    }
    let hops: Vec<String> = hops
        .iter()
        .map(|(mechanism, hops)| format!("{} by {mechanism}", hops.len()))
        .collect();
    hops.join(", ")
}

#[test]
fn no_answer_is_wrong_where_a_function_is_lacking() {
    let _turn = take_turn!(tracing);
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let (floor, _) = traced(&["trace", "--hops", "--attach", "tracepoint"], None);
    let mut wrong = Vec::new();
    println!(
        "| without | hops | `trace` | `trace --hops` | `verify` |\n|{}",
        " --- |".repeat(5)
    );
    for function in functions() {
        let lacking = without(&symbols, function);
        let mut cells = vec![format!("`{function}`")];
        for way in [&["trace"][..], &["trace", "--hops"]] {
            let (said, lines) = traced(way, Some(&lacking));
            for (what, answer) in &said {
                let is_worse = floor[what] == Answer::Right && *answer != Answer::Right;
                // Without --hops, what sends return is watched from the first failure on.
                let is_late = way.len() == 1 && what.ends_with("gone");
                if matches!(answer, Answer::Wrong(_)) || is_worse && !is_late {
                    wrong.push(format!("{function}: {way:?}: {what}: {answer:?}"));
                }
            }
            if way.len() == 2 {
                cells.insert(1, by_what(&lines));
            }
            let right = said.values().filter(|it| **it == Answer::Right).count();
            cells.push(format!("{right} of {} right", said.len()));
        }
        let file = symbols_file(&lacking);
        let run = confined(&VERIFY, bound(file.path(), "/proc/kallsyms"));
        let results = results(&run);
        let counted = ["pass", "fail", "skip", "inconclusive"].map(|result| {
            let count = results.values().filter(|it| it.starts_with(result)).count();
            (count > 0).then(|| format!("{count} {result}"))
        });
        cells.push(counted.into_iter().flatten().collect::<Vec<_>>().join(", "));
        println!("| {} |", cells.join(" | "));
        let failed = results.iter().filter(|(_, it)| it.starts_with("fail"));
        wrong.extend(failed.map(|(name, it)| format!("{function}: {name}: {it}")));
        if run.code != Some(0) {
            wrong.push(format!("{function}: exit {:?}: {}", run.code, run.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
