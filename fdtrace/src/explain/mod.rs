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

mod endings;
mod functions;
mod path;
pub mod recorder;
mod source;
pub mod story;
pub mod words;

pub use path::KernelPath;
pub use recorder::{Recorder, RunLog};
pub use source::{SourceError, source};
pub use story::{Explainer, Story};
