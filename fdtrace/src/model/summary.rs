//! What the transfers of a trace come to, in bounded memory however long it lasts.

use foldhash::HashMap;

use hdrhistogram::Histogram;

use schemars::JsonSchema;
use serde::Serialize;
use smol_str::SmolStr;

use super::{DescriptionMissing, EXACT_MAX, Fate, Judged, Verdict};

/// Pairs of programs that are counted one by one; those that come later are counted together.
const PAIRS_MAX: usize = 1024;

/// Names of the programs at both ends, where they are known.
pub type Pair = (Option<SmolStr>, Option<SmolStr>);

/// Counts.
#[derive(Debug, Default)]
pub struct Tally {
    transfers: u64,
    fates: Counts<Fate>,
    verdicts: Counts<Verdict>,
    pairs: HashMap<Pair, u64>,
    other_pairs: u64,
    undescribed: Counts<DescriptionMissing>,
    forgotten: u64,
    queue_times: QueueTimes,
}

/// Three digits are enough for a time; the histogram grows with the longest, to some 200 KiB.
#[derive(Debug)]
struct QueueTimes(Option<Histogram<u64>>);

impl Default for QueueTimes {
    fn default() -> Self {
        const DIGITS: u8 = 3;
        // Fails for more digits than a histogram can have.
        Self(Histogram::new(DIGITS).ok())
    }
}

impl Tally {
    /// Counts one transfer.
    pub fn add(&mut self, judged: &Judged) {
        let transfer = &judged.transfer;
        self.transfers += 1;
        self.fates.add(transfer.fate());
        if let Some(verdict) = judged.verdict {
            self.verdicts.add(verdict);
        }
        if let Some(why) = transfer.context.missing {
            self.undescribed.add(why);
        }
        if let (Some(ns), Some(times)) = (transfer.queued_ns, &mut self.queue_times.0) {
            // Grows as needed, so it takes any time there is.
            let _ = times.record(ns);
        }
        let pair = (
            transfer.sender.as_ref().map(|sender| sender.comm.clone()),
            transfer.receiver().map(|receiver| receiver.comm.clone()),
        );
        if let Some(count) = self.pairs.get_mut(&pair) {
            *count += 1;
        } else if self.pairs.len() < PAIRS_MAX {
            self.pairs.insert(pair, 1);
        } else {
            self.other_pairs += 1;
        }
    }

    /// How many transfers.
    #[must_use]
    pub fn transfers(&self) -> u64 {
        self.transfers
    }

    /// Notes how many messages, or parts of one, had to leave before they had ended.
    pub fn note_forgotten(&mut self, forgotten: u64) {
        self.forgotten = forgotten;
    }

    /// How many had to.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Transfers by fate, in the order in which the fates first came.
    #[must_use]
    pub fn fates(&self) -> &Counts<Fate> {
        &self.fates
    }

    /// Transfers whose file has no description, by why, in the order in which the reasons first came.
    #[must_use]
    pub fn undescribed(&self) -> &Counts<DescriptionMissing> {
        &self.undescribed
    }

    /// Transfers by verdict, in the order in which the verdicts first came.
    #[must_use]
    pub fn verdicts(&self) -> &Counts<Verdict> {
        &self.verdicts
    }

    /// Transfers with this verdict.
    #[must_use]
    pub fn verdict(&self, verdict: Verdict) -> u64 {
        self.verdicts.of(verdict)
    }

    /// Transfers by pair of programs, most first.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&Pair, u64)> {
        let mut pairs: Vec<(&Pair, u64)> = self
            .pairs
            .iter()
            .map(|(pair, count)| (pair, *count))
            .collect();
        pairs.sort_by(|(pair, count), (other, others)| others.cmp(count).then(pair.cmp(other)));
        pairs
    }

    /// Transfers of pairs that came when there was no room for another.
    #[must_use]
    pub fn other_pairs(&self) -> u64 {
        self.other_pairs
    }

    /// How long transfers lay in a queue; `None` if that was never seen.
    #[must_use]
    pub fn queue_time(&self) -> Option<QueueTime> {
        let times = self.queue_times.0.as_ref()?;
        let at = |quantile| times.value_at_quantile(quantile).min(EXACT_MAX);
        (!times.is_empty()).then(|| QueueTime {
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            max_ns: times.max().min(EXACT_MAX),
        })
    }
}

/// How often each of some values came, in the order in which they first came.
#[derive(Clone, Debug)]
pub struct Counts<T>(Vec<(T, u64)>);

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Counts<T> {
    /// Counts one.
    pub fn add(&mut self, what: T) {
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += 1,
            None => self.0.push((what, 1)),
        }
    }

    /// How often this came.
    #[must_use]
    pub fn of(&self, what: T) -> u64 {
        let found = self.0.iter().find(|(known, _)| *known == what);
        found.map_or(0, |(_, count)| *count)
    }

    /// How many came in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Whether none came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (T, u64)> {
        self.0.iter().copied()
    }
}

/// Sends of a process whose SCM_RIGHTS name no descriptor: the kernel makes nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EmptyRights {
    /// Process id; null for all those of more processes than are counted one by one.
    pub pid: Option<u32>,
    /// Its name.
    #[schemars(with = "Option<String>")]
    pub comm: Option<SmolStr>,
    /// How many.
    pub sends: u64,
}

/// Why not all is known of what lay in queues, by the look through them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnreadQueues {
    /// As the trace began: what was sent before, and could not be read, is not shown as `queued`.
    pub at_start: Option<String>,
    /// As it ended.
    pub at_end: Option<String>,
}

impl UnreadQueues {
    /// A sentence for each look that could not read all.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        let looks = [("start", &self.at_start), ("end", &self.at_end)];
        looks.into_iter().filter_map(|(when, why)| {
            let why = why.as_deref()?;
            Some(format!("queues at the {when}: {why}"))
        })
    }
}

/// How long transfers lay in a queue, nanoseconds; to three digits, but for the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QueueTime {
    /// Half took no longer.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub p50_ns: u64,
    /// Nine of ten took no longer.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub p90_ns: u64,
    /// 99 of 100 took no longer.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub p99_ns: u64,
    /// The longest.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub max_ns: u64,
}
