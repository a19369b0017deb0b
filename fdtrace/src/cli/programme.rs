//! Programme: what verify plays and in which order, and in which order it is told.
//!
//! Several scenarios at a time end in any order; they are told in the order in which they began,
//! so that the same run gives the same report.

use std::collections::BTreeMap;

use super::args::Verify;
use crate::verify::{Outcome, Scenario, ScenarioResult};

/// What is still to be played, and what has ended ahead of its turn to be told.
pub(super) struct Programme<'a> {
    scenarios: &'a [&'static Scenario],
    rounds: u32,
    fail_fast: bool,
    /// How many have begun, and how many have been told. Both count from 0 like the numbers that
    /// the verifier gives.
    begun: u64,
    told: u64,
    waiting: BTreeMap<u64, Outcome>,
    failed: bool,
}

impl<'a> Programme<'a> {
    pub(super) fn new(scenarios: &'a [&'static Scenario], args: &Verify) -> Self {
        Self {
            scenarios,
            rounds: args.repeat,
            fail_fast: args.fail_fast,
            begun: 0,
            told: 0,
            waiting: BTreeMap::new(),
            failed: false,
        }
    }

    /// How many scenarios were asked for, counting each as often as it is to be played.
    pub(super) fn asked_for(&self) -> u64 {
        self.scenarios.len() as u64 * u64::from(self.rounds)
    }

    /// The scenario to begin next.
    pub(super) fn next(&mut self) -> Option<&'static Scenario> {
        if self.begun == self.asked_for() || (self.failed && self.fail_fast) {
            return None;
        }
        let at = self.begun % self.scenarios.len() as u64;
        self.begun += 1;
        Some(self.scenarios[at as usize])
    }

    /// Takes in what became of the scenario that began as number `number`. Gives what can be told
    /// now.
    pub(super) fn ended(&mut self, number: u64, mut outcome: Outcome) -> Vec<Outcome> {
        self.failed |= outcome.result == ScenarioResult::Fail;
        outcome.round = (number / self.scenarios.len() as u64) as u32 + 1;
        self.waiting.insert(number, outcome);
        let mut now = Vec::new();
        while let Some(outcome) = self.waiting.remove(&self.told) {
            self.told += 1;
            now.push(outcome);
        }
        now
    }

    /// What waits for others that will never end.
    pub(super) fn rest(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}
