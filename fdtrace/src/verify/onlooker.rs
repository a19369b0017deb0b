//! Onlookers: who watches a scenario being played, beside the verifier that judges it.
//!
//! An onlooker changes nothing of what is judged. It may take its time at a checkpoint, where the
//! actor stands still anyway.

use std::{cell::RefCell, rc::Rc};

use super::fact::Fact;
use crate::{tracer::Tracer, wire::Event};

/// Looks on while scenarios are played.
pub trait Onlooker {
    /// The kernel half has told something.
    fn hear(&mut self, _event: &Event) {}

    /// An actor of the play of this number (see [`super::Verifier::begin`]) has reported, after all
    /// that it made the kernel do has been heard. At a checkpoint it stands still until this returns.
    fn see(&mut self, _play: u64, _fact: &Fact, _tracer: &mut Tracer) {}

    /// Whether the verifier may hold duplicates of what is sent. They make `kcmp` and the offset
    /// witness work, and show in the reference counts.
    fn lets_hold(&self) -> bool {
        true
    }
}

/// Nobody.
impl Onlooker for () {}

/// Somebody whom others want to ask afterwards.
impl<T: Onlooker> Onlooker for Rc<RefCell<T>> {
    fn hear(&mut self, event: &Event) {
        self.borrow_mut().hear(event);
    }

    fn see(&mut self, play: u64, fact: &Fact, tracer: &mut Tracer) {
        self.borrow_mut().see(play, fact, tracer);
    }

    fn lets_hold(&self) -> bool {
        self.borrow().lets_hold()
    }
}
