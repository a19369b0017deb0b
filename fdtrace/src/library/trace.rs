//! A trace of this machine that another program runs.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{Error, Seen};
use crate::{
    model::{Coverage, Judged, Losses},
    plan::Attach,
    tracer::Filter,
    watch::{Live, Options, Selection, find_cgroup},
};

/// How often losses are read while nothing ends.
const LOSSES_EVERY: Duration = Duration::from_millis(200);

/// What a [`Trace`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A transfer has ended.
    Transfer(Judged),
    /// A transfer has been in a queue for long ([`TraceBuilder::still_queued_after`]). It has not ended:
    /// it comes again as [`Self::Transfer`] when it has.
    StillQueued(Judged),
    /// More went unseen than before. These are the losses since the trace began.
    Lost(Losses),
}

/// What to trace, and how.
#[derive(Clone, Debug)]
#[must_use]
pub struct TraceBuilder {
    options: Options,
    overdue_ns: Option<u64>,
}

impl TraceBuilder {
    fn new() -> Self {
        Self {
            options: Options {
                filter: Filter {
                    describe: true,
                    ..Filter::default()
                },
                queues: true,
                ..Options::default()
            },
            overdue_ns: None,
        }
    }

    /// Uses this mechanism alone, instead of the best that the kernel allows.
    pub fn attach(mut self, attach: Attach) -> Self {
        self.options.attach = attach;
        self
    }

    /// Traces what this process and its descendants send or receive. Called several times, it adds
    /// processes; filters of all kinds add up.
    pub fn descendants_of(mut self, pid: u32) -> Self {
        self.options.filter.pids.push(pid);
        self
    }

    /// Traces what tasks of this name send or receive. Called several times, it adds names.
    pub fn comm(mut self, name: impl Into<String>) -> Self {
        self.options.filter.comms.push(name.into());
        self
    }

    /// Traces what tasks of this cgroup (version 2) or of those below it send or receive. `path` is a
    /// folder, or a path as `/proc/PID/cgroup` has it.
    ///
    /// # Errors
    /// [`Error::Start`] if there is no such cgroup.
    pub fn cgroup(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        self.options.filter.cgroup = Some(find_cgroup(path.as_ref())?);
        Ok(self)
    }

    /// Sets the size of the ring buffer, which is rounded up to a power of two. The default is 4 MiB.
    pub fn buffer_bytes(mut self, bytes: u32) -> Self {
        self.options.buffer_bytes = bytes;
        self
    }

    /// Yields a transfer that has been in a queue for `time` as [`Item::StillQueued`], ahead of its end.
    pub fn still_queued_after(mut self, time: Duration) -> Self {
        self.overdue_ns = u64::try_from(time.as_nanos()).ok();
        self
    }

    /// Attaches. Everything that happens after this has returned is traced.
    ///
    /// # Errors
    /// [`Error::Start`] if this process may not trace, or this kernel cannot be traced so.
    pub fn start(self) -> Result<Trace, Error> {
        let mut live = self.options.start()?;
        live.pipeline_mut().tell_overdue(self.overdue_ns);
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )
        .map_err(Error::system("make a timer"))?;
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .and_then(|epoll| {
                let readable = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
                epoll.add(&timer, readable())?;
                epoll.add(live.tracer(), readable())?;
                Ok(epoll)
            })
            .map_err(Error::system("wait for records"))?;
        let trace = Trace {
            selection: Selection {
                wanted: live.header().filtered,
                ..Selection::default()
            },
            live,
            items: VecDeque::new(),
            losses: Losses::default(),
            losses_read: Instant::now(),
            timer,
            ready,
        };
        trace.wake_in(trace.live.tracer().next_read_in())?;
        Ok(trace)
    }
}

/// A trace of this machine, as it goes on.
///
/// It stays on the thread that started it. There are two ways to read it:
///
/// - In a task of tokio's: [`Trace::next`].
/// - In any loop: wait until the trace, which is [`AsFd`], is readable, and call [`Trace::try_next`]
///   until there is nothing left.
///
/// ```no_run
/// # async fn watch() -> Result<(), fdtrace::Error> {
/// let mut trace = fdtrace::Trace::builder().comm("nginx").start()?;
/// loop {
///     match trace.next().await? {
///         fdtrace::Item::Transfer(t) => println!("{} ended as {}", t.file.kind(), t.fate),
///         fdtrace::Item::Lost(losses) => eprintln!("{losses:?}"),
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct Trace {
    live: Live,
    selection: Selection,
    /// Not yielded yet.
    items: VecDeque<Item>,
    /// The losses that were yielded last.
    losses: Losses,
    losses_read: Instant,
    /// Fires when records that nothing wakes for should be read.
    timer: TimerFd,
    /// The ring buffer and the timer.
    ready: Epoll,
}

impl Trace {
    /// A trace of the whole machine, to be narrowed down.
    pub fn builder() -> TraceBuilder {
        TraceBuilder::new()
    }

    /// What can be seen on this kernel: nothing follows from the absence of what cannot.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        self.live.pipeline().coverage()
    }

    /// Waits for the next item. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Live`] if the records or the counters can no longer be read.
    ///
    /// # Panics
    /// Outside of a runtime of tokio's with I/O and time.
    pub async fn next(&mut self) -> Result<Item, Error> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            let batch = self.live.next_batch().await?;
            self.take(batch);
        }
    }

    /// The next item; `None` if there is none now. The trace becomes readable when there may be one.
    ///
    /// # Errors
    /// [`Error::Live`] if the records or the counters can no longer be read, [`Error::System`] if the
    /// timer cannot be set.
    pub fn try_next(&mut self) -> Result<Option<Item>, Error> {
        if self.items.is_empty() {
            let look_for_losses = self.losses_read.elapsed() >= LOSSES_EVERY;
            if look_for_losses {
                self.losses_read = Instant::now();
            }
            let batch = self.live.drain(look_for_losses)?;
            self.take(batch);
            self.wake_in(self.live.tracer().next_read_in())?;
        }
        Ok(self.items.pop_front())
    }

    /// Ends the trace. Gives the transfers that were not yielded: those that ended last, and those that
    /// are still queued.
    ///
    /// # Errors
    /// [`Error::Live`] if the records or the counters can no longer be read, [`Error::UnknownRecords`]
    /// if some could not be decoded.
    pub fn finish(mut self) -> Result<Seen, Error> {
        let mut transfers: Vec<Judged> = self
            .items
            .drain(..)
            .filter_map(|item| match item {
                Item::Transfer(judged) => Some(judged),
                Item::StillQueued(_) | Item::Lost(_) => None,
            })
            .collect();
        let mut ended = self.live.end(true, None)?;
        if ended.undecodable > 0 {
            let count = ended.undecodable;
            return Err(Error::UnknownRecords { count });
        }
        let last = std::mem::take(&mut ended.transfers).into_iter();
        transfers.extend(last.filter(|it| !it.overdue && self.selection.accepts(it)));
        Ok(Seen::new(transfers, self.coverage().clone(), &ended))
    }

    fn take(&mut self, batch: Vec<Judged>) {
        let wanted = batch.into_iter().filter(|it| self.selection.accepts(it));
        self.items.extend(wanted.map(|judged| match judged.overdue {
            true => Item::StillQueued(judged),
            false => Item::Transfer(judged),
        }));
        let losses = self.live.losses();
        if !losses.same_gaps(&self.losses) {
            self.losses = losses.clone();
            self.items.push_back(Item::Lost(losses.clone()));
        }
    }

    /// Arms the timer to fire once. Arming it also makes it unreadable until then.
    fn wake_in(&self, time: Duration) -> Result<(), Error> {
        // Zero would stop it.
        let time = time.max(Duration::from_nanos(1));
        self.timer
            .set(
                Expiration::OneShot(TimeSpec::from_duration(time)),
                TimerSetTimeFlags::empty(),
            )
            .map_err(Error::system("set a timer"))
    }
}

impl AsFd for Trace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.0.as_fd()
    }
}
