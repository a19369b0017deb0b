//! Puts descriptors in flight in many ways, runs a command that looks at them, and stands still until
//! the VM ends. It is what `cargo xtask witness` stops and looks into.
//!
//! Which files these are is nobody's business: the command and the witness must agree, whatever is
//! there.

use std::{
    env,
    ffi::CStr,
    fs::File,
    io::{IoSlice, Write as _},
    net::TcpListener,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process::Command,
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    sched::{CloneFlags, unshare},
    sys::{
        eventfd::EventFd,
        socket::{
            AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
        },
    },
    unistd::{pause, pipe},
};

/// Tells QEMU where the kernel's notes are, which whoever reads a dump needs.
const MODULE: &str = "/bin/qemu_fw_cfg.ko";
const NO_PARAMETERS: &CStr = c"";

/// What the host waits for, in a line of its own.
const STILL: &str = "still";

fn main() -> Result<()> {
    let module = File::open(MODULE).with_context(|| format!("cannot open {MODULE}"))?;
    finit_module(&module, NO_PARAMETERS, ModuleInitFlags::empty())
        .with_context(|| format!("cannot load {MODULE}"))?;
    let _kept = fill().context("cannot put descriptors in flight")?;
    let mut args = env::args_os().skip(1);
    let program = args.next().context("no command")?;
    let status = Command::new(&program).args(args).status();
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    println!("\n{STILL} {}", status.code().unwrap_or(-1));
    std::io::stdout().flush()?;
    loop {
        pause();
    }
}

/// What has to stay open so that what is in flight stays there.
fn fill() -> Result<Vec<OwnedFd>> {
    let mut kept = Vec::new();
    let file = File::create("/tmp/in flight")?;
    let event = EventFd::new()?;
    let (reading, writing) = pipe()?;
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let several = [
        file.as_raw_fd(),
        event.as_fd().as_raw_fd(),
        reading.as_raw_fd(),
        writing.as_raw_fd(),
        tcp.as_raw_fd(),
    ];

    for (kind, messages) in [
        (SockType::Stream, 3),
        (SockType::Datagram, 4),
        (SockType::SeqPacket, 2),
    ] {
        let (ours, theirs) = pair(kind)?;
        for number in 0..messages {
            // Some carry nothing, and some the same file more than once.
            let fds: Vec<RawFd> = several.iter().cycle().take(number * 3).copied().collect();
            send(&ours, &fds)?;
        }
        kept.extend([ours, theirs]);
    }

    // As many as a message has room for, and more than are read at once.
    let (ours, theirs) = pair(SockType::Stream)?;
    for _ in 0..2 {
        send(&ours, &[file.as_raw_fd(); 253])?;
    }
    kept.extend([ours, theirs]);

    // To a connection that nobody has accepted.
    let address = SocketAddr::from_abstract_name("in flight")?;
    let listener = UnixListener::bind_addr(&address)?;
    for number in 1..4 {
        let early = OwnedFd::from(UnixStream::connect_addr(&address)?);
        send(&early, &several[..number])?;
        kept.push(early);
    }

    // Sockets in sockets, and nowhere else; the innermost is of a namespace that has no process.
    let there = thread::spawn(|| -> Result<(OwnedFd, OwnedFd)> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        pair(SockType::Datagram)
    });
    let (mut inner, mut innermost) = there.join().ok().context("a thread panicked")??;
    send(&inner, &several)?;
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        let (ours, theirs) = pair(kind)?;
        send(&ours, &[innermost.as_raw_fd()])?;
        kept.push(std::mem::replace(&mut inner, ours));
        innermost = theirs;
    }
    kept.extend([inner, innermost, listener.into()]);
    Ok(kept)
}

fn pair(kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
    let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
    Ok(pair)
}

fn send(socket: &OwnedFd, fds: &[RawFd]) -> Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights };
    let data = [IoSlice::new(b"data")];
    sendmsg::<()>(socket.as_raw_fd(), &data, control, MsgFlags::empty(), None)?;
    Ok(())
}
