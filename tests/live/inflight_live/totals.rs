//! Totals: by who holds the socket that files wait in, and by who sent them.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
};

use fdtrace::passing::send;
use fdtrace_testkit::{
    command::{fdtrace, run},
    take_turn,
};

use super::looking::ino;

#[test]
fn totals_name_the_holder_the_sender_and_the_user() {
    let _turn = take_turn!(looking);
    let (sender, receiver) = UnixStream::pair().unwrap();
    let receiver = OwnedFd::from(receiver);
    let socket = ino(&receiver).to_string();
    let mut holder = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(receiver))
        .spawn()
        .unwrap();
    let file = File::open("/etc/passwd").unwrap();
    for _ in 0..3 {
        send(sender.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
    }
    let rows = |by: &str| {
        let run = run(&mut fdtrace(&[
            "inflight",
            "--socket",
            &socket,
            "--group-by",
            by,
        ]));
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stdout
    };
    let (own, its) = (std::process::id(), holder.id());
    let told = [rows("holder"), rows("sender"), rows("user")];
    drop(sender);
    let closed = rows("sender");
    holder.kill().unwrap();
    holder.wait().unwrap();

    let [by_holder, by_sender, by_user] = told;
    assert!(
        by_holder.contains(&format!("    3  sleep[{its}]\n")),
        "{by_holder}"
    );
    let holding = format!("[{own}], holding the sending socket\n");
    assert!(by_sender.contains(&holding), "{by_sender}");
    let uid = nix::unistd::geteuid();
    let peer = format!("    3  uid {uid}, the peer by SO_PEERCRED\n");
    assert!(by_user.contains(&peer), "{by_user}");
    let peer = format!("    3  [{own}], the peer by SO_PEERCRED\n");
    assert!(closed.contains(&peer), "{closed}");
}
