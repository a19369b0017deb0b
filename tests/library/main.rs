//! The library as others use it: assertions on what this process hands over, a trace in an event loop
//! and in a task, recordings, and the examples. What needs privileges skips without them, by the
//! library's own means.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may unwrap")]

use std::path::PathBuf;

use fdtrace::{AssertionError, Error};

mod assertions;
mod examples;
mod live;
mod recordings;

fn assertion<T>(result: Result<T, Error>) -> AssertionError {
    match result {
        Err(Error::Assertion(error)) => error,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it holds"),
    }
}

fn recording(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/recordings");
    PathBuf::from(folder).join(format!("{name}.fdt"))
}
