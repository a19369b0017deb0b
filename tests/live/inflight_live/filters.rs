//! What a filter leaves.

use std::{
    fs,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use fdtrace::passing::receive;
use fdtrace_testkit::{
    command::{fdtrace, run, skip},
    take_turn,
};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::socket::{MsgFlags, SockType},
    unistd::pipe,
};

use super::looking::{Pair, file_in, ino, look, scratch};

#[test]
fn a_mount_is_busy_for_what_is_in_flight() {
    let _turn = take_turn!(looking);
    let folder = scratch();
    let point = folder.path().join("mnt");
    let inside = folder.path().join("mnt/inside");
    fs::create_dir(&point).expect("there is room for a folder");
    if let Err(error) = mount(
        Some("none"),
        &point,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    ) {
        skip(
            "a_mount_is_busy_for_what_is_in_flight",
            &format!("nothing can be mounted: {error}"),
        );
        return;
    }
    fs::create_dir(&inside).expect("there is room");
    let pair = Pair::of(SockType::Stream);
    let (busy, path) = file_in(&inside, "busy");
    let (elsewhere, _) = file_in(folder.path(), "elsewhere");
    pair.send(b"x", &[elsewhere.as_raw_fd(), busy.as_raw_fd()]);
    drop(busy);

    let busy_mount = umount(&point);
    let point = point.to_str().expect("it is text");
    let by_mount = look(&["--path", point]);
    let by_folder = look(&["--path", inside.to_str().expect("it is text")]);
    let by_file = look(&["--path", path.to_str().expect("it is text")]);
    let none = look(&["--path", point, "--kind", "pipe"]);
    receive(pair.receiver.as_raw_fd(), 2, MsgFlags::empty()).expect("it is there");
    let after = look(&["--path", point]);
    let free_mount = umount(point);

    for found in [by_mount, by_folder, by_file] {
        assert_eq!(found.rows.len(), 1, "{:?}", found.run);
        assert_eq!(found.rows[0]["file"]["path"].as_str(), path.to_str());
    }
    assert_eq!(none.rows.len(), 0);
    assert_eq!(after.rows.len(), 0);
    assert_eq!(busy_mount, Err(nix::errno::Errno::EBUSY));
    assert_eq!(free_mount, Ok(()));
}

#[test]
fn other_filters_leave_what_they_name() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    // SAFETY: makes a descriptor that is ours.
    let event = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
    let (reader, writer) = pipe().expect("a pipe can be had");
    pair.send(
        b"x",
        &[event.as_raw_fd(), reader.as_raw_fd(), writer.as_raw_fd()],
    );
    let socket = ino(&pair.receiver).to_string();
    for (args, expected) in [
        (vec!["--kind", "pipe"], 2),
        (vec!["--kind", "eventfd"], 1),
        (vec!["--kind", "anon-inode"], 0),
        (vec!["--kind", "eventfd", "--kind", "pipe"], 3),
        (vec!["--kind", "directory"], 0),
        (vec!["--deleted"], 0),
        (vec!["--pid", "1"], 0),
    ] {
        let found = look(&[&["--socket", &socket][..], &args].concat());
        assert_eq!(found.rows.len(), expected, "{args:?}: {:?}", found.run);
    }
    let found = look(&["--socket", "@fdtrace-has-no-such-socket"]);
    assert_eq!(found.run.code, Some(1));
}

#[test]
fn a_path_that_leads_nowhere_is_an_error() {
    let _turn = take_turn!(looking);
    let run = run(&mut fdtrace(&["inflight", "--path", "/nonexistent"]));
    run.assert_complaint("cannot look up /nonexistent", None);
}
