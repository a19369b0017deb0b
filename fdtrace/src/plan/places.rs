//! Places: what a kernel has of each function and tracepoint that programs may attach to, whether or
//! not one is planned there. For whoever has to find out why a plan is as it is.

use super::hooks;
use crate::{
    kernel::{KernelView, Prototype, TypeError},
    model::{Hop, Mechanism},
};

/// A function or a tracepoint that shows a hop on some kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hop.
    pub hop: Hop,
    /// It is a tracepoint.
    pub is_tracepoint: bool,
    /// Its name.
    pub target: &'static str,
    /// What kallsyms has of a function: its name, names of clones, or nothing.
    pub symbols: Vec<String>,
    /// What BTF says that it takes and returns; absent where it does not describe it.
    pub prototype: Option<Prototype>,
    /// Why nothing can be attached there; absent where it could be.
    pub unfit: Option<String>,
}

/// All places that fdtrace knows of, each with what the kernel that `view` shows has of it.
///
/// # Errors
/// If the kernel's types cannot be read.
pub fn places(view: &KernelView) -> Result<Vec<Place>, TypeError> {
    let mut places: Vec<Place> = Vec::new();
    for hop in Hop::ALL {
        for hook in hooks::candidates(hop).iter().flat_map(|it| it.hooks) {
            let is_tracepoint = hook.kind.mechanism() == Mechanism::Tracepoint;
            let is_same = |place: &Place| {
                (place.hop, place.is_tracepoint, place.target) == (hop, is_tracepoint, hook.target)
            };
            if places.iter().any(is_same) {
                continue;
            }
            let exact = view.symbols.exact(hook.target).map(|symbol| symbol.name);
            let clones = view.symbols.clones(hook.target);
            places.push(Place {
                hop,
                is_tracepoint,
                target: hook.target,
                symbols: match is_tracepoint {
                    true => Vec::new(),
                    false => exact.into_iter().chain(clones).map(str::to_owned).collect(),
                },
                prototype: match is_tracepoint {
                    true => view.types.tracepoint(hook.target)?,
                    false => view.types.function(hook.target)?,
                },
                unfit: hook.unfit(view)?,
            });
        }
    }
    Ok(places)
}
