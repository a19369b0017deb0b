//! Inherited: what the process that started fdtrace left it, where fdtrace itself needs otherwise.
//!
//! A parent may ignore SIGCHLD, so that nobody learns how a child ended; block signals, so that
//! Ctrl-C does nothing; or allow few descriptors. fdtrace takes what it needs for itself, and gives
//! the command that it starts for the user what it would have had without fdtrace.

use std::{error::Error, fs, io, sync::OnceLock};

use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    },
};

use crate::kernel::sys::set_ignored;

/// What was found, to be given back.
static FOUND: OnceLock<Found> = OnceLock::new();

struct Found {
    /// Signals that fdtrace has set another disposition for, and whether they were ignored.
    dispositions: Vec<(Signal, bool)>,
    ignores_hangup: bool,
    blocked: Option<SigSet>,
    /// The soft and the hard limit of descriptors, if the former was raised.
    descriptors: Option<(u64, u64)>,
}

/// Whether fdtrace itself ignores these signals. `execve` leaves no third disposition beside that and
/// the default.
const WANTED: [(Signal, bool); 2] = [
    // Ignored, the kernel reaps children itself, and their status is gone.
    (Signal::SIGCHLD, false),
    // Then a file as large as RLIMIT_FSIZE allows is an error like a full disk, and not the end.
    (Signal::SIGXFSZ, true),
];

/// Takes what fdtrace needs. Must be called before this process has a second thread.
pub fn take_over() {
    let mut dispositions = Vec::new();
    for (which, wanted) in WANTED {
        if let Ok(found) = set_ignored(which, wanted)
            && found != wanted
        {
            dispositions.push((which, found));
        }
    }
    // What was there is put back if it was not the default.
    let ignores_hangup = set_ignored(Signal::SIGHUP, false) == Ok(true);
    if ignores_hangup {
        let _ = set_ignored(Signal::SIGHUP, true);
    }
    let mut blocked = SigSet::empty();
    let unblocked = pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::empty()),
        Some(&mut blocked),
    );
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE)
        .ok()
        .filter(|(soft, hard)| {
            soft < hard && setrlimit(Resource::RLIMIT_NOFILE, *hard, *hard).is_ok()
        });
    // Called once; a second time there is nothing to note.
    let _ = FOUND.set(Found {
        dispositions,
        ignores_hangup,
        blocked: unblocked.is_ok().then_some(blocked),
        descriptors,
    });
}

/// Gives it back, in a process that is about to become somebody else's program. Safe between
/// `fork` and `exec`.
pub fn give_back() {
    let Some(found) = FOUND.get() else {
        return;
    };
    // What cannot be restored is as fdtrace had it, which every program can live with.
    for (which, ignored) in &found.dispositions {
        let _ = set_ignored(*which, *ignored);
    }
    if let Some((soft, hard)) = found.descriptors {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
    if let Some(blocked) = &found.blocked {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(blocked), None);
    }
}

/// Whether the end of the terminal is nothing to this process, as `nohup` has it.
#[must_use]
pub fn ignores_hangup() -> bool {
    FOUND.get().is_some_and(|found| found.ignores_hangup)
}

/// The soft limit of descriptors.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft)
}

/// How many more descriptors this process may have.
#[must_use]
pub fn descriptors_left() -> u64 {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    descriptor_limit().map_or(u64::MAX, |limit| limit.saturating_sub(open as u64))
}

/// Whether it failed for want of another descriptor.
#[must_use]
pub fn is_out_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io_error = error.downcast_ref::<io::Error>();
        let raw = io_error.and_then(io::Error::raw_os_error);
        let errno = error.downcast_ref::<Errno>().copied();
        if matches!(
            errno.or(raw.map(Errno::from_raw)),
            Some(Errno::EMFILE | Errno::ENFILE)
        ) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What `what` failed for, for people.
#[must_use]
pub fn shortage(what: &str) -> String {
    let limit = descriptor_limit().map_or_else(String::new, |limit| format!(" of {limit}"));
    format!("it needs more descriptors than the limit{limit} allows (`ulimit -n`): {what}")
}
