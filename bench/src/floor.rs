//! The floor: a program that does nothing on every hook that fdtrace would use. What it adds is
//! what the kernel asks for calling a program at all, and nobody who uses these hooks pays less.

use anyhow::Result;
use fdtrace::{
    kernel::KernelView,
    plan::{Attach, plan},
};

use crate::bpf::{self, Attached};

/// Attached until dropped.
pub(crate) struct Floor {
    _programs: Vec<Attached>,
}

impl Floor {
    pub(crate) fn attach(how: Attach) -> Result<Self> {
        let view = KernelView::live()?;
        let programs = plan(&view, how)?
            .hooks()
            .map(|hook| bpf::attach(&view, hook, &bpf::NOTHING))
            .collect::<Result<_>>()?;
        Ok(Self {
            _programs: programs,
        })
    }
}
