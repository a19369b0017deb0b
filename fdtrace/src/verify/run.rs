//! Run: a scenario under way, and what the verifier does at its checkpoints.

use std::{collections::HashMap, time::Instant};

use super::{
    Scenario,
    fact::{Answer, Fact, MessageName},
    record::{Mistakable, Record},
    release,
    runner_process::RunnerProcess,
};
use crate::{
    kernel::inherited,
    model::{Losses, Snapshot, Verdict},
    tracer::Tracer,
    witness::{self, Originals, Testimony, Witness},
};

/// A scenario under way.
pub(super) struct Run {
    pub(super) scenario: &'static Scenario,
    pub(super) runner: RunnerProcess,
    pub(super) record: Record,
    /// By message, what was sent.
    pub(super) originals: HashMap<MessageName, Originals>,
    pub(super) begin: Instant,
    /// When it must have ended; and once it is late, when its actors must be gone.
    pub(super) deadline: tokio::time::Instant,
    pub(super) late: bool,
    /// Losses, and records that could not be decoded, before it began.
    pub(super) losses: Losses,
    pub(super) undecodable: u64,
    /// How many transfers had ended before.
    pub(super) ended_before: u64,
}

impl Run {
    /// Asks the witnesses what a fact calls for, while the actor waits. With `may_hold`, duplicates of
    /// what is about to be sent are kept.
    pub(super) fn look(&mut self, fact: &Fact, tracer: &mut Tracer, may_hold: bool) -> Answer {
        let Self {
            record, originals, ..
        } = self;
        match fact {
            Fact::Sending {
                actor,
                message,
                fds,
                hold,
            } => {
                let snapshot = snapshot(tracer, actor.pid, record);
                let mut sent = Originals::seen(actor.pid, fds, &snapshot);
                if *hold
                    && may_hold
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
                let snapshot = snapshot(tracer, actor.pid, record);
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
                let snapshot = snapshot(tracer, actor.pid, record);
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
}

/// The descriptors that a process has open. If they cannot be read, that is noted and there are none.
fn snapshot(tracer: &mut Tracer, pid: u32, record: &mut Record) -> Snapshot {
    tracer.snapshot(&[pid]).unwrap_or_else(|error| {
        record.note(&error);
        Snapshot::new()
    })
}
