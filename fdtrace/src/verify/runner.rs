//! Runner: the actors' side of a scenario, in processes of its own.
//!
//! `fdtrace` starts itself again for each scenario, so that the runner can fork as it likes
//! (it has one thread) and dies with all its actors when it must. Facts go out through stdout;
//! at a checkpoint the actor waits for one byte on stdin.
//!
//! Nothing here sleeps: actors wait for each other through [`Semaphore`]s.

mod pipes;
mod receiving;
mod sending;

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    ops::Range,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{self, Signal},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::{WaitStatus, waitpid},
    },
    time::{ClockId, clock_gettime},
    unistd::{ForkResult, Pid, fork, getpid, getppid},
};

use super::fact::{Actor, Answer, Fact};
use crate::{
    kernel::inherited,
    model::{Cause, Fate, FileKind, Hop},
};
pub use pipes::{Semaphore, Watch};
pub use receiving::Incoming;
pub use sending::Outgoing;

/// What stopped an actor. `limit` is how many descriptors it might have at first: one that allows
/// itself fewer does so to see what happens then.
pub(super) fn failure(name: Option<&str>, error: &anyhow::Error, limit: Option<u64>) -> Fact {
    let why = match name {
        Some(name) => format!("{name}: {error:#}"),
        None => format!("{error:#}"),
    };
    match limit {
        Some(limit)
            if inherited::is_out_of_descriptors(error.as_ref())
                && inherited::descriptor_limit() == Some(limit) =>
        {
            Fact::Short {
                why: inherited::shortage(&why),
            }
        }
        _ => Fact::Failed { why },
    }
}

/// Actors must not outlive the verifier, whatever ends it.
///
/// `parent` may have died before the request was made; in a pid namespace of one's own it shows
/// as 0.
pub(super) fn die_with_parent(parent: Option<Pid>) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to die with the parent")?;
    let now = getppid();
    ensure!(
        parent.is_none_or(|parent| now == parent || now.as_raw() == 0),
        "the parent is gone"
    );
    Ok(())
}

/// For an actor that has changed its user: with that the kernel forgets what must not happen
/// without a parent.
///
/// # Errors
/// What `prctl` says.
pub fn die_with_parent_still() -> Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Names this process, for whoever reads the trace.
pub(super) fn call_oneself(name: &str) -> Result<()> {
    Ok(prctl::set_name(&CString::new(name)?)?)
}

pub(super) fn say(fact: &Fact) -> Result<()> {
    let mut line = serde_json::to_vec(fact)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()?;
    Ok(())
}

/// This thread's ids as the verifier knows them: `/proc` shows those of its own pid namespace,
/// which is the verifier's, even to a process in another one.
pub(super) fn whoami() -> Result<Actor> {
    let link = fs::read_link("/proc/thread-self").context("cannot read /proc/thread-self")?;
    let mut parts = link.iter().filter_map(|part| part.to_str()?.parse().ok());
    match (parts.next(), parts.next()) {
        (Some(pid), Some(tid)) => Ok(Actor { pid, tid }),
        _ => bail!("/proc/thread-self is {}", link.display()),
    }
}

/// CLOCK_MONOTONIC, as the trace has it.
pub(in crate::verify) fn now_ns() -> Result<u64> {
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC)?.into();
    Ok(u64::try_from(now.as_nanos())?)
}

/// What a scenario asks for sockets, actors and checkpoints.
pub struct Runner {
    /// Held by the one actor that may be at a checkpoint.
    turn: Semaphore,
}

/// A forked actor. Dropping it without [`ForkedActor::done`] leaves it to the runner's end.
pub struct ForkedActor {
    pid: Pid,
    name: &'static str,
}

impl ForkedActor {
    /// Waits for the actor to end well.
    ///
    /// # Errors
    /// If it ended otherwise.
    pub fn done(self) -> Result<()> {
        match waitpid(self.pid, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => bail!("{} ended with {status:?}", self.name),
        }
    }

    /// Kills the actor and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn kill(self) -> Result<()> {
        signal::kill(self.pid, Signal::SIGKILL)?;
        match waitpid(self.pid, None)? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(()),
            status => bail!("{} ended with {status:?}", self.name),
        }
    }
}

/// Tries something in a process of its own, which it may change or not survive. Says why it cannot
/// be done, if it cannot.
///
/// # Errors
/// What `fork` and `waitpid` say.
pub fn attempt(deed: impl FnOnce() -> nix::Result<()>) -> Result<Option<String>> {
    // SAFETY: the runner has one thread, so the child can do whatever its parent could.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Child => process::exit(deed().err().map_or(0, |errno| errno as i32)),
        ForkResult::Parent { child } => Ok(match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => None,
            WaitStatus::Exited(_, errno) => Some(Errno::from_raw(errno).desc().to_owned()),
            WaitStatus::Signaled(_, signal, _) => Some(format!("it ends with {signal}")),
            status => bail!("an attempt ended with {status:?}"),
        }),
    }
}

impl Runner {
    /// A runner of which no actor is at a checkpoint yet.
    ///
    /// # Errors
    /// What `pipe2` and writing to it say.
    pub(super) fn new() -> Result<Self> {
        let turn = Semaphore::new()?;
        turn.post()?;
        Ok(Self { turn })
    }

    /// A pair of connected Unix sockets.
    ///
    /// # Errors
    /// What `socketpair` says.
    pub fn socketpair(&self, kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(
            AddressFamily::Unix,
            kind,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?)
    }

    /// A file with `content`, unlinked, open for reading and writing at offset 0.
    ///
    /// # Errors
    /// If there is no room for temporary files.
    pub fn file(&self, content: &str) -> Result<File> {
        let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
        file.write_all(content.as_bytes())?;
        rewind(&file)?;
        Ok(file)
    }

    /// Forks an actor that does `part` and exits.
    ///
    /// # Errors
    /// What `fork` says.
    pub fn actor(
        &self,
        name: &'static str,
        part: impl FnOnce() -> Result<()>,
    ) -> Result<ForkedActor> {
        let parent = getpid();
        // SAFETY: the runner has one thread, so the child can do whatever its parent could.
        match unsafe { fork() }.context("cannot fork")? {
            ForkResult::Parent { child } => Ok(ForkedActor { pid: child, name }),
            ForkResult::Child => {
                let limit = inherited::descriptor_limit();
                let result = die_with_parent(Some(parent))
                    .and_then(|()| call_oneself(name))
                    .and_then(|()| say(&Fact::Joined { actor: whoami()? }))
                    .and_then(|()| part());
                if let Err(error) = &result {
                    let _ = say(&failure(Some(name), error, limit));
                }
                process::exit(i32::from(result.is_err()));
            }
        }
    }

    /// Lets the verifier count what is queued at `socket`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn in_flight(&self, socket: &impl AsFd, expected: u64) -> Result<()> {
        let socket = socket.as_fd().as_raw_fd();
        self.checkpoint(&Fact::InFlight {
            actor: whoami()?,
            socket,
            expected,
        })?;
        Ok(())
    }

    /// Lets the verifier see that `fd` is not file `index` of `message`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn mistakable(&self, fd: RawFd, message: &str, index: usize) -> Result<()> {
        self.checkpoint(&Fact::Mistakable {
            actor: whoami()?,
            fd,
            message: message.into(),
            index,
        })?;
        Ok(())
    }

    /// Says that this machine lacks what the scenario needs.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn skip(&self, why: &str) -> Result<()> {
        say(&Fact::Skipped {
            why: why.to_owned(),
        })
    }

    /// Waits until the verifier is done with every checkpoint asked for so far.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn settle(&self) -> Result<()> {
        self.turn.wait()?;
        self.turn.post()
    }

    /// Says what must become of these files of `message`; see [`Fact::Fate`] for what holds where
    /// nothing is said.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn fate(
        &self,
        message: &str,
        files: Range<usize>,
        fate: Fate,
        cause: Option<Cause>,
    ) -> Result<()> {
        say(&Fact::Fate {
            message: message.into(),
            files: (files.start, files.end),
            fate,
            cause,
        })
    }

    /// A pipe's write end, to be passed unheld, and the means to see when nobody has it any more.
    ///
    /// # Errors
    /// What `pipe2` says.
    pub fn watched(&self) -> Result<(OwnedFd, Watch)> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        Ok((write, Watch(read)))
    }

    /// Says what kind of file the trace must call file `index` of `message`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn kind(&self, message: &str, index: usize, kind: FileKind) -> Result<()> {
        say(&Fact::Kind {
            message: message.into(),
            index,
            kind,
        })
    }

    /// Whether `attempt` succeeds in a process of its own, which is no actor: how a scenario finds
    /// out what this kernel can do without anybody counting what was passed.
    ///
    /// # Errors
    /// What `fork` says.
    pub fn probe(&self, attempt: impl FnOnce() -> nix::Result<()>) -> Result<nix::Result<()>> {
        let parent = getpid();
        // SAFETY: the runner has one thread, so the child can do whatever its parent could.
        match unsafe { fork() }.context("cannot fork")? {
            ForkResult::Parent { child } => match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => Ok(Ok(())),
                WaitStatus::Exited(_, errno) => Ok(Err(Errno::from_raw(errno))),
                status => bail!("the probe ended with {status:?}"),
            },
            ForkResult::Child => {
                let result = die_with_parent(Some(parent));
                let errno = match result.map(|()| attempt()) {
                    Ok(Ok(())) => 0,
                    Ok(Err(errno)) => errno as i32,
                    Err(_) => Errno::ESRCH as i32,
                };
                process::exit(errno);
            }
        }
    }

    /// Says what a file's reference count must be at `hop`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn refs(&self, message: &str, hop: Hop, refs: i64) -> Result<()> {
        say(&Fact::Refs {
            message: message.into(),
            hop,
            refs,
        })
    }

    /// Says that nobody else touches the reference counts of the message's files on its way.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn undisturbed(&self, message: &str) -> Result<()> {
        say(&Fact::Undisturbed {
            message: message.into(),
        })
    }

    /// Asks the verifier whether the files of the two messages had the same address.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn address_reused(&self, first: &str, second: &str) -> Result<bool> {
        let answer = self.checkpoint(&Fact::AddressReused {
            messages: (first.into(), second.into()),
        })?;
        Ok(answer == Answer::Yes)
    }

    /// Waits for the verifier. One actor at a time: the answer is a byte that anyone could take.
    fn checkpoint(&self, fact: &Fact) -> Result<Answer> {
        self.turn.wait()?;
        say(fact)?;
        let mut answer = [0];
        io::stdin()
            .read_exact(&mut answer)
            .context("the verifier is gone")?;
        self.turn.post()?;
        Ok(if answer[0] == Answer::Yes as u8 {
            Answer::Yes
        } else {
            Answer::GoOn
        })
    }
}

/// Puts a file's offset back to 0.
///
/// # Errors
/// What `lseek` says.
pub fn rewind(file: &impl AsFd) -> Result<()> {
    nix::unistd::lseek(file, 0, nix::unistd::Whence::SeekSet)?;
    Ok(())
}

/// Reads a received file from its start and compares.
///
/// # Errors
/// What `pread` says, or if it holds something else.
pub fn expect_content(fd: &impl AsFd, expected: &str) -> Result<()> {
    let mut content = vec![0; expected.len() + 1];
    let len = nix::sys::uio::pread(fd, &mut content, 0)?;
    content.truncate(len);
    ensure!(
        content == expected.as_bytes(),
        "the file holds {:?} instead of {expected:?}",
        String::from_utf8_lossy(&content)
    );
    Ok(())
}

/// Whether a descriptor is close-on-exec.
///
/// # Errors
/// What `fcntl` says.
pub fn is_cloexec(fd: &impl AsFd) -> Result<bool> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let flags = FdFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFD)?);
    Ok(flags.contains(FdFlag::FD_CLOEXEC))
}
