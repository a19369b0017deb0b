//! Verifier: conducts scenarios, and has what they did judged.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Judgement, Observer, REAP_LIMIT, Scenario,
    endings::Endings,
    fact::Fact,
    judge,
    record::Record,
    release,
    run::Run,
    runner_process::{RunnerProcess, Said},
};
use crate::{
    judge::Meanwhile,
    model::{Losses, ProgramCost},
    plan::Plan,
    tracer::ProbeError,
    watch::{Live, LiveError},
};

/// Lines that runners may be ahead of the verifier.
const LINES_WAITING: usize = 64;

/// Runs scenarios, one or several at a time, in front of one tracer.
///
/// All state changes in one loop ([`Verifier::next`]): lines from the runners come through a channel,
/// records from the ring buffer. Each runner has processes of its own, so a transfer belongs to the
/// scenario whose process ids it has.
pub struct Verifier {
    pub(super) live: Live,
    /// The scenarios under way, by the order in which they began.
    runs: BTreeMap<u64, Run>,
    begun: u64,
    /// Transfers that have ended while something was under way.
    endings: Endings,
    /// The channel of the runners' lines.
    said: (mpsc::Sender<Said>, mpsc::Receiver<Said>),
    limit: Duration,
    observer: Box<dyn Observer>,
}

/// Why a scenario could not be run to a judgement.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The runner cannot be started or talked to.
    #[error("cannot {action}")]
    Runner {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The counters cannot be read.
    #[error(transparent)]
    Tracer(#[from] ProbeError),
    /// The records cannot be taken in.
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl Verifier {
    /// A verifier that gives each scenario `limit` of time.
    #[must_use]
    pub fn new(live: Live, limit: Duration) -> Self {
        Self {
            live,
            runs: BTreeMap::new(),
            begun: 0,
            endings: Endings::default(),
            said: mpsc::channel(LINES_WAITING),
            limit,
            observer: Box::new(()),
        }
    }

    /// Sets who observes everything that runs from now on.
    pub fn set_observer(&mut self, observer: Box<dyn Observer>) {
        self.observer = observer;
    }

    /// The live trace that the scenarios run in front of.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The plan that is in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.live.tracer().plan()
    }

    /// Events lost so far.
    ///
    /// # Errors
    /// [`VerifyError::Tracer`] if the counters cannot be read.
    pub fn losses(&self) -> Result<Losses, VerifyError> {
        Ok(self.live.tracer().losses()?)
    }

    /// What each program has cost so far.
    ///
    /// # Errors
    /// [`VerifyError::Tracer`] if the kernel keeps no run statistics, or they cannot be read.
    pub fn costs(&self) -> Result<Vec<ProgramCost>, VerifyError> {
        Ok(self.live.tracer().costs()?)
    }

    /// Records that could not be decoded; not zero only if the object and this program differ.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.live.pipeline().undecodable()
    }

    /// How many scenarios are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.runs.len()
    }

    /// Begins a scenario and gives the number that [`Verifier::next`] will name it by.
    ///
    /// # Errors
    /// [`VerifyError::Runner`] if the runner cannot be started, [`VerifyError::Live`] if the counters
    /// cannot be read.
    pub fn begin(&mut self, scenario: &'static Scenario) -> Result<u64, VerifyError> {
        let losses = self.read_losses()?;
        let number = self.begun;
        let runner = RunnerProcess::start(scenario.name, number, self.said.0.clone())?;
        let record = Record {
            accompanied: !self.runs.is_empty(),
            ..Record::default()
        };
        for run in self.runs.values_mut() {
            run.record.accompanied = true;
        }
        self.runs.insert(
            number,
            Run {
                scenario,
                runner,
                record,
                originals: HashMap::new(),
                begin: Instant::now(),
                deadline: tokio::time::Instant::now() + self.limit,
                late: false,
                losses,
                undecodable: self.undecodable(),
                ended_before: self.endings.count(),
            },
        );
        self.begun += 1;
        Ok(number)
    }

    /// Waits until one of the scenarios under way has ended, and judges it; `None` if none is.
    /// When this is dropped together with the verifier, every runner dies with it.
    ///
    /// # Errors
    /// [`VerifyError::Runner`] if a runner's facts cannot be read, [`VerifyError::Tracer`] and
    /// [`VerifyError::Live`] if records or counters cannot be. What goes wrong within a scenario is in
    /// its judgement, not an error.
    pub async fn next(&mut self) -> Result<Option<(u64, Judgement)>, VerifyError> {
        while let Some(deadline) = self.runs.values().map(|run| run.deadline).min() {
            // The select below may prefer what is there already: a runner that never stops talking
            // would never run out of time.
            if tokio::time::Instant::now() >= deadline {
                if let Some(number) = self.end_late() {
                    return self.finish(number).await.map(Some);
                }
                continue;
            }
            let ended = tokio::select! {
                said = self.said.1.recv() => match said {
                    Some(said) => self.hear(said).await?,
                    None => None,
                },
                ready = self.live.tracer().readable() => {
                    ready.map_err(|source| ProbeError::System {
                        action: "wait for the ring buffer",
                        source,
                    })?;
                    self.drain()?;
                    None
                }
                () = tokio::time::sleep_until(deadline) => None,
            };
            if let Some(number) = ended {
                return self.finish(number).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Kills the runners that are over their time. Returns one that did not end even then.
    fn end_late(&mut self) -> Option<u64> {
        let now = tokio::time::Instant::now();
        let limit = self.limit;
        for (number, run) in &mut self.runs {
            if now < run.deadline {
                continue;
            }
            if run.late {
                return Some(*number);
            }
            run.late = true;
            run.deadline = now + REAP_LIMIT;
            run.record.trouble.push(format!(
                "it was not done after {} s and was ended",
                limit.as_secs_f64()
            ));
            run.runner.kill();
        }
        None
    }

    /// Takes in a line of a runner's. Returns its number if the runner has closed its output.
    async fn hear(&mut self, said: Said) -> Result<Option<u64>, VerifyError> {
        // It was judged already, because its runner did not end in time.
        let Some(mut run) = self.runs.remove(&said.number) else {
            return Ok(None);
        };
        let line = match said.line {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.runs.insert(said.number, run);
                return Ok(Some(said.number));
            }
            Err(source) => {
                return Err(VerifyError::Runner {
                    action: "read an actor's facts",
                    source,
                });
            }
        };
        match serde_json::from_str::<Fact>(&line) {
            Ok(fact) => {
                let may_hold = self.observer.allows_duplicates();
                let answer = run.look(&fact, self.live.tracer_mut(), may_hold);
                // The events that led here go to the observer before the fact.
                self.drain()?;
                self.observer
                    .on_fact(said.number, &fact, self.live.tracer_mut());
                let checkpoint = fact.is_checkpoint();
                run.record.facts.push(fact);
                if checkpoint {
                    run.runner.answer(answer).await;
                }
            }
            Err(error) => {
                let trouble = format!("an actor said {line:?}: {error}");
                run.record.trouble.push(trouble);
            }
        }
        self.runs.insert(said.number, run);
        Ok(None)
    }

    /// Ends a scenario whose actors are gone, and judges it.
    async fn finish(&mut self, number: u64) -> Result<(u64, Judgement), VerifyError> {
        let Some(mut run) = self.runs.remove(&number) else {
            unreachable!("it is under way");
        };
        run.runner.end().await;
        release::all_gone(std::mem::take(&mut run.record.actors)).await;
        self.expect_released(&run.originals, &mut run.record).await;
        self.drain()?;
        let pids = run.record.pids();
        // The actors are gone, and with them every socket that could still deliver.
        if self.runs.is_empty() {
            self.live.pipeline_mut().end();
        } else {
            let pipeline = self.live.pipeline_mut();
            pipeline.end_of(|pid| pids.contains(&pid));
        }
        self.collect_ended()?;
        let lossless =
            self.read_losses()?.same_gaps(&run.losses) && self.undecodable() == run.undecodable;
        let own = self.endings.take_of(&pids);
        // What ended before any of the others began can be nobody's.
        self.endings
            .forget_before(self.runs.values().map(|run| run.ended_before).min());
        let own = own.into_iter().map(|(transfer, meanwhile)| {
            let meanwhile = match meanwhile {
                Meanwhile::RunsSkipped => Meanwhile::RunsSkipped,
                _ => lossless.into(),
            };
            (transfer, meanwhile)
        });
        let judgement = judge::judge(
            run.scenario,
            &run.record,
            own.collect(),
            self.live.tracer().plan(),
            lossless,
            run.begin.elapsed(),
        );
        Ok((number, judgement))
    }

    pub(super) fn drain(&mut self) -> Result<(), VerifyError> {
        let observer = &mut self.observer;
        self.live
            .take_in(&mut |record| observer.on_record(record))?;
        self.collect_ended()
    }

    fn collect_ended(&mut self) -> Result<(), VerifyError> {
        if self.live.pipeline().asks_for_losses() {
            self.live.read_losses()?;
        }
        for (transfer, meanwhile) in self.live.pipeline_mut().take_ended() {
            self.endings.add(transfer, meanwhile);
        }
        if self.endings.are_too_many() {
            // An actor says that it has joined before it does anything, so whose the older ones are is
            // known by now.
            let runs = self.runs.values();
            let pids = runs.flat_map(|run| run.record.pids()).collect();
            self.endings.forget_strangers(&pids);
        }
        Ok(())
    }

    /// Reads the counters, and returns the losses so far.
    fn read_losses(&mut self) -> Result<Losses, VerifyError> {
        self.live.read_losses()?;
        Ok(self.live.losses().clone())
    }
}
