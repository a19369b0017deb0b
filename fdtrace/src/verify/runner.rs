//! Runner: the actors' side of a scenario, in processes of its own.
//!
//! `fdtrace` starts itself again for each scenario, so that the runner can fork as it likes
//! (it has one thread) and dies with all its actors when it must. Facts go out through stdout;
//! at a checkpoint the actor waits for one byte on stdin.
//!
//! Nothing here sleeps: actors wait for each other through [`Semaphore`]s.

mod actors;
mod files;
mod pipes;
mod receiving;
mod sending;
mod stating;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
    time::{ClockId, clock_gettime},
};

use super::fact::{Actor, Answer, Fact};
pub use actors::{ForkedActor, attempt, die_with_parent_still};
pub(super) use actors::{call_oneself, die_with_parent, failure};
pub use files::{expect_content, is_cloexec, rewind};
pub use pipes::{Semaphore, Watch};
pub use receiving::Incoming;
pub use sending::Outgoing;

/// Reports a fact to the verifier.
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

/// What a scenario gets its sockets, actors and checkpoints from.
pub struct Runner {
    /// Held by the one actor that may be at a checkpoint.
    turn: Semaphore,
}

impl Runner {
    /// A runner, none of whose actors is at a checkpoint.
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

    /// A pipe's write end, to be passed unheld, and the means to see when nobody has it any more.
    ///
    /// # Errors
    /// What `pipe2` says.
    pub fn watched(&self) -> Result<(OwnedFd, Watch)> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        Ok((write, Watch(read)))
    }
}
