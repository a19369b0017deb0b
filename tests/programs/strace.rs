//! The independent record: what strace saw of the same run, every SCM_RIGHTS of both sides, paired.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// The calls that pass descriptors.
pub(crate) const CALLS: &str = "trace=sendmsg,recvmsg,sendmmsg,recvmmsg";

/// One descriptor that came out: threads, numbers, and the inode numbers of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Passed {
    pub(crate) sender: u64,
    pub(crate) sender_fd: i64,
    pub(crate) receiver: u64,
    pub(crate) receiver_fd: i64,
}

/// One message with descriptors, as one side has it.
#[derive(Debug)]
struct Side {
    thread: u64,
    fds: Vec<i64>,
}

/// Everything that was sent and received; what was sent and not received is in the second part.
pub(crate) fn passed(log: &str) -> (Vec<Passed>, usize) {
    // In the order of the log, by the receiving socket.
    let mut sent: BTreeMap<u64, VecDeque<Side>> = BTreeMap::new();
    let mut received: BTreeMap<u64, VecDeque<Side>> = BTreeMap::new();
    for (thread, call) in calls(log) {
        if result(&call).is_none_or(|result| result < 0) {
            continue;
        }
        for fds in lists(&call) {
            let side = Side { thread, fds };
            let (own, peer) = sockets(&call).unwrap_or_else(|| panic!("no socket in {call}"));
            if call.starts_with("send") {
                let peer = peer.unwrap_or_else(|| panic!("no peer in {call}"));
                sent.entry(peer).or_default().push_back(side);
            } else {
                received.entry(own).or_default().push_back(side);
            }
        }
    }
    let mut passed = Vec::new();
    let mut unreceived = 0;
    for (receiver, messages) in sent {
        let mut came = received.remove(&receiver).unwrap_or_default();
        for from in messages {
            let Some(to) = came.pop_front() else {
                unreceived += from.fds.len();
                continue;
            };
            assert!(to.fds.len() <= from.fds.len(), "{from:?} became {to:?}");
            for (sender_fd, receiver_fd) in from.fds.iter().zip(&to.fds) {
                passed.push(Passed {
                    sender: from.thread,
                    sender_fd: *sender_fd,
                    receiver: to.thread,
                    receiver_fd: *receiver_fd,
                });
            }
        }
        assert!(came.is_empty(), "{came:?} was never sent");
    }
    assert!(received.is_empty(), "{received:?} was never sent");
    passed.sort_unstable();
    (passed, unreceived)
}

/// Whole calls with their threads, those that strace split joined again.
fn calls(log: &str) -> Vec<(u64, String)> {
    let mut begun: HashMap<u64, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else {
            continue;
        };
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, head.to_owned());
        } else if let Some((_, tail)) = rest
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            if let Some(head) = begun.remove(&thread) {
                calls.push((thread, head + tail));
            }
        } else {
            calls.push((thread, rest.to_owned()));
        }
    }
    calls
}

/// Inode numbers of the call's own socket and of its peer, which is not known once it is closed.
fn sockets(call: &str) -> Option<(u64, Option<u64>)> {
    let inside = call.split_once('[')?.1.split([']', ',']).next()?;
    match inside.split_once("->") {
        Some((own, peer)) => Some((own.parse().ok()?, Some(peer.parse().ok()?))),
        None => Some((inside.parse().ok()?, None)),
    }
}

fn result(call: &str) -> Option<i64> {
    let result = call.rsplit_once(" = ")?.1;
    result.split_whitespace().next()?.parse().ok()
}

/// The descriptors of each message in the call that has any.
fn lists(call: &str) -> Vec<Vec<i64>> {
    let mut lists = Vec::new();
    for message in call.split("msg_name=").skip(1) {
        let mut fds = Vec::new();
        for rights in message.split("cmsg_type=SCM_RIGHTS, cmsg_data=[").skip(1) {
            fds.extend(numbers(rights));
        }
        if !fds.is_empty() {
            lists.push(fds);
        }
    }
    lists
}

/// The numbers of `6</etc/passwd>, 7<…>]…`: what is in angle brackets may hold anything.
fn numbers(text: &str) -> Vec<i64> {
    let mut numbers = Vec::new();
    let mut number = String::new();
    let mut depth = 0;
    let mut before = ' ';
    for char in text.chars() {
        match char {
            '<' => depth += 1,
            // An arrow, as between two sockets, is no bracket.
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth > 0 => {}
            '0'..='9' => number.push(char),
            ',' | ']' => {
                numbers.extend(number.parse::<i64>().ok());
                number.clear();
                if char == ']' {
                    break;
                }
            }
            _ => {}
        }
        before = char;
    }
    numbers
}

#[test]
fn what_strace_splits_is_joined_and_paired() {
    let log = r#"
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="\1", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[6</a[1], b>, 9<UNIX-STREAM:[77->78]>]}], msg_controllen=24, msg_flags=0}, 0) = 1
20 recvmsg(8<UNIX-STREAM:[55->54]>,  <unfinished ...>
10 +++ exited with 0 +++
20 <... recvmsg resumed>{msg_name=NULL, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[11</a>, 12<x->y>]}], msg_flags=0}, 0) = 1
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[3</c>]}]}, 0) = 1
20 recvmsg(8<UNIX-STREAM:[55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[13</c>]}]}, 0) = 1
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[6</a>]}]}, 0) = -1 EAGAIN (Resource temporarily unavailable)
"#;
    let (passed, unreceived) = passed(log);
    let numbers: Vec<_> = passed
        .iter()
        .map(|it| (it.sender, it.sender_fd, it.receiver, it.receiver_fd))
        .collect();
    assert_eq!(numbers, [(10, 3, 20, 13), (10, 6, 20, 11), (10, 9, 20, 12)]);
    assert_eq!(unreceived, 0);
}
