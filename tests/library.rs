//! The library as others use it: assertions on what this process hands over, a trace in an event loop
//! and in a task, and recordings. What needs privileges skips without them, by the library's own means.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may unwrap")]

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{fs::MetadataExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{self, Command},
    time::{Duration, Instant},
};

use caps::CapSet;
use fdtrace::{
    AssertionError, Doubt, Error, Fate, Item, Judged, ReadError, Recording, Seen, StartError,
    Trace, Verdict, Watch, passing,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::MsgFlags,
};

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

fn assertion<T>(result: Result<T, Error>) -> AssertionError {
    match result {
        Err(Error::Assertion(error)) => error,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it holds"),
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
    assert_ne!(handover.receiver.as_ref().unwrap().pid, process::id());

    // What it is not.
    let inheritable = assertion(seen.one(|t| t.file.ino == ino)?.inheritable());
    assert!(matches!(
        inheritable,
        AssertionError::Cloexec { cloexec: true, .. }
    ));
    let missing = assertion(seen.one(|t| t.file.ino == others_ino));
    let AssertionError::NoneMatches { latest, lost, .. } = &missing else {
        panic!("{missing}");
    };
    assert!(
        latest.contains(&format!("[{}] {}", process::id(), file.as_raw_fd())),
        "{latest}"
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
        assert_eq!(transfer.fate, Fate::Delivered);
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

fn recording(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/recordings");
    PathBuf::from(folder).join(format!("{name}.fdt"))
}

#[test]
fn a_recording_gives_what_replay_shows() -> Result<(), Error> {
    for name in ["reload", "tracepoints", "trampolines"] {
        let path = recording(name);
        let replay = Command::new(env!("CARGO_BIN_EXE_fdtrace"))
            .args(["replay", "--format", "json", path.to_str().unwrap()])
            .output()
            .unwrap();
        let text = String::from_utf8(replay.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let shown: Vec<serde_json::Value> = lines
            .filter(|it: &serde_json::Value| it["type"] == "transfer")
            .collect();
        let read: Vec<Judged> = Recording::open(&path)?
            .transfers()
            .collect::<Result<_, _>>()?;
        assert!(!read.is_empty());
        assert_eq!(read.len(), shown.len());
        for (read, shown) in read.iter().zip(&shown) {
            assert_eq!(shown["fate"], read.fate.name());
            assert_eq!(shown["verdict"].as_str(), read.verdict.map(Verdict::name));
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_recording_comes_last() {
    let whole = fs::read(recording("reload")).unwrap();
    let all = Recording::read(io::Cursor::new(whole.clone())).unwrap();
    let all = all.transfers().count();
    let cut = whole[..whole.len() - 1].to_vec();
    let read = Recording::read(io::Cursor::new(cut.clone()))
        .unwrap()
        .transfers();
    let mut read: Vec<_> = read.collect();
    let last = read.pop().unwrap();
    assert!(
        matches!(last, Err(Error::Recording(ReadError::BreaksOff { .. }))),
        "{last:?}"
    );
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(read.len(), all, "the end alone is missing");
    assert!(
        Recording::read(io::Cursor::new(cut))
            .unwrap()
            .seen()
            .is_err()
    );
    assert!(matches!(
        Recording::open("/nowhere/at/all"),
        Err(Error::Open { .. })
    ));
}

#[test]
fn each_way_not_to_hold_has_an_error_of_its_own() -> Result<(), Error> {
    let mut seen = Recording::open(recording("trampolines"))?.seen()?;
    seen.nothing_lost()?;
    let is_same = |t: &Judged| t.verdict == Some(Verdict::Same);
    let several = assertion(seen.one(is_same));
    assert!(matches!(several, AssertionError::SeveralMatch { matching, .. } if matching > 1));
    let place = seen.transfers.iter().position(is_same).unwrap();
    let id = seen.transfers[place].id;
    seen.one(|t| t.id == id)?.same_object()?;

    seen.transfers[place].verdict = Some(Verdict::Different);
    let different = assertion(seen.one(|t| t.id == id)?.same_object());
    assert!(
        matches!(different, AssertionError::Different { .. }),
        "{different}"
    );

    seen.transfers[place].verdict = Some(Verdict::Unverified);
    let unproven = assertion(seen.one(|t| t.id == id)?.same_object());
    assert!(
        matches!(unproven, AssertionError::Unproven { .. }),
        "{unproven}"
    );

    seen.transfers[place].verdict = Some(Verdict::Lost);
    let unproven = assertion(seen.one(|t| t.id == id)?.same_object());
    assert!(
        unproven
            .to_string()
            .contains("because records were lost meanwhile"),
        "{unproven}"
    );

    seen.transfers[place]
        .transfer
        .receiver
        .as_mut()
        .unwrap()
        .cloexec = None;
    let unknown = assertion(seen.one(|t| t.id == id)?.cloexec());
    assert!(
        matches!(unknown, AssertionError::CloexecUnknown { .. }),
        "{unknown}"
    );

    seen.losses.recursion_misses = 2;
    let lost = assertion(seen.nothing_lost());
    assert_eq!(
        lost.to_string(),
        "not everything was seen: 2 runs of programs were skipped"
    );
    let missing = assertion(seen.one(|_| false)).to_string();
    assert!(
        missing.contains(", and not everything was seen (2 runs"),
        "{missing}"
    );
    assert!(missing.contains(" earlier ones)\n"), "{missing}");
    Ok(())
}
