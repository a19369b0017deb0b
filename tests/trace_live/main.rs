//! `fdtrace trace`, `record` and `replay` on the running kernel, beside processes of the tests'
//! own: what these passed, under which numbers, they know themselves.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may unwrap")]

#[path = "../command/mod.rs"]
mod command;
#[path = "../contract/mod.rs"]
mod contract;

#[macro_use]
mod tracing;

mod before;
mod calls;
mod causes;
mod children;
mod commands;
mod costs;
mod crowds;
mod files;
mod filters;
mod flood;
mod killed;
mod marks;
mod memory;
mod names;
mod queued;
mod recordings;
mod sharing;
