//! What sends return: watched from the first one on that fails. Everybody's sends through Unix sockets go
//! through these functions, so nobody pays for them before.

use aya::maps::Array;

use super::{
    ProbeError, Tracer,
    attaching::{attach, cannot_be_used},
    loaded::map_mut,
};

/// Where the programs look whether what a send returns is told.
const RETURNS: &str = "RETURNS";

impl Tracer {
    /// Has what sends return told from now on, where the plan keeps that for later and these functions can be
    /// used. A call that is under way is not seen to return.
    ///
    /// # Errors
    /// [`ProbeError::Refused`] if a program cannot be attached, [`ProbeError::Map`] if the others cannot be
    /// told.
    pub fn watch_returns(&mut self) -> Result<(), ProbeError> {
        if self.plan.spare.is_empty() {
            return Ok(());
        }
        for hook in self.plan.spare.clone() {
            if let Err(error) = attach(&mut self.ebpf, hook) {
                self.plan.give_up_spare(&cannot_be_used(hook, error)?);
                return Ok(());
            }
        }
        self.plan.take_spare();
        let mut told: Array<_, u64> = map_mut(&mut self.ebpf, RETURNS)?;
        told.set(0, 1, 0).map_err(ProbeError::of_map(RETURNS))
    }
}
