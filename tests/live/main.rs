//! fdtrace on the kernel at hand. Needs root, and skips what this kernel cannot show.
//!
//! One test at a time has its turn (`fdtrace_testkit::turn`), because what they measure (time, lost
//! records, programs in the kernel) is the machine's, and because they are threads of one process,
//! which some of them trace. Others may trace meanwhile, so that a test judges only what it started.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod action;
mod check_live;
mod inflight_live;
mod labs;
mod programs;
mod refusals;
mod release;
mod runners;
mod still_open_live;
mod trace_live;
mod verify_live;
