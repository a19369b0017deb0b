//! Follows open files through Unix sockets, hop by hop, and says what came out.
//!
//! A process can pass an open file to another through a Unix socket (`SCM_RIGHTS`). This crate watches
//! the kernel do that, by eBPF: who sent which descriptor, who got it, under which number, and whether
//! both are one `struct file`. Watching needs Linux 5.10 or later with BTF, and CAP_BPF, CAP_PERFMON and
//! CAP_SYS_PTRACE; root has them.
//!
//! | to | use |
//! |---|---|
//! | assert in a test what is handed over | [`Watch`], [`require_privileges!`] |
//! | trace in a program that goes on | [`Trace`] |
//! | read what `fdtrace record` wrote | [`Recording`] |
//!
//! All three give [`Judged`] transfers. A transfer is one file in one message: it has a [`Fate`], a
//! [`Cause`] where the fate has one and it was seen, and a [`Verdict`] on whether what came out is what
//! went in. What is not known is `None`, and says why where it can: [`CauseMissing`], [`Doubt`].
//!
//! # In a test
//!
//! ```no_run
//! use fdtrace::{Expected, Fate, Watch};
//!
//! # struct Proxy; impl Proxy { fn id(&self) -> u32 { 1 } fn reload(&self) {} }
//! fn reload_hands_the_listener_over() -> Result<(), fdtrace::Error> {
//!     fdtrace::require_privileges!(); // returns, and says so, where this process may not trace
//!     # let (proxy, address) = (Proxy, ([127, 0, 0, 1], 8080).into());
//!     let watch = Watch::descendants_of(proxy.id()).start()?; // returns when all is attached
//!     proxy.reload();
//!     let seen = watch.finish()?;
//!     let listener = Expected::new().listening_on(address);
//!     seen.one_like(&listener.fate(Fate::Delivered))?
//!         .same_object()?
//!         .cloexec()?;
//!     seen.nothing_lost()
//! }
//! # reload_hands_the_listener_over().unwrap();
//! ```
//!
//! Where no transfer is the expected one, the error lists those that come nearest, and what differs:
//!
//! ```text
//! none of 3 transfers is the one expected; the nearest:
//!                 listening on                    fate
//!   expected      127.0.0.1:8080                  delivered
//!   1 of 2 agree  tcp 127.0.0.1:8080 listening    ≠ queued     │ proxy[812] 9 → nobody  …
//!   1 of 2 agree  ≠ tcp 127.0.0.1:9090 listening  delivered    │ proxy[812] 7 → proxy[815] 4  …
//! ```
//!
//! # Stability
//!
//! What is documented here is the interface. The crate's modules are public for the command, the tests
//! and the benchmarks in its repository, and change as they must.
//!
//! Enumerations get new values, and say so (`#[non_exhaustive]`); a [`Verdict`] is one of its four. The
//! structs that a transfer is made of get new fields: nobody but this crate makes them, and whoever takes
//! one apart ends the pattern with `..`.

// What needs `unsafe` is in the modules that allow it, and nowhere else.
#![deny(unsafe_code)]
#![warn(rustdoc::broken_intra_doc_links)]

#[doc(hidden)]
pub mod check;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod explain;
#[doc(hidden)]
pub mod inflight;
#[doc(hidden)]
pub mod judge;
#[doc(hidden)]
pub mod kernel;
#[cfg(test)]
mod layers;
mod library;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod recording;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod tracer;
#[doc(hidden)]
pub mod track;
#[doc(hidden)]
pub mod verify;
#[doc(hidden)]
pub mod watch;
#[doc(hidden)]
pub mod wire;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod witness;

#[doc(hidden)]
pub use kernel::passing;
pub use library::{
    AssertionError, Error, Expected, Handover, Item, Recording, Seen, Skipped, Trace, TraceBuilder,
    Transfers, Watch, Watching, check_privileges, note_skipped,
};
#[doc(inline)]
pub use model::{
    Cause, CauseMissing, Chain, Context, Coverage, DescriptionMissing, Doubt, End, Fate,
    FileDescription, FileIdentity, FileKind, FilePath, Hop, HopSeen, Judged, Loss, Losses, Lost,
    Receiver, Sender, Socket, SocketDescription, SocketType, Task, Transfer, UnreadQueues, Verdict,
    VsockAddr,
};
#[doc(inline)]
pub use plan::{Attach, UnknownAttach};
#[doc(inline)]
pub use recording::ReadError;
#[doc(inline)]
pub use watch::{LiveError, StartError};
