//! The registers that a kprobe or a kretprobe finds.

use core::{arch::asm, marker::PhantomData};

use aya_ebpf::EbpfContext;
use fdtrace_common::arch::Arch;

use crate::offsets::ARCH;

/// The registers of a function that is entered or returns: the context of a probe is a `struct
/// pt_regs`.
#[derive(Clone, Copy)]
pub(crate) struct Registers<'a> {
    context: *const u64,
    is_x86: bool,
    probe: PhantomData<&'a ()>,
}

/// Loads one register. An instruction of its own for each: the verifier insists on an offset that is
/// part of it, and the compiler would make one instruction of two, with an offset that is computed.
macro_rules! load {
    ($context:expr, $register:expr) => {{
        let value: u64;
        // SAFETY: a `struct pt_regs` has more registers than that on every architecture.
        unsafe {
            asm!(
                "{0} = *(u64 *)({1} + {2})",
                out(reg) value,
                in(reg) $context,
                const $register * 8,
                options(pure, readonly, nostack),
            );
        }
        value
    }};
}

impl<'a> Registers<'a> {
    #[inline(always)]
    pub(crate) fn of(probe: &'a impl EbpfContext) -> Self {
        Self {
            context: probe.as_ptr().cast(),
            is_x86: ARCH.load() == Arch::X86_64 as u32,
            probe: PhantomData,
        }
    }

    /// An argument of the function that is entered.
    #[inline(always)]
    pub(crate) fn argument<const INDEX: usize>(self) -> u64 {
        if self.is_x86 {
            // di, si, dx, cx
            load!(self.context, [14, 13, 12, 11][INDEX])
        } else {
            // x0 to x3
            load!(self.context, [0, 1, 2, 3][INDEX])
        }
    }

    /// What the function returns.
    #[inline(always)]
    pub(crate) fn result(self) -> u64 {
        if self.is_x86 {
            // ax
            load!(self.context, 10)
        } else {
            load!(self.context, 0)
        }
    }
}
