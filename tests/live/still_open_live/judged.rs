//! Holds what a trace says is still open against the truth of it.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::RawFd,
};

use serde_json::Value;

use super::churn::Truth;

/// What was said of one look, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) open: u64,
    pub(super) moved: u64,
    pub(super) closed: u64,
    pub(super) unknown: u64,
    pub(super) holders: u64,
}

/// The transfers of a process to itself, in the order in which they came, and what looks said of them.
#[derive(Default)]
pub(super) struct Said {
    /// Time and id of each delivery.
    delivered: Vec<(u64, u64)>,
    /// By time of the look: of each transfer, what it said.
    looks: BTreeMap<u64, HashMap<u64, Value>>,
    /// By transfer, from which look on it was closed.
    closed: HashMap<u64, u64>,
}

fn ns(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

impl Said {
    /// From a trace, of this process.
    pub(super) fn of(lines: &[Value], pid: u32) -> Self {
        let mut said = Self::default();
        for line in lines {
            match line["type"].as_str() {
                Some("transfer") if line["receiver"]["pid"] == pid => {
                    assert_eq!(line["fate"], "delivered", "{line}");
                    said.delivered
                        .push((ns(&line["t_ns"]), line["id"].as_u64().unwrap()));
                }
                Some("still_open") if line["pid"] == pid && line["side"] == "receiver" => {
                    let (t_ns, transfer) = (ns(&line["t_ns"]), line["transfer"].as_u64().unwrap());
                    let look = said.looks.entry(t_ns).or_default();
                    assert!(
                        look.insert(transfer, line.clone()).is_none(),
                        "twice: {line}"
                    );
                    if ["closed", "replaced", "ended"].contains(&line["state"].as_str().unwrap()) {
                        said.closed.entry(transfer).or_insert(t_ns);
                    }
                }
                _ => {}
            }
        }
        said.delivered.sort_unstable();
        said
    }

    pub(super) fn deliveries(&self) -> usize {
        self.delivered.len()
    }

    /// What the look of that time said that is wrong, and how much it said; `same` tells whether a number of
    /// a process stands for the same open file as a number of the actor.
    pub(super) fn judge(
        &self,
        t_ns: u64,
        truth: &Truth,
        pid: u32,
        same: &dyn Fn(RawFd, u32, RawFd) -> bool,
    ) -> (Vec<String>, Score) {
        let mut wrong = Vec::new();
        let mut score = Score::default();
        let look = &self.looks[&t_ns];
        // A number that was given away again is another delivery's.
        let mut latest: HashMap<RawFd, usize> = HashMap::new();
        for (place, (fd, _)) in truth.delivered.iter().enumerate() {
            latest.insert(*fd, place);
        }
        for (place, (fd, token)) in truth.delivered.iter().enumerate() {
            let id = self.delivered[place].1;
            // Its number may have been given away, and a duplicate have come back to it.
            let is_open = truth.at(*fd) == Some(*token);
            let is_elsewhere = truth.number_of(*token).is_some();
            let Some(line) = look.get(&id) else {
                let was_closed = self.closed.get(&id).is_some_and(|closed| *closed < t_ns);
                if is_open && latest[fd] == place {
                    wrong.push(format!(
                        "#{id} {fd} is open, and nothing is said (closed: {was_closed})"
                    ));
                }
                continue;
            };
            let state = line["state"].as_str().unwrap();
            let right = match state {
                "open" => is_open,
                "moved" => !is_open && is_elsewhere,
                "closed" => !is_open && truth.at(*fd).is_none(),
                "replaced" => !is_open && truth.at(*fd).is_some(),
                "unknown" => true,
                _ => false,
            };
            match state {
                "open" => score.open += 1,
                "moved" => score.moved += 1,
                "unknown" => score.unknown += 1,
                _ => score.closed += 1,
            }
            if !right {
                wrong.push(format!(
                    "#{id} {fd} is open: {is_open}, elsewhere: {is_elsewhere}; {line}"
                ));
            }
            for holder in line["holders"].as_array().into_iter().flatten() {
                let (other, fds) = (holder["pid"].as_u64().unwrap() as u32, &holder["fds"]);
                // Any number of the actor's that stands for it will do to compare with.
                let known = truth.number_of(*token);
                for its in fds.as_array().unwrap() {
                    let its = its.as_i64().unwrap() as RawFd;
                    score.holders += 1;
                    let right = match known {
                        _ if other == pid => truth.at(its) == Some(*token),
                        Some(known) => same(known, other, its),
                        // Only others have it.
                        None => continue,
                    };
                    if !right {
                        wrong.push(format!("#{id}: {other} does not hold it as {its}; {line}"));
                    }
                }
            }
        }
        (wrong, score)
    }
}
