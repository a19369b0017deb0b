//! Tests that need privileges, where there are none.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write as _},
    thread,
};

use super::Error;
use crate::watch;

/// What a skipped test returns: nothing, or `Ok`.
pub trait Skipped {
    /// Its value.
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl<E> Skipped for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// Returns from a test that may not trace here, and says so on stderr.
///
/// The function must return nothing or a `Result<(), _>`.
///
/// ```
/// fn hands_its_socket_over() -> Result<(), fdtrace::Error> {
///     fdtrace::require_privileges!();
///     // …
///     Ok(())
/// }
/// # hands_its_socket_over().unwrap();
/// ```
#[macro_export]
macro_rules! require_privileges {
    () => {
        if let ::std::result::Result::Err(error) = $crate::check_privileges() {
            $crate::note_skipped(&error);
            return $crate::Skipped::skipped();
        }
    };
}

/// Whether this process may trace. What the kernel itself refuses shows only when tracing starts.
///
/// # Errors
/// [`Error::Start`], with the capabilities that it lacks.
pub fn check_privileges() -> Result<(), Error> {
    Ok(watch::check_own_privileges()?)
}

/// Says on stderr that this thread's test is skipped, and why; [`require_privileges!`] calls it.
///
/// A test's thread has the test's name. Where `FDTRACE_SKIP_LOG` names a file, a line is added to it
/// too, so that whoever ran the tests can count them.
pub fn note_skipped(why: &Error) {
    let thread = thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    // Not by a macro: what those print is shown of tests that fail.
    let _ = io::stderr().write_all(line.as_bytes());
    if let Some(log) = env::var_os("FDTRACE_SKIP_LOG") {
        let log = OpenOptions::new().append(true).create(true).open(log);
        // It has been said on stderr.
        let _ = log.and_then(|mut log| log.write_all(line.as_bytes()));
    }
}
