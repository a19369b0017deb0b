//! Everything that a trace saw, once it is over.

use super::{AssertionError, Error, Expected, Handover, assert};
use crate::{
    model::{Coverage, Judged, Losses, UnreadQueues},
    watch::Ended,
};

/// What a trace saw, from its start to its end, in the order in which transfers ended.
///
/// The assertions return what they looked at, so that they can be chained with `?`:
///
/// ```no_run
/// # fn main() -> Result<(), fdtrace::Error> {
/// # let seen = fdtrace::Watch::descendants_of(1).start()?.finish()?;
/// seen.one_like(&fdtrace::Expected::new().path("/run/app.sock"))?
///     .delivered()?
///     .same_object()?
///     .cloexec()?;
/// seen.nothing_lost()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// The transfers; what was still queued at the end is among them, as such.
    pub transfers: Vec<Judged>,
    /// What went unseen.
    pub losses: Losses,
    /// What could be seen at all: nothing follows from the absence of what could not.
    pub coverage: Coverage,
    /// Messages, or parts of one, that had to be forgotten for want of memory.
    pub forgotten: u64,
    /// What could not be read of what lay in queues at the start and at the end. What was sent before,
    /// or is still queued, may be missing then.
    pub unread: UnreadQueues,
}

impl Seen {
    pub(super) fn new(transfers: Vec<Judged>, coverage: Coverage, ended: &Ended) -> Self {
        Self {
            transfers,
            losses: ended.losses.clone(),
            coverage,
            forgotten: ended.forgotten,
            unread: ended.unread.clone(),
        }
    }

    /// The one transfer that is as expected. A miss lists those that come nearest, beside what was
    /// expected.
    ///
    /// # Errors
    /// [`AssertionError::NoneMatches`] and [`AssertionError::SeveralMatch`].
    pub fn one_like(&self, expected: &Expected) -> Result<Handover<'_>, Error> {
        self.one_that(
            |judged| expected.is(judged),
            || format!("; the nearest:{}", expected.nearest(&self.transfers)),
        )
    }

    /// The one transfer for which `is_wanted` holds. A miss lists the latest: a function does not say
    /// how near a transfer came. [`Self::one_like`] does.
    ///
    /// # Errors
    /// [`AssertionError::NoneMatches`] and [`AssertionError::SeveralMatch`].
    pub fn one(&self, is_wanted: impl Fn(&Judged) -> bool) -> Result<Handover<'_>, Error> {
        self.one_that(is_wanted, || match self.transfers.is_empty() {
            true => String::new(),
            false => format!("; the latest:{}", assert::table(&self.transfers)),
        })
    }

    fn one_that(
        &self,
        is_wanted: impl Fn(&Judged) -> bool,
        others: impl FnOnce() -> String,
    ) -> Result<Handover<'_>, Error> {
        let mut wanted = self.transfers.iter().filter(|judged| is_wanted(judged));
        match (wanted.next(), wanted.next()) {
            (Some(judged), None) => Ok(Handover::new(judged)),
            (None, _) => Err(AssertionError::NoneMatches {
                seen: self.transfers.len(),
                others: others(),
                lost: self.lost(),
            }
            .into()),
            (Some(_), Some(_)) => {
                let matching = self.transfers.iter().filter(|judged| is_wanted(judged));
                let matching: Vec<Judged> = matching.cloned().collect();
                Err(AssertionError::SeveralMatch {
                    matching: matching.len(),
                    latest: assert::table(&matching),
                }
                .into())
            }
        }
    }

    /// Asserts that nothing went unseen which could hide a transfer or break one up. Without this, the
    /// absence of a transfer says nothing.
    ///
    /// # Errors
    /// [`AssertionError::Lost`], with what was lost.
    pub fn nothing_lost(&self) -> Result<(), Error> {
        match self.lost() {
            Some(what) => Err(AssertionError::Lost { what }.into()),
            None => Ok(()),
        }
    }

    /// What was lost, in words.
    fn lost(&self) -> Option<String> {
        let Losses {
            events,
            recursion_misses,
            window_full,
            filter_full,
            ..
        } = &self.losses;
        let events = events
            .iter()
            .map(|(hop, count)| (*count, format!("records of {hop} found no room")));
        let others = [
            (*recursion_misses, "runs of programs were skipped"),
            (*window_full, "receives could not be remembered"),
            (*filter_full, "tasks or messages had no room in the filter"),
            (self.forgotten, "messages were forgotten for want of memory"),
        ];
        let others = others.map(|(count, what)| (count, what.to_owned()));
        let lost = events.chain(others).filter(|(count, _)| *count > 0);
        let lost: Vec<String> = lost
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!lost.is_empty()).then(|| lost.join(", "))
    }
}
