//! Kernels of arm64: other registers, and types that lack static functions.

use fdtrace::{
    kernel::{KernelView, Symbols},
    model::Hop,
    plan::{Attach, plan},
};
use fdtrace_common::arch::Arch;
use fdtrace_testkit::kernels::{KERNELS, fixture};

use super::{fact, targets, why};

const ARM64: [&str; 2] = ["5.10-arm64", "6.12-arm64"];

/// As 5.10 and 6.1 are: fentry programs load, and do not attach.
fn without_trampolines(kernel: &str) -> KernelView {
    let mut view = fixture(kernel);
    view.no_trampolines = Some("this kernel refuses fentry programs".to_owned());
    view
}

#[test]
fn the_architecture_and_its_registers_are_told_by_the_kernels_types() {
    for kernel in ARM64 {
        let plan = plan(&fixture(kernel), Attach::Auto).expect("it is planned");
        let registers = ["ARCH", "NUMBER", "FIRST", "SECOND", "THIRD", "COMPAT_FIRST"];
        let facts = registers.map(|name| match name {
            "ARCH" => fact(&plan, name),
            _ => fact(&plan, &format!("PT_REGS__{name}")),
        });
        // syscallno, orig_x0, x1, x2
        assert_eq!(
            facts,
            [Arch::Aarch64 as u32, 280, 272, 8, 16, 272],
            "{kernel}"
        );
    }
    for kernel in KERNELS {
        let plan = plan(&fixture(kernel), Attach::Auto).expect("it is planned");
        assert_eq!(fact(&plan, "ARCH"), Arch::X86_64 as u32, "{kernel}");
        assert_eq!(fact(&plan, "PT_REGS__NUMBER"), 120, "{kernel}");
    }
}

#[test]
fn every_hop_is_seen_by_functions() {
    for kernel in ARM64 {
        for attach in [Attach::Auto, Attach::Kprobe] {
            let view = without_trampolines(kernel);
            let plan = plan(&view, attach).expect("it is planned");
            for hop in Hop::ALL {
                assert!(plan.watches(hop), "{kernel}: {hop}: {:?}", why(&plan, hop));
            }
            assert!(
                plan.sees_every_end() && plan.sees_failed_sends(),
                "{kernel}"
            );
        }
    }
}

/// 5.10's types have none of them, and each is called through `proto_ops.sendmsg`.
#[test]
fn static_functions_are_probed_though_the_types_lack_them() {
    let view = without_trampolines("5.10-arm64");
    for function in ["unix_stream_sendmsg", "unix_seqpacket_sendmsg"] {
        assert_eq!(view.types.function(function).ok().flatten(), None);
        let plan = plan(&view, Attach::Kprobe).expect("it is planned");
        assert!(targets(&plan, Hop::End).contains(&function));
    }
    // A function that is not there at all is not probed.
    let mut hidden = without_trampolines("5.10-arm64");
    let symbols = "ffffffff81000000 T _stext\n".as_bytes();
    hidden.symbols = Symbols::parse(symbols).expect("it is a list of symbols");
    let planned = plan(&hidden, Attach::Kprobe);
    assert!(planned.is_err(), "{planned:?}");
}
