//! The offsets and facts that userspace resolved from this kernel's BTF, as read-only globals:
//! frozen before the programs load, so the verifier knows each as a constant.
//!
//! Until they are overridden they hold `u32::MAX`, which no read survives; switches are off.

use aya_ebpf::Global;

macro_rules! declare_offsets {
    ($($name:ident $path:literal $size:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(u32::MAX);
        )*
    };
}

macro_rules! declare_facts {
    ($($name:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(u32::MAX);
        )*
    };
}

macro_rules! declare_switches {
    ($($name:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(0);
        )*
    };
}

fdtrace_common::for_each_offset!(declare_offsets);
fdtrace_common::for_each_fact!(declare_facts);
fdtrace_common::for_each_switch!(declare_switches);
