//! Why the kernel half cannot be used: one error for everything that loads, attaches, runs or asks
//! programs.

use std::io;

use aya::{BtfError, EbpfError, maps::MapError, programs::ProgramError};

use crate::kernel::{Broken, TypeError};

/// What needs a capability that nothing else does.
pub(super) const TIME_PROGRAMS: &str = "have the kernel time programs";

/// Why the programs cannot do their work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The object's maps cannot be made.
    #[error("cannot load the eBPF object")]
    Object(#[from] EbpfError),
    /// The kernel makes no ring buffer.
    #[error("cannot make a BPF ring buffer of {bytes} bytes")]
    RingBuffer {
        /// The size that was asked for.
        bytes: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The verifier refuses a program, or the administrator does.
    #[error("cannot load program {program} for {target}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it would attach to.
        target: &'static str,
        /// What the verifier said.
        log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something else that is done with a program failed.
    #[error("cannot {action} program {program} for {target}")]
    Program {
        /// What failed: `load`, `attach`, `run`, `detach` or `inspect`.
        action: &'static str,
        /// The program.
        program: &'static str,
        /// What it attaches to.
        target: &'static str,
        /// The loader's or the kernel's answer.
        source: Box<ProgramError>,
    },
    /// The walk of an iterator broke off.
    #[error("cannot read iterator {program}")]
    Iterator {
        /// Its program.
        program: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What a program attaches to has no BTF id.
    #[error("cannot find the BTF ids of what programs attach to")]
    Types(#[from] TypeError),
    /// The loader does not take the BTF that it is given.
    #[error("cannot hand BTF ids to the loader")]
    Btf(#[from] BtfError),
    /// A filter asks for a cgroup, and the kernel's types do not lead from a task to its own.
    #[error("cannot filter by cgroup: this kernel's BTF does not show which one a task is in")]
    NoCgroups,
    /// A map is not what the programs declare, or the kernel refuses an access.
    #[error("cannot use map {name}")]
    Map {
        /// The map.
        name: &'static str,
        /// The loader's or the kernel's answer.
        source: MapError,
    },
    /// The object is not the one that this fdtrace was built with.
    #[error("cannot find {name} in the eBPF object")]
    Missing {
        /// The map or program.
        name: &'static str,
    },
    /// Something was asked for before it was prepared.
    #[error("cannot {action} before that is prepared")]
    Unprepared {
        /// What was asked for.
        action: &'static str,
    },
    /// Some places of the plan cannot be used: it has to be made without them.
    #[error("{}", Broken::list(.0))]
    Broken(Vec<Broken>),
    /// No hook fired in the self-test.
    #[error("cannot see any hook fire when fdtrace passes a descriptor to itself")]
    NothingFired,
    /// A system call of fdtrace's own failed.
    #[error("cannot {action}")]
    System {
        /// What failed.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ProbeError {
    /// The error of something that was done with a program.
    pub(super) fn of_program(
        action: &'static str,
        program: &'static str,
        target: &'static str,
    ) -> impl Fn(ProgramError) -> Self {
        move |error| match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => Self::Refused {
                program,
                target,
                log: verifier_log.to_string(),
                source: io_error,
            },
            other => Self::Program {
                action,
                program,
                target,
                source: Box::new(other),
            },
        }
    }

    /// The error of an access to a map.
    pub(super) fn of_map(name: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map { name, source }
    }

    /// What the user can do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let error = match self {
            Self::RingBuffer { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                return Some("ring buffers need Linux 5.8 or later");
            }
            Self::System {
                action: TIME_PROGRAMS,
                source,
            } if source.raw_os_error() == Some(libc::EPERM) => {
                return Some("only CAP_SYS_ADMIN may: run it with sudo, or leave out --stats");
            }
            Self::NoCgroups => return Some("choose by --pid or --comm instead"),
            Self::NothingFired => return Some("`fdtrace doctor` shows what can be watched here"),
            Self::Missing { .. } => {
                return Some(
                    "unset FDTRACE_BPF_OBJECT, or build that object from the sources of this fdtrace",
                );
            }
            Self::RingBuffer { source, .. } | Self::Refused { source, .. } => source,
            Self::Program { source, .. } => match source.as_ref() {
                ProgramError::SyscallError(error) => &error.io_error,
                _ => return None,
            },
            _ => return None,
        };
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::OutOfMemory, _) => Some("a smaller --buffer may do"),
            (_, Some(libc::EPERM)) => Some(
                "the kernel's lockdown or this container's policy forbids it; `fdtrace doctor` shows what is left",
            ),
            (_, Some(libc::EACCES | libc::EINVAL | libc::E2BIG))
                if matches!(self, Self::Refused { .. }) =>
            {
                Some(
                    "the kernel's verifier refuses the program: report this with the output of --verbose",
                )
            }
            _ => None,
        }
    }

    /// The kernel's answer, where that was an error of a program's.
    pub(super) fn errno(&self) -> Option<i32> {
        let source: &dyn std::error::Error = match self {
            Self::Refused { source, .. } => source,
            Self::Program { source, .. } => source.as_ref(),
            _ => return None,
        };
        let chain = std::iter::successors(Some(source), |error| error.source());
        let mut answers = chain.filter_map(|error| error.downcast_ref::<io::Error>());
        answers.find_map(io::Error::raw_os_error)
    }

    /// What the verifier said of a program that it refused.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Refused { log, .. } => Some(log),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use aya::sys::SyscallError;

    use super::*;

    fn of_program(error: ProgramError) -> ProbeError {
        ProbeError::of_program("attach", "end_kfree", "kfree")(error)
    }

    #[test]
    fn a_refused_program_is_one_line_and_keeps_the_verifiers_log() {
        let error = of_program(ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(libc::EACCES),
            verifier_log: aya_obj::VerifierLog::new("0: R1=ctx()\nprocessed 1 insns".to_owned()),
        });
        assert_eq!(error.to_string(), "cannot load program end_kfree for kfree");
        let cause = error.source().map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("Permission denied (os error 13)"));
        assert_eq!(error.verifier_log(), Some("0: R1=ctx()\nprocessed 1 insns"));
        assert!(error.hint().is_some_and(|hint| hint.contains("--verbose")));
    }

    #[test]
    fn what_failed_with_a_program_is_named() {
        let error = of_program(ProgramError::SyscallError(SyscallError {
            call: "perf_event_open",
            io_error: io::Error::from_raw_os_error(libc::EPERM),
        }));
        assert_eq!(
            error.to_string(),
            "cannot attach program end_kfree for kfree"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("lockdown")));
        let error = of_program(ProgramError::AlreadyAttached);
        assert_eq!((error.hint(), error.verifier_log()), (None, None));
    }
}
