//! What this process may do, and what tracing needs.
//!
//! Reads the effective set and raises nothing. Whether an operation really works is for the kernel
//! to say (lockdown and security modules refuse what a capability allows); this exists to say
//! beforehand, in one line, which capability to ask for.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

/// The effective capabilities of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    effective: CapsHashSet,
}

impl Capabilities {
    /// What fdtrace needs: to load programs and maps (`CAP_BPF`), to let them read kernel memory
    /// (`CAP_PERFMON`), and to look into other processes' fd tables (`CAP_SYS_PTRACE`, for `kcmp`,
    /// `pidfd_getfd` and `/proc/PID/fd`).
    pub const TRACING: [Capability; 3] = [
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_SYS_PTRACE,
    ];

    /// Reads those of the calling thread.
    ///
    /// # Errors
    ///
    /// When the kernel refuses `capget`, as a seccomp filter can.
    pub fn current() -> Result<Self, CapsError> {
        caps::read(None, CapSet::Effective).map(|effective| Self { effective })
    }

    /// Those of a process that may do everything.
    #[must_use]
    pub fn all() -> Self {
        Self::of(caps::all())
    }

    /// Those of a process that may do nothing special.
    #[must_use]
    pub fn none() -> Self {
        Self::of([])
    }

    /// Exactly the given ones.
    pub fn of(capabilities: impl IntoIterator<Item = Capability>) -> Self {
        Self {
            effective: capabilities.into_iter().collect(),
        }
    }

    /// Whether the process may do what `capability` stands for.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.effective.contains(&capability)
            // bpf_capable() and perfmon_capable() accept the capability that both were split off
            // from in 5.8.
            || matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON)
                && self.effective.contains(&Capability::CAP_SYS_ADMIN)
    }

    /// Those of `needed` that the process lacks, in the order given.
    #[must_use]
    pub fn missing(&self, needed: &[Capability]) -> Vec<Capability> {
        needed
            .iter()
            .copied()
            .filter(|&capability| !self.has(capability))
            .collect()
    }

    /// Names what the process lacks for tracing, such as `CAP_BPF and CAP_PERFMON`.
    #[must_use]
    pub fn lacking_for_tracing(&self) -> Option<String> {
        let mut names: Vec<_> = self
            .missing(&Self::TRACING)
            .iter()
            .map(ToString::to_string)
            .collect();
        let last = names.pop()?;
        if names.is_empty() {
            return Some(last);
        }
        Some(format!("{} and {last}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lacking_capabilities_read_as_a_sentence() {
        let lacking =
            |held: &[Capability]| Capabilities::of(held.iter().copied()).lacking_for_tracing();
        assert_eq!(
            lacking(&[]).as_deref(),
            Some("CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE")
        );
        assert_eq!(
            lacking(&[Capability::CAP_SYS_PTRACE]).as_deref(),
            Some("CAP_BPF and CAP_PERFMON")
        );
        assert_eq!(
            lacking(&[Capability::CAP_SYS_ADMIN]).as_deref(),
            Some("CAP_SYS_PTRACE")
        );
        assert_eq!(lacking(&Capabilities::TRACING), None);
        assert_eq!(Capabilities::all().lacking_for_tracing(), None);
    }

    #[test]
    fn sys_admin_stands_in_only_for_what_was_split_off_from_it() {
        let admin = Capabilities::of([Capability::CAP_SYS_ADMIN]);
        assert_eq!(
            admin.missing(&[Capability::CAP_SYS_RESOURCE, Capability::CAP_BPF]),
            [Capability::CAP_SYS_RESOURCE]
        );
        assert!(Capabilities::none().missing(&Capabilities::TRACING).len() == 3);
    }

    #[test]
    fn the_current_set_can_be_read() {
        Capabilities::current().expect("capget works everywhere");
    }
}
