//! Actors: the processes that a runner forks, and what ends them.

use std::{ffi::CString, process};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{self, Signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid, getppid},
};

use super::{Fact, Runner, say, whoami};
use crate::kernel::inherited;

/// The fact that an actor could not go on. `limit` is its limit of descriptors as it began: where it is
/// out of descriptors under that limit, and not under one that it set itself, this is a shortage and
/// no failure.
pub(in crate::verify) fn failure(
    name: Option<&str>,
    error: &anyhow::Error,
    limit: Option<u64>,
) -> Fact {
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

/// Has this process die with its parent (`PR_SET_PDEATHSIG`): no actor outlives the verifier.
///
/// # Errors
/// If `parent` died before the request was made, and what `prctl` says. In a pid namespace of the
/// actor's own the parent shows as 0.
pub(in crate::verify) fn die_with_parent(parent: Option<Pid>) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to die with the parent")?;
    let now = getppid();
    ensure!(
        parent.is_none_or(|parent| now == parent || now.as_raw() == 0),
        "the parent is gone"
    );
    Ok(())
}

/// Has this process die with its parent after it has changed its user, at which the kernel forgets the
/// earlier request.
///
/// # Errors
/// What `prctl` says.
pub fn die_with_parent_still() -> Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Names this process, for whoever reads the trace.
pub(in crate::verify) fn call_oneself(name: &str) -> Result<()> {
    Ok(prctl::set_name(&CString::new(name)?)?)
}

/// A forked actor. If it is dropped without [`ForkedActor::done`], it dies with the runner.
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
    Ok(match do_apart(deed)? {
        WaitStatus::Exited(_, 0) => None,
        WaitStatus::Exited(_, errno) => Some(Errno::from_raw(errno).desc().to_owned()),
        WaitStatus::Signaled(_, signal, _) => Some(format!("it ends with {signal}")),
        status => bail!("an attempt ended with {status:?}"),
    })
}

/// Does something in a process of its own, whose exit status is the errno that it failed with. It does
/// not outlive this one.
fn do_apart(deed: impl FnOnce() -> nix::Result<()>) -> Result<WaitStatus> {
    let parent = getpid();
    // SAFETY: the runner has one thread, so the child can do whatever its parent could.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => Ok(waitpid(child, None)?),
        ForkResult::Child => {
            let errno = match die_with_parent(Some(parent)).map(|()| deed()) {
                Ok(Ok(())) => 0,
                Ok(Err(errno)) => errno as i32,
                Err(_) => Errno::ESRCH as i32,
            };
            process::exit(errno);
        }
    }
}

impl Runner {
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

    /// Whether `attempt` succeeds in a process of its own, which is no actor: how a scenario finds
    /// out what this kernel can do without anybody counting what was passed.
    ///
    /// # Errors
    /// What `fork` says.
    pub fn probe(&self, attempt: impl FnOnce() -> nix::Result<()>) -> Result<nix::Result<()>> {
        match do_apart(attempt)? {
            WaitStatus::Exited(_, 0) => Ok(Ok(())),
            WaitStatus::Exited(_, errno) => Ok(Err(Errno::from_raw(errno))),
            status => bail!("the probe ended with {status:?}"),
        }
    }
}
