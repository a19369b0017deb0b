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
