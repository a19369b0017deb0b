//! One open file on its way from process to process, and to one process twice: what is marked is so, and what
//! was opened anew is not marked. Each process is this program again, with a role in a variable.

use std::{
    env, fs,
    net::TcpListener,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::MsgFlags,
};
use serde_json::Value;

use super::tracing::{lines, transfers};

const ROLE: &str = "RELAYS_ROLE";
const A_ROLE: &str = "trace_live::relays::a_role";

/// Times that a regular file is handed over and opened anew.
const ROUNDS: usize = 20;

#[test]
fn a_role() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    let (play, who) = role.split_once(' ').unwrap_or((&role, "first"));
    fs::write("/proc/thread-self/comm", who).unwrap();
    match (play, who) {
        ("relay" | "anew", "first") => {
            let (ours, to_middle) = UnixStream::pair().unwrap();
            let (from_middle, to_last) = UnixStream::pair().unwrap();
            let mut middle = child(play, "middle", to_middle, Some(from_middle));
            let mut last = child(play, "last", to_last, None);
            if play == "relay" {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let file = fs::File::open("/etc/passwd").unwrap();
                give(&ours, listener.as_raw_fd());
                give(&ours, file.as_raw_fd());
            } else {
                for _ in 0..ROUNDS {
                    let file = fs::File::open("/etc/passwd").unwrap();
                    give(&ours, file.as_raw_fd());
                    drop(file);
                    // The middle has closed it by now.
                    passing::receive(ours.as_raw_fd(), 0, MsgFlags::empty()).unwrap();
                }
            }
            drop(ours);
            middle.wait().unwrap();
            last.wait().unwrap();
        }
        (_, "middle") => {
            while let Ok(received) = passing::receive(0, 1, MsgFlags::empty())
                && !received.data.is_empty()
            {
                if play == "relay" {
                    passing::send(2, b"x", &[&[received.fds[0].as_raw_fd()]]).unwrap();
                    continue;
                }
                drop(received);
                passing::send(0, b"x", &[]).unwrap();
                let anew = fs::File::open("/etc/passwd").unwrap();
                passing::send(2, b"x", &[&[anew.as_raw_fd()]]).unwrap();
            }
        }
        ("resend", "first") => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut last = child(play, "last", theirs, None);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            ours.set_nonblocking(true).unwrap();
            let data = vec![b'x'; 1 << 20];
            let (mut written, mut writes) = (0, 0);
            while written < data.len() {
                let both: &[&[i32]] = &[&[listener.as_raw_fd()]];
                // The first write takes a part, and the second begins with the control message again.
                let parts = if writes < 2 { both } else { &[] };
                match passing::send(ours.as_raw_fd(), &data[written..], parts) {
                    Ok(more) => (written, writes) = (written + more, writes + 1),
                    Err(Errno::EAGAIN) => {
                        let room = PollFd::new(ours.as_fd(), PollFlags::POLLOUT);
                        poll(&mut [room], PollTimeout::NONE).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(writes > 1);
            drop(ours);
            last.wait().unwrap();
        }
        (_, "last") => {
            let mut kept = Vec::new();
            while let Ok(received) = passing::receive(0, 1, MsgFlags::empty())
                && !received.data.is_empty()
            {
                // What is never closed does not give its address away.
                if play == "resend" {
                    kept.extend(received.fds);
                }
            }
        }
        (play, who) => panic!("nobody plays {who} in {play}"),
    }
}

fn give(socket: &UnixStream, fd: i32) {
    passing::send(socket.as_raw_fd(), b"x", &[&[fd]]).unwrap();
}

/// Starts another process of the play: what it reads from is its stdin, and what it sends to its stderr.
fn child(play: &str, who: &str, from: UnixStream, to: Option<UnixStream>) -> Child {
    let to = to.map_or_else(Stdio::inherit, |to| Stdio::from(OwnedFd::from(to)));
    Command::new(env::current_exe().unwrap())
        .args(["--exact", A_ROLE, "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{play} {who}"))
        .stdin(Stdio::from(OwnedFd::from(from)))
        .stdout(Stdio::null())
        .stderr(to)
        .spawn()
        .unwrap()
}

/// What is told of this play, in JSON or as text.
fn traced(play: &str, args: &[&str]) -> String {
    let script = format!(
        "{ROLE}={play} exec {} --exact {A_ROLE} --nocapture --test-threads=1 >&2",
        env::current_exe().unwrap().display()
    );
    let mut trace = fdtrace(&["trace"]);
    let run = run(trace.args(args).args(["--", "sh", "-c", &script]));
    assert_eq!(run.code, Some(0), "{run:?}");
    run.stdout
}

/// Transfers that were delivered.
fn delivered(lines: &[Value]) -> Vec<&Value> {
    let all = transfers(lines).into_iter();
    all.filter(|it| it["fate"] == "delivered").collect()
}

#[test]
fn a_socket_that_is_handed_on_is_one_story() {
    let _turn = take_turn!(tracing);
    let lines = lines(&traced("relay", &["--format", "json"]));
    let all = delivered(&lines);
    let of = |kind: &str, sender: &str| {
        let mut found = all
            .iter()
            .filter(|it| it["file"]["kind"] == kind && it["sender"]["comm"] == sender);
        *found.next().unwrap_or_else(|| panic!("{all:#?}"))
    };
    let (first, second) = (of("socket", "first"), of("socket", "middle"));
    assert_eq!(second["relay"]["transfer"], first["id"], "{all:#?}");
    assert_eq!(second["same_object_as"], first["id"]);
    assert!(second["relay"]["after_ns"].as_u64().unwrap() > 0);
    let has_mark = |it: &Value, mark: &str| it["marks"].as_array().unwrap().contains(&mark.into());
    assert!(has_mark(second, "relay") && !has_mark(second, "again"));
    // Nothing else is marked: a regular file may have been opened anew.
    for other in [first, of("regular", "first"), of("regular", "middle")] {
        assert!(
            !has_mark(other, "relay") && !has_mark(other, "again"),
            "{other:#}"
        );
        assert_eq!(other["same_object_as"], Value::Null);
    }
}

#[test]
fn a_line_says_whom_a_relay_is_from() {
    let _turn = take_turn!(tracing);
    let text = traced("relay", &[]);
    let line = text.lines().find(|line| line.contains("relay of "));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("middle[") && line.contains(" from first["),
        "{line}"
    );
}

#[test]
fn what_is_opened_anew_is_no_relay_though_its_address_is_the_same() {
    let _turn = take_turn!(tracing);
    let lines = lines(&traced("anew", &["--format", "json"]));
    let all = delivered(&lines);
    assert_eq!(all.len(), 2 * ROUNDS, "{all:#?}");
    for it in &all {
        assert_eq!(it["same_object_as"], Value::Null, "{it:#}");
    }
    // Both of a round look like one: that is what there is to be wrong about.
    let same = |pair: &&[&Value]| pair[0]["file"]["ptr"] == pair[1]["file"]["ptr"];
    let came_back = all.windows(2).filter(same).count();
    println!(
        "{came_back} of {} had the address of the one before",
        all.len() - 1
    );
}

#[test]
fn a_handle_that_is_sent_again_with_the_rest_is_marked() {
    let _turn = take_turn!(tracing);
    let lines = lines(&traced("resend", &["--format", "json"]));
    let all = delivered(&lines);
    let [first, second] = all[..] else {
        panic!("two deliveries: {all:#?}");
    };
    assert_eq!(first["again"], Value::Null);
    assert_eq!(second["again"]["transfer"], first["id"], "{all:#?}");
    assert!(second["again"]["after_ns"].as_u64().unwrap() > 0);
    assert!(
        second["marks"]
            .as_array()
            .unwrap()
            .contains(&"again".into())
    );
    // What failed in between went nowhere.
    for failed in transfers(&lines).iter().filter(|it| it["fate"] == "failed") {
        assert_eq!(failed["same_object_as"], Value::Null);
    }
}
