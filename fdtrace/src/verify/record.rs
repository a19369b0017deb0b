//! Record: what was gathered while a scenario ran, for the judge.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
};

use super::{
    Finding,
    fact::{Actor, Fact, MessageName},
};
use crate::{kernel::inherited, model::Transfer, watch::with_causes, witness::Testimony};

/// What was gathered while a scenario ran.
#[derive(Default)]
pub(super) struct Record {
    pub(super) facts: Vec<Fact>,
    /// By message, what each witness said of each received descriptor.
    pub(super) testimonies: HashMap<MessageName, Vec<Vec<Testimony>>>,
    /// In the order of `Fact::Mistakable`.
    pub(super) mistakable: Vec<Mistakable>,
    /// In the order of `Fact::InFlight`.
    pub(super) in_flight: Vec<Testimony>,
    /// What the verifier itself could not do.
    pub(super) trouble: Vec<String>,
    /// What it could not do because it would have had more descriptors than it may.
    pub(super) short: Vec<String>,
    /// References that were left when the actors were gone.
    pub(super) leaks: Vec<Finding>,
    /// Another scenario was under way meanwhile. A witness's look at all descriptors, for that one,
    /// holds each of this one's files for a moment.
    pub(super) accompanied: bool,
    /// The actors' processes.
    pub(super) actors: Vec<OwnedFd>,
}

impl Record {
    /// Notes what the verifier could not do.
    pub(super) fn note(&mut self, error: &(dyn std::error::Error + 'static)) {
        match inherited::is_out_of_descriptors(error) {
            true => self.short.push(inherited::shortage(&with_causes(error))),
            false => self.trouble.push(with_causes(error)),
        }
    }

    /// The scenario's own processes.
    pub(super) fn pids(&self) -> HashSet<u32> {
        let joined = self.facts.iter().filter_map(|fact| match fact {
            Fact::Joined { actor } => Some(actor.pid),
            _ => None,
        });
        joined.collect()
    }
}

/// A descriptor that is not what it might be taken for, and what the witnesses said of that.
pub(super) struct Mistakable {
    pub(super) actor: Actor,
    pub(super) fd: i32,
    pub(super) message: MessageName,
    pub(super) index: usize,
    pub(super) pointer: Option<u64>,
    pub(super) testimonies: Vec<Testimony>,
}

/// Whether one of these processes took part in the transfer.
pub(super) fn is_of(transfer: &Transfer, pids: &HashSet<u32>) -> bool {
    transfer.is_of(|pid| pids.contains(&pid))
}
