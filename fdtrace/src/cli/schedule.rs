//! Schedule: what verify runs and in which order, and in which order it is told.
//!
//! Several scenarios at a time end in any order, and some are run again; they are told in the
//! order in which they first began, so that the same run gives the same report.

use std::collections::{BTreeMap, VecDeque};

use super::args::Verify;
use crate::{
    report::ScenarioRun,
    verify::{Scenario, ScenarioResult},
};

/// What is still to be run, and what has ended ahead of its turn to be told.
///
/// Scenarios have their places in the order of the first run of each, in each round. The verifier
/// numbers runs, from 0 in the order in which they begin.
pub(super) struct Schedule<'a> {
    scenarios: &'a [&'static Scenario],
    rounds: u32,
    retries: usize,
    fail_fast: bool,
    /// How many places have been begun with, and how many have been told.
    begun: u64,
    told: u64,
    /// By number, the place of each run so far.
    places: Vec<u64>,
    /// Places to be run again, and by place what the last run left open. It is told if no other
    /// run comes to its end.
    again: VecDeque<u64>,
    open: BTreeMap<u64, ScenarioRun>,
    waiting: BTreeMap<u64, ScenarioRun>,
    failed: bool,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(scenarios: &'a [&'static Scenario], args: &Verify) -> Self {
        Self {
            scenarios,
            rounds: args.repeat,
            retries: args.retries as usize,
            fail_fast: args.fail_fast,
            begun: 0,
            told: 0,
            places: Vec::new(),
            again: VecDeque::new(),
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
            failed: false,
        }
    }

    /// How many scenarios were asked for, counting each as often as it is to be run.
    pub(super) fn asked_for(&self) -> u64 {
        self.scenarios.len() as u64 * u64::from(self.rounds)
    }

    /// The scenario to begin next.
    pub(super) fn next(&mut self) -> Option<&'static Scenario> {
        if self.failed && self.fail_fast {
            return None;
        }
        let place = self.again.pop_front().or_else(|| {
            let first = (self.begun < self.asked_for()).then_some(self.begun)?;
            self.begun += 1;
            Some(first)
        })?;
        self.places.push(place);
        Some(self.scenarios[(place % self.scenarios.len() as u64) as usize])
    }

    /// Takes in what became of run `number`. Gives what can be told now.
    pub(super) fn ended(&mut self, number: u64, mut run: ScenarioRun) -> Vec<ScenarioRun> {
        let place = self.places[number as usize];
        self.failed |= run.judgement.result == ScenarioResult::Fail;
        run.round = (place / self.scenarios.len() as u64) as u32 + 1;
        if let Some(before) = self.open.remove(&place) {
            run.retried = before.retried;
            run.retried.extend(before.judgement.reason());
        }
        if run.judgement.lossy && run.retried.len() < self.retries {
            self.again.push_back(place);
            self.open.insert(place, run);
            return Vec::new();
        }
        self.waiting.insert(place, run);
        let mut now = Vec::new();
        while let Some(run) = self.waiting.remove(&self.told) {
            self.told += 1;
            now.push(run);
        }
        now
    }

    /// What waits for others that will never end, or to be run again.
    pub(super) fn rest(&mut self) -> Vec<ScenarioRun> {
        self.waiting.append(&mut self.open);
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::args::{Args, Command},
        verify::{Finding, Group, Judgement, find},
    };

    fn verify(args: &[&str]) -> Verify {
        let typed = ["fdtrace", "verify"].iter().chain(args);
        match Args::parse_from(typed).command {
            Command::Verify(verify) => verify,
            other => panic!("{other:?}"),
        }
    }

    fn scenarios() -> [&'static Scenario; 2] {
        ["two-fds", "relay"].map(|name| find(name).expect("it is in the catalogue"))
    }

    fn outcome(name: &'static str, result: ScenarioResult, reason: Option<&str>) -> ScenarioRun {
        ScenarioRun::from(Judgement {
            name,
            group: Group::Identity,
            result,
            findings: reason
                .map(|it| Finding::Failed(it.to_owned()))
                .into_iter()
                .collect(),
            lossy: false,
            transfers: Vec::new(),
            witnesses: Vec::new(),
            mistakable: Vec::new(),
            elapsed: std::time::Duration::ZERO,
        })
    }

    fn pass(name: &'static str) -> ScenarioRun {
        outcome(name, ScenarioResult::Pass, None)
    }

    fn lossy(name: &'static str, reason: &str) -> ScenarioRun {
        let mut run = outcome(name, ScenarioResult::Inconclusive, Some(reason));
        run.judgement.lossy = true;
        run
    }

    fn begin(schedule: &mut Schedule<'_>) -> Option<&'static str> {
        schedule.next().map(|scenario| scenario.name)
    }

    /// Names, rounds, results, and why each was run again.
    fn told(runs: &[ScenarioRun]) -> Vec<(&str, u32, &str, Vec<&str>)> {
        runs.iter()
            .map(|run| {
                let retried = run.retried.iter().map(String::as_str).collect();
                let result = run.judgement.result.name();
                (run.judgement.name, run.round, result, retried)
            })
            .collect()
    }

    #[test]
    fn what_losses_left_open_is_played_again_and_told_in_its_place() {
        let (scenarios, args) = (scenarios(), verify(&["--repeat", "2"]));
        let mut schedule = Schedule::new(&scenarios, &args);
        assert_eq!(begin(&mut schedule), Some("two-fds"));
        assert!(schedule.ended(0, lossy("two-fds", "a")).is_empty());
        assert_eq!(begin(&mut schedule), Some("two-fds"));
        assert_eq!(begin(&mut schedule), Some("relay"));
        // It waits for the one before it.
        assert!(schedule.ended(2, pass("relay")).is_empty());
        assert!(schedule.ended(1, lossy("two-fds", "b")).is_empty());
        assert_eq!(begin(&mut schedule), Some("two-fds"));
        let now = schedule.ended(3, pass("two-fds"));
        assert_eq!(
            told(&now),
            [
                ("two-fds", 1, "pass", vec!["a", "b"]),
                ("relay", 1, "pass", vec![])
            ]
        );
        // The next round begins anew.
        assert_eq!(begin(&mut schedule), Some("two-fds"));
        let now = schedule.ended(4, pass("two-fds"));
        assert_eq!(told(&now), [("two-fds", 2, "pass", vec![])]);
        assert_eq!(begin(&mut schedule), Some("relay"));
        let now = schedule.ended(5, pass("relay"));
        assert_eq!(told(&now), [("relay", 2, "pass", vec![])]);
        assert_eq!(begin(&mut schedule), None);
        assert!(schedule.rest().is_empty());
    }

    #[test]
    fn it_stays_open_after_the_last_of_its_plays() {
        let scenarios = scenarios();
        for (args, runs) in [
            (verify(&[]), 3),
            (verify(&["--retries", "1"]), 2),
            (verify(&["--retries", "0"]), 1),
        ] {
            let mut schedule = Schedule::new(&scenarios[..1], &args);
            let mut now = Vec::new();
            let mut number = 0;
            while begin(&mut schedule).is_some() {
                assert!(now.is_empty(), "{now:?}");
                now = schedule.ended(number, lossy("two-fds", "lost"));
                number += 1;
            }
            assert_eq!(number, runs);
            let retried = vec!["lost"; runs as usize - 1];
            assert_eq!(told(&now), [("two-fds", 1, "inconclusive", retried)]);
        }
    }

    #[test]
    fn what_was_not_lost_is_not_played_again() {
        let (scenarios, args) = (scenarios(), verify(&["--retries", "9"]));
        for result in [
            ScenarioResult::Pass,
            ScenarioResult::Fail,
            ScenarioResult::Skip,
            ScenarioResult::Inconclusive,
        ] {
            let mut schedule = Schedule::new(&scenarios[..1], &args);
            begin(&mut schedule);
            let now = schedule.ended(0, outcome("two-fds", result, Some("why")));
            assert_eq!(told(&now), [("two-fds", 1, result.name(), vec![])]);
            assert_eq!(begin(&mut schedule), None);
        }
    }

    #[test]
    fn what_was_to_be_played_again_is_told_as_it_was_if_it_is_not() {
        let (scenarios, args) = (scenarios(), verify(&["--fail-fast", "--jobs", "2"]));
        let mut schedule = Schedule::new(&scenarios, &args);
        begin(&mut schedule);
        begin(&mut schedule);
        assert!(schedule.ended(0, lossy("two-fds", "lost")).is_empty());
        let failed = outcome("relay", ScenarioResult::Fail, Some("wrong"));
        assert!(schedule.ended(1, failed).is_empty());
        assert_eq!(begin(&mut schedule), None);
        assert_eq!(
            told(&schedule.rest()),
            [
                ("two-fds", 1, "inconclusive", vec![]),
                ("relay", 1, "fail", vec![])
            ]
        );
    }
}
