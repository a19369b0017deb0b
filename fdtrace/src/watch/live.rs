//! Live: feeds a session, and a recording if there is one, from the running kernel, until there is
//! a reason to stop.

use std::{cell::RefCell, fs::File, future::pending, io, rc::Rc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    Session,
    command::Running,
    found::{Found, Told},
    looks,
};
use crate::{
    kernel,
    model::Gaps,
    recording::{End, Writer},
    tracer::{QueueError, Tracer, TracerError},
    track::Symbolizer,
};

/// How often losses are looked at while nothing asks for them, and the recording is brought up to
/// date while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Why live tracing failed.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The tracer.
    #[error(transparent)]
    Tracer(#[from] TracerError),
    /// The records cannot be waited for.
    #[error("cannot wait for records")]
    Wait(#[source] io::Error),
    /// The command cannot be waited for.
    #[error("cannot wait for the command")]
    Command(#[source] io::Error),
    /// The report cannot be written.
    #[error(transparent)]
    Report(io::Error),
    /// The recording cannot be written.
    #[error("cannot write the recording")]
    Recording(#[source] io::Error),
}

/// What there is to stop for, beside an interrupt and the session being full.
#[derive(Default)]
pub struct Bounds {
    /// How long to trace.
    pub duration: Option<Duration>,
    /// The command, whose end is the trace's.
    pub command: Option<Running>,
}

/// Code addresses that the tracker asked about, and that the recording does not have yet.
#[derive(Clone, Default)]
pub struct AskedSymbols(Rc<RefCell<Vec<(u64, String)>>>);

impl AskedSymbols {
    /// Names addresses as this kernel does, and notes each.
    #[must_use]
    pub fn symbolizer(&self, symbols: kernel::Symbols) -> Symbolizer {
        let asked = Rc::clone(&self.0);
        Box::new(move |address| {
            let name = symbols.symbolize(address)?.0.to_owned();
            asked.borrow_mut().push((address, name.clone()));
            Some(name)
        })
    }
}

/// Tracing, while it lasts.
pub struct Live<'a> {
    /// What watches.
    pub tracer: Tracer,
    /// What is made of it.
    pub session: Session<'a>,
    /// Where the raw records go too.
    pub recording: Option<Writer<File>>,
    /// See there.
    pub asked: AskedSymbols,
    /// What was in queues as the trace began, or as it ended.
    pub found: Found,
}

/// Why tracing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Somebody asked for it.
    Interrupted,
    /// Time was up.
    Elapsed,
    /// Everything that was asked for has been shown.
    Full,
    /// The command ended, with this status.
    CommandEnded(i32),
}

impl Live<'_> {
    /// Traces until `interrupted` is done, or a bound is reached.
    ///
    /// # Errors
    /// If something can no longer be read or written.
    pub async fn run(
        &mut self,
        interrupted: impl Future<Output = ()>,
        bounds: &Bounds,
    ) -> Result<Stopped, LiveError> {
        let deadline = bounds.duration.map(|duration| Instant::now() + duration);
        let elapsed = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let command_ended = async {
            match &bounds.command {
                Some(command) => command.ended().await,
                None => pending().await,
            }
        };
        tokio::pin!(interrupted, elapsed, command_ended);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = loop {
            tokio::select! {
                // In this order: a flood of records must not keep anybody from stopping it.
                biased;
                () = &mut interrupted => break Stopped::Interrupted,
                () = &mut elapsed => break Stopped::Elapsed,
                status = &mut command_ended => {
                    break Stopped::CommandEnded(status.map_err(LiveError::Command)?);
                }
                _ = tick.tick() => self.drain(true)?,
                ready = self.tracer.readable() => {
                    ready.map_err(LiveError::Wait)?;
                    self.drain(false)?;
                }
            }
            if self.session.is_full() {
                break Stopped::Full;
            }
        };
        // Records are there before the call that made them returns, so these are all.
        self.drain(true)?;
        Ok(stopped)
    }

    /// Looks once more for what is in queues, if that tells anything; says what it could not read.
    ///
    /// # Errors
    /// Likewise.
    pub fn look_again(&mut self) -> Result<Option<Result<Gaps, QueueError>>, LiveError> {
        if self.session.is_full() {
            return Ok(None);
        }
        let Some(look) = looks::last(&mut self.tracer, &self.session) else {
            return Ok(None);
        };
        let gaps = look.map(|(found, gaps)| {
            self.found = found;
            gaps
        });
        // What has been read since the look began comes after it.
        self.drain(true)?;
        Ok(Some(gaps))
    }

    /// Takes out what is in the ring buffer, and what was lost where that is needed.
    fn drain(&mut self, look_for_losses: bool) -> Result<(), LiveError> {
        let Self {
            tracer,
            session,
            recording,
            asked,
            found,
        } = self;
        let mut written = Ok(());
        let mut any = false;
        let mut take = |told: &dyn Heard| {
            any = true;
            told.take_in(session);
            if let Some(recording) = recording
                && written.is_ok()
            {
                written = asked
                    .0
                    .borrow_mut()
                    .drain(..)
                    .try_for_each(|(address, name)| recording.symbol(address, &name))
                    .and_then(|()| told.record(recording));
            }
        };
        tracer.drain_records(|record| {
            for told in found.take_before(record) {
                take(&told);
            }
            take(&record);
        });
        for told in found.take() {
            take(&told);
        }
        written.map_err(LiveError::Recording)?;
        if recording.is_none() {
            asked.0.borrow_mut().clear();
        }
        let now = now_ns();
        let settled = session.settle(now);
        let mut changed = false;
        if look_for_losses || session.asks_for_losses() {
            let mut losses = tracer.losses()?;
            // What was skipped while the counters were read may have been counted too.
            losses.read_ns = now_ns();
            changed = session.lost(&losses, now);
            if let Some(recording) = recording
                && changed
            {
                recording.losses(&losses).map_err(LiveError::Recording)?;
            }
        }
        if session.asks_what_is_overdue(now)
            // What cannot be looked for is not told of.
            && let Ok(mut found) = looks::overdue(tracer, session)
        {
            for told in found.take() {
                told.take_in(session);
                if let Some(recording) = recording {
                    told.record(recording).map_err(LiveError::Recording)?;
                }
            }
        }
        let overdue = session.pause(now).map_err(LiveError::Report)?;
        if let Some(recording) = recording
            && (any || changed || settled || overdue)
        {
            recording.pause(now).map_err(LiveError::Recording)?;
        }
        Ok(())
    }

    /// Ends the recording properly.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end_recording(&mut self, end: &End) -> Result<(), LiveError> {
        if let Some(recording) = self.recording.take() {
            let file = recording.end(end).map_err(LiveError::Recording)?;
            // A pipe cannot be, and need not.
            if file.metadata().is_ok_and(|it| it.is_file()) {
                file.sync_all().map_err(LiveError::Recording)?;
            }
        }
        Ok(())
    }
}

/// What a session is told, and a recording keeps.
trait Heard {
    fn take_in(&self, session: &mut Session<'_>);

    fn record(&self, recording: &mut Writer<File>) -> io::Result<()>;
}

/// A record of the ring buffer.
impl Heard for &[u8] {
    fn take_in(&self, session: &mut Session<'_>) {
        session.record(self);
    }

    fn record(&self, recording: &mut Writer<File>) -> io::Result<()> {
        recording.event(self)
    }
}

impl Heard for Told {
    fn take_in(&self, session: &mut Session<'_>) {
        match self {
            Self::Held(record) => session.record(record),
            Self::Fact(fact) => session.found(fact.clone()),
        }
    }

    fn record(&self, recording: &mut Writer<File>) -> io::Result<()> {
        match self {
            Self::Held(record) => recording.event(record),
            Self::Fact(fact) => recording.found(fact),
        }
    }
}

/// CLOCK_MONOTONIC, as the kernel half reads it.
#[must_use]
pub fn now_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    // A clock that every kernel has does not fail.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
    })
}
