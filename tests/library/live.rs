//! Traces of this machine, and what they need.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{fs::MetadataExt as _, net::UnixStream, process::CommandExt as _},
    },
    process::{self, Command},
    time::{Duration, Instant},
};

use caps::CapSet;
use fdtrace::{AssertionError, Doubt, Error, Fate, Item, Seen, StartError, Trace, Watch, passing};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::MsgFlags,
};

use super::assertion;

/// How long something may take that happens at once unless it never happens.
const DEADLINE: Duration = Duration::from_secs(60);

/// A file of nobody else's.
fn file() -> (File, u64) {
    let file = tempfile::tempfile().unwrap();
    let ino = file.metadata().unwrap().ino();
    (file, ino)
}

/// A socket with a message in its queue that carries this file.
fn sent(file: &File) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    passing::send(ours.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).unwrap();
    theirs
}

/// Has a child receive what is in a socket's queue, and end.
fn receive(socket: UnixStream, flags: MsgFlags) {
    let mut child = Command::new("/bin/true");
    let take = move || {
        let received = passing::receive(socket.as_raw_fd(), 1, flags)?;
        match received.fds.len() {
            1 => Ok(()),
            _ => Err(io::Error::other("no descriptor came")),
        }
    };
    // SAFETY: it takes a message, and allocates, which glibc allows after a fork.
    unsafe { child.pre_exec(take) };
    assert!(child.status().unwrap().success());
}

fn hand_over(file: &File, flags: MsgFlags) {
    receive(sent(file), flags);
}

pub(super) fn hand_over_one() {
    hand_over(&file().0, MsgFlags::empty());
}

/// Has a program run without capabilities, even as root.
pub(super) fn drop_capabilities(program: &mut Command) {
    let drop = || {
        // Whoever may not drop them has none.
        let _ = caps::clear(None, CapSet::Bounding);
        Ok(())
    };
    // SAFETY: it calls prctl, and allocates, which glibc allows after a fork.
    unsafe { program.pre_exec(drop) };
}

/// What is seen while `play` goes on. Others use this machine too: it plays again if something was
/// lost.
fn watch(play: impl Fn()) -> Result<Seen, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let watch = Watch::descendants_of(process::id()).start()?;
        play();
        let seen = watch.finish()?;
        match seen.nothing_lost() {
            Err(_) if tries < 3 => {}
            lost => return lost.map(|()| seen),
        }
    }
}

#[test]
fn a_hand_over_is_asserted() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let (file, ino) = file();
    let (other, others_ino) = self::file();
    let seen = watch(|| hand_over(&file, MsgFlags::MSG_CMSG_CLOEXEC))?;
    let handover = seen
        .one(|t| t.file.ino == ino)?
        .delivered()?
        .same_object()?
        .cloexec()?;
    let sender = handover.sender.as_ref().unwrap();
    assert_eq!(
        (sender.pid, sender.fd),
        (process::id(), Some(file.as_raw_fd()))
    );
    assert_ne!(handover.receiver().unwrap().pid, process::id());

    // What it is not.
    let inheritable = assertion(seen.one(|t| t.file.ino == ino)?.inheritable());
    assert!(matches!(
        inheritable,
        AssertionError::Cloexec { cloexec: true, .. }
    ));
    let missing = assertion(seen.one(|t| t.file.ino == others_ino));
    let AssertionError::NoneMatches { others, lost, .. } = &missing else {
        panic!("{missing}");
    };
    assert!(
        others.contains(&format!("[{}] {}", process::id(), file.as_raw_fd())),
        "{others}"
    );
    assert_eq!(*lost, None);
    drop(other);
    Ok(())
}

#[test]
fn a_descriptor_that_would_be_inherited_is_found() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let (file, ino) = file();
    let seen = watch(|| hand_over(&file, MsgFlags::empty()))?;
    let handover = seen
        .one(|t| t.file.ino == ino)?
        .same_object()?
        .inheritable()?;
    let error = assertion(handover.cloexec());
    assert!(
        matches!(error, AssertionError::Cloexec { cloexec: false, .. }),
        "{error}"
    );
    Ok(())
}

#[test]
fn what_was_sent_before_is_unproven_and_not_different() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let (file, ino) = file();
    let socket = sent(&file);
    let watch = Watch::descendants_of(process::id()).start()?;
    receive(socket, MsgFlags::empty());
    let seen = watch.finish()?;
    let handover = seen.one(|t| t.file.ino == ino)?.delivered()?;
    let error = assertion(handover.same_object());
    let AssertionError::Unproven { doubt, .. } = &error else {
        panic!("{error}");
    };
    // Losses of anybody's may come on top.
    assert!(
        matches!(
            doubt,
            Some(Doubt::SentBeforeTrace | Doubt::RecordsLostMeanwhile)
        ),
        "{error}"
    );
    Ok(())
}

#[test]
fn what_nobody_receives_is_queued_in_the_end() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let (file, ino) = file();
    let watch = Watch::descendants_of(process::id()).start()?;
    let socket = sent(&file);
    let seen = watch.finish()?;
    drop(socket);
    let handover = seen.one(|t| t.file.ino == ino)?;
    let error = assertion(handover.delivered());
    assert!(
        matches!(
            error,
            AssertionError::NotDelivered {
                fate: Fate::Queued,
                ..
            }
        ),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_trace_goes_in_any_event_loop() -> Result<(), Error> {
    fdtrace::require_privileges!();
    // Before the trace begins: nobody else's file has its inode number from here on.
    let (file, ino) = file();
    let mut trace = Trace::builder().descendants_of(process::id()).start()?;
    hand_over(&file, MsgFlags::empty());
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < DEADLINE, "the transfer did not come");
        let mut waits = [PollFd::new(trace.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        assert_eq!(poll(&mut waits, timeout).unwrap(), 1, "it becomes readable");
        while let Some(item) = trace.try_next()? {
            if matches!(&item, Item::Transfer(t) if t.file.ino == ino) {
                return Ok(());
            }
        }
    }
}

#[test]
fn a_trace_goes_in_a_task() -> Result<(), Error> {
    fdtrace::require_privileges!();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        // Before the trace begins: nobody else's file has its inode number from here on.
        let (file, ino) = file();
        let mut trace = Trace::builder().descendants_of(process::id()).start()?;
        hand_over(&file, MsgFlags::empty());
        let come = async {
            loop {
                match trace.next().await? {
                    Item::Transfer(t) if t.file.ino == ino => return Ok::<_, Error>(t),
                    _ => {}
                }
            }
        };
        let transfer = tokio::time::timeout(DEADLINE, come).await.unwrap()?;
        assert_eq!(transfer.fate(), Fate::Delivered);
        // It is told of once.
        assert!(trace.finish()?.transfers.iter().all(|t| t.file.ino != ino));
        Ok(())
    })
}

#[test]
fn a_process_that_is_not_there_cannot_be_watched() -> Result<(), Error> {
    fdtrace::require_privileges!();
    // Beyond what a process can have.
    let error = Watch::descendants_of(u32::MAX).start().unwrap_err();
    assert!(matches!(
        error,
        Error::Start(StartError::NoProcess { pid: u32::MAX })
    ));
    assert!(format!("{error:?}").ends_with("\nhint: `ps -e` shows those that there are"));
    Ok(())
}

#[test]
fn without_privileges_a_test_is_skipped() {
    fn skipping(reached: &mut bool) -> Result<(), Error> {
        fdtrace::require_privileges!();
        *reached = true;
        Ok(())
    }
    // Capabilities are a thread's own.
    let unprivileged = std::thread::Builder::new().spawn(|| {
        caps::clear(None, CapSet::Effective).unwrap();
        let error = fdtrace::check_privileges().unwrap_err();
        let mut reached = false;
        skipping(&mut reached).unwrap();
        (error.to_string(), reached)
    });
    let (error, reached) = unprivileged.unwrap().join().unwrap();
    assert!(error.starts_with("tracing needs CAP_BPF"), "{error}");
    assert!(!reached);
}
