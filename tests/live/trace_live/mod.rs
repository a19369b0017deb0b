//! `fdtrace trace`, `record` and `replay` on the running kernel, beside processes of the tests'
//! own: what these passed, under which numbers, they know themselves.

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
mod nowhere;
mod queued;
mod recordings;
mod relays;
mod sharing;
pub(crate) mod tracing;
