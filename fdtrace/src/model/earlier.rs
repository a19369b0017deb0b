//! Earlier: by which transfers before this one the same open file came here.

use smol_str::SmolStr;

/// Earlier transfers of the same open file, as far as that is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// The sender had received it, and hands it on.
    pub relay: Option<Relay>,
    /// The receiver had received it before.
    pub again: Option<Again>,
}

/// How a sender had come by what it hands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Id of the transfer that it received it by: the latest, if there are several.
    pub transfer: u64,
    /// The process that sent it that one, if it is known, by name and id.
    pub from: Option<(SmolStr, u32)>,
    /// Nanoseconds that it had it for.
    pub after_ns: u64,
}

/// How a receiver had come by what it receives again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Id of the transfer that it received it by: the latest, if there are several.
    pub transfer: u64,
    /// Nanoseconds from that receive to this one.
    pub after_ns: u64,
}

impl Earlier {
    /// Id of an earlier transfer of the same open file.
    #[must_use]
    pub fn transfer(&self) -> Option<u64> {
        let relay = self.relay.as_ref().map(|relay| relay.transfer);
        relay.or(self.again.map(|again| again.transfer))
    }
}
