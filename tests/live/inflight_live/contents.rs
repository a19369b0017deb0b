//! What is in one queue: files, in order, with who sent them and who can have them.

mod size;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{
            fs::MetadataExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    process::Stdio,
    time::Duration,
};

use fdtrace::passing::{receive, send};
use fdtrace_testkit::{
    command::{fdtrace, is_emulated, most_memory_kib, run},
    take_turn,
};
use nix::{
    sys::{
        socket::{MsgFlags, SockType, setsockopt, sockopt},
        wait::waitpid,
    },
    unistd::{ForkResult, fork, pipe},
};
use serde_json::Value;

use super::looking::{FULL, Pair, file_in, ino, look, receivers, scm_fds, scratch, this_process};

#[test]
fn one_file_is_found_once_in_each_type_of_socket() {
    let _turn = take_turn!(looking);
    for (kind, name) in [
        (SockType::Stream, "stream"),
        (SockType::Datagram, "dgram"),
        (SockType::SeqPacket, "seqpacket"),
    ] {
        let pair = Pair::of(kind);
        let folder = scratch();
        let (file, path) = file_in(folder.path(), "known");
        pair.send(b"x", &[file.as_raw_fd()]);

        let found = look(&[]);
        let rows = found.of(&pair.receiver);
        assert_eq!(rows.len(), 1, "{name}: {rows:?}");
        let row = rows[0];
        let metadata = file.metadata().expect("it is open");
        assert_eq!(row["file"]["kind"], "regular");
        assert_eq!(row["file"]["path"].as_str(), path.to_str());
        assert_eq!(row["file"]["ino"], metadata.ino().to_string());
        assert_eq!(row["file"]["mode"], metadata.mode());
        assert_eq!(row["file"]["description"].as_str(), path.to_str());
        // Ours, and the message's.
        assert_eq!(row["refs"], 2);
        assert_eq!(row["links"], 1);
        assert_eq!(row["file"]["deleted"], false);
        assert_eq!(row["garbage"], false);
        let accmode = row["file"]["flags"].as_i64().expect("flags") & i64::from(libc::O_ACCMODE);
        assert_eq!(accmode, i64::from(libc::O_WRONLY));
        assert_eq!(row["socket"]["type"], name);
        assert_eq!(row["socket"]["peer_ino"], ino(&pair.sender));
        assert_eq!(row["socket"]["scm_fds"], 1);
        assert_eq!(scm_fds(&pair.receiver), 1);
        assert_eq!(row["sender_socket"]["ino"], ino(&pair.sender));
        assert_eq!(row["sender_socket"]["holders"][0]["pid"], this_process());
        let expected = i64::from(pair.receiver.as_raw_fd());
        assert_eq!(receivers(row), [(this_process(), vec![expected])].into());

        // And once it is received, it is no longer there.
        receive(pair.receiver.as_raw_fd(), 1, MsgFlags::empty()).expect("it is there");
        assert_eq!(look(&[]).of(&pair.receiver).len(), 0, "{name}");
    }
}

#[test]
fn full_messages_are_read_whole_and_in_order() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let (reader, writer) = pipe().expect("a pipe can be had");
    let (first, second) = (reader.as_raw_fd(), writer.as_raw_fd());
    // Data without files, a full message, data that is not read to its end, two files.
    send(pair.sender.as_raw_fd(), b"plain", &[]).expect("it can be sent");
    let many: Vec<RawFd> = (0..FULL)
        .map(|n| if n % 2 == 0 { first } else { second })
        .collect();
    pair.send(b"abc", &many);
    pair.send(b"de", &[second, first]);
    receive(pair.receiver.as_raw_fd(), 0, MsgFlags::MSG_PEEK).expect("it is there");

    let found = look(&[]);
    let rows = found.of(&pair.receiver);
    assert_eq!(rows.len() as u64, scm_fds(&pair.receiver));
    let ino = ino(&reader);
    let mut expected = Vec::new();
    for (position, count, before, index) in (0..FULL)
        .map(|index| (1, FULL, 5, index))
        .chain((0..2).map(|index| (2, 2, 8, index)))
    {
        let flip = usize::from(position == 2);
        let access = if (index + flip).is_multiple_of(2) {
            libc::O_RDONLY
        } else {
            libc::O_WRONLY
        };
        expected.push(serde_json::json!([
            position,
            count,
            before,
            index,
            access,
            "pipe",
            ino.to_string()
        ]));
    }
    let seen: Vec<Value> = rows
        .iter()
        .map(|row| {
            serde_json::json!([
                row["position"],
                row["count"],
                row["bytes_before"],
                row["index"],
                row["file"]["flags"].as_i64().expect("flags") & i64::from(libc::O_ACCMODE),
                row["file"]["kind"],
                row["file"]["ino"],
            ])
        })
        .collect();
    assert_eq!(seen, expected);
    // Half of the first message's bytes less in front of the others.
    let mut some = [0_u8; 2];
    nix::unistd::read(&pair.receiver, &mut some).expect("it is there");
    let found = look(&[]);
    assert_eq!(found.of(&pair.receiver)[0]["bytes_before"], 3);
}

#[test]
fn a_deleted_file_is_told_from_one_that_is_not() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let folder = scratch();
    let (gone, gone_path) = file_in(folder.path(), "gone");
    let (kept, _) = file_in(folder.path(), "kept");
    pair.send(b"x", &[gone.as_raw_fd(), kept.as_raw_fd()]);
    fs::remove_file(&gone_path).expect("it is there");
    drop(gone);

    let found = look(&["--deleted"]);
    let rows = found.of(&pair.receiver);
    assert_eq!(rows.len(), 1);
    let row = rows[0];
    assert_eq!(row["file"]["deleted"], true);
    assert_eq!(row["links"], 0);
    // Nobody but the message has it.
    assert_eq!(row["refs"], 1);
    assert_eq!(row["file"]["path"].as_str(), gone_path.to_str());
    let description = format!("{} (deleted)", gone_path.display());
    assert_eq!(row["file"]["description"].as_str(), Some(&*description));
    assert_eq!(look(&[]).of(&pair.receiver).len(), 2);
}

/// Sends from a process of its own, which then ends.
fn send_and_die(pair: &Pair, fds: &[RawFd]) -> u64 {
    // SAFETY: the child only sends, and ends without running anything of this process's.
    match unsafe { fork() }.expect("there is room for a process") {
        ForkResult::Child => {
            let sent = send(pair.sender.as_raw_fd(), b"x", &[fds]).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!sent)) }
        }
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("it ends");
            u64::try_from(child.as_raw()).expect("a process id")
        }
    }
}

#[test]
fn a_dead_sender_is_told_as_such() {
    let _turn = take_turn!(looking);
    let file = tempfile::tempfile().expect("there is room for a file");
    let pair = Pair::of(SockType::Stream);
    setsockopt(&pair.receiver, sockopt::PassCred, &true).expect("it can be asked for");
    let sender = send_and_die(&pair, &[file.as_raw_fd()]);
    // On this one nobody asked who sent it, and the socket goes too.
    let anonymous = Pair::of(SockType::Stream);
    send_and_die(&anonymous, &[file.as_raw_fd()]);
    drop(anonymous.sender);

    let found = look(&[]);
    let rows = found.of(&pair.receiver);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["sender"]["pid"], sender);
    assert_eq!(rows[0]["sender"]["alive"], false);
    assert_eq!(rows[0]["sender"]["comm"], Value::Null);
    assert_eq!(rows[0]["sender"]["uid"], 0);
    let rows = found.of(&anonymous.receiver);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["sender"], Value::Null);
    assert_eq!(rows[0]["sender_socket"]["ino"], Value::Null);
    // The connection was made here.
    assert_eq!(rows[0]["socket"]["peer"]["pid"], this_process());

    let found = look(&["--pid", &sender.to_string()]);
    assert_eq!(found.rows.len(), 1, "{:?}", found.run);
}

#[test]
fn text_names_the_file_and_who_can_have_it() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let folder = scratch();
    let (file, path) = file_in(folder.path(), "evil\u{1b}[31m\nname");
    pair.send(b"x", &[file.as_raw_fd()]);
    let socket = ino(&pair.receiver).to_string();
    let run = run(&mut fdtrace(&["inflight", "--socket", &socket]));
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with(&format!("stream socket:[{socket}]")),
        "{run:?}"
    );
    assert!(lines[1].contains(&format!(
        "[{}] as {}",
        this_process(),
        pair.receiver.as_raw_fd()
    )));
    let folder = path.parent().expect("it has one").display().to_string();
    let safe = format!("{folder}/evil\\u{{1b}}[31m\\u{{a}}name");
    assert!(lines[2].contains(&safe), "{run:?}");
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
}

#[test]
fn what_is_in_no_tree_is_called_as_proc_calls_it_and_sockets_by_their_addresses() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    // SAFETY: takes plain numbers; the descriptor is new and nobody else's.
    let pidfd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0);
        OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor"))
    };
    let namespace = fs::File::open("/proc/self/ns/net").expect("a network namespace");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (unnamed, _other) = UnixStream::pair().expect("a pair");
    let fds = [
        pidfd.as_raw_fd(),
        namespace.as_raw_fd(),
        unnamed.as_raw_fd(),
        listener.as_raw_fd(),
    ];
    pair.send(b"x", &fds);
    let found = look(&[]);
    let rows = found.of(&pair.receiver);
    assert_eq!(rows.len(), fds.len());
    for (row, fd) in rows.iter().zip(&fds[..3]) {
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).expect("it is open");
        assert_eq!(row["file"]["description"].as_str(), link.to_str());
    }
    assert_eq!(
        rows[3]["file"]["description"],
        format!("tcp {address} listening")
    );
}

#[test]
fn a_queued_socket_is_told_by_its_addresses() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    let connected = TcpStream::connect(address).expect("it listens");
    let its_own = connected.local_addr().expect("it is connected");
    let folder = scratch();
    let name = folder.path().join("socket");
    let named = UnixListener::bind(&name).expect("the name is free");
    let nameless = Pair::of(SockType::Stream);
    let fds = [
        listener.as_raw_fd(),
        connected.as_raw_fd(),
        named.as_raw_fd(),
        nameless.sender.as_raw_fd(),
    ];
    pair.send(b"x", &fds);
    let found = look(&[]);
    let told: Vec<_> = found
        .of(&pair.receiver)
        .into_iter()
        .map(|row| {
            row["file"]["description"]
                .as_str()
                .expect("it is known")
                .to_owned()
        })
        .collect();
    let expected = [
        format!("tcp {address} listening"),
        format!("tcp {its_own} ↔ {address}"),
        format!("unix {} listening", name.display()),
        format!("socket:[{}]", ino(&nameless.sender)),
    ];
    assert_eq!(told, expected);
}
