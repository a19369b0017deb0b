//! A show: the plays of one theme under one trace, and what came of each.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
};

use fdtrace::plan::Attach;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    PLAYS, ROUNDS,
    agreement::{Missed, Tally, Told, check, overlooked},
    truth::{Line, Pass, TRUTH},
};
use crate::session;
use fdtrace_testkit::command::{fdtrace, run};

/// What came of the plays.
pub(super) struct Show {
    /// Why none can be traced.
    obstacle: Option<String>,
    plays: BTreeMap<String, Shown>,
    skipped: BTreeMap<String, String>,
}

/// What came of one play.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) tally: Tally,
    /// Lies about it that nobody would notice.
    pub(super) overlooked: Vec<&'static str>,
}

/// One round of a play.
#[derive(Debug, Default)]
struct Round {
    play: String,
    from: u64,
    passes: Vec<Pass>,
    skipped: Option<String>,
    broke: Vec<String>,
    told: Vec<Told>,
}

impl Show {
    /// Traces these plays, each so often.
    ///
    /// # Errors
    /// If the trace cannot be had or read.
    pub(super) fn run(attach: Attach, plays: &[&str], rounds: usize) -> Result<Self, String> {
        let mut show = Self {
            obstacle: None,
            plays: BTreeMap::new(),
            skipped: BTreeMap::new(),
        };
        match session::planned(attach) {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => {
                show.obstacle = Some(why);
                return Ok(show);
            }
            Err(error) => return Err(format!("{error:?}")),
        }
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (truth, trace) = (at("truth"), at("trace"));
        File::create(&truth).map_err(|error| error.to_string())?;
        let mechanism = match attach {
            Attach::Trampoline => "trampoline",
            Attach::Kprobe => "kprobe",
            _ => "tracepoint",
        };
        let this = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = fdtrace(&["trace", "--format", "json", "-o", &trace]);
        command
            .args(["--buffer", "65536", "--attach", mechanism, "--"])
            .arg(this)
            .current_dir(folder.path())
            .env(PLAYS, plays.join(","))
            .env(ROUNDS, rounds.to_string())
            .env(TRUTH, &truth);
        let run = run(&mut command);
        let read = |path: &str| fs::read_to_string(path).map_err(|error| error.to_string());
        let mut rounds = rounds_of(&read(&truth)?);
        let summary = assign(&mut rounds, &read(&trace)?).ok_or(format!("no summary: {run:?}"))?;
        let missed = Missed {
            records: losses(&summary) > 0,
            failed_sends: summary["unread_sends"].as_u64() > Some(0),
        };
        if missed.records {
            println!("not all was seen: {summary}");
        }
        for round in &rounds {
            if let Some(why) = &round.skipped {
                show.skipped.insert(round.play.clone(), why.clone());
                continue;
            }
            let shown = show.plays.entry(round.play.clone()).or_default();
            let mut tally = check(&round.passes, &round.told, missed);
            let broke = round.broke.iter();
            tally
                .wrong
                .extend(broke.map(|how| format!("the play broke off: {how}")));
            shown.tally.add(tally);
            shown
                .overlooked
                .extend(overlooked(&round.passes, &round.told).unwrap_or_default());
        }
        Ok(show)
    }

    /// Why this play shows nothing here.
    pub(super) fn obstacle(&self, play: &str) -> Option<&str> {
        let obstacle = self.obstacle.as_ref();
        obstacle
            .or_else(|| self.skipped.get(play))
            .map(String::as_str)
    }

    pub(super) fn of(&self, play: &str) -> Result<&Shown, String> {
        self.plays.get(play).ok_or("it was not played".to_owned())
    }
}

fn rounds_of(truth: &str) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    for line in truth.lines() {
        let line = serde_json::from_str(line).expect("plays write whole lines");
        if let Line::Began { play, t_ns } = line {
            rounds.push(Round {
                play,
                from: t_ns,
                ..Round::default()
            });
            continue;
        }
        let round = rounds.last_mut().expect("a play begins first");
        match line {
            Line::Began { .. } => {}
            Line::Passed(pass) => round.passes.push(pass),
            Line::Skipped(why) => round.skipped = Some(why),
            Line::Broke(how) => round.broke.push(how),
            Line::Ended { well: false } => round.broke.push("it did not end well".to_owned()),
            Line::Ended { well: true } => {}
        }
    }
    rounds
}

/// Gives each transfer to the round that was on, and the summary back.
fn assign(rounds: &mut [Round], trace: &str) -> Option<Value> {
    let mut summary = None;
    for line in trace.lines() {
        let line: Value = serde_json::from_str(line).ok()?;
        // What is told of while it is under way is told of again as it ends.
        let is_under_way = || marks(&line).any(|mark| mark == "still-queued");
        if line["type"] == "transfer" && !is_under_way() {
            let told = Told::deserialize(&line).expect("it is as the contract says");
            let after = rounds.partition_point(|round| round.from <= told.t_ns);
            rounds[after.saturating_sub(1)].told.push(told);
        } else if line["type"] == "summary" {
            summary = Some(line);
        }
    }
    summary
}

fn marks(transfer: &Value) -> impl Iterator<Item = &Value> {
    transfer["marks"].as_array().into_iter().flatten()
}

/// How much the trace itself says that it did not see.
fn losses(summary: &Value) -> u64 {
    let counts = [
        "recursion_misses",
        "window_full",
        "filter_full",
        "forgotten",
    ];
    let counted = counts.iter().filter_map(|count| summary[count].as_u64());
    let events = summary["lost_events"].as_object();
    let lost = events
        .into_iter()
        .flat_map(|it| it.values())
        .filter_map(Value::as_u64);
    counted.chain(lost).sum()
}
