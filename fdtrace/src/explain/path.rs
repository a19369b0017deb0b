//! Which of the path's functions the running kernel has, which it inlined, and where each hop is
//! seen. Pure: looks at a [`KernelView`] and nothing else.

use std::collections::HashMap;

use super::functions::{DROP, Function, Name, RECEIVE, SEND};
use crate::{
    kernel::{KernelView, TypeError},
    model::Hop,
    plan,
};

/// What is left of a function in a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there.
    Function,
    /// Only a variant of the compiler's making is.
    Clone(String),
    /// It has no symbol: its code is part of whatever calls it.
    Inlined,
}

/// The functions of one kernel's path.
#[derive(Clone, Debug)]
pub struct KernelPath {
    standings: HashMap<&'static str, Standing>,
    receive: Option<&'static str>,
}

impl KernelPath {
    /// Looks every function up.
    ///
    /// # Errors
    /// If the kernel's types cannot be read.
    pub fn of(view: &KernelView) -> Result<Self, TypeError> {
        let mut standings = HashMap::new();
        let mut look_up = |name: &'static str| {
            let standing = if view.symbols.exact(name).is_some() {
                Standing::Function
            } else {
                match view.symbols.clones(name).first() {
                    Some(clone) => Standing::Clone((*clone).to_owned()),
                    None => Standing::Inlined,
                }
            };
            standings.insert(name, standing);
        };
        let mut open: Vec<&Function> = [SEND, RECEIVE, DROP].into_iter().flatten().collect();
        while let Some(function) = open.pop() {
            match function.name {
                Name::Always(name) | Name::Where(name) => look_up(name),
                Name::BySocket(stream, packets) => {
                    look_up(stream);
                    look_up(packets);
                }
                Name::FirstOf(names) => names.iter().for_each(|name| look_up(name)),
                Name::OfReceive => {}
            }
            open.extend(function.calls);
        }
        let receive = plan::function_of(Hop::Receive, view)?;
        if let Some(receive) = receive {
            standings.insert(receive, Standing::Function);
        }
        Ok(Self { standings, receive })
    }

    /// What the function is called here and what is left of it; `None` if the path does without.
    pub(super) fn find(&self, name: Name, stream: bool) -> Option<(&'static str, Standing)> {
        let standing = |name: &'static str| {
            let standing = self.standings.get(name).cloned();
            (name, standing.unwrap_or(Standing::Inlined))
        };
        let exists = |name: &&'static str| standing(name).1 != Standing::Inlined;
        match name {
            Name::Always(name) => Some(standing(name)),
            Name::BySocket(of_stream, of_packets) => {
                Some(standing(if stream { of_stream } else { of_packets }))
            }
            Name::Where(name) => exists(&name).then(|| standing(name)),
            Name::FirstOf(names) => names
                .iter()
                .copied()
                .find(exists)
                .or(names.last().copied())
                .map(standing),
            Name::OfReceive => Some(standing(self.receive.unwrap_or("receive_fd"))),
        }
    }
}
