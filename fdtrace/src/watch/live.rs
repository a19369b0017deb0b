//! Live: feeds the pipeline from the running kernel, and a recording if there is one.

use std::{fs::File, future::pending, io, rc::Rc, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::{
    Ended, Pipeline, Session, Took, command::Running, found::Found, intake::Intake, looks,
    receivers::Receivers, recorder::Recorder, with_causes,
};
use crate::{
    kernel::{Namer, clock::now_ns},
    model::{Judged, LookedAt, Losses, TableLook, UnreadQueues},
    recording::{End, Header, Writer},
    tracer::{ProbeError, Stats, Tracer},
    wire::{Record, Symbolizer},
};

/// How often losses are looked at while nothing asks for them, and the recording is brought up to
/// date while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Why live tracing failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The tracer.
    #[error(transparent)]
    Tracer(#[from] ProbeError),
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

/// When to stop, beside an interrupt and a report that has shown as many transfers as it may.
#[derive(Default)]
pub struct Bounds {
    /// How long to trace.
    pub duration: Option<Duration>,
    /// The command, whose end is the trace's.
    pub command: Option<Running>,
    /// How often to look at what is still open, beside the end.
    pub every: Option<Duration>,
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

impl Stopped {
    /// What the traced command returned, as a shell would say it.
    #[must_use]
    pub fn command_status(self) -> Option<i32> {
        match self {
            Self::CommandEnded(status) => Some(status),
            Self::Interrupted | Self::Elapsed | Self::Full => None,
        }
    }
}

/// What starting leaves.
pub(super) struct Parts {
    pub(super) tracer: Tracer,
    pub(super) namer: Rc<Namer>,
    pub(super) found: Found,
    pub(super) header: Header,
    pub(super) timing: Option<Stats>,
    /// Why tables cannot be looked through, if they should be.
    pub(super) tables_refused: Option<String>,
    pub(super) took: Took,
}

/// This machine, being watched.
pub struct Live {
    parts: Parts,
    pipeline: Pipeline,
    recorder: Option<Recorder>,
    /// Who holds the sockets that failed sends were to go to.
    receivers: Receivers,
    /// How a recording will have ended.
    end: Option<End>,
    tick: Option<Interval>,
}

impl Live {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            pipeline: pipeline(&parts),
            recorder: None,
            receivers: Receivers::default(),
            end: None,
            tick: None,
            parts,
        }
    }

    /// The trace as a recording's header describes it: kernel, coverage, filter.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.parts.header
    }

    /// What starting took.
    #[must_use]
    pub fn took(&self) -> Took {
        self.parts.took
    }

    /// The tracer.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.parts.tracer
    }

    /// The tracer, to be asked for more than records.
    pub fn tracer_mut(&mut self) -> &mut Tracer {
        &mut self.parts.tracer
    }

    /// The pipeline that the records go through.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The pipeline that the records go through, to be changed.
    pub fn pipeline_mut(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    /// Names code addresses as this kernel does.
    #[must_use]
    pub fn symbolizer(&self) -> Symbolizer {
        symbolizer(&self.parts.namer)
    }

    /// Forgets every message, and begins anew with what comes from now on.
    pub fn begin_anew(&mut self) {
        self.pipeline = pipeline(&self.parts);
    }

    /// Has all records from now on written to a recording.
    pub fn record_to(&mut self, writer: Writer<File>) {
        self.recorder = Some(Recorder::new(writer, self.symbolizer()));
    }

    /// Traces into a report until `interrupted` is done, or a bound is reached.
    ///
    /// # Errors
    /// A [`LiveError`]: if something can no longer be read or written.
    pub async fn run(
        &mut self,
        session: &mut Session<'_>,
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
        let mut every = bounds.every.map(|every| {
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let stopped = loop {
            let look = async {
                match &mut every {
                    Some(ticks) => ticks.tick().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // In this order: a flood of records must not keep anybody from stopping it.
                biased;
                () = &mut interrupted => break Stopped::Interrupted,
                () = &mut elapsed => break Stopped::Elapsed,
                status = &mut command_ended => {
                    break Stopped::CommandEnded(status.map_err(LiveError::Command)?);
                }
                _ = look => {
                    session.show(&self.drain(true)?).map_err(LiveError::Report)?;
                    self.look_at_tables(session, LookedAt::Every)?;
                }
                batch = self.next_batch() => {
                    let batch = batch?;
                    session.show(&batch).map_err(LiveError::Report)?;
                    self.pipeline.reuse(batch);
                    self.follow(session)?;
                }
            }
            if session.is_full() {
                break Stopped::Full;
            }
        };
        // Records are there before the call that made them returns, so these are all.
        session
            .show(&self.drain(true)?)
            .map_err(LiveError::Report)?;
        self.follow(session)?;
        Ok(stopped)
    }

    /// After [`Self::end`], with what that gave shown: looks at what is still open, and closes the recording.
    ///
    /// # Errors
    /// [`LiveError::Report`] and [`LiveError::Recording`], if one cannot be written.
    pub fn look_last(&mut self, session: &mut Session<'_>) -> Result<(), LiveError> {
        self.look_at_tables(session, LookedAt::Last)?;
        match (self.recorder.take(), &self.end) {
            (Some(recorder), Some(end)) => recorder.end(end).map_err(LiveError::Recording),
            _ => Ok(()),
        }
    }

    /// Follows what was delivered to the ends of processes, and makes room for more.
    fn follow(&mut self, session: &mut Session<'_>) -> Result<(), LiveError> {
        for pid in session.take_new_pids() {
            self.parts.tracer.tell_end_of(pid);
        }
        for look in self.parts.tracer.ended_tables() {
            self.take_look(session, look)?;
        }
        match session.asks_for_look() {
            true => self.look_at_tables(session, LookedAt::Crowded),
            false => Ok(()),
        }
    }

    /// Looks through the tables of processes for what is still open.
    fn look_at_tables(&mut self, session: &mut Session<'_>, at: LookedAt) -> Result<(), LiveError> {
        // Who has ended has no table any more, but has left what was in it.
        for look in self.parts.tracer.ended_tables() {
            self.take_look(session, look)?;
        }
        let t_ns = now_ns();
        let (pids, files) = (session.book().pids(), session.book().files());
        match self.parts.tracer.tables(&pids, &files) {
            Ok(Some(tables)) => {
                let look = TableLook {
                    t_ns,
                    at,
                    below: None,
                    lost: false,
                    apart: false,
                    tables,
                };
                // Between the first question and this one some may have ended.
                for look in self.parts.tracer.ended_tables() {
                    self.take_look(session, look)?;
                }
                self.take_look(session, look)
            }
            Ok(None) => {
                if let Some(why) = &self.parts.tables_refused {
                    session.note_not_looked(why.clone());
                }
                Ok(())
            }
            Err(error) => {
                session.note_not_looked(with_causes(&error));
                Ok(())
            }
        }
    }

    /// Takes in what a look found, and writes down what is of use.
    fn take_look(&mut self, session: &mut Session<'_>, look: TableLook) -> Result<(), LiveError> {
        let look = match look.at {
            LookedAt::ProcessEnd => look,
            _ => session.book().relevant(look),
        };
        self.pipeline.looked(&look);
        if let Some(recorder) = &mut self.recorder {
            recorder.tables(&look).map_err(LiveError::Recording)?;
        }
        session.looked(&look).map_err(LiveError::Report)
    }

    /// Waits until there may be something, and takes it out: what has ended, which may be nothing, or
    /// is overdue. Cancel-safe.
    ///
    /// # Errors
    /// A [`LiveError`], but for those of a report and of a command.
    pub async fn next_batch(&mut self) -> Result<Vec<Judged>, LiveError> {
        let tick = self.tick.get_or_insert_with(|| {
            let mut tick = interval_at(Instant::now(), TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick
        });
        let look_for_losses = tokio::select! {
            biased;
            _ = tick.tick() => true,
            ready = self.parts.tracer.readable() => {
                ready.map_err(LiveError::Wait)?;
                false
            }
        };
        self.drain(look_for_losses)
    }

    /// Takes out what is in the ring buffer, and what was lost if that is needed or asked for. Gives
    /// what has ended or is overdue.
    ///
    /// # Errors
    /// [`LiveError::Tracer`] if the counters cannot be read, [`LiveError::Recording`] if the recording
    /// cannot be written.
    pub fn drain(&mut self, look_for_losses: bool) -> Result<Vec<Judged>, LiveError> {
        let any = self.take_in(&mut |_| ())?;
        if self.pipeline.asks_for_returns() {
            self.parts.tracer.watch_returns()?;
        }
        let now = now_ns();
        let settled = self.pipeline.settle(now);
        let lost = (look_for_losses || self.pipeline.asks_for_losses()) && self.read_losses()?;
        if self.pipeline.asks_what_is_overdue(now)
            // What cannot be looked for is not reported.
            && let Ok(mut found) = looks::overdue(&mut self.parts.tracer, &self.pipeline)
        {
            let hear = &mut |_: &Record| ();
            let mut intake = Intake::new(&mut self.pipeline, self.recorder.as_mut(), hear);
            for finding in found.take() {
                intake.take_found(finding);
            }
            intake.written.map_err(LiveError::Recording)?;
        }
        let mut batch = self.pipeline.take_judged();
        self.receivers.name(&mut self.parts.tracer, &mut batch);
        let overdue = self.pipeline.take_overdue(now);
        if let Some(recorder) = &mut self.recorder
            && (any || lost || settled || !overdue.is_empty())
        {
            recorder.pause(now).map_err(LiveError::Recording)?;
        }
        batch.extend(overdue);
        Ok(batch)
    }

    /// Takes what is in the ring buffer into the pipeline, and judges nothing yet; `hear` is called
    /// with each record before. Returns whether there was anything.
    ///
    /// # Errors
    /// [`LiveError::Recording`] if the recording cannot be written.
    pub fn take_in(&mut self, hear: &mut dyn FnMut(&Record)) -> Result<bool, LiveError> {
        let Parts { tracer, found, .. } = &mut self.parts;
        let mut intake = Intake::new(&mut self.pipeline, self.recorder.as_mut(), hear);
        tracer.drain_records(|record| {
            for finding in found.take_before(record) {
                intake.take_found(finding);
            }
            intake.record(record);
        });
        for finding in found.take() {
            intake.take_found(finding);
        }
        intake.written.map_err(LiveError::Recording)?;
        Ok(intake.any)
    }

    /// Reads what has been lost until now. Returns whether that is more than before.
    ///
    /// # Errors
    /// [`LiveError::Tracer`] if the counters cannot be read, [`LiveError::Recording`] if the recording
    /// cannot be written.
    pub fn read_losses(&mut self) -> Result<bool, LiveError> {
        let mut losses = self.parts.tracer.losses()?;
        // What was skipped while the counters were read may have been counted too.
        losses.read_ns = now_ns();
        let changed = self.pipeline.lost(&losses, losses.read_ns);
        if let Some(recorder) = &mut self.recorder
            && changed
        {
            recorder.losses(&losses).map_err(LiveError::Recording)?;
        }
        Ok(changed)
    }

    /// What has been lost, as it was read last.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        self.pipeline.losses()
    }

    /// Ends the trace: what is still on its way stays so. A recording is closed by [`Self::look_last`]. With `look`, looks
    /// through the queues first, if that can show anything.
    ///
    /// # Errors
    /// [`LiveError::Tracer`] if the counters cannot be read, [`LiveError::Recording`] if the recording
    /// cannot be written.
    pub fn end(&mut self, look: bool, command_status: Option<i32>) -> Result<Ended, LiveError> {
        let mut transfers = self.drain(true)?;
        let mut at_end = None;
        if look && let Some(look) = looks::last(&mut self.parts.tracer, &self.pipeline) {
            at_end = match look {
                Ok((found, gaps)) => {
                    self.parts.found = found;
                    gaps.described()
                }
                Err(error) => Some(with_causes(&error)),
            };
            // What has been read since the look began comes after it.
            transfers.extend(self.drain(true)?);
        }
        let losses = self.parts.tracer.losses_at_end()?;
        let switched_off = self.parts.tracer.was_switched_off();
        let timing = self.parts.timing.as_ref();
        let programs = timing.map(|_| self.parts.tracer.costs()).transpose()?;
        let t_ns = now_ns();
        self.pipeline.lost(&losses, t_ns);
        self.end = Some(End {
            t_ns,
            command_status,
            losses: losses.clone(),
            unread_at_end: at_end.clone(),
        });
        transfers.extend(self.pipeline.take_judged());
        self.pipeline.end();
        transfers.extend(self.pipeline.take_judged());
        Ok(Ended {
            transfers,
            t_ns,
            command_status,
            incomplete: switched_off.then(|| SWITCHED_OFF.to_owned()),
            unread: UnreadQueues {
                at_start: self.parts.header.unread_at_start.clone(),
                at_end,
            },
            losses,
            forgotten: self.pipeline.forgotten(),
            empty_rights: self.pipeline.empty_rights(),
            undecodable: self.pipeline.undecodable(),
            programs,
        })
    }
}

/// What is said where functions were not watched for a while.
const SWITCHED_OFF: &str = "ftrace was switched off meanwhile (kernel.ftrace_enabled), and nothing was seen of \
                            functions for as long";

fn pipeline(parts: &Parts) -> Pipeline {
    Pipeline::new(parts.header.coverage.clone(), symbolizer(&parts.namer))
}

fn symbolizer(namer: &Rc<Namer>) -> Symbolizer {
    let namer = Rc::clone(namer);
    Box::new(move |address| namer.name(address))
}
