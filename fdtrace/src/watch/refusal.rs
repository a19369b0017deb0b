//! Refusals by their names: what stands behind an error of the kernel's, by what confines this process.
//!
//! The kernel answers EPERM or EINVAL, whoever refuses. Pure: the facts are those of [`Confinement`].

use std::{fmt, io};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use crate::{kernel::Confinement, tracer::ProbeError};

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Lockdown in its stricter mode.
    Confidentiality,
    /// A seccomp filter.
    Seccomp {
        /// The system call that it refuses.
        call: &'static str,
    },
    /// RLIMIT_MEMLOCK, which maps count against before 5.11.
    LockedMemory {
        /// The limit.
        bytes: u64,
    },
}

impl Refusal {
    /// What stands behind `error`, if that can be told.
    #[must_use]
    pub fn of(error: &ProbeError, confined: &Confinement) -> Option<Self> {
        /// What the verifier says, before 6.13 and since, of the helper that lockdown takes away.
        const NO_READING: [&str; 2] = [
            "unknown func bpf_probe_read_kernel",
            "cannot use helper bpf_probe_read_kernel",
        ];
        let refused = Refused::of(error)?;
        let errno = refused.error.raw_os_error()?;
        let is_locked = confined.lockdown.as_deref() == Some("confidentiality");
        let log = error.verifier_log().unwrap_or_default();
        let no_read = NO_READING.iter().any(|said| log.contains(said));
        match (errno, confined.locked_memory) {
            (libc::EPERM | libc::EACCES | libc::EINVAL, _) if is_locked || no_read => {
                Some(Self::Confidentiality)
            }
            (libc::EPERM | libc::EACCES | libc::ENOSYS, _)
                if confined.seccomp && (refused.call != BPF || !confined.small_maps) =>
            {
                Some(Self::Seccomp { call: refused.call })
            }
            (libc::EPERM, Some(bytes)) if refused.takes_memory && confined.small_maps => {
                Some(Self::LockedMemory { bytes })
            }
            _ => None,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Confidentiality => "boot the kernel with lockdown=integrity, or without lockdown",
            Self::Seccomp { .. } => {
                "run it outside of the sandbox, or under a profile that allows bpf and perf_event_open \
                 (docker: --security-opt seccomp=unconfined)"
            }
            Self::LockedMemory { .. } => "`ulimit -l unlimited`, or give it CAP_SYS_RESOURCE",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confidentiality => {
                f.write_str("lockdown=confidentiality: eBPF programs may not read kernel memory")
            }
            Self::Seccomp { call } => write!(
                f,
                "{call} is refused to this process, which has a seccomp filter"
            ),
            Self::LockedMemory { bytes } => write!(
                f,
                "RLIMIT_MEMLOCK, which eBPF counts against before Linux 5.11, is {} KiB",
                bytes / 1024
            ),
        }
    }
}

const BPF: &str = "bpf";

/// What the kernel said no to.
struct Refused<'a> {
    error: &'a io::Error,
    /// The system call.
    call: &'static str,
    /// Maps and programs lock memory.
    takes_memory: bool,
}

impl<'a> Refused<'a> {
    fn of(error: &'a ProbeError) -> Option<Self> {
        let (error, call, takes_memory) = match error {
            ProbeError::Object(EbpfError::MapError(MapError::CreateError { io_error, .. })) => {
                (io_error, BPF, true)
            }
            ProbeError::RingBuffer { source, .. } | ProbeError::Refused { source, .. } => {
                (source, BPF, true)
            }
            ProbeError::Program { source, .. } => match source.as_ref() {
                ProgramError::SyscallError(error) => (&error.io_error, error.call, false),
                _ => return None,
            },
            _ => return None,
        };
        // aya names what it does of what bpf(2) can do.
        let call = if call.starts_with(BPF) { BPF } else { call };
        Some(Self {
            error,
            call,
            takes_memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    /// A process that nothing confines.
    fn free() -> Confinement {
        Confinement {
            lockdown: None,
            seccomp: false,
            small_maps: true,
            locked_memory: None,
        }
    }

    fn program(errno: i32, log: &str) -> ProbeError {
        ProbeError::Refused {
            program: "end_kfree",
            target: "kfree",
            log: log.to_owned(),
            source: io::Error::from_raw_os_error(errno),
        }
    }

    fn map(errno: i32) -> ProbeError {
        ProbeError::Object(EbpfError::MapError(MapError::CreateError {
            name: "SCRATCH".to_owned(),
            io_error: io::Error::from_raw_os_error(errno),
        }))
    }

    fn attach(call: &'static str, errno: i32) -> ProbeError {
        ProbeError::Program {
            action: "attach",
            program: "end_kfree",
            target: "kfree",
            source: Box::new(ProgramError::SyscallError(SyscallError {
                call,
                io_error: io::Error::from_raw_os_error(errno),
            })),
        }
    }

    #[test]
    fn lockdown_is_named_by_its_mode_or_by_what_the_verifier_says() {
        let locked = Confinement {
            lockdown: Some("confidentiality".to_owned()),
            ..free()
        };
        let named = Some(Refusal::Confidentiality);
        assert_eq!(Refusal::of(&program(libc::EINVAL, ""), &locked), named);
        assert_eq!(
            Refusal::of(&attach("perf_event_open", libc::EPERM), &locked),
            named
        );
        // Where securityfs is not mounted.
        for said in [
            "11: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113",
            "program of this type cannot use helper bpf_probe_read_kernel#113",
        ] {
            assert_eq!(Refusal::of(&program(libc::EINVAL, said), &free()), named);
        }
        // The controls: the helper was called, and something else was wrong; a weaker mode.
        let other = "11: (85) call bpf_probe_read_kernel#113\nR1 invalid mem access";
        assert_eq!(Refusal::of(&program(libc::EACCES, other), &free()), None);
        let integrity = Confinement {
            lockdown: Some("integrity".to_owned()),
            ..free()
        };
        assert_eq!(Refusal::of(&program(libc::EPERM, ""), &integrity), None);
    }

    #[test]
    fn a_seccomp_filter_is_named_with_the_call_that_it_refuses() {
        let sandbox = Confinement {
            seccomp: true,
            small_maps: false,
            ..free()
        };
        let named = |call| Some(Refusal::Seccomp { call });
        assert_eq!(Refusal::of(&map(libc::EPERM), &sandbox), named("bpf"));
        assert_eq!(Refusal::of(&map(libc::ENOSYS), &sandbox), named("bpf"));
        // It may refuse that call alone.
        let without_perf = Confinement {
            small_maps: true,
            ..sandbox.clone()
        };
        let perf = attach("perf_event_open", libc::EPERM);
        assert_eq!(Refusal::of(&perf, &without_perf), named("perf_event_open"));
        // The controls: it lets bpf pass, there is none, or the kernel wants memory.
        let load = program(libc::EPERM, "");
        assert_eq!(Refusal::of(&load, &without_perf), None);
        let by_nobody = Confinement {
            seccomp: false,
            ..sandbox.clone()
        };
        assert_eq!(Refusal::of(&load, &by_nobody), None);
        assert_eq!(Refusal::of(&map(libc::ENOMEM), &sandbox), None);
    }

    #[test]
    fn locked_memory_is_named_where_small_maps_are_made_and_others_are_not() {
        let bounded = Confinement {
            locked_memory: Some(65536),
            ..free()
        };
        let named = Some(Refusal::LockedMemory { bytes: 65536 });
        let ring = ProbeError::RingBuffer {
            bytes: 4 << 20,
            source: io::Error::from_raw_os_error(libc::EPERM),
        };
        for refused in [map(libc::EPERM), program(libc::EPERM, ""), ring] {
            assert_eq!(Refusal::of(&refused, &bounded), named);
            assert_eq!(Refusal::of(&refused, &free()), None);
        }
        // It has to do with memory alone.
        assert_eq!(
            Refusal::of(&attach("bpf_link_create", libc::EPERM), &bounded),
            None
        );
        assert!(
            Refusal::LockedMemory { bytes: 65536 }
                .to_string()
                .ends_with("is 64 KiB")
        );
    }
}
