//! Confinement: what keeps this process from what its capabilities allow, beside the kernel's own rules.
//!
//! Read when something was refused, to say by what. Nothing here decides whether it would be.

use std::{fs, os::unix::fs::MetadataExt as _};

use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::{LOCKDOWN, read, selected_mode, sys::bpf::create_map};

const USER_NAMESPACE: &str = "/proc/self/ns/user";

/// `PROC_USER_INIT_INO`: the inode of the first user namespace, the same on every kernel.
const INIT_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What confines this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The lockdown mode in force; absent when unknown.
    pub lockdown: Option<String>,
    /// A seccomp filter looks at its system calls.
    pub seccomp: bool,
    /// `bpf(2)` makes it a map of a few bytes.
    pub small_maps: bool,
    /// The memory, in bytes, that it may lock, which maps count against before 5.11; `None` if any.
    pub locked_memory: Option<u64>,
}

impl Confinement {
    /// Those of this process.
    #[must_use]
    pub fn current() -> Self {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).ok();
        Self {
            lockdown: lockdown(),
            seccomp: read("/proc/self/status").is_ok_and(|status| is_filtered(&status)),
            small_maps: create_map(BPF_MAP_TYPE_ARRAY, c"fdtrace_try", [4, 8, 1]).is_ok(),
            locked_memory: limit
                .map(|(soft, _)| soft)
                .filter(|soft| *soft != RLIM_INFINITY),
        }
    }
}

/// The lockdown mode in force.
pub(super) fn lockdown() -> Option<String> {
    read(LOCKDOWN).ok().as_deref().and_then(selected_mode)
}

/// Whether this process's capabilities are those of the machine, and not of a user namespace.
#[must_use]
pub fn is_in_init_user_namespace() -> bool {
    // A kernel without them has no such file.
    fs::metadata(USER_NAMESPACE).map_or(true, |namespace| namespace.ino() == INIT_USER_NAMESPACE)
}

/// Whether `/proc/PID/status` tells of a filter (`SECCOMP_MODE_FILTER`).
fn is_filtered(status: &str) -> bool {
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_second_mode_of_seccomp() {
        assert!(is_filtered(
            "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
        ));
        assert!(!is_filtered(
            "NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"
        ));
        assert!(!is_filtered("Seccomp_filters:\t2\n"));
    }
}
