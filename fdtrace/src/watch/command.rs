//! A command to trace: started at once, but held before its first instruction until everything is
//! attached.
//!
//! The command is the user's own: it keeps the terminal, the process group and the signals that
//! fdtrace was started with, and goes on whatever becomes of fdtrace. Only a command that has not
//! been released yet ends with it.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, dup2_stdout, execvp, pipe2, setgid, setgroups, setuid},
};
use tokio::io::unix::AsyncFd;

use super::account::Account;
use crate::{
    kernel::inherited,
    kernel::sys::{exit_now, fork, is_single_threaded, open_process, set_ignored, wait_on},
};

/// Why a command does not run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No program has this name.
    #[error("{}: command not found", name.to_string_lossy())]
    NotFound {
        /// The command's name.
        name: OsString,
    },
    /// It cannot be executed.
    #[error("{}: {}", name.to_string_lossy(), errno.desc().to_lowercase())]
    NotExecutable {
        /// The command's name.
        name: OsString,
        /// The kernel's answer.
        errno: Errno,
    },
    /// It cannot be run as the user that was asked for.
    #[error("cannot become user {user} (CAP_SETUID, CAP_SETGID): {}", errno.desc().to_lowercase())]
    User {
        /// The user's name.
        user: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// An argument has a NUL in it.
    #[error("an argument of the command has a NUL in it")]
    Argument,
    /// This process has more than one thread, and the child would run with their locks held.
    #[error("cannot start a command in a process that has other threads")]
    OtherThreads,
    /// A system call of fdtrace's own failed.
    #[error("cannot {action}")]
    System {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> CommandError {
    move |source| CommandError::System {
        action,
        source: source.into(),
    }
}

/// Where a command's stdout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandStdout {
    /// To fdtrace's own.
    Own,
    /// To fdtrace's stderr, for fdtrace's stdout is taken.
    Stderr,
}

/// A process that will be the command.
pub struct Held {
    name: OsString,
    /// Whom it will run as, if not as whoever runs fdtrace.
    user: Option<String>,
    pid: Pid,
    /// Closed without a byte written, it makes the process end.
    release: File,
    /// Where the process says why it cannot execute the command; closed by executing it.
    trouble: File,
}

impl Held {
    /// Forks a process that waits to become the command, and sends the command's stdout to `stdout`; it
    /// runs as `user`, if one is given.
    /// This process must have one thread: the child runs code before it executes the command, and a
    /// lock that another thread held would stay closed in it.
    ///
    /// # Errors
    /// [`CommandError::OtherThreads`] if this process has more than one thread,
    /// [`CommandError::Argument`] if an argument has a NUL in it, [`CommandError::System`] if no pipe or
    /// process can be made.
    pub fn start(
        command: &[OsString],
        stdout: CommandStdout,
        user: Option<&Account>,
    ) -> Result<Self, CommandError> {
        let arguments: Vec<CString> = command
            .iter()
            .map(|argument| CString::new(argument.clone().into_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| CommandError::Argument)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(system("make a pipe"));
        let (released, release) = pipe()?;
        let (trouble, tell) = pipe()?;
        if !is_single_threaded().map_err(system("count this process's threads"))? {
            return Err(CommandError::OtherThreads);
        }
        match fork().map_err(system("start a process"))? {
            ForkResult::Child => {
                drop((release, trouble));
                let (released, tell) = (File::from(released), File::from(tell));
                become_command(&arguments, stdout, user, released, tell)
            }
            ForkResult::Parent { child } => Ok(Self {
                name: command[0].clone(),
                user: user.map(|user| user.name.clone()),
                pid: child,
                release: File::from(release),
                trouble: File::from(trouble),
            }),
        }
    }

    /// The process's id, which will be the command's.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Lets the command run; returns when it has begun.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] and [`CommandError::NotExecutable`] if it cannot be executed,
    /// [`CommandError::User`] if not as that user,
    /// [`CommandError::System`] if the process cannot be released or watched.
    pub fn release(mut self) -> Result<Running, CommandError> {
        let pidfd = open_process(self.pid()).map_err(system("watch the command"))?;
        self.release.write_all(b"!").map_err(|error| {
            // That nobody reads any more means something else where output is concerned.
            let error = match error.kind() {
                io::ErrorKind::BrokenPipe => io::Error::other("it was killed before it began"),
                _ => error,
            };
            system("let the command run")(error)
        })?;
        let mut trouble = Vec::new();
        self.trouble
            .read_to_end(&mut trouble)
            .map_err(system("hear from the command"))?;
        if let Ok(errno) = <[u8; 4]>::try_from(trouble.as_slice()) {
            // It has ended; its status says no more.
            let _ = waitpid(self.pid, None);
            let name = self.name;
            let errno = i32::from_ne_bytes(errno);
            return Err(match Errno::from_raw(errno.abs()) {
                errno_of_user if errno < 0 => CommandError::User {
                    user: self.user.unwrap_or_default(),
                    errno: errno_of_user,
                },
                Errno::ENOENT if !name.to_string_lossy().contains('/') => {
                    CommandError::NotFound { name }
                }
                errno => CommandError::NotExecutable { name, errno },
            });
        }
        Ok(Running {
            pid: self.pid,
            pidfd: wait_on(pidfd).map_err(system("wait for the command"))?,
        })
    }
}

/// The child's half: waits, and executes the command.
fn become_command(
    arguments: &[CString],
    stdout: CommandStdout,
    user: Option<&Account>,
    mut released: File,
    mut tell: File,
) -> ! {
    let mut word = [0];
    if matches!(released.read(&mut word), Ok(1)) {
        // Rust's runtime ignores it, which the command has not asked for.
        let _ = set_ignored(Signal::SIGPIPE, false);
        inherited::give_back();
        let aside = match stdout {
            CommandStdout::Own => Ok(()),
            CommandStdout::Stderr => dup2_stdout(io::stderr()),
        };
        let trouble = match user.map_or(Ok(()), become_user) {
            // No errno is negative.
            Err(errno) => -(errno as i32),
            Ok(()) => {
                let Err(errno) = aside.and_then(|()| execvp(&arguments[0], arguments));
                errno as i32
            }
        };
        let _ = tell.write_all(&trouble.to_ne_bytes());
    }
    // What its parent has set up for its own end is not to be run.
    exit_now(127)
}

/// Gives up this process's user, groups and privileges for another's.
fn become_user(user: &Account) -> Result<(), Errno> {
    setgroups(&user.groups)?;
    setgid(user.gid)?;
    setuid(user.uid)
}

/// The command, running.
pub struct Running {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl Running {
    /// Waits for the command's end; returns its exit status as a shell gives it: 128 plus the number of
    /// the signal, if one ended it. Cancel-safe.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn ended(&self) -> io::Result<i32> {
        // A pidfd is readable once the process has ended.
        let _ = self.pidfd.readable().await?;
        Ok(match waitpid(self.pid, None)? {
            WaitStatus::Exited(_, status) => status,
            WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
            // Not asked for.
            _ => return Err(io::Error::other("the command has not ended")),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn no_command_is_started_beside_another_thread() {
        let (end, ended) = mpsc::channel::<()>();
        let other = thread::spawn(move || ended.recv());
        let held = Held::start(&["true".into()], CommandStdout::Own, None);
        assert!(matches!(held, Err(CommandError::OtherThreads)));
        drop(end);
        assert!(other.join().unwrap().is_err());
    }
}
