//! Words: what each fate, cause, verdict, doubt, mark and state of what may still be open means, what to do
//! about it, and which scenario shows it. The one table behind `fdtrace why`, the stories, the hints below a lost descriptor, and
//! docs/behaviour.md.

mod causes;
mod errnos;
mod others;
mod still_open;

use std::fmt;

use crate::model::{Cause, CauseMissing, Doubt, Fate, Mark, StillOpen, StillOpenMissing, Verdict};

pub(super) use causes::cause as of_cause;
#[cfg(test)]
pub(super) use errnos::reason;
pub(super) use errnos::sentence as of_errno_sentence;
pub(super) use others::fate as of_fate;

/// What a word is said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// How a transfer ended.
    Fate,
    /// Why it ended so.
    Cause,
    /// The errno that a send failed with, which is a cause too.
    Errno,
    /// Why a cause is not told.
    CauseMissing,
    /// Whether both descriptors are one file object.
    Verdict,
    /// What keeps the trace from saying more.
    Doubt,
    /// Something to notice.
    Mark,
    /// What became of a number after the hand-over.
    StillOpen,
    /// Why that is not known.
    StillOpenMissing,
}

impl Sort {
    /// All of them, as documentation has them in order.
    pub const ALL: [Self; 9] = [
        Self::Fate,
        Self::Cause,
        Self::Errno,
        Self::CauseMissing,
        Self::Verdict,
        Self::Doubt,
        Self::Mark,
        Self::StillOpen,
        Self::StillOpenMissing,
    ];

    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Fate => "Fates: how a transfer ended",
            Self::Cause => "Causes: why it ended so",
            Self::Errno => "Errnos: why a send failed",
            Self::CauseMissing => "Why a cause is missing",
            Self::Verdict => "Verdicts: is it the same file?",
            Self::Doubt => "Doubts: what keeps the trace from saying more",
            Self::Mark => "Marks: what to notice",
            Self::StillOpen => "States: is it still open?",
            Self::StillOpenMissing => "Why a state is unknown",
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fate => "a fate",
            Self::Cause => "a cause",
            Self::Errno => "a cause, the errno of a send",
            Self::CauseMissing => "why a cause is missing",
            Self::Verdict => "a verdict",
            Self::Doubt => "a doubt",
            Self::Mark => "a mark",
            Self::StillOpen => "a state of what may still be open",
            Self::StillOpenMissing => "why such a state is unknown",
        })
    }
}

/// A word and what there is to say of it.
#[derive(Clone, Debug)]
pub struct Word {
    /// As it stands in output.
    pub name: &'static str,
    /// What it is said of.
    pub sort: Sort,
    /// What it means: a sentence without a full stop.
    pub means: String,
    /// What to do about it, if anything; sentences without the last full stop.
    pub cure: Option<&'static str>,
    /// Scenarios that show it.
    pub scenarios: &'static [&'static str],
}

/// What a table has for a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) means: &'static str,
    pub(super) cure: Option<&'static str>,
    pub(super) scenarios: &'static [&'static str],
}

/// Puts a line of a table in words: `means; cure; scenarios`.
macro_rules! said {
    ($means:literal $(, cure: $cure:literal)? $(, see: $($scenario:literal)+)?) => {
        $crate::explain::words::Said {
            means: $means,
            cure: $crate::explain::words::said!(@cure $($cure)?),
            scenarios: &[$($($scenario),+)?],
        }
    };
    (@cure) => { None };
    (@cure $cure:literal) => { Some($cure) };
}
pub(super) use said;

/// Every word, sort by sort.
#[must_use]
pub fn all() -> Vec<Word> {
    let word = |name, sort, said: Said| Word {
        name,
        sort,
        means: said.means.to_owned(),
        cure: said.cure,
        scenarios: said.scenarios,
    };
    let fates = Fate::ALL.map(|fate| word(fate.name(), Sort::Fate, others::fate(fate)));
    let named = Cause::NAMED.map(|cause| word(cause.name(), Sort::Cause, causes::cause(cause)));
    let errnos = errnos::KNOWN.iter().map(|errno| of_errno(*errno));
    let missing = CauseMissing::ALL
        .map(|why| word(why.name(), Sort::CauseMissing, others::cause_missing(why)));
    let verdicts =
        Verdict::ALL.map(|verdict| word(verdict.name(), Sort::Verdict, others::verdict(verdict)));
    let doubts = Doubt::ALL.map(|doubt| word(doubt.name(), Sort::Doubt, others::doubt(doubt)));
    let marks = Mark::ALL.map(|mark| word(mark.name(), Sort::Mark, others::mark(mark)));
    let states =
        StillOpen::ALL.map(|state| word(state.name(), Sort::StillOpen, still_open::state(state)));
    let unknown = StillOpenMissing::ALL
        .map(|why| word(why.name(), Sort::StillOpenMissing, still_open::missing(why)));
    fates
        .into_iter()
        .chain(named)
        .chain(errnos)
        .chain(missing)
        .chain(verdicts)
        .chain(doubts)
        .chain(marks)
        .chain(states)
        .chain(unknown)
        .collect()
}

/// What there is to say of a word, in whatever case and with blanks or underscores for hyphens; an
/// errno need not be among those of [`all`].
#[must_use]
pub fn find(word: &str) -> Vec<Word> {
    let name = word.to_lowercase().replace(['_', ' '], "-");
    let mut found: Vec<Word> = all().into_iter().filter(|word| word.name == name).collect();
    if found.is_empty()
        && let Some(Cause::Errno(errno)) = Cause::of_name(&name)
    {
        found.push(of_errno(errno));
    }
    found
}

/// What to do about a transfer that ended so.
#[must_use]
pub fn cure(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::Errno(errno) => errnos::said(errno).cure,
        named => causes::cause(named).cure,
    }
}

fn of_errno(errno: i32) -> Word {
    let said = errnos::said(errno);
    let cause = Cause::Errno(errno);
    Word {
        name: cause.name(),
        sort: Sort::Errno,
        means: errnos::sentence(errno),
        cure: said.cure,
        scenarios: said.scenarios,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::verify;

    #[test]
    fn every_word_is_told_once_of_its_sort_and_its_scenarios_exist() {
        let mut seen = BTreeSet::new();
        for word in all() {
            assert!(seen.insert((word.sort, word.name)), "{word:?}");
            assert!(
                !word.means.ends_with('.') && !word.means.is_empty(),
                "{word:?}"
            );
            assert!(
                word.cure.is_none_or(|cure| !cure.ends_with('.')),
                "{word:?}"
            );
            for scenario in word.scenarios {
                assert!(verify::find(scenario).is_some(), "{scenario}");
            }
            assert!(find(word.name).iter().any(|found| found.sort == word.sort));
        }
    }

    #[test]
    fn what_can_be_done_about_each_loss_is_told() {
        for cause in Cause::NAMED {
            assert!(cure(cause).is_some(), "{cause}");
        }
    }

    #[test]
    fn a_word_is_found_as_people_type_it() {
        for (typed, name) in [
            ("no-control-room", "no-control-room"),
            ("NO_CONTROL_ROOM", "no-control-room"),
            ("EBADF", "ebadf"),
            ("plain read", "plain-read"),
            ("ENOTDIR", "enotdir"),
        ] {
            assert_eq!(find(typed)[0].name, name);
        }
        assert_eq!(
            find("lost").len(),
            3,
            "a verdict, why a cause is missing, and why a state is unknown"
        );
        assert!(find("nonsense").is_empty());
    }
}
