//! Machine: where and since when a trace was made.

use serde::{Deserialize, Serialize};

/// Which machine, and which of its boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The architecture of its processor, as Rust calls it: the numbers of open flags are those of that;
    /// `None` where nobody noted it.
    pub arch: Option<String>,
    /// Its host name; `None` where nobody noted it.
    pub host: Option<String>,
    /// Id of the boot (`/proc/sys/kernel/random/boot_id`): CLOCK_MONOTONIC of one boot says nothing of
    /// another; `None` where nobody noted it.
    pub boot_id: Option<String>,
}
