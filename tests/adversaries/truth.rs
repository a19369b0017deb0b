//! What the actors themselves know of each message: the truth that the trace is held against.
//!
//! Nothing here comes from fdtrace. Every file is a memfd, whose inode number no other file has,
//! and every message carries its number as data, so that the receiver knows whose it is.

use serde::{Deserialize, Serialize};

/// One call of one actor. Times are CLOCK_MONOTONIC, nanoseconds, around the call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// The descriptor of the socket that it was made on.
    pub(crate) socket_fd: i32,
    /// Inode number of that socket.
    pub(crate) socket_ino: u64,
}

impl Call {
    pub(crate) fn covers(&self, t_ns: u64) -> bool {
        (self.from..=self.until).contains(&t_ns)
    }
}

/// A message that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Its number, which it carries as data.
    pub(crate) id: u64,
    pub(crate) call: Call,
    pub(crate) fds: Vec<i32>,
    pub(crate) inos: Vec<u64>,
}

/// Descriptors that arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) id: u64,
    pub(crate) call: Call,
    pub(crate) fds: Vec<i32>,
    /// What the receiver found behind them; empty where it did not look.
    pub(crate) inos: Vec<u64>,
    /// MSG_PEEK: the message stayed.
    pub(crate) peeked: bool,
}

/// One line of what a workload says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Fact {
    Sent(Sent),
    Received(Received),
}
