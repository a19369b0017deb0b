//! One module per hop. A program's name is `<hop>_<target>`, unique in its first 15 bytes, which
//! is all that the kernel keeps. Programs on functions end in how they are attached: `_f` for
//! fentry and fexit, `_k` for a kprobe, `_r` for a kretprobe (whose kprobe saves the arguments).

mod attach;
mod copy;
mod dequeue;
mod detach;
mod end;
mod install;
mod message;
mod nowhere;
mod queue;
mod receive;
mod refused;
mod send;

/// Programs that look at a function's arguments as it is entered.
macro_rules! on_entry {
    // With the context, for those who want to know their callers.
    ($body:ident(context, $($index:literal),*) fentry $fentry:ident kprobe $kprobe:ident) => {
        #[aya_ebpf::macros::fentry]
        pub(crate) fn $fentry(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            $body(
                aya_ebpf::EbpfContext::as_ptr(&ctx),
                $(crate::kernel::Typed(ctx.arg($index))),*
            );
            0
        }

        #[aya_ebpf::macros::kprobe]
        pub(crate) fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            let registers = crate::kernel::Registers::of(&ctx);
            $body(
                aya_ebpf::EbpfContext::as_ptr(&ctx),
                $(registers.argument::<$index>()),*
            );
            0
        }
    };
    ($body:ident($($index:literal),*) fentry $fentry:ident kprobe $kprobe:ident) => {
        #[aya_ebpf::macros::fentry]
        pub(crate) fn $fentry(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            $body($(crate::kernel::Typed(ctx.arg($index))),*);
            0
        }

        #[aya_ebpf::macros::kprobe]
        pub(crate) fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            let registers = crate::kernel::Registers::of(&ctx);
            $body($(registers.argument::<$index>()),*);
            0
        }
    };
}
use on_entry;

/// Programs that look at a function's arguments and what it returns. `$returns` is the index of
/// the return value behind the arguments.
macro_rules! on_return {
    (
        $body:ident($($index:literal),*) -> $returns:literal as $program:expr;
        fexit $fexit:ident kprobe $kprobe:ident kretprobe $kretprobe:ident
    ) => {
        #[aya_ebpf::macros::fexit]
        pub(crate) fn $fexit(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            $body(
                [$(crate::kernel::Typed(ctx.arg($index))),*],
                ctx.arg::<u64>($returns) as i64,
            );
            0
        }

        #[aya_ebpf::macros::kprobe]
        pub(crate) fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            let mut arguments = crate::calls::no_arguments();
            let registers = crate::kernel::Registers::of(&ctx);
            $(arguments[$index] = registers.argument::<$index>();)*
            crate::calls::enter($program, arguments);
            0
        }

        #[aya_ebpf::macros::kretprobe]
        pub(crate) fn $kretprobe(ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
            if let Some(arguments) = crate::calls::leave($program) {
                $body([$(arguments[$index]),*], crate::kernel::Registers::of(&ctx).result() as i64);
            }
            0
        }
    };
}
use on_return;
