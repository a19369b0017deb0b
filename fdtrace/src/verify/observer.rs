//! Observers: who watches a scenario as it runs, beside the verifier that judges it.
//!
//! An observer changes nothing of what is judged. It may take its time at a checkpoint, where the
//! actor stands still anyway.

use std::{cell::RefCell, rc::Rc};

use super::fact::Fact;
use crate::{tracer::Tracer, wire::Record};

/// Observes scenarios as they run.
pub trait Observer {
    /// A record was decoded.
    fn on_record(&mut self, _record: &Record) {}

    /// An actor of this run ([`super::Verifier::begin`] numbers them) has reported a fact. The events of
    /// what it did before have come already. At a checkpoint it waits until this returns.
    fn on_fact(&mut self, _run: u64, _fact: &Fact, _tracer: &mut Tracer) {}

    /// Whether the verifier may hold duplicates of what is sent. They make `kcmp` and the offset
    /// witness work, and show in the reference counts.
    fn allows_duplicates(&self) -> bool {
        true
    }
}

/// Nobody.
impl Observer for () {}

/// Somebody whom others want to ask afterwards.
impl<T: Observer> Observer for Rc<RefCell<T>> {
    fn on_record(&mut self, record: &Record) {
        self.borrow_mut().on_record(record);
    }

    fn on_fact(&mut self, run: u64, fact: &Fact, tracer: &mut Tracer) {
        self.borrow_mut().on_fact(run, fact, tracer);
    }

    fn allows_duplicates(&self) -> bool {
        self.borrow().allows_duplicates()
    }
}
