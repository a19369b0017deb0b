//! Ledger: a file's reference count from hop to hop, beside what the kernel's source makes of it.
//!
//! Each hop gives or takes references in a known way; whoever else holds the file may do so at any
//! time. So the ledger says what the count should be *if nobody else did anything since the hop
//! before*, and leaves a difference to the reader, who may know that the sender has closed it.

use crate::model::{Fate, Hop, HopSeen, Transfer};

/// A hop with what its count should be.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The hop.
    pub seen: &'a HopSeen,
    /// The count that follows from the hop before; `None` at the first, and where a hop between them
    /// was not seen that would tell.
    pub expected: Option<i64>,
    /// What moves the count between the hop before and this one; `None` where that is not known.
    pub changes: Option<Vec<Change>>,
}

/// References taken or given back, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How many; negative if they are given back.
    pub by: i64,
    /// Whose they are.
    pub whose: &'static str,
}

/// The hops of a transfer in order of time, each with the count that follows from the one before.
///
/// A message that has the same file more than once moves its count by more than one at a time;
/// the entries are those of a file that is in it once.
pub fn entries(transfer: &Transfer) -> impl Iterator<Item = Entry<'_>> {
    let rules = Rules::of(transfer);
    let before = std::iter::once(None).chain(transfer.hops.iter().map(Some));
    transfer.hops.iter().zip(before).map(move |(seen, before)| {
        let changes = match before {
            Some(before) => rules.changes(Some(before.hop), seen.hop),
            None => rules.changes(None, seen.hop),
        };
        Entry {
            seen,
            expected: before.and_then(|before| {
                let change: i64 = changes.as_ref()?.iter().map(|change| change.by).sum();
                Some(before.refs? + change)
            }),
            changes,
        }
    })
}

/// How this kernel, watched in this way, moves the count. `None` where hops that would tell were not
/// seen.
struct Rules {
    /// `attach` duplicates the list (up to 6.9), which takes a reference, and the sender gives its
    /// own list's back as `sendmsg` ends, after `queue`. Later the list itself moves to the skb.
    /// The list's address tells, so no version is asked for.
    duplicated: Option<bool>,
    /// It was installed at all.
    installed: Option<bool>,
    /// The install is seen in the function that does it, while the list still has its reference,
    /// and not later in the receiver's table, when that is gone.
    installed_by_function: Option<bool>,
}

impl Rules {
    fn of(transfer: &Transfer) -> Self {
        let list = |hop| {
            transfer
                .hops
                .iter()
                .find(|seen| seen.hop == hop)
                .map(|seen| seen.list)
        };
        let installed = list(Hop::Install).is_some();
        Self {
            duplicated: match (list(Hop::Copy), list(Hop::Attach).or(list(Hop::Queue))) {
                (Some(copied), Some(attached)) => Some(copied != attached),
                (None, _) if list(Hop::Attach).is_some() => None,
                // No function of the sender's is watched.
                _ => Some(false),
            },
            // Its end was not seen, so that perhaps its install was not either.
            installed: (installed || transfer.fate() != Fate::Unknown).then_some(installed),
            installed_by_function: match (list(Hop::Detach), list(Hop::Receive)) {
                (_, Some(_)) => Some(true),
                (Some(_), None) => None,
                (None, None) => Some(false),
            },
        }
    }

    /// What moves the count from one hop, or from before the path, to a later hop; `None` if they
    /// are not in that order, or if that is not known.
    fn changes(&self, from: Option<Hop>, to: Hop) -> Option<Vec<Change>> {
        if from.is_some_and(|from| from >= to) {
            return None;
        }
        let passes = |hop: Hop| from.is_none_or(|from| from < hop) && hop <= to;
        let given_back = match (self.installed, self.installed_by_function) {
            (Some(false), _) | (_, Some(true)) => Some(false),
            (Some(true), Some(false)) => Some(true),
            _ => None,
        };
        let rules = [
            (passes(Hop::Copy), Some(true), 1, "the list's"),
            (
                passes(Hop::Attach),
                self.duplicated,
                1,
                "the skb's own list's, a duplicate",
            ),
            (
                from.is_none_or(|from| from <= Hop::Queue) && to > Hop::Queue,
                self.duplicated,
                -1,
                "the sender's list's, given back as sendmsg ended",
            ),
            (
                passes(Hop::Install),
                self.installed,
                1,
                "the receiver's new descriptor's",
            ),
            (
                passes(Hop::Install),
                given_back,
                -1,
                "the list's, given back as recvmsg ended",
            ),
        ];
        let mut changes = Vec::new();
        for (passes, applies, by, whose) in rules {
            if passes && applies? {
                changes.push(Change { by, whose });
            }
        }
        Some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: [Hop; 8] = Hop::ALL;

    fn change(rules: &Rules, from: Hop, to: Hop) -> Option<i64> {
        let changes = rules.changes(Some(from), to)?;
        Some(changes.iter().map(|change| change.by).sum())
    }

    fn counts(rules: &Rules, hops: &[Hop]) -> Vec<i64> {
        let mut count = 2;
        let steps = hops.windows(2).map(|pair| {
            count += change(rules, pair[0], pair[1]).expect("they are in order");
            count
        });
        std::iter::once(2).chain(steps).collect()
    }

    #[test]
    fn a_list_that_moves_takes_nothing_until_the_install() {
        let rules = Rules {
            duplicated: Some(false),
            installed: Some(true),
            installed_by_function: Some(true),
        };
        assert_eq!(counts(&rules, &PATH), [2, 2, 2, 2, 2, 2, 3, 3]);
    }

    #[test]
    fn a_list_that_is_duplicated_holds_the_file_twice_until_the_send_is_over() {
        let rules = Rules {
            duplicated: Some(true),
            installed: Some(true),
            installed_by_function: Some(true),
        };
        assert_eq!(counts(&rules, &PATH), [2, 3, 3, 2, 2, 2, 3, 3]);
        // Hops that are not watched in between change nothing in the end.
        assert_eq!(
            counts(&rules, &[Hop::Copy, Hop::Dequeue, Hop::End]),
            [2, 2, 3]
        );
    }

    #[test]
    fn in_the_table_an_install_is_seen_when_the_list_is_gone() {
        let rules = Rules {
            duplicated: Some(false),
            installed: Some(true),
            installed_by_function: Some(false),
        };
        assert_eq!(
            counts(&rules, &[Hop::Queue, Hop::Dequeue, Hop::Install]),
            [2, 2, 2]
        );
        let lost = Rules {
            installed: Some(false),
            ..rules
        };
        let changes = lost.changes(Some(Hop::Queue), Hop::End);
        assert_eq!(changes, Some(Vec::new()), "nobody installed it");
        // A receiver that was faster than the sender's hook: nothing follows from that.
        assert_eq!(change(&rules, Hop::Dequeue, Hop::Queue), None);
    }

    #[test]
    fn where_it_was_not_seen_whether_it_was_installed_nothing_follows() {
        let unseen = Rules {
            duplicated: Some(false),
            installed: None,
            installed_by_function: None,
        };
        assert_eq!(change(&unseen, Hop::Queue, Hop::Dequeue), Some(0));
        assert_eq!(change(&unseen, Hop::Dequeue, Hop::Receive), Some(0));
        assert_eq!(change(&unseen, Hop::Dequeue, Hop::End), None);
        // Installed, and not seen whether before or after the list was given back.
        let installed = Rules {
            installed: Some(true),
            ..unseen
        };
        assert_eq!(change(&installed, Hop::Dequeue, Hop::Install), None);
        assert_eq!(change(&installed, Hop::Install, Hop::End), Some(0));
        // What the list was before it was attached.
        let uncopied = Rules {
            duplicated: None,
            ..installed
        };
        assert_eq!(change(&uncopied, Hop::Attach, Hop::Queue), Some(0));
        assert_eq!(change(&uncopied, Hop::Attach, Hop::Dequeue), None);
        assert_eq!(change(&uncopied, Hop::Dequeue, Hop::Detach), Some(0));
    }
}
