//! What the programs are told of a kernel: offsets, and what else it depends on.

use fdtrace::{
    kernel::Cast,
    plan::{Attach, plan},
};
use fdtrace_testkit::kernels::{KERNELS, fixture};

use fdtrace_common::arch::{Arch, IO_URING_ENTER};

use super::{auto, fact, tracepoints};

#[test]
fn programs_cast_only_where_the_kernel_was_seen_to_let_them() {
    let mut view = fixture("6.18");
    let planned = plan(&view, Attach::Auto).expect("it is planned");
    assert_eq!(fact(&planned, "RDONLY_CAST"), 0);
    assert_eq!(planned.offsets.rdonly_cast(), None);
    for needs_type in [false, true] {
        view.rdonly_cast = Some(Cast {
            function: 4711,
            needs_type,
        });
        let planned = plan(&view, Attach::Auto).expect("it is planned");
        assert_eq!(fact(&planned, "RDONLY_CAST"), 4711);
        assert_eq!(planned.offsets.rdonly_cast(), Some(4711));
        let to = ["WORDS", "FILE", "INODE", "SUPER_BLOCK", "DENTRY"];
        let mut ids = to.map(|name| fact(&planned, &format!("TYPE__{name}")));
        assert_eq!(ids.contains(&0), !needs_type);
        ids.sort_unstable();
        assert_eq!(ids.windows(2).any(|pair| pair[0] == pair[1]), !needs_type);
    }
}

#[test]
fn what_is_held_ahead_of_queue_is_looked_for_only_where_hops_come_before_it() {
    let functions = plan(&fixture("6.18"), Attach::Auto).expect("it is planned");
    assert_eq!(fact(&functions, "SEEN_BEFORE_QUEUE"), 1);
    assert_eq!(
        fact(&tracepoints(&fixture("6.18-locked")), "SEEN_BEFORE_QUEUE"),
        0
    );
}

#[test]
fn every_offset_and_every_fact_is_resolved_once() {
    macro_rules! names {
        ($($name:ident $path:literal $size:literal;)*) => { [$(stringify!($name)),*] };
    }
    macro_rules! facts {
        ($($name:ident;)*) => { [$(stringify!($name)),*] };
    }
    let expected: Vec<&str> = fdtrace_common::for_each_offset!(names)
        .into_iter()
        .chain(fdtrace_common::for_each_fact!(facts))
        // What to filter by is the user's to say, not the kernel's.
        .filter(|name| !name.starts_with("FILTER_"))
        .collect();
    for kernel in KERNELS {
        let plan = auto(&fixture(kernel));
        let found: Vec<&str> = plan.offsets.facts().iter().map(|(name, _)| *name).collect();
        assert_eq!(found, expected, "{kernel}");
    }
}

#[test]
fn the_reference_count_is_read_as_each_kernel_keeps_it() {
    for kernel in KERNELS {
        let view = fixture(kernel);
        let plan = auto(&view);
        let counts_from_zero = !["5.10", "6.1", "6.12"].contains(&kernel);
        let member = if counts_from_zero {
            "file.f_ref"
        } else {
            "file.f_count"
        };
        assert_eq!(
            fact(&plan, "FILE_REFS_BIAS"),
            u32::from(counts_from_zero),
            "{kernel}"
        );
        let offset = view
            .types
            .member(member)
            .expect("it has one of them")
            .offset;
        assert_eq!(fact(&plan, "FILE__REFS"), offset, "{kernel}");
    }
}

#[test]
fn consume_skb_tells_its_caller_only_where_it_passes_one() {
    for kernel in KERNELS {
        let passes = !["5.10", "6.1"].contains(&kernel);
        let plan = auto(&fixture(kernel));
        assert_eq!(
            fact(&plan, "CONSUME_SKB_HAS_LOCATION"),
            u32::from(passes),
            "{kernel}"
        );
    }
}

/// The programs have the numbers of every architecture, and here are those of the one at hand.
#[test]
fn system_calls_have_the_numbers_that_this_machine_gives_them() {
    let here = match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        other => panic!("fdtrace does not know {other}"),
    };
    let calls = here.calls();
    let number = |number: libc::c_long| i32::try_from(number).expect("they are small");
    let sending = [libc::SYS_sendmsg, libc::SYS_sendmmsg].map(number);
    assert_eq!(calls.sending[..2], sending);
    let receiving = [libc::SYS_recvmsg, libc::SYS_recvmmsg].map(number);
    assert_eq!(calls.receiving[..2], receiving);
    let reading = [libc::SYS_read, libc::SYS_readv, libc::SYS_recvfrom].map(number);
    assert_eq!(calls.reading[..3], reading);
    assert_eq!(IO_URING_ENTER, number(libc::SYS_io_uring_enter));
}
