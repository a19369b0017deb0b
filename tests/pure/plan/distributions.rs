//! Kernels of other distributions that nobody has recorded: a recorded one, with what their sources have
//! otherwise. The garbage collector of 6.10 went into Debian's 6.1, and not into these.
//!
//! Ubuntu's 6.8 and RHEL's 5.14 still have `net/unix/scm.c`, where `unix_attach_fds` is a function of its own
//! that copies the list, and no `unix_add_edges`. Otherwise Ubuntu's is like 6.12 as far as plans go
//! (`sk_data_ready`, which came with 6.3, and `receive_fd` of 6.8), and RHEL's like 6.1 (`__receive_fd` with three
//! arguments, which came with 5.12, and none of these tracepoints).

use std::fs;

use fdtrace::{
    kernel::{KernelView, Symbols},
    model::{Hop, Mechanism},
    plan::{Attach, plan},
};
use fdtrace_testkit::kernels::directory;

use super::{changed, header, render, targets, why};

/// What only the newer collector has.
const NEWER: [&str; 7] = [
    "unix_prepare_fpl",
    "unix_destroy_fpl",
    "unix_add_edges",
    "unix_del_edges",
    "unix_update_edges",
    "__unix_gc",
    "unix_collect_skb",
];

/// What only the older one has as symbols.
const OLDER: [&str; 4] = [
    "unix_attach_fds",
    "unix_detach_fds",
    "unix_inflight",
    "unix_notinflight",
];

/// `kernel` with the older collector.
fn with_older_collector(kernel: &str, release: &str) -> KernelView {
    let mut view = changed(kernel, |btf| {
        // The only one that a hook may be on; it takes what unix_scm_to_skb takes first.
        let prototype = function(btf, "unix_scm_to_skb").map(|place| word(btf, place + 8));
        let place = function(btf, "unix_update_edges").expect("the newer collector is there");
        let prototype = prototype.expect("its prototype is known");
        btf[place + 8..place + 12].copy_from_slice(&prototype.to_le_bytes());
        rename(btf, "unix_update_edges", "unix_attach_fds");
        for name in NEWER {
            rename(btf, name, "");
        }
    });
    release.clone_into(&mut view.release);
    let listed = fs::read_to_string(directory(kernel).join("kallsyms")).expect("it is there");
    let kept = listed.lines().filter(|line| {
        let name = line.rsplit(' ').next().expect("a line has a name");
        !NEWER.contains(&name)
    });
    let older = OLDER.map(|name| format!("ffffffff82000000 T {name}"));
    let symbols = kept.map(str::to_owned).chain(older).collect::<Vec<_>>();
    view.symbols = Symbols::parse(symbols.join("\n").as_bytes()).expect("it is a list of symbols");
    view
}

fn ubuntu() -> KernelView {
    with_older_collector("6.12", "6.8, as Ubuntu's sources have it")
}

fn rhel() -> KernelView {
    with_older_collector("6.1", "5.14, as RHEL's sources have it")
}

fn word(btf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(btf[at..at + 4].try_into().expect("four bytes"))
}

const HEADER_LEN: usize = 24;

/// Where the BTF has this name.
fn name(btf: &[u8], name: &str) -> Option<usize> {
    let strings = HEADER_LEN + header(btf, 2);
    let whole = format!("\0{name}\0").into_bytes();
    (strings..strings + header(btf, 3))
        .find(|at| btf[*at..].starts_with(&whole))
        .map(|at| at + 1)
}

/// Where it has the function.
fn function(btf: &[u8], function: &str) -> Option<usize> {
    const FUNC: u32 = 12;
    let offset = name(btf, function)? - HEADER_LEN - header(btf, 2);
    let mut types = (HEADER_LEN..HEADER_LEN + header(btf, 1)).step_by(4);
    types.find(|at| word(btf, *at) as usize == offset && word(btf, at + 4) >> 24 & 0x1F == FUNC)
}

/// Gives what has this name another one, which may not be longer; or one that nobody has.
fn rename(btf: &mut [u8], from: &str, to: &str) {
    let Some(at) = name(btf, from) else { return };
    if to.is_empty() {
        btf[at] = b'-';
        return;
    }
    btf[at..at + from.len()].fill(0);
    btf[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn kernels_with_the_older_collector_have_their_plans() {
    for (name, view) in [("ubuntu-6.8", ubuntu()), ("rhel-9", rhel())] {
        let mut text = format!("{}\n", view.release);
        for attach in [
            Attach::Auto,
            Attach::Trampoline,
            Attach::Kprobe,
            Attach::Tracepoint,
        ] {
            text += &format!("--attach {attach}\n{}", render(&plan(&view, attach)));
        }
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn every_hop_is_seen_there_and_so_is_every_end() {
    for view in [ubuntu(), rhel()] {
        for attach in [Attach::Auto, Attach::Trampoline, Attach::Kprobe] {
            let plan = plan(&view, attach).expect("it is planned");
            for hop in Hop::ALL {
                let release = &view.release;
                assert!(plan.watches(hop), "{release}: {hop}: {:?}", why(&plan, hop));
            }
            assert!(plan.sees_every_end() && plan.sees_failed_sends());
        }
    }
}

/// What is new about them: the list is copied by a function of its own, and where no function says that it was
/// queued, a tracepoint does on the one, and on the other the function that queues anything.
#[test]
fn the_older_collector_is_seen_where_its_sources_have_it() {
    let ubuntu = plan(&ubuntu(), Attach::Auto).expect("it is planned");
    let rhel = plan(&rhel(), Attach::Auto).expect("it is planned");
    for plan in [&ubuntu, &rhel] {
        assert_eq!(
            targets(plan, Hop::Attach),
            ["unix_attach_fds", "scm_fp_dup"]
        );
    }
    assert_eq!(targets(&ubuntu, Hop::Queue), ["sk_data_ready"]);
    assert_eq!(targets(&rhel, Hop::Queue), ["skb_queue_tail"]);
    assert_eq!(targets(&ubuntu, Hop::Install), ["receive_fd"]);
    assert_eq!(targets(&rhel, Hop::Install), ["__receive_fd"]);
    let mixed = |hop| {
        let planned = ubuntu.hops.iter().find(|planned| planned.hop == hop);
        planned.expect("it is planned").hooks[0].kind.mechanism()
    };
    assert_eq!(mixed(Hop::Queue), Mechanism::Tracepoint);
    assert_eq!(mixed(Hop::Install), Mechanism::Trampoline);
}
