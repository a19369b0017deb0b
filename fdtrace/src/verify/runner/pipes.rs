//! Pipes that actors wait on: for each other, and until nobody has a descriptor any more.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, ensure};

/// The read end of a pipe: it ends when the last reference to the write end is gone, wherever that
/// was.
pub struct Watch(pub(super) OwnedFd);

impl Watch {
    /// Waits until nobody has the write end any more. What the kernel gives up in the background
    /// (the garbage collector's sockets) may take a moment.
    ///
    /// # Errors
    /// If it is still held after that.
    pub fn released(&self) -> Result<()> {
        ensure!(
            self.ends_within(RELEASE_LIMIT_MS)?,
            "a passed pipe is still open somewhere"
        );
        Ok(())
    }

    /// Makes sure that somebody still has the write end.
    ///
    /// # Errors
    /// If nobody does.
    pub fn is_held(&self) -> Result<()> {
        ensure!(!self.ends_within(0)?, "nobody has the passed pipe any more");
        Ok(())
    }

    fn ends_within(&self, limit_ms: u16) -> Result<bool> {
        use nix::poll::{PollFd, PollFlags, poll};
        // Only the end is waited for, not data.
        let mut ends = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        poll(&mut ends, limit_ms)?;
        Ok(ends[0]
            .revents()
            .is_some_and(|seen| seen.contains(PollFlags::POLLHUP)))
    }
}

/// How long the kernel may take to give up what nobody refers to.
const RELEASE_LIMIT_MS: u16 = 10_000;

/// A counting semaphore between actors: a pipe, so that it works across forks.
pub struct Semaphore {
    wait: OwnedFd,
    post: OwnedFd,
}

impl Semaphore {
    /// A semaphore that nobody has posted yet. Make it before forking those who share it.
    ///
    /// # Errors
    /// What `pipe2` says.
    pub fn new() -> Result<Self> {
        let (wait, post) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        Ok(Self { wait, post })
    }

    /// Lets one waiter go on, now or when it comes.
    ///
    /// # Errors
    /// What `write` says.
    pub fn post(&self) -> Result<()> {
        nix::unistd::write(&self.post, b"!")?;
        Ok(())
    }

    /// Whether a wait would return at once.
    ///
    /// # Errors
    /// What `poll` says.
    pub fn is_posted(&self) -> Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut wait = [PollFd::new(self.wait.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut wait, PollTimeout::ZERO)? > 0)
    }

    /// Waits for a post.
    ///
    /// # Errors
    /// What `read` says.
    pub fn wait(&self) -> Result<()> {
        let mut byte = [0];
        ensure!(
            nix::unistd::read(&self.wait, &mut byte)? == 1,
            "the semaphore was dropped"
        );
        Ok(())
    }
}
