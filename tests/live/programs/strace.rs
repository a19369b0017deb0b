//! The independent record: what strace saw of the same run, every SCM_RIGHTS of both sides, paired.
//!
//! Who is connected to whom strace asks the kernel (sock_diag). Where that has no module for it, as
//! in a VM, the calls that connect sockets say so; where both do, they must agree.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// The calls that pass descriptors, those that connect what they are passed through, and those that
/// make threads.
pub(crate) const CALLS: &str = "trace=sendmsg,recvmsg,sendmmsg,recvmmsg,\
    socketpair,bind,rename,connect,accept,accept4,clone,clone3";

/// One descriptor that came out: processes and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Passed {
    pub(crate) sender: u64,
    pub(crate) sender_fd: i64,
    pub(crate) receiver: u64,
    pub(crate) receiver_fd: i64,
}

/// Which threads passed it, and what strace calls the file.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) sender: u64,
    pub(crate) receiver: u64,
    pub(crate) name: String,
}

/// One message with descriptors, as one side has it.
#[derive(Debug)]
struct Side {
    thread: u64,
    fds: Vec<Named>,
}

/// A number and what strace calls the file behind it.
type Named = (i64, String);

/// Everything that was sent and received; how much was sent and not received is in the second part.
pub(crate) fn passed(log: &str) -> (Vec<(Passed, Details)>, usize) {
    // In the order of the log, by the receiving socket.
    let mut sent: BTreeMap<u64, VecDeque<Side>> = BTreeMap::new();
    let mut received: BTreeMap<u64, VecDeque<Side>> = BTreeMap::new();
    let mut calls = calls(log);
    calls.retain(|(_, call)| result(call).is_some_and(|result| result >= 0));
    let peers = peers(calls.iter().map(|(_, call)| call.as_str()));
    let leaders = leaders(&calls);
    let process = |thread: u64| leaders.get(&thread).copied().unwrap_or(thread);
    for (thread, call) in calls {
        for fds in lists(&call) {
            let side = Side { thread, fds };
            let (own, asked) = sockets(&call).unwrap_or_else(|| panic!("no socket in {call}"));
            let connected = peers.get(&own).copied();
            assert!(
                asked.is_none() || connected.is_none() || asked == connected,
                "{call} goes to {connected:?}"
            );
            let peer = asked.or(connected);
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
        let mut messages = messages;
        for to in received.remove(&receiver).unwrap_or_default() {
            let from = messages.remove(first_alike(&messages, &to));
            let from = from.unwrap_or_else(|| panic!("{to:?} was never sent"));
            assert!(to.fds.len() <= from.fds.len(), "{from:?} became {to:?}");
            for ((sender_fd, _), (receiver_fd, name)) in from.fds.iter().zip(to.fds) {
                let passed_one = Passed {
                    sender: process(from.thread),
                    sender_fd: *sender_fd,
                    receiver: process(to.thread),
                    receiver_fd,
                };
                let details = Details {
                    sender: from.thread,
                    receiver: to.thread,
                    name,
                };
                passed.push((passed_one, details));
            }
        }
        unreceived += messages.iter().map(|from| from.fds.len()).sum::<usize>();
    }
    assert!(received.is_empty(), "{received:?} was never sent");
    passed.sort_by_key(|(passed, _)| *passed);
    (passed, unreceived)
}

/// The first of the messages that has the files of the one that came. Where threads send at once, the
/// log has the ends of their calls in another order than the queue.
fn first_alike(messages: &VecDeque<Side>, came: &Side) -> usize {
    let names = |side: &Side| -> Vec<String> {
        let names = side.fds.iter().map(|(_, name)| name.clone());
        names.take(came.fds.len()).collect()
    };
    let alike = |from: &Side| names(from) == names(came);
    messages.iter().position(alike).unwrap_or(0)
}

/// The process of each thread that is not its process's first.
fn leaders(calls: &[(u64, String)]) -> HashMap<u64, u64> {
    let mut leaders = HashMap::new();
    for (thread, call) in calls {
        if call.starts_with("clone") && call.contains("CLONE_THREAD") {
            let thread: u64 = *leaders.get(thread).unwrap_or(thread);
            leaders.extend(result(call).map(|made| (made.unsigned_abs(), thread)));
        }
    }
    leaders
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

/// Each socket's peer, as far as successful calls connected them before everybody's eyes.
fn peers<'a>(calls: impl Iterator<Item = &'a str>) -> HashMap<u64, u64> {
    let mut peers = HashMap::new();
    let mut pair = |one: u64, two: u64| peers.extend([(one, two), (two, one)]);
    // By the listening socket, which takes them in the order in which they come.
    let mut came: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut taken: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut listening: HashMap<String, u64> = HashMap::new();
    let inode = |text: &str| sockets(text).map(|(own, _)| own);
    for call in calls {
        let quoted = |at: usize| call.split('"').nth(at).map(str::to_owned);
        let path = || quoted(1).filter(|_| call.contains("sa_family=AF_UNIX"));
        match call.split_once('(').map(|(name, _)| name) {
            Some("socketpair") => {
                let mut ends = call.split('<').skip(1).filter_map(inode);
                if let (Some(one), Some(two)) = (ends.next(), ends.next()) {
                    pair(one, two);
                }
            }
            Some("bind") => listening.extend(path().zip(inode(call))),
            Some("rename") => {
                let socket = quoted(1).and_then(|from| listening.remove(&from));
                listening.extend(quoted(3).zip(socket));
            }
            Some("connect") => {
                let listener = path().and_then(|path| listening.get(&path));
                if let (Some(listener), Some(own)) = (listener, inode(call)) {
                    came.entry(*listener).or_default().push(own);
                }
            }
            Some("accept" | "accept4") => {
                let accepted = call
                    .rsplit_once(" = ")
                    .and_then(|(_, socket)| inode(socket));
                if let (Some(listener), Some(own)) = (inode(call), accepted) {
                    taken.entry(listener).or_default().push(own);
                }
            }
            _ => {}
        }
    }
    for (listener, came) in came {
        for (one, two) in came
            .into_iter()
            .zip(taken.remove(&listener).unwrap_or_default())
        {
            pair(one, two);
        }
    }
    peers
}

fn result(call: &str) -> Option<i64> {
    let result = call.rsplit_once(" = ")?.1;
    result.split([' ', '<', '\n']).next()?.parse().ok()
}

/// The descriptors of each message in the call that has any.
fn lists(call: &str) -> Vec<Vec<Named>> {
    let mut lists = Vec::new();
    for message in call.split("msg_name=").skip(1) {
        let mut fds = Vec::new();
        for rights in message.split("cmsg_type=SCM_RIGHTS, cmsg_data=[").skip(1) {
            fds.extend(descriptors(rights));
        }
        if !fds.is_empty() {
            lists.push(fds);
        }
    }
    lists
}

/// What is in `6</etc/passwd>, 7<…>(deleted)]…`: what is in angle brackets may hold anything.
fn descriptors(text: &str) -> Vec<Named> {
    let mut descriptors = Vec::new();
    let (mut number, mut name) = (String::new(), String::new());
    let mut depth = 0;
    let mut before = ' ';
    for char in text.chars() {
        match char {
            '<' => {
                if depth > 0 {
                    name.push(char);
                }
                depth += 1;
            }
            // An arrow, as between two sockets, is no bracket.
            '>' if depth > 0 && before != '-' => {
                depth -= 1;
                if depth > 0 {
                    name.push(char);
                }
            }
            _ if depth > 0 => name.push(char),
            ',' | ']' => {
                let named = std::mem::take(&mut name);
                descriptors.extend(number.parse().ok().map(|number: i64| (number, named)));
                number.clear();
                if char == ']' {
                    break;
                }
            }
            '0'..='9' if name.is_empty() => number.push(char),
            ' ' => {}
            // `(deleted)`.
            _ => name.push(char),
        }
        before = char;
    }
    descriptors
}

/// Whether what strace calls a file is what fdtrace says of it.
pub(crate) fn agrees(name: &str, transfer: &serde_json::Value) -> bool {
    let described = transfer["file"]["description"].as_str().unwrap_or_default();
    let ino = || {
        transfer["file"]["ino"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    if let Some((kind, inside)) = name.split_once(":[") {
        let inside = inside.strip_suffix(']').unwrap_or(inside);
        let protocol = kind.trim_end_matches("v6").to_lowercase();
        match protocol.as_str() {
            "tcp" | "udp" => {
                let ends: Vec<String> = inside.split("->").map(canonical).collect();
                let expected = format!("{protocol} {}", ends.join(" ↔ "));
                return match described.strip_suffix(" listening") {
                    Some(bound) => bound == expected,
                    None => described == expected,
                };
            }
            _ if kind.starts_with("UNIX") || kind == "socket" => {
                let path = inside.split('"').nth(1).unwrap_or_default();
                let is_it = inside.split(['-', ',']).next() == Some(&ino());
                return is_it && described.starts_with("unix") && described.contains(path);
            }
            _ => {}
        }
    }
    // With what a device is, and without the blank that readlink has.
    let path = name.split('<').next().unwrap_or_default();
    described.replace(" (deleted)", "(deleted)") == path
}

/// An address as fdtrace writes it.
fn canonical(address: &str) -> String {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => {
            std::net::SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
        }
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests;
