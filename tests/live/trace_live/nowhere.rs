//! Sends that get nowhere: where they were to go, and what the kernel passes over without a word.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::MetadataExt as _,
            net::{UnixDatagram, UnixStream},
        },
    },
    process,
};

use fdtrace::passing;
use fdtrace_testkit::{command::skip, take_turn};
use nix::{
    errno::Errno,
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::MsgFlags,
    },
};
use serde_json::Value;

use super::tracing::{Tracing, lines, transfers};

/// The lines of a trace of this process while `work` was done.
fn trace(work: impl FnOnce()) -> Vec<Value> {
    let pid = process::id().to_string();
    let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid]);
    work();
    let run = tracing.stop();
    assert_eq!(run.code, Some(0), "{run:?}");
    lines(&run.stdout)
}

fn create() -> fs::File {
    memfd_create("nowhere", MFdFlags::MFD_CLOEXEC)
        .unwrap()
        .into()
}

/// The transfers of this file.
fn of<'a>(lines: &'a [Value], file: &fs::File) -> Vec<&'a Value> {
    let ino = file.metadata().unwrap().ino().to_string();
    let all = transfers(lines).into_iter();
    all.filter(|transfer| transfer["file"]["ino"] == ino)
        .collect()
}

/// Whether the trace watched this function.
fn watches(lines: &[Value], function: &str) -> bool {
    let plan = lines[0]["plan"].as_array().unwrap();
    plan.iter().any(|entry| entry["target"] == function)
}

#[test]
fn what_a_full_queue_refuses_says_where_it_was_to_go_and_how_full_that_was() {
    let _turn = take_turn!(tracing);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(&path).unwrap();
    sender.set_nonblocking(true).unwrap();
    let file = create();
    let send = || passing::send(sender.as_raw_fd(), b"m", &[&[file.as_raw_fd()]]);
    let mut sent = 0;
    let lines = trace(|| {
        while send().is_ok() {
            sent += 1;
        }
        assert_eq!(send(), Err(Errno::EAGAIN));
    });
    let of_file = of(&lines, &file);
    let failed: Vec<_> = of_file.iter().filter(|it| it["fate"] == "failed").collect();
    assert_eq!(failed.len(), 2);
    let limit = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let limit: u64 = limit.trim().parse().unwrap();
    for failed in failed {
        assert_eq!(failed["cause"], "eagain", "{failed}");
        let send = &failed["failed_send"];
        assert_eq!(send["path"], path.to_str().unwrap(), "{failed}");
        assert_eq!(
            (send["queued"].as_u64(), send["queue_limit"].as_u64()),
            (Some(sent), Some(limit))
        );
        assert_eq!(failed["socket"]["receiver_ino"], send["receiver_ino"]);
        let holders = send["holders"].as_array().unwrap();
        assert!(
            holders.iter().any(|holder| holder["pid"] == process::id()),
            "{send}"
        );
    }
    // What got there says nothing of the kind.
    let told_early = |it: &Value| {
        it["marks"]
            .as_array()
            .unwrap()
            .contains(&"still-queued".into())
    };
    let queued = of_file
        .iter()
        .filter(|it| it["fate"] == "queued" && !told_early(it));
    assert!(queued.clone().count() as u64 == sent && sent == limit + 1);
    assert!(queued.clone().all(|it| it.get("failed_send").is_none()));
    drop(receiver);
}

#[test]
fn two_datagram_sockets_that_are_connected_to_each_other_have_no_limit_of_messages() {
    let _turn = take_turn!(tracing);
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    let file = create();
    let mut sent: u64 = 0;
    let lines = trace(|| {
        while passing::send(sender.as_raw_fd(), b"m", &[&[file.as_raw_fd()]]).is_ok() {
            sent += 1;
        }
    });
    let limit = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    assert!(sent > limit.trim().parse().unwrap(), "{sent}");
    let of_file = of(&lines, &file);
    let mut failed = of_file.iter().filter(|it| it["fate"] == "failed");
    let (Some(failed), None) = (failed.next(), failed.next()) else {
        panic!("{of_file:?}");
    };
    let send = &failed["failed_send"];
    assert_eq!(
        (&send["queued"], &send["queue_limit"]),
        (&sent.into(), &Value::Null)
    );
    assert!(
        send["unread"].as_u64() >= send["unread_limit"].as_u64(),
        "{send}"
    );
    drop(receiver);
}

#[test]
fn a_tcp_socket_passes_over_descriptors_and_that_is_told() {
    let _turn = take_turn!(tracing);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    let file = create();
    let lines = trace(|| {
        passing::send(sender.as_raw_fd(), b"m", &[&[file.as_raw_fd()]]).unwrap();
        let received = passing::receive(receiver.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
        assert!(received.data == b"m" && received.fds.is_empty());
        // Bytes alone say nothing.
        passing::send(sender.as_raw_fd(), b"m", &[]).unwrap();
    });
    let of_file = of(&lines, &file);
    if !watches(&lines, "__sock_cmsg_send") {
        assert!(of_file.is_empty());
        return skip(
            "a_tcp_socket_passes_over_descriptors_and_that_is_told",
            "descriptors that a TCP socket passes over show in functions alone",
        );
    }
    let [passed] = of_file[..] else {
        panic!("{of_file:?}");
    };
    assert_eq!(
        (&passed["fate"], &passed["cause"]),
        (&"discarded".into(), &"not-unix".into())
    );
    assert_eq!(passed["sender"]["fd"], file.as_raw_fd());
    assert_eq!(passed["sender"]["socket_fd"], sender.as_raw_fd());
    let socket = format!(
        "tcp {} ↔ {}",
        sender.local_addr().unwrap(),
        sender.peer_addr().unwrap()
    );
    assert_eq!(passed["socket"]["other"], socket);
}

#[test]
fn an_scm_rights_that_names_nothing_is_counted() {
    let _turn = take_turn!(tracing);
    let (sender, receiver) = UnixStream::pair().unwrap();
    let file = create();
    let lines = trace(|| {
        for _ in 0..3 {
            passing::send(sender.as_raw_fd(), b"m", &[&[]]).unwrap();
        }
        // Neither no control message at all, nor one that names something.
        passing::send(sender.as_raw_fd(), b"m", &[]).unwrap();
        passing::send(sender.as_raw_fd(), b"m", &[&[file.as_raw_fd()]]).unwrap();
    });
    assert_eq!(of(&lines, &file).len(), 1);
    let empty = &lines.last().unwrap()["empty_rights"];
    if !watches(&lines, "__scm_send") {
        assert!(empty.is_null());
        return skip(
            "an_scm_rights_that_names_nothing_is_counted",
            "an SCM_RIGHTS that names nothing shows in functions alone",
        );
    }
    let empty = empty.as_array().unwrap();
    let ours = empty.iter().find(|it| it["pid"] == process::id()).unwrap();
    assert_eq!(ours["sends"], 3);
    drop(receiver);
}
