//! Actor: who sent a file, and who received it. Both are in the JSON contract as they are here.

use schemars::JsonSchema;
use serde::Serialize;
use smol_str::SmolStr;

/// The sending side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sender {
    /// Process.
    pub pid: u32,
    /// Thread; null where only the process is certain.
    pub tid: Option<u32>,
    /// The thread's name, or that of one of the process's threads that send on this socket.
    pub comm: SmolStr,
    /// The number it passed; null where that could not be read, or is not certain.
    pub fd: Option<i32>,
    /// The socket it sent on; null where that could not be read, or is not certain.
    pub socket_fd: Option<i32>,
    /// When it, or one of those threads, was seen sending: CLOCK_MONOTONIC, nanoseconds.
    #[serde(skip)]
    pub t_ns: u64,
}

impl Sender {
    /// The same where another thread of its process may be the one.
    pub(crate) fn of_process(self) -> Self {
        Self { tid: None, ..self }
    }

    /// The same where it may have sent under other numbers.
    pub(crate) fn without_numbers(self) -> Self {
        Self {
            fd: None,
            socket_fd: None,
            ..self
        }
    }
}

/// The receiving side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Receiver {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Its name.
    pub comm: SmolStr,
    /// The new number; null if there is none, or if `fd_inferred` and other threads use the table:
    /// they may have made a duplicate and closed the number.
    pub fd: Option<i32>,
    /// Whether the new descriptor is close-on-exec; null without a number.
    pub cloexec: Option<bool>,
    /// What came out was found by the file behind it and not in the receiver's control message.
    pub fd_inferred: bool,
}

/// What separates a task from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Address of its user namespace.
    pub user_ns: u64,
    /// Address of its pid namespace.
    pub pid_ns: u64,
    /// Address of its mount namespace; 0 where that is not known.
    pub mount_ns: u64,
    /// Id of its cgroup (version 2).
    pub cgroup: u64,
    /// Effective user id, in the initial user namespace.
    pub uid: u32,
}
