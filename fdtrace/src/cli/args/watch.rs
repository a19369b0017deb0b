//! What to watch, and how long.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, ValueEnum};

use super::values::duration;

/// What to watch, and how long.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Watch {
    /// Watch what these processes and their descendants send or receive: `812,907`.
    ///
    /// A message that nobody has received yet matches, here and with the other filters, if the process
    /// holds the receiving or the sending socket.
    #[arg(
        short,
        long,
        value_name = "PID",
        value_delimiter = ',',
        conflicts_with = "command"
    )]
    pub(in crate::cli) pid: Vec<u32>,
    /// Watch what tasks of these names send or receive: `nginx,haproxy`.
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub(in crate::cli) comm: Vec<String>,
    /// Watch what tasks of this cgroup (v2) and of those below it send or receive: a path in the file
    /// system, or below the cgroup mount.
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) cgroup: Option<PathBuf>,
    /// Stop after this time: `10s`, `2m`, `500ms`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) duration: Option<Duration>,
    /// Look every so often, too, at what is still open of what was passed: `10s`, `1m`. Without it, as
    /// the trace and the processes that took part end.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) every: Option<Duration>,
    /// Write fdtrace's process id to this file once tracing has started. A pipe or a descriptor
    /// (/dev/fd/3) works too.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ready_file: Option<PathBuf>,
    /// Measure fdtrace's own eBPF programs, and print in the summary what each one cost.
    #[arg(long)]
    pub(in crate::cli) stats: bool,
    /// Size of the ring buffer in KiB, rounded up to a power of two.
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    pub(in crate::cli) buffer: u32,
    /// Run COMMAND as this user, by name or number; under sudo, `-u "$SUDO_USER"` is who called it.
    #[arg(short, long, value_name = "USER", requires = "command")]
    pub(in crate::cli) user: Option<String>,
    /// Whose exit status to end with when COMMAND has ended: COMMAND's, or the trace's own.
    #[arg(long, value_enum, value_name = "WHOSE", default_value_t = ExitStatus::Command, requires = "command")]
    pub(in crate::cli) exit_status: ExitStatus,
    /// Command to start and to watch until it ends; goes behind `--`.
    #[arg(last = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ExitStatus {
    /// COMMAND's, as a shell would say it.
    Command,
    /// The trace's: 1 if a file came out that is not the one that went in, 3 if records were lost.
    #[value(alias = "own")]
    Trace,
}
