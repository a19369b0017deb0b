//! fdtrace on the kernel at hand: every scenario, and every way in which a run can end.
//!
//! Needs root. One test at a time has its turn, because what they measure (time, lost records,
//! programs in the kernel) is the machine's; others may trace meanwhile, so that what a test finds
//! left over is told apart by what only its own fdtrace has: the ids of its programs, and a mark
//! in its environment that its stages inherit.

mod bounds;
mod endings;
mod explain;
mod hops;
mod identity;
mod loss;
mod object;
mod programme;
mod run;
mod self_test;
mod session;
