//! `fdtrace inflight` on the kernel at hand: known files are queued, and each must be found, once.
//!
//! Needs root. Others use sockets on the same machine, so only what these tests queue is judged:
//! by the inode numbers of their own sockets.

mod carriers;
mod changes;
mod contents;
mod elsewhere;
mod filters;
mod looking;
mod totals;
