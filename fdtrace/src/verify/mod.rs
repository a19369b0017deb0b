//! Verify: fdtrace drives senders and receivers of its own, traces them, asks the witnesses, and
//! judges.
//!
//! ```text
//! scenario ──▶ runner: fdtrace again, as actors ──facts──▶ ┐
//!     tracer ──▶ tracker ──transfers────────────────────▶ ├─▶ judge ──▶ judgement
//!     witnesses, at checkpoints ──testimonies───────────▶ ┘
//! ```

mod bpf;
mod entry;
pub mod fact;
mod judge;
mod observer;
mod release;
#[allow(unsafe_code)]
pub mod runner;
mod runner_process;
mod scenarios;
mod selection;
#[allow(unsafe_code)]
mod ways;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

pub use entry::main;
use fact::{Actor, Answer, Fact, MessageName};
pub use judge::{Judgement, ScenarioResult, WitnessReport};
pub use observer::Observer;
use runner_process::{RunnerProcess, Said};
pub use scenarios::{Group, Scenario, all, find};
pub use selection::{SelectionError, select};

use crate::{
    judge::Meanwhile,
    kernel::inherited,
    model::{Losses, ProgramCost, Snapshot, Transfer, Verdict},
    plan::Plan,
    tracer::ProbeError,
    watch::{Live, LiveError, with_causes},
    witness::{self, Originals, Testimony, Witness},
};

/// The hidden argument with which fdtrace starts itself as a runner.
pub const RUNNER_ARGUMENT: &str = "__runner";

/// What the process is called that runs a scenario.
pub(crate) const RUNNER_NAME: &str = "runner";

/// How long actors that were killed may take to be gone.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// Ended transfers that are kept until it is known whose they are.
const TRANSFERS_WAITING: usize = 1 << 16;

/// Lines that runners may be ahead of the verifier.
const LINES_WAITING: usize = 64;

/// Runs scenarios, one or several at a time, in front of one tracer.
///
/// All that is known is in one place and changes in one loop ([`Verifier::next`]): lines from the
/// runners come through a channel, records from the ring buffer. What the tracer sees is kept apart
/// by process id, for each runner has processes of its own.
pub struct Verifier {
    live: Live,
    /// The scenarios under way, by the order in which they began.
    runs: BTreeMap<u64, Run>,
    begun: u64,
    /// Transfers that have ended while something was under way.
    closed: Vec<Ended>,
    closed_in_all: u64,
    /// Where runners speak to the verifier, and where it listens.
    said: (mpsc::Sender<Said>, mpsc::Receiver<Said>),
    limit: Duration,
    observer: Box<dyn Observer>,
}

/// A transfer that has ended.
struct Ended {
    /// How many had ended before it.
    before: u64,
    transfer: Transfer,
    /// Whether runs were skipped while it was on its way.
    meanwhile: Meanwhile,
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

/// A scenario under way.
struct Run {
    scenario: &'static Scenario,
    runner: RunnerProcess,
    record: Record,
    /// By message, what was sent.
    originals: HashMap<MessageName, Originals>,
    begin: Instant,
    /// When it must have ended; and once it is late, when its actors must be gone.
    deadline: tokio::time::Instant,
    late: bool,
    /// What had gone wrong before.
    losses: Losses,
    undecodable: u64,
    /// How many transfers had ended before.
    closed_before: u64,
}

/// What was gathered while a scenario ran.
#[derive(Default)]
struct Record {
    facts: Vec<Fact>,
    /// By message, what each witness said of each received descriptor.
    testimonies: HashMap<MessageName, Vec<Vec<Testimony>>>,
    /// In the order of `Fact::Mistakable`.
    mistakable: Vec<Mistakable>,
    /// In the order of `Fact::InFlight`.
    in_flight: Vec<Testimony>,
    /// What the verifier itself could not do.
    trouble: Vec<String>,
    /// What it could not do because it would have had more descriptors than it may.
    short: Vec<String>,
    /// References that were left when the actors were gone.
    leaks: Vec<String>,
    /// Another scenario was under way meanwhile. A witness's look at all descriptors, for that one,
    /// holds each of this one's files for a moment.
    accompanied: bool,
    /// The actors' processes.
    actors: Vec<OwnedFd>,
}

impl Record {
    /// Notes what the verifier could not do.
    fn note(&mut self, error: &(dyn std::error::Error + 'static)) {
        match inherited::is_out_of_descriptors(error) {
            true => self.short.push(inherited::shortage(&with_causes(error))),
            false => self.trouble.push(with_causes(error)),
        }
    }

    /// The scenario's own processes.
    fn pids(&self) -> HashSet<u32> {
        let joined = self.facts.iter().filter_map(|fact| match fact {
            Fact::Joined { actor } => Some(actor.pid),
            _ => None,
        });
        joined.collect()
    }
}

/// Whether one of these processes took part in the transfer.
fn is_of(transfer: &Transfer, pids: &HashSet<u32>) -> bool {
    transfer.is_of(|pid| pids.contains(&pid))
}

/// A descriptor that is not what it might be taken for, and what the witnesses said of that.
struct Mistakable {
    actor: Actor,
    fd: i32,
    message: MessageName,
    index: usize,
    pointer: Option<u64>,
    testimonies: Vec<Testimony>,
}

impl Verifier {
    /// A verifier that gives each scenario `limit` of time.
    #[must_use]
    pub fn new(live: Live, limit: Duration) -> Self {
        Self {
            live,
            runs: BTreeMap::new(),
            begun: 0,
            closed: Vec::new(),
            closed_in_all: 0,
            said: mpsc::channel(LINES_WAITING),
            limit,
            observer: Box::new(()),
        }
    }

    /// Shows an observer everything that is run from now on.
    pub fn set_observer(&mut self, observer: Box<dyn Observer>) {
        self.observer = observer;
    }

    /// What watches.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The plan that is in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.live.tracer().plan()
    }

    /// What has been lost so far.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn losses(&self) -> Result<Losses, VerifyError> {
        Ok(self.live.tracer().losses()?)
    }

    /// What each program has cost so far.
    ///
    /// # Errors
    /// If the kernel does not tell.
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
    /// If the runner cannot be started, or the tracer's counters not be read.
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
                closed_before: self.closed_in_all,
            },
        );
        self.begun += 1;
        Ok(number)
    }

    /// Waits until one of the scenarios under way has ended, and judges it; `None` if none is.
    /// When this is dropped together with the verifier, every runner dies with it.
    ///
    /// # Errors
    /// If a runner cannot be talked to, or the tracer's counters not be read. What goes wrong
    /// within a scenario is in its judgement, not an error.
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

    /// Kills the runners that are over their time. Gives one that did not go even then.
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

    /// Takes in what a runner said. Gives its number if that was its last word.
    async fn hear(&mut self, said: Said) -> Result<Option<u64>, VerifyError> {
        // One whose runner did not go in time is finished with.
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
                let answer = self.look(&fact, &mut run.originals, &mut run.record);
                // What led here is told before where it led to.
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
        self.collect_closed()?;
        let lossless =
            self.read_losses()?.same_gaps(&run.losses) && self.undecodable() == run.undecodable;
        let (own, others): (Vec<_>, _) = std::mem::take(&mut self.closed)
            .into_iter()
            .partition(|ended| is_of(&ended.transfer, &pids));
        self.closed = others;
        // What ended before any of the others began can be nobody's.
        let earliest = self.runs.values().map(|run| run.closed_before).min();
        self.closed
            .retain(|ended| earliest.is_some_and(|earliest| ended.before >= earliest));
        let own = own.into_iter().map(|ended| {
            let meanwhile = match ended.meanwhile {
                Meanwhile::RunsSkipped => Meanwhile::RunsSkipped,
                _ => lossless.into(),
            };
            (ended.transfer, meanwhile)
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

    /// What the verifier does at a fact, while the actor stands still.
    fn look(
        &mut self,
        fact: &Fact,
        originals: &mut HashMap<MessageName, Originals>,
        record: &mut Record,
    ) -> Answer {
        match fact {
            Fact::Sending {
                actor,
                message,
                fds,
                hold,
            } => {
                let snapshot = self.snapshot(actor.pid, record);
                let mut sent = Originals::seen(actor.pid, fds, &snapshot);
                if *hold
                    && self.observer.allows_duplicates()
                    && let Err(error) = sent.hold(actor.pid, fds)
                {
                    record.note(&error);
                }
                originals.insert(message.clone(), sent);
            }
            Fact::InFlight {
                actor,
                socket,
                expected,
            } => {
                let queued = witness::queued_descriptors(actor.pid, *socket);
                record.in_flight.push(Testimony {
                    witness: Witness::ScmFds,
                    verdict: match queued {
                        Some(queued) if queued == *expected => Verdict::Same,
                        Some(_) => Verdict::Different,
                        None => Verdict::Unverified,
                    },
                });
            }
            Fact::Received {
                actor,
                message,
                fds,
                ..
            } => {
                let snapshot = self.snapshot(actor.pid, record);
                let sent = originals.remove(message).unwrap_or_default();
                let came = fds.iter().enumerate().filter(|(_, fd)| **fd >= 0);
                let testimonies = came
                    .map(|(index, fd)| witness::compare(&sent, index, actor.pid, *fd, &snapshot));
                let said = record.testimonies.entry(message.clone()).or_default();
                said.extend(testimonies);
                originals.insert(message.clone(), sent);
            }
            Fact::Mistakable {
                actor,
                fd,
                message,
                index,
            } => {
                let snapshot = self.snapshot(actor.pid, record);
                let testimonies = originals
                    .get(message)
                    .map(|sent| witness::compare(sent, *index, actor.pid, *fd, &snapshot));
                record.mistakable.push(Mistakable {
                    actor: *actor,
                    fd: *fd,
                    message: message.clone(),
                    index: *index,
                    pointer: snapshot.get(&(actor.pid, *fd)).map(|file| file.ptr),
                    testimonies: testimonies.unwrap_or_default(),
                });
            }
            Fact::AddressReused {
                messages: (first, second),
            } => {
                let pointer = |message| originals.get(message)?.pointer(0);
                if pointer(first).is_some() && pointer(first) == pointer(second) {
                    return Answer::Yes;
                }
            }
            Fact::Joined { actor } => match release::watch(actor.pid) {
                Ok(watched) => record.actors.push(watched),
                Err(error) if inherited::is_out_of_descriptors(&error) => record.note(&error),
                // It is gone already.
                Err(_) => {}
            },
            Fact::Sent { .. }
            | Fact::SendFailed { .. }
            | Fact::Fate { .. }
            | Fact::Kind { .. }
            | Fact::Refs { .. }
            | Fact::Undisturbed { .. }
            | Fact::Skipped { .. }
            | Fact::Short { .. }
            | Fact::Failed { .. } => {}
        }
        Answer::GoOn
    }

    fn snapshot(&mut self, pid: u32, record: &mut Record) -> Snapshot {
        self.live
            .tracer_mut()
            .snapshot(&[pid])
            .unwrap_or_else(|error| {
                record.note(&error);
                Snapshot::new()
            })
    }

    fn drain(&mut self) -> Result<(), VerifyError> {
        let observer = &mut self.observer;
        self.live
            .take_in(&mut |record| observer.on_record(record))?;
        self.collect_closed()
    }

    fn collect_closed(&mut self) -> Result<(), VerifyError> {
        if self.live.pipeline().asks_for_losses() {
            self.live.read_losses()?;
        }
        for (transfer, meanwhile) in self.live.pipeline_mut().take_ended() {
            self.closed.push(Ended {
                before: self.closed_in_all,
                meanwhile,
                transfer,
            });
            self.closed_in_all += 1;
        }
        if self.closed.len() > TRANSFERS_WAITING {
            self.forget_strangers();
        }
        Ok(())
    }

    /// What has been lost by now, which is noted.
    fn read_losses(&mut self) -> Result<Losses, VerifyError> {
        self.live.read_losses()?;
        Ok(self.live.losses().clone())
    }

    /// Lets go of others' transfers on a busy machine. An actor says that it has joined before it
    /// does anything, so whose the older ones are is known by now.
    fn forget_strangers(&mut self) {
        let pids: HashSet<u32> = self
            .runs
            .values()
            .flat_map(|run| run.record.pids())
            .collect();
        let newer = self.closed_in_all - TRANSFERS_WAITING as u64 / 2;
        self.closed
            .retain(|ended| ended.before >= newer || is_of(&ended.transfer, &pids));
    }
}
