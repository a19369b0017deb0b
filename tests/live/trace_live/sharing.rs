//! Senders that share a socket: threads of one process, and processes.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{ChildStdout, Stdio},
    thread,
};

use fdtrace::passing;
use fdtrace_testkit::{command::skip, take_turn};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::MsgFlags,
    stat::fstat,
};
use serde_json::Value;

use super::{
    children::child,
    tracing::{Tracing, lines, transfers},
};

/// Messages that [`send_several`] sends.
const SEVERAL: usize = 20;

/// Sends files over the standard input, one after the other, each while another number stands for it
/// too, and says which.
pub(crate) fn send_several() {
    for _ in 0..SEVERAL {
        let file = memfd_create("shared", MFdFlags::MFD_CLOEXEC).unwrap();
        let again = file.try_clone().unwrap();
        let fd = file.as_raw_fd();
        passing::send(0, b"x", &[&[fd]]).unwrap();
        // SAFETY: takes nothing.
        let tid = unsafe { libc::gettid() };
        println!("\nsent {} {fd} {tid}", fstat(&file).unwrap().st_ino);
        drop(again);
    }
}

/// Number and thread of who sent each file, by its inode number.
type Sent = HashMap<u64, (i64, i64)>;

fn sent(said: ChildStdout) -> Sent {
    let lines = BufReader::new(said).lines().map_while(Result::ok);
    lines
        .filter_map(|line| {
            let mut words = line.strip_prefix("sent ")?.split(' ').map(str::to_owned);
            let mut number = || words.next()?.parse().ok();
            Some((number()? as u64, (number()?, number()?)))
        })
        .collect()
}

/// Lets children with these jobs send over one socket, and gives what they sent and what the trace
/// says of it.
///
/// None where tracepoints do not show the queue.
fn shared_by(test: &str, jobs: &[&str]) -> Option<(Vec<u32>, Sent, Vec<Value>)> {
    let (socket, theirs) = UnixStream::pair().unwrap();
    let tracing = Tracing::start(&[
        "trace",
        "--attach",
        "tracepoint",
        "--format",
        "json",
        "--pid",
        &std::process::id().to_string(),
    ]);
    let receiving = thread::spawn(move || {
        while let Ok(received) = passing::receive(socket.as_raw_fd(), 1, MsgFlags::empty())
            && !received.data.is_empty()
        {}
    });
    let mut children: Vec<_> = jobs
        .iter()
        .map(|job| {
            let stdin = OwnedFd::from(theirs.try_clone().unwrap());
            let mut child = child(job);
            let child = child.stdin(Stdio::from(stdin)).stdout(Stdio::piped());
            child.spawn().unwrap()
        })
        .collect();
    drop(theirs);
    let mut files = Sent::new();
    for child in &mut children {
        files.extend(sent(child.stdout.take().unwrap()));
        assert!(child.wait().unwrap().success());
    }
    receiving.join().unwrap();
    let run = tracing.stop();
    let mut lines = lines(&run.stdout);
    let plan = lines[0]["plan"].as_array().unwrap();
    if plan
        .iter()
        .any(|hop| hop["hop"] == "queue" && hop["skipped"] == true)
    {
        skip(test, "tracepoints do not show the queue");
        return None;
    }
    lines.retain(|line| {
        let ino = line["file"]["ino"]
            .as_str()
            .and_then(|ino| ino.parse().ok());
        line["type"] == "transfer" && ino.is_some_and(|ino| files.contains_key(&ino))
    });
    assert_eq!(transfers(&lines).len(), files.len(), "{run:?}");
    let pids = children.iter().map(std::process::Child::id).collect();
    Some((pids, files, lines))
}

/// The number is the file's, if there is one; and so is the thread.
fn assert_true(transfer: &Value, sent: &Sent) {
    let ino = transfer["file"]["ino"].as_str().unwrap().parse().unwrap();
    let (fd, tid) = sent[&ino];
    let sender = &transfer["sender"];
    for (told, is) in [(&sender["fd"], fd), (&sender["tid"], tid)] {
        assert!(told.is_null() || told.as_i64() == Some(is), "{transfer}");
    }
}

#[test]
fn of_several_threads_that_send_on_one_socket_the_process_is_known() {
    let _turn = take_turn!(tracing);
    let test = "of_several_threads_that_send_on_one_socket_the_process_is_known";
    for (job, threads) in [("send in turn", 6), ("send at once", 3)] {
        let Some((pids, sent, transfers)) = shared_by(test, &[job]) else {
            return;
        };
        assert_eq!(transfers.len(), threads * SEVERAL);
        let mut doubted = 0;
        for transfer in &transfers {
            assert_eq!(transfer["verdict"], "same", "{transfer}");
            assert_eq!(transfer["sender"]["pid"], pids[0], "{transfer}");
            assert_true(transfer, &sent);
            let is_doubted = transfer["doubt"] == "two-threads-send";
            // Neither the thread nor the time is told, or both are.
            for told in [&transfer["sender"]["tid"], &transfer["queued_ns"]] {
                assert!(!is_doubted || told.is_null(), "{transfer}");
            }
            doubted += usize::from(is_doubted);
        }
        assert!(doubted > 0, "{job}");
        let numbered = transfers.iter().filter(|it| !it["sender"]["fd"].is_null());
        assert!(numbered.count() * 2 > transfers.len(), "{job}");
    }
}

#[test]
fn of_several_processes_that_send_on_one_socket_none_is_named_that_need_not_be_it() {
    let _turn = take_turn!(tracing);
    let test = "of_several_processes_that_send_on_one_socket_none_is_named_that_need_not_be_it";
    let Some((pids, sent, transfers)) = shared_by(test, &["send alone", "send alone"]) else {
        return;
    };
    assert_eq!(transfers.len(), 2 * SEVERAL);
    let mut doubted = 0;
    for transfer in &transfers {
        assert_true(transfer, &sent);
        if transfer["verdict"] == "same" {
            let pid = transfer["sender"]["pid"].as_u64().unwrap() as u32;
            assert!(pids.contains(&pid), "{transfer}");
            assert!(!transfer["sender"]["tid"].is_null(), "{transfer}");
        } else {
            assert_eq!(transfer["verdict"], "unverified", "{transfer}");
            assert!(transfer["sender"].is_null(), "{transfer}");
            assert!(transfer["doubt"].is_string(), "{transfer}");
            doubted += usize::from(transfer["doubt"] == "two-processes-send");
        }
    }
    // What came before the second one began to send is certain.
    assert!(doubted >= SEVERAL / 2, "{doubted} of {}", transfers.len());
}
