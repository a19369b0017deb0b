//! What fdtrace makes of records, types and symbols, without a kernel and without privileges: the
//! same input gives the same output on every machine.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod assembler;
mod check;
mod ci_report;
mod confusion;
mod explain;
mod fates;
mod found;
mod golden;
mod inflight;
mod kernel;
mod memory;
mod plan;
mod received;
mod recording;
mod report;
mod still_open;
mod tracker;
mod verdict;
mod words;
