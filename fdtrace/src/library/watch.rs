//! A watch on some processes while a test goes on.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    panic,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::pipe2,
};

use super::{Error, Item, Seen, Trace, TraceBuilder};
use crate::plan::Attach;

/// What to watch while a test goes on.
///
/// ```no_run
/// use fdtrace::{Expected, Fate, Watch};
///
/// # fn reload(_: u32) {}
/// // #[test]
/// fn reload_hands_the_listener_over() -> Result<(), fdtrace::Error> {
///     fdtrace::require_privileges!();
///     # let (proxy, address) = (1, ([127, 0, 0, 1], 8080).into());
///     let watch = Watch::descendants_of(proxy).start()?;
///     reload(proxy);
///     let seen = watch.finish()?;
///     let listener = Expected::new().listening_on(address);
///     seen.one_like(&listener.fate(Fate::Delivered))?
///         .same_object()?
///         .cloexec()?;
///     seen.nothing_lost()
/// }
/// # reload_hands_the_listener_over().unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Watch {
    builder: TraceBuilder,
}

impl Watch {
    /// Watches what this process and its descendants send or receive.
    pub fn descendants_of(pid: u32) -> Self {
        Self {
            builder: Trace::builder().descendants_of(pid),
        }
    }

    /// Watches what this process and its descendants send or receive too.
    pub fn and_descendants_of(self, pid: u32) -> Self {
        Self {
            builder: self.builder.descendants_of(pid),
        }
    }

    /// Uses this mechanism alone, instead of the best that the kernel allows.
    pub fn attach(self, attach: Attach) -> Self {
        Self {
            builder: self.builder.attach(attach),
        }
    }

    /// Sets the size of the ring buffer, which is rounded up to a power of two; 4 MiB if nobody does.
    pub fn buffer_bytes(self, bytes: u32) -> Self {
        Self {
            builder: self.builder.buffer_bytes(bytes),
        }
    }

    /// Returns when everything is attached: what happens from then on is seen. A thread reads along
    /// until [`Watching::finish`].
    ///
    /// # Errors
    /// [`Error::Start`] if this process may not trace, or this kernel cannot be traced so;
    /// [`Error::System`] if there can be no thread.
    pub fn start(self) -> Result<Watching, Error> {
        let (stopped, stop) = pipe2(OFlag::O_CLOEXEC).map_err(Error::system("make a pipe"))?;
        let (tell, started) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("fdtrace".to_owned())
            .spawn(move || {
                let trace = self.builder.start()?;
                // Whoever waits for it is there until then.
                let _ = tell.send(());
                read_along(trace, &stopped)
            })
            .map_err(Error::system("start a thread"))?;
        let watching = Watching { stop, thread };
        match started.recv() {
            Ok(()) => Ok(watching),
            // It has ended, and says why.
            Err(gone) => match watching.finish() {
                Err(error) => Err(error),
                Ok(_) => Err(Error::system("start tracing")(io::Error::other(gone))),
            },
        }
    }
}

/// A watch that goes on. If it is dropped, it ends, and nobody learns what it saw.
#[derive(Debug)]
#[must_use = "what was seen is told when it is finished"]
pub struct Watching {
    /// Closing it ends the thread.
    stop: OwnedFd,
    thread: JoinHandle<Result<Seen, Error>>,
}

impl Watching {
    /// Ends the watch. Everything is seen that was done by processes that have ended, and by calls
    /// that have returned, before this is called.
    ///
    /// # Errors
    /// [`Error::Live`] if the records or the counters could not be read.
    ///
    /// # Panics
    /// If the thread that read along did.
    pub fn finish(self) -> Result<Seen, Error> {
        drop(self.stop);
        let seen = self.thread.join();
        seen.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

/// Reads until the other end of `stopped` is closed.
fn read_along(mut trace: Trace, stopped: &OwnedFd) -> Result<Seen, Error> {
    let mut transfers = Vec::new();
    loop {
        let mut waits = [
            PollFd::new(trace.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waits, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("wait for records")(errno)),
        }
        let is_over = waits[1].any() == Some(true);
        while let Some(item) = trace.try_next()? {
            if let Item::Transfer(judged) = item {
                transfers.push(judged);
            }
        }
        if is_over {
            break;
        }
    }
    let mut seen = trace.finish()?;
    transfers.append(&mut seen.transfers);
    seen.transfers = transfers;
    Ok(seen)
}
