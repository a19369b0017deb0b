//! Rounds: every workload in every state, by turns.
//!
//! Right before each state of a round the workloads run untraced, so that each measurement has a
//! neighbour to be divided by. A state that cannot be had is left out, and said to be.

use std::path::PathBuf;

use anyhow::Result;
use fdtrace::plan::Attach;
use serde::Serialize;

use crate::{
    state::{self, Observer, Stage, State, Told},
    worker::{Took, Worker},
    workload::Workload,
};

/// What to measure, and how often.
pub(crate) struct Rounds {
    pub(crate) fdtrace: PathBuf,
    pub(crate) attach: Attach,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) states: Vec<State>,
    pub(crate) rounds: usize,
    pub(crate) slice_ns: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    pub(crate) rows: Vec<Row>,
    /// States that could not be had, and why.
    pub(crate) without: Vec<(State, String)>,
    /// What observers told in the last round, beside how many messages and descriptors were passed under
    /// them.
    pub(crate) told: Vec<(State, Passed, Told)>,
}

/// What the workloads passed in a slice each.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Passed {
    pub(crate) messages: u64,
    pub(crate) descriptors: u64,
}

/// One workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    /// Nanoseconds on a CPU of one turn, untraced.
    pub(crate) untraced_ns: Spread,
    /// How many times that in each state; by the clock, for those that stop the workload.
    pub(crate) ratios: Vec<(State, Spread)>,
}

/// The middle of some figures, and how far they spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quartiles: [f64; 2],
}

impl Spread {
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let at = |part: usize| {
            figures
                .get((figures.len().checked_sub(1)? * part) / 4)
                .copied()
        };
        Some(Self {
            median: at(2)?,
            quartiles: [at(1)?, at(3)?],
        })
    }
}

impl Rounds {
    pub(crate) fn run(&self) -> Result<Costs> {
        let (_folder, folder) = state::folder()?;
        let mut without = Vec::new();
        let mut told = Vec::new();
        let mut workers = Vec::new();
        for workload in &self.workloads {
            // The last CPU, as interrupts tend to come to the first.
            let cpu = std::thread::available_parallelism()?.get() - 1;
            let mut worker = match Worker::start(*workload, cpu) {
                Ok(worker) => worker,
                Err(error) => {
                    eprintln!("fdtrace-bench: {} is left out: {error:#}", workload.name());
                    continue;
                }
            };
            let times = worker.calibrate(self.slice_ns)?;
            workers.push((worker, times));
        }
        let passed = workers
            .iter()
            .fold(Passed::default(), |all, (worker, times)| {
                let descriptors = worker.workload.descriptors();
                Passed {
                    messages: all.messages + u64::from(descriptors > 0) * times,
                    descriptors: all.descriptors + descriptors * times,
                }
            });
        let idle = Worker::start(Workload::OpenClose, 0)?;
        let pids: Vec<u32> = workers.iter().map(|(worker, _)| worker.pid()).collect();
        let stage = Stage {
            fdtrace: &self.fdtrace,
            attach: self.attach,
            pids: &pids,
            idle: idle.pid(),
            folder: &folder,
        };
        let mut untraced: Vec<Vec<f64>> = vec![Vec::new(); workers.len()];
        let mut ratios = vec![vec![Vec::new(); self.states.len()]; workers.len()];
        for round in 0..self.rounds {
            for (column, state) in self.states.iter().enumerate() {
                if without.iter().any(|(lacking, _)| lacking == state) {
                    continue;
                }
                eprintln!("fdtrace-bench: round {}, {}", round + 1, state.title());
                let before = slices(&mut workers)?;
                let observer = match Observer::start(*state, &stage) {
                    Ok(observer) => observer,
                    Err(error) => {
                        without.push((*state, format!("{error:#}")));
                        continue;
                    }
                };
                let under = slices(&mut workers)?;
                observer.stop()?;
                if round + 1 == self.rounds {
                    let of_it = Told::read(*state, &folder)?;
                    told.extend(of_it.map(|of_it| (*state, passed, of_it)));
                }
                for (row, (before, under)) in before.iter().zip(&under).enumerate() {
                    let times = workers[row].1 as f64;
                    untraced[row].push(before.cpu_ns as f64 / times);
                    let ratio = if state.stops() {
                        under.wall_ns as f64 / before.wall_ns as f64
                    } else {
                        under.cpu_ns as f64 / before.cpu_ns as f64
                    };
                    ratios[row][column].push(ratio);
                }
            }
        }
        let rows = workers.iter().zip(untraced).zip(ratios);
        Ok(Costs {
            rows: rows
                .filter_map(|(((worker, _), untraced), ratios)| {
                    let ratios = self.states.iter().zip(ratios);
                    Some(Row {
                        workload: worker.workload,
                        untraced_ns: Spread::of(untraced)?,
                        ratios: ratios
                            .filter_map(|(state, ratios)| Some((*state, Spread::of(ratios)?)))
                            .collect(),
                    })
                })
                .collect(),
            without,
            told,
        })
    }
}

/// How long each workload takes for its turns.
fn slices(workers: &mut [(Worker, u64)]) -> Result<Vec<Took>> {
    workers
        .iter_mut()
        .map(|(worker, times)| worker.run(*times))
        .collect()
}
