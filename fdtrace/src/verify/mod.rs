//! Verify: fdtrace drives senders and receivers of its own, traces them, asks the witnesses, and
//! judges.
//!
//! ```text
//! scenario ──▶ stage: fdtrace again, as actors ──facts──▶ ┐
//!     tracer ──▶ tracker ──transfers────────────────────▶ ├─▶ judge ──▶ outcome
//!     witnesses, at checkpoints ──testimonies───────────▶ ┘
//! ```

pub mod fact;
mod judge;
mod scenarios;
pub mod stage;

use std::{
    collections::HashMap,
    io,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::timeout_at,
};

use fact::{Actor, Answer, Fact};
pub use judge::{Judged, Outcome, Result as ScenarioResult, WitnessReport};
pub use scenarios::{Group, Scenario, all, find};

use crate::{
    plan::Plan,
    tracer::{Snapshot, Tracer},
    tracker::{Tracker, Transfer},
    verdict::Verdict,
    witness::{self, Originals, Testimony, Witness},
};

/// The hidden argument with which fdtrace starts itself as a stage.
pub const STAGE_ARGUMENT: &str = "__stage";

/// How long actors that were killed may take to be gone.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// Plays scenarios, one after the other.
pub struct Verifier {
    tracer: Tracer,
    tracker: Tracker,
    /// Closed transfers of the scenario under way.
    transfers: Vec<Transfer>,
    undecodable: u64,
    limit: Duration,
}

/// Why a scenario could not be played to a judgement.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The stage cannot be started or talked to.
    #[error("cannot {action}")]
    Stage {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The counters cannot be read.
    #[error(transparent)]
    Tracer(#[from] crate::tracer::TracerError),
}

/// What was gathered while a scenario played.
#[derive(Default)]
struct Record {
    facts: Vec<Fact>,
    /// By message, what each witness said of each received descriptor.
    testimonies: HashMap<String, Vec<Vec<Testimony>>>,
    /// In the order of `Fact::Mistakable`.
    mistakable: Vec<Mistakable>,
    /// In the order of `Fact::InFlight`.
    in_flight: Vec<Testimony>,
    /// What the verifier itself could not do.
    trouble: Vec<String>,
}

/// A descriptor that is not what it might be taken for, and what the witnesses said of that.
struct Mistakable {
    actor: Actor,
    fd: i32,
    message: String,
    index: usize,
    pointer: Option<u64>,
    testimonies: Vec<Testimony>,
}

impl Verifier {
    /// A verifier that gives each scenario `limit` of time.
    #[must_use]
    pub fn new(tracer: Tracer, tracker: Tracker, limit: Duration) -> Self {
        Self {
            tracer,
            tracker,
            transfers: Vec::new(),
            undecodable: 0,
            limit,
        }
    }

    /// The plan that is in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.tracer.plan()
    }

    /// What has been lost so far.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn losses(&self) -> Result<crate::tracer::Losses, VerifyError> {
        Ok(self.tracer.losses()?)
    }

    /// Records that could not be decoded; not zero only if the object and this program differ.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Plays one scenario. When this is dropped before it is done, the stage dies with it.
    ///
    /// # Errors
    /// If the stage cannot be started, or the tracer's counters not be read. What goes wrong
    /// within the scenario is its outcome, not an error.
    pub async fn play(&mut self, scenario: &'static Scenario) -> Result<Outcome, VerifyError> {
        let begin = Instant::now();
        let lost_before = self.tracer.losses()?;
        let undecodable_before = self.undecodable;
        let mut stage = StageProcess::start(scenario.name)?;
        let mut record = Record::default();
        let in_time = self.follow(&mut stage, &mut record).await?;
        stage.end().await;
        self.drain();
        // The actors are gone, and with them every socket that could still deliver.
        self.tracker.close_open();
        self.transfers.extend(self.tracker.take_closed());
        if !in_time {
            record.trouble.push(format!(
                "it was not done after {} s and was ended",
                self.limit.as_secs_f64()
            ));
        }
        let lossless =
            self.tracer.losses()?.same_gaps(&lost_before) && self.undecodable == undecodable_before;
        let transfers = std::mem::take(&mut self.transfers);
        Ok(judge::judge(
            scenario,
            &record,
            transfers,
            self.tracer.plan(),
            lossless,
            begin.elapsed(),
        ))
    }

    /// Takes in facts and events until every actor has ended; false if time ran out first.
    async fn follow(
        &mut self,
        stage: &mut StageProcess,
        record: &mut Record,
    ) -> Result<bool, VerifyError> {
        let deadline = tokio::time::Instant::now() + self.limit;
        let mut originals = HashMap::new();
        let mut line = String::new();
        loop {
            // The timeout below yields to a line that is there already: an actor that never stops
            // talking would never run out of time.
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            line.clear();
            let next = timeout_at(deadline, async {
                loop {
                    tokio::select! {
                        read = stage.facts.read_line(&mut line) => break read,
                        ready = self.tracer.readable() => {
                            ready?;
                            drain(&mut self.tracer, &mut self.tracker, &mut self.undecodable);
                            self.transfers.extend(self.tracker.take_closed());
                        }
                    }
                }
            });
            match next.await {
                Err(_) => return Ok(false),
                Ok(Ok(0)) => return Ok(true),
                Ok(Ok(_)) => {}
                Ok(Err(source)) => {
                    return Err(VerifyError::Stage {
                        action: "read an actor's facts",
                        source,
                    });
                }
            }
            let fact: Fact = match serde_json::from_str(&line) {
                Ok(fact) => fact,
                Err(error) => {
                    record
                        .trouble
                        .push(format!("an actor said {line:?}: {error}"));
                    continue;
                }
            };
            let checkpoint = fact.is_checkpoint();
            let answer = self.look(&fact, &mut originals, record);
            record.facts.push(fact);
            if checkpoint {
                // An actor that died meanwhile will never read it.
                let _ = stage.answers.write_all(&[answer as u8]).await;
            }
        }
    }

    /// What the verifier does at a fact, while the actor stands still.
    fn look(
        &mut self,
        fact: &Fact,
        originals: &mut HashMap<String, Originals>,
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
                if *hold && let Err(error) = sent.hold(actor.pid, fds) {
                    record.trouble.push(chain(&error));
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
                let testimonies = fds
                    .iter()
                    .enumerate()
                    .map(|(index, fd)| witness::compare(&sent, index, actor.pid, *fd, &snapshot))
                    .collect();
                record.testimonies.insert(message.clone(), testimonies);
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
                    pointer: snapshot.get(&(actor.pid, *fd)).copied(),
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
            Fact::Joined { .. }
            | Fact::Sent { .. }
            | Fact::Refs { .. }
            | Fact::Undisturbed { .. }
            | Fact::Skipped { .. }
            | Fact::Failed { .. } => {}
        }
        Answer::GoOn
    }

    fn snapshot(&mut self, pid: u32, record: &mut Record) -> Snapshot {
        self.tracer.snapshot(&[pid]).unwrap_or_else(|error| {
            record.trouble.push(chain(&error));
            Snapshot::new()
        })
    }

    fn drain(&mut self) {
        drain(&mut self.tracer, &mut self.tracker, &mut self.undecodable);
        self.transfers.extend(self.tracker.take_closed());
    }
}

fn drain(tracer: &mut Tracer, tracker: &mut Tracker, undecodable: &mut u64) {
    tracer.drain(|event| match event {
        Ok(event) => tracker.apply(event),
        Err(_) => *undecodable += 1,
    });
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The processes of one scenario.
struct StageProcess {
    child: Child,
    facts: BufReader<tokio::process::ChildStdout>,
    answers: tokio::process::ChildStdin,
}

impl StageProcess {
    fn start(scenario: &str) -> Result<Self, VerifyError> {
        let failed = |action| move |source| VerifyError::Stage { action, source };
        let mut child = Command::new(Path::new("/proc/self/exe"))
            .arg(STAGE_ARGUMENT)
            .arg(scenario)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Of its own, so that a Ctrl-C at the terminal is the verifier's to handle.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("start fdtrace again as a stage"))?;
        match (child.stdout.take(), child.stdin.take()) {
            (Some(facts), Some(answers)) => Ok(Self {
                child,
                facts: BufReader::new(facts),
                answers,
            }),
            _ => Err(failed("talk to the stage")(
                io::ErrorKind::BrokenPipe.into(),
            )),
        }
    }

    /// Ends the stage, if it has not ended, and waits until all of its actors are gone: each dies
    /// with its parent, and then nobody holds the pipe for facts any more.
    async fn end(mut self) {
        let _ = self.child.start_kill();
        let all_gone = async {
            let _ = self.child.wait().await;
            let mut rest = Vec::new();
            let _ = self.facts.read_to_end(&mut rest).await;
        };
        let _ = tokio::time::timeout(REAP_LIMIT, all_gone).await;
    }
}
