//! A scenario's messages as a C program: the same sockets, the same number of files of the same
//! kinds, and a receiver that does with each message what the scenario's did.
//!
//! It is made from what was seen, not from the scenario: so it shows what a program has to do to see
//! the same.

use std::fmt::Write as _;

use crate::{
    model::{Cause, Fate, FileKind, SocketType, Transfer},
    verify::Scenario,
};

/// Why there is no C for what was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was passed.
    #[error("no message was seen in this scenario, so there is nothing to write in C")]
    NoMessage,
    /// It takes more than a sender and a receiver.
    #[error("fdtrace knows no C for a message that ends as {0}")]
    Beyond(String),
}

/// What the receiver does with a message.
enum Taking {
    /// `recvmsg`, with room for this many descriptors.
    Receive { room: usize, peek: bool },
    /// `recvmsg` where only this many numbers are free.
    Limited { free: usize },
    /// `read`.
    Read,
    /// Closes its socket.
    Close,
    /// Nothing.
    Leave,
}

/// Writes the program.
///
/// # Errors
/// If nothing was passed, or it takes more than a sender and a receiver.
pub fn source(scenario: &Scenario, transfers: &[Transfer]) -> Result<String, SourceError> {
    let mut messages: Vec<Vec<&Transfer>> = Vec::new();
    for transfer in transfers {
        let same = messages.iter_mut().find(|message| {
            message[0].message == transfer.message
                && (message[0].fate() == Fate::Peeked) == (transfer.fate() == Fate::Peeked)
        });
        match same {
            Some(message) => message.push(transfer),
            None => messages.push(vec![transfer]),
        }
    }
    messages.sort_by_key(|message| {
        let peeked = message[0].fate() != Fate::Peeked;
        (message[0].message, peeked)
    });
    let Some(first) = messages.first() else {
        return Err(SourceError::NoMessage);
    };
    let socket_type = match first[0].socket.kind {
        Some(SocketType::Dgram) => "SOCK_DGRAM",
        Some(SocketType::Seqpacket) => "SOCK_SEQPACKET",
        Some(SocketType::Stream) | None => "SOCK_STREAM",
    };
    let (mut sending, mut receiving) = (Vec::new(), Vec::new());
    let mut needs = Needs::default();
    let mut sent: Vec<u64> = Vec::new();
    for message in &messages {
        let number = message[0].message;
        if !sent.contains(&number) {
            sent.push(number);
            sending.push((sent.len(), send(&mut needs, message)));
        }
        let name = sent.iter().position(|it| *it == number).unwrap_or_default() + 1;
        receiving.push((name, receive(&mut needs, &taking(message)?)));
    }
    let mut includes: Vec<&str> = COMMON.iter().chain(&needs.headers).copied().collect();
    includes.sort_unstable();
    includes.dedup();
    let includes: Vec<String> = includes
        .iter()
        .map(|header| format!("#include <{header}>"))
        .collect();
    Ok(TEMPLATE
        .replace("@NAME@", scenario.name)
        .replace("@ABOUT@", scenario.summary)
        .replace("@TYPE@", socket_type)
        .replace("@INCLUDES@", &includes.join("\n"))
        .replace("@HELPERS@", if needs.receive { RECEIVE } else { "" })
        .replace("@SEND@", blocks(&sending, 1).trim_end())
        .replace("@RECEIVE@", blocks(&receiving, 2).trim_end()))
}

/// What is done with each message, so many tabs in: alike ones one after another in a loop. `@M@` is a
/// message's number.
fn blocks(messages: &[(usize, Vec<String>)], tabs: usize) -> String {
    let mut text = String::new();
    let mut line = |tabs: usize, line: &str| {
        let tabs = if line.is_empty() { 0 } else { tabs };
        let _ = writeln!(text, "{}{line}", "\t".repeat(tabs));
    };
    let mut rest = messages;
    while let Some(((first, lines), _)) = rest.split_first() {
        let alike = |place: &usize| {
            let (number, others) = &rest[*place];
            (*number, others) == (first + place, lines)
        };
        let len = (0..rest.len()).take_while(alike).count();
        let is_block = len > 1 || lines.len() > 1 && messages.len() > 1 || tabs == 1;
        if len > 1 {
            line(
                tabs,
                &format!("for (int m = {first}; m < {}; m++) {{", first + len),
            );
        } else if is_block {
            line(tabs, "{");
        }
        let number = if len > 1 {
            "m".to_owned()
        } else {
            first.to_string()
        };
        for one in lines {
            line(tabs + usize::from(is_block), &one.replace("@M@", &number));
        }
        if is_block {
            line(tabs, "}");
        }
        rest = &rest[len..];
    }
    text
}

/// What else than the frame a program has to have.
#[derive(Default)]
struct Needs {
    headers: Vec<&'static str>,
    receive: bool,
}

/// Headers that every program has.
const COMMON: [&str; 5] = [
    "stdio.h",
    "string.h",
    "sys/socket.h",
    "sys/wait.h",
    "unistd.h",
];

fn taking(message: &[&Transfer]) -> Result<Taking, SourceError> {
    let count = |fate: Fate| {
        message
            .iter()
            .filter(|transfer| transfer.fate() == fate)
            .count()
    };
    let (delivered, peeked) = (count(Fate::Delivered), count(Fate::Peeked));
    let cause = message.iter().find_map(|transfer| transfer.cause());
    Ok(match cause {
        None if peeked > 0 => Taking::Receive {
            room: peeked,
            peek: true,
        },
        None if delivered > 0 => Taking::Receive {
            room: delivered,
            peek: false,
        },
        None if count(Fate::Queued) > 0 => Taking::Leave,
        Some(Cause::NoControlRoom) => Taking::Receive {
            room: delivered,
            peek: false,
        },
        Some(Cause::RlimitNofile) => Taking::Limited { free: delivered },
        Some(Cause::PlainRead) => Taking::Read,
        Some(Cause::ReceiverClosed) => Taking::Close,
        Some(cause) => {
            return Err(SourceError::Beyond(format!(
                "{} ({cause})",
                message[0].fate()
            )));
        }
        None => return Err(SourceError::Beyond(message[0].fate().to_string())),
    })
}

fn send(needs: &mut Needs, message: &[&Transfer]) -> Vec<String> {
    let count = message.len();
    let mut lines = vec![format!("int fds[{count}];"), String::new()];
    let kind = message[0].file.kind();
    let distinct = |at: usize| {
        let file = message[at].file.ptr;
        message[at].file.kind() == kind && message[..at].iter().all(|it| it.file.ptr != file)
    };
    if count > 1 && (0..count).all(distinct) {
        lines.push(format!("for (int i = 0; i < {count}; i++)"));
        let open = open(kind, "fds[i]", needs);
        lines.extend(open.iter().map(|line| format!("\t{line}")));
    } else {
        let mut opened: Vec<(u64, usize)> = Vec::new();
        for (at, transfer) in message.iter().enumerate() {
            // The same file twice is the same number twice.
            let known = opened.iter().find(|(file, _)| *file == transfer.file.ptr);
            match known {
                Some((_, first)) => lines.push(format!("fds[{at}] = dup(fds[{first}]);")),
                None => lines.extend(open(transfer.file.kind(), &format!("fds[{at}]"), needs)),
            }
            opened.push((transfer.file.ptr, at));
        }
    }
    lines.push(format!("send_fds(ends[0], fds, {count});"));
    lines
}

/// How to open a file of a kind as `fd`.
fn open(kind: FileKind, fd: &str, needs: &mut Needs) -> Vec<String> {
    let (headers, how): (&[&'static str], String) = match kind {
        FileKind::Directory => (
            &["fcntl.h"],
            format!("{fd} = open(\"/\", O_RDONLY | O_DIRECTORY);"),
        ),
        FileKind::CharDevice => (&["fcntl.h"], format!("{fd} = open(\"/dev/null\", O_RDWR);")),
        FileKind::Tty => (
            &["fcntl.h", "stdlib.h"],
            format!("{fd} = posix_openpt(O_RDWR | O_NOCTTY);"),
        ),
        FileKind::Socket => (&[], format!("{fd} = socket(AF_UNIX, SOCK_STREAM, 0);")),
        FileKind::Pipe | FileKind::Fifo => (
            &[],
            format!("{{ int both[2]; {fd} = pipe(both) < 0 ? -1 : both[0]; }}"),
        ),
        FileKind::Memfd => (
            &["sys/mman.h"],
            format!("lseek({fd} = memfd_create(\"passed\", 0), 42, SEEK_SET);"),
        ),
        FileKind::Epoll => (&["sys/epoll.h"], format!("{fd} = epoll_create1(0);")),
        FileKind::Eventfd => (&["sys/eventfd.h"], format!("{fd} = eventfd(0, 0);")),
        FileKind::Timerfd => (
            &["sys/timerfd.h", "time.h"],
            format!("{fd} = timerfd_create(CLOCK_MONOTONIC, 0);"),
        ),
        FileKind::Signalfd => (
            &["signal.h", "sys/signalfd.h"],
            format!("{fd} = signalfd(-1, &(sigset_t){{ 0 }}, 0);"),
        ),
        FileKind::Inotify => (&["sys/inotify.h"], format!("{fd} = inotify_init1(0);")),
        FileKind::Pidfd => (
            &["sys/syscall.h"],
            format!("{fd} = syscall(SYS_pidfd_open, getpid(), 0);"),
        ),
        // What it takes to open another kind says nothing of how it is passed.
        kind => {
            let place = match kind {
                FileKind::Regular => String::new(),
                kind => format!("/* in place of the {kind} there was */\n"),
            };
            (
                &["fcntl.h"],
                format!(
                    "{place}lseek({fd} = open(\"/tmp\", O_TMPFILE | O_RDWR, 0600), 42, SEEK_SET);"
                ),
            )
        }
    };
    needs.headers.extend(headers);
    how.lines().map(str::to_owned).collect()
}

fn receive(needs: &mut Needs, taking: &Taking) -> Vec<String> {
    needs.receive |= matches!(taking, Taking::Receive { .. } | Taking::Limited { .. });
    let text = match taking {
        Taking::Receive { room, peek } => {
            let flags = if *peek { "MSG_PEEK" } else { "0" };
            format!("receive_fds(ends[1], @M@, {room}, {flags});")
        }
        Taking::Limited { free } => {
            needs.headers.push("sys/resource.h");
            format!(
                "int next = dup(dup(0)); /* {free} numbers from this one on will be free */\n\
                 close(next), setrlimit(RLIMIT_NOFILE, &(struct rlimit){{ next + {free}, next + {free} }});\n\
                 receive_fds(ends[1], @M@, 253, 0);"
            )
        }
        Taking::Read => {
            "/* read() has no place for descriptors: they are lost, and it does not say so. */\n\
                         printf(\"message %d: read() took %zd byte, and no descriptor\\n\", @M@, \
                         read(ends[1], &(char){ 0 }, 1));"
                .to_owned()
        }
        Taking::Close => "/* The message is in our queue, and goes with it. */\n\
                          printf(\"message %d: closed with the message unread\\n\", @M@);"
            .to_owned(),
        Taking::Leave => "printf(\"message %d: left in the queue\\n\", @M@);".to_owned(),
    };
    text.lines().map(str::to_owned).collect()
}

const TEMPLATE: &str = include_str!("template.c");
const RECEIVE: &str = include_str!("receive.c");
