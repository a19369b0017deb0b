//! What became of the numbers of transfers, by what looks through tables told.

use std::collections::HashMap;

use crate::model::{Fate, FileKey, Judged, Later, Side, StillOpen, StillOpenMissing};

/// What was told of one number, and why that is not known.
pub(super) type Told = (StillOpen, Option<StillOpenMissing>);

/// A number of a process at one end, and the file that it stood for.
type Number = (Side, u32, i32, FileKey);

/// Answers for each transfer.
pub(super) struct Afterwards {
    /// The latest that was told, by end and transfer.
    told: HashMap<(Side, u64), Told>,
    /// When the same file was passed under the same number, and in which transfer, in order.
    passed: HashMap<Number, Vec<(u64, u64)>>,
}

impl Afterwards {
    pub(super) fn new(transfers: &[Judged], later: &[Later]) -> Self {
        let told = later.iter();
        let told = told.map(|it| ((it.side, it.transfer), (it.state, it.missing)));
        let mut passed: HashMap<Number, Vec<(u64, u64)>> = HashMap::new();
        let delivered = transfers
            .iter()
            .filter(|judged| judged.fate() == Fate::Delivered);
        for judged in delivered {
            for (number, t_ns) in Side::ALL
                .into_iter()
                .filter_map(|side| number(judged, side))
            {
                passed.entry(number).or_default().push((t_ns, judged.id));
            }
        }
        for all in passed.values_mut() {
            all.sort_unstable();
        }
        Self {
            told: told.collect(),
            passed,
        }
    }

    /// What became of its number at this end; `None` if nobody looked, or it was not known.
    pub(super) fn of(&self, judged: &Judged, side: Side) -> Option<Told> {
        let of = |id| self.told.get(&(side, id)).copied();
        let Some((number, t_ns)) = number(judged, side) else {
            return of(judged.id);
        };
        // Where the same is passed again the latest transfer is told of.
        let all = self.passed.get(&number)?;
        let first = all.partition_point(|passed| *passed < (t_ns, judged.id));
        let mut latest = None;
        for told in all[first..].iter().filter_map(|(_, id)| of(*id)) {
            latest = Some(told);
            if told.0.is_final() {
                break;
            }
        }
        latest
    }
}

/// Its number at one end, and when that was seen.
fn number(judged: &Judged, side: Side) -> Option<(Number, u64)> {
    let (pid, fd, t_ns) = match side {
        Side::Sender => {
            let sender = judged.sender.as_ref()?;
            (sender.pid, sender.fd?, sender.t_ns)
        }
        Side::Receiver => {
            let receiver = judged.receiver()?;
            (receiver.pid, receiver.fd?, judged.last_ns())
        }
    };
    Some(((side, pid, fd, FileKey::of(&judged.file)), t_ns))
}
