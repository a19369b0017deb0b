//! The switch of all that is attached to functions: `kernel.ftrace_enabled`. Whoever turns it off is not told
//! of programs that still want to run, nor are these.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use crate::{kernel::functions_off, model::Mechanism, plan::Plan};

/// How often to look at it while records are read: what is off for less may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Switch {
    /// By which mechanisms something is attached.
    used: Vec<Mechanism>,
    looked: Cell<Option<Instant>>,
    found_off: Cell<u64>,
}

impl Switch {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut used: Vec<_> = plan.hooks().map(|hook| hook.kind.mechanism()).collect();
        used.sort_unstable_by_key(|mechanism| mechanism.name());
        used.dedup();
        Self {
            used,
            looked: Cell::new(None),
            found_off: Cell::new(0),
        }
    }

    /// Looks at it, unless that was done a moment ago.
    pub(super) fn look_at(&self, now: Instant) {
        let before = self.looked.get();
        if before.is_none_or(|before| now.duration_since(before) >= LOOK_EVERY) {
            self.looked.set(Some(now));
            self.look();
        }
    }

    /// Each look that finds it off is a run that was missed, at least.
    pub(super) fn look(&self) {
        if self
            .used
            .iter()
            .any(|mechanism| functions_off(*mechanism).is_some())
        {
            self.found_off.set(self.found_off.get() + 1);
        }
    }

    pub(super) fn found_off(&self) -> u64 {
        self.found_off.get()
    }
}
