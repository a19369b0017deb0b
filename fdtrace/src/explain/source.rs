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
                && (message[0].fate == Fate::Peeked) == (transfer.fate == Fate::Peeked)
        });
        match same {
            Some(message) => message.push(transfer),
            None => messages.push(vec![transfer]),
        }
    }
    messages.sort_by_key(|message| {
        let peeked = message[0].fate != Fate::Peeked;
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
    let mut sending = String::new();
    let mut receiving = String::new();
    let mut sent: Vec<u64> = Vec::new();
    for message in &messages {
        let number = message[0].message;
        if !sent.contains(&number) {
            sent.push(number);
            let name = sent.len();
            send(&mut sending, name, message);
        }
        let name = sent.iter().position(|it| *it == number).unwrap_or_default() + 1;
        receive(&mut receiving, name, &taking(message)?);
    }
    Ok(TEMPLATE
        .replace("@NAME@", scenario.name)
        .replace("@ABOUT@", scenario.summary)
        .replace("@TYPE@", socket_type)
        .replace("@SEND@", sending.trim_end())
        .replace("@RECEIVE@", receiving.trim_end()))
}

fn taking(message: &[&Transfer]) -> Result<Taking, SourceError> {
    let count = |fate: Fate| {
        message
            .iter()
            .filter(|transfer| transfer.fate == fate)
            .count()
    };
    let (delivered, peeked) = (count(Fate::Delivered), count(Fate::Peeked));
    let cause = message.iter().find_map(|transfer| transfer.cause);
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
                message[0].fate
            )));
        }
        None => return Err(SourceError::Beyond(message[0].fate.to_string())),
    })
}

fn send(sending: &mut String, name: usize, message: &[&Transfer]) {
    let count = message.len();
    let _ = writeln!(sending, "\t{{\t/* message {name} */\n\t\tint fds[{count}];");
    let mut opened: Vec<(u64, usize)> = Vec::new();
    for (at, transfer) in message.iter().enumerate() {
        // The same file twice is the same number twice.
        let known = opened.iter().find(|(file, _)| *file == transfer.file.ptr);
        let open = match known {
            Some((_, first)) => format!("fds[{first}]"),
            None => open(transfer.file.kind()),
        };
        opened.push((transfer.file.ptr, at));
        let _ = writeln!(sending, "\t\tfds[{at}] = {open};");
    }
    let _ = writeln!(
        sending,
        "\t\tsend_fds(sock, fds, {count});\n\t\t/* The message holds the files now: we need not. */\n\t\tfor (int i = 0; i < {count}; i++)\n\t\t\tclose(fds[i]);\n\t}}"
    );
}

/// How to open a file of a kind; `check` ends the program where that fails.
fn open(kind: FileKind) -> String {
    match kind {
        FileKind::Regular => "a_file()",
        FileKind::Directory => "check(open(\"/\", O_RDONLY | O_DIRECTORY), \"open\")",
        FileKind::CharDevice => "check(open(\"/dev/null\", O_RDWR), \"open\")",
        FileKind::Tty => "check(posix_openpt(O_RDWR | O_NOCTTY), \"posix_openpt\")",
        FileKind::Socket => "check(socket(AF_UNIX, SOCK_STREAM, 0), \"socket\")",
        FileKind::Pipe | FileKind::Fifo => "a_pipe()",
        FileKind::Memfd => "a_memfd()",
        FileKind::Epoll => "check(epoll_create1(0), \"epoll_create1\")",
        FileKind::Eventfd => "check(eventfd(0, 0), \"eventfd\")",
        FileKind::Timerfd => "check(timerfd_create(CLOCK_MONOTONIC, 0), \"timerfd_create\")",
        FileKind::Signalfd => "a_signalfd()",
        FileKind::Inotify => "check(inotify_init1(0), \"inotify_init1\")",
        FileKind::Pidfd => "check(syscall(SYS_pidfd_open, getpid(), 0), \"pidfd_open\")",
        // What it takes to open one says nothing of how it is passed.
        other => return format!("a_file() /* in place of the {other} there was */"),
    }
    .to_owned()
}

fn receive(receiving: &mut String, name: usize, taking: &Taking) {
    let _ = match taking {
        Taking::Receive { room, peek } => {
            let flags = if *peek { "MSG_PEEK" } else { "0" };
            writeln!(receiving, "\treceive_fds(sock, {name}, {room}, {flags});")
        }
        Taking::Limited { free } => writeln!(
            receiving,
            "\tleave_free({free});\n\treceive_fds(sock, {name}, MOST, 0);"
        ),
        Taking::Read => writeln!(receiving, "\tread_bytes(sock, {name});"),
        Taking::Close => writeln!(
            receiving,
            "\t/* The message is in our queue, and goes with it. */\n\tclose(sock);\n\tprintf(\"message {name}: closed with the message unread\\n\");"
        ),
        Taking::Leave => writeln!(
            receiving,
            "\tprintf(\"message {name}: left in the queue\\n\");"
        ),
    };
}

const TEMPLATE: &str = include_str!("template.c");
