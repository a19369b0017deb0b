//! A test that asserts a hand-off: a child takes over a listening socket from this process, and must
//! get the very same one, close-on-exec. `cargo run --example assert_handoff`, as root.

use std::{
    env,
    error::Error,
    io::{IoSlice, IoSliceMut},
    net::TcpListener,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{self, Command},
};

use fdtrace::{Expected, Fate, Watch};
use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg},
};

/// Set for the child.
const RECEIVER: &str = "FDTRACE_EXAMPLE_RECEIVER";

fn main() -> Result<(), Box<dyn Error>> {
    if env::var_os(RECEIVER).is_some() {
        return take_over();
    }
    fdtrace::require_privileges!();
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;

    let watch = Watch::descendants_of(process::id()).start()?;
    hand_over(&listener)?;
    let seen = watch.finish()?;

    let expected = Expected::new()
        .sender(process::id())
        .listening_on(address)
        .fate(Fate::Delivered);
    let handover = seen.one_like(&expected)?.same_object()?.cloexec()?;
    seen.nothing_lost()?;
    println!("the child has it as {:?}", handover.receiver());
    Ok(())
}

/// Starts a child with a socket as its stdin, sends the listener there, and waits for its end.
fn hand_over(listener: &TcpListener) -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(env::current_exe()?)
        .env(RECEIVER, "1")
        .stdin(OwnedFd::from(theirs))
        .spawn()?;
    sendmsg::<()>(
        ours.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&[listener.as_raw_fd()])],
        MsgFlags::empty(),
        None,
    )?;
    match child.wait()?.success() {
        true => Ok(()),
        false => Err("the child got nothing".into()),
    }
}

/// What the child does. Its new descriptor is closed as it ends.
fn take_over() -> Result<(), Box<dyn Error>> {
    const STDIN: RawFd = 0;
    let mut data = [0];
    let mut parts = [IoSliceMut::new(&mut data)];
    let mut room = cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(STDIN, &mut parts, Some(&mut room), flags)?;
    match message.cmsgs()?.count() {
        0 => Err("no descriptor came".into()),
        _ => Ok(()),
    }
}
