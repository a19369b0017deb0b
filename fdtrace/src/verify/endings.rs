//! Endings: transfers that have ended, until it is known whose they are.

use std::collections::HashSet;

use super::record::is_of;
use crate::{judge::Meanwhile, model::Transfer};

/// Transfers that are kept, at most; those of processes that nobody knows go first.
const KEPT_MAX: usize = 1 << 16;

/// Transfers that have ended while something was under way.
#[derive(Default)]
pub(super) struct Endings {
    kept: Vec<Ended>,
    count: u64,
}

/// A transfer that has ended.
struct Ended {
    /// How many had ended before it.
    before: u64,
    transfer: Transfer,
    /// Whether runs were skipped while it was on its way.
    meanwhile: Meanwhile,
}

impl Endings {
    /// How many have ended, those that are no longer kept among them.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, transfer: Transfer, meanwhile: Meanwhile) {
        self.kept.push(Ended {
            before: self.count,
            meanwhile,
            transfer,
        });
        self.count += 1;
    }

    /// Takes out those that one of these processes took part in.
    pub(super) fn take_of(&mut self, pids: &HashSet<u32>) -> Vec<(Transfer, Meanwhile)> {
        let own = self
            .kept
            .extract_if(.., |ended| is_of(&ended.transfer, pids));
        own.map(|ended| (ended.transfer, ended.meanwhile)).collect()
    }

    /// Forgets those that were among the first `count` to end; all of them, if there is no `count`.
    pub(super) fn forget_before(&mut self, count: Option<u64>) {
        self.kept
            .retain(|ended| count.is_some_and(|count| ended.before >= count));
    }

    /// Whether there are more than are kept.
    pub(super) fn are_too_many(&self) -> bool {
        self.kept.len() > KEPT_MAX
    }

    /// Forgets the older ones in which none of these processes took part.
    pub(super) fn forget_strangers(&mut self, pids: &HashSet<u32>) {
        let newer = self.count - KEPT_MAX as u64 / 2;
        self.kept
            .retain(|ended| ended.before >= newer || is_of(&ended.transfer, pids));
    }
}
