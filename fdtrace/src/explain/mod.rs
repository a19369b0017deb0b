//! Explain: one scenario's run as a story, in order of time, for whoever wants to see the kernel
//! do it.
//!
//! ```text
//! verify ──observed by───▶ recorder ──run log────▶ ┐
//! kernel ──▶ path: which functions are there ────▶ ├─▶ story ──▶ text, JSON
//! plan: where each hop is seen ──────────────────▶ ┘        side by side, step by step, C
//! ```
//!
//! A story claims nothing of this kernel that was not seen or looked up on it. What is known from
//! the source alone is marked so.
//!
//! The words that reports use are explained in [`words`], which is there without the feature too.

#[cfg(feature = "explain")]
mod endings;
#[cfg(feature = "explain")]
mod functions;
#[cfg(feature = "explain")]
mod path;
#[cfg(feature = "explain")]
pub mod recorder;
#[cfg(feature = "explain")]
mod source;
#[cfg(feature = "explain")]
pub mod story;
pub mod words;

#[cfg(feature = "explain")]
pub use path::KernelPath;
#[cfg(feature = "explain")]
pub use recorder::{Recorder, RunLog};
#[cfg(feature = "explain")]
pub use source::{SourceError, source};
#[cfg(feature = "explain")]
pub use story::{Explainer, Story};
