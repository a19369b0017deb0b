//! The plan for each recorded kernel: how each hop is watched there, or why it is not. No kernel
//! needs to run for this, and no privilege.
//!
//! The snapshots were read against the kernels' own lists of tracepoints. A change in one of them
//! is a change in what fdtrace can say on that kernel, so it needs the same reading.

mod arm64;
mod distributions;
mod facts;
mod half;
mod refusals;
mod sets;

use std::{fmt::Write as _, fs, path::PathBuf};

use fdtrace::{
    kernel::{Broken, KernelView, Naming, Symbols, Types},
    model::{Hop, Mechanism},
    plan::{Attach, Hook, Plan, PlanError, Price, plan, plan_at},
};
use fdtrace_testkit::kernels::{KERNELS, directory, fixture};

/// The view of `kernel` after `change` to its BTF.
fn changed(kernel: &str, change: impl FnOnce(&mut [u8])) -> KernelView {
    let mut btf = fs::read(directory(kernel).join("btf")).expect("the fixture is there");
    change(&mut btf);
    KernelView {
        types: Types::from_bytes(&btf).expect("it is still BTF"),
        ..fixture(kernel)
    }
}

/// Word `index` of the BTF's header: where types begin and their length, then the strings.
fn header(btf: &[u8], index: usize) -> usize {
    const TYPE_OFF: usize = 8;
    let at = TYPE_OFF + 4 * index;
    u32::from_le_bytes(btf[at..at + 4].try_into().expect("four bytes")) as usize
}

/// Where the handlers' typedef of this tracepoint has its name.
fn typedef_of(btf: &[u8], tracepoint: &str) -> usize {
    const HEADER_LEN: usize = 24;
    const TYPEDEF: u32 = 8 << 24;
    let strings = HEADER_LEN + header(btf, 2);
    let name = format!("\0btf_trace_{tracepoint}\0").into_bytes();
    let offset = (0..header(btf, 3)).find(|at| btf[strings + at..].starts_with(&name));
    let offset = offset.expect("the BTF has the name") as u32 + 1;
    let mut record = offset.to_le_bytes().to_vec();
    record.extend(TYPEDEF.to_le_bytes());
    let types = HEADER_LEN..HEADER_LEN + header(btf, 1);
    let mut places = types
        .step_by(4)
        .filter(|at| btf[*at..].starts_with(&record));
    let place = places.next().expect("the BTF has the typedef");
    assert_eq!(places.next(), None, "it has one");
    place
}

fn auto(view: &KernelView) -> Plan {
    plan(view, Attach::Auto).expect("every recorded kernel can be planned for")
}

fn tracepoints(view: &KernelView) -> Plan {
    plan(view, Attach::Tracepoint).expect("every recorded kernel has some tracepoints")
}

fn targets(plan: &Plan, hop: Hop) -> Vec<&'static str> {
    let planned = plan.hops.iter().find(|planned| planned.hop == hop);
    let hooks = &planned.expect("every hop is planned").hooks;
    let mut targets: Vec<&str> = hooks.iter().map(|hook| hook.target).collect();
    targets.dedup();
    targets
}

fn why(plan: &Plan, hop: Hop) -> Option<&str> {
    let planned = plan.hops.iter().find(|planned| planned.hop == hop);
    planned.expect("every hop is planned").why.as_deref()
}

fn did_not_fire(hook: &Hook) -> Broken {
    Broken {
        mechanism: hook.kind.mechanism(),
        target: hook.target,
        why: "did not fire".to_owned(),
    }
}

fn fact(plan: &Plan, name: &str) -> u32 {
    let mut facts = plan.offsets.facts().iter();
    let (_, value) = facts
        .find(|(known, _)| *known == name)
        .expect("it is known");
    *value
}

/// A plan in as few words as distinguish it from any other.
fn render(planned: &Result<Plan, PlanError>) -> String {
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => return format!("  error: {error}\n"),
    };
    let mut text = String::new();
    for planned in &plan.hops {
        let mut line = format!("  {:<8}", planned.hop);
        let hooks: Vec<String> = planned
            .hooks
            .iter()
            .map(|hook| format!("{} {}", hook.kind.name(), hook.target))
            .collect();
        match (hooks.is_empty(), &planned.why) {
            (false, None) => line += &hooks.join(", "),
            (false, Some(why)) => {
                let _ = write!(line, "{} ({why})", hooks.join(", "));
            }
            (true, why) => {
                let _ = write!(line, "– {}", why.as_deref().unwrap_or("no reason"));
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[test]
fn each_kernel_has_its_plan() {
    for kernel in KERNELS {
        let view = fixture(kernel);
        let mut text = format!("{}\n", view.release);
        let by_itself = render(&plan(&view, Attach::Auto));
        for attach in [
            Attach::Auto,
            Attach::Tracepoint,
            Attach::Trampoline,
            Attach::Kprobe,
        ] {
            let planned = render(&plan(&view, attach));
            if attach != Attach::Auto && planned == by_itself {
                let _ = writeln!(text, "--attach {attach}: as with auto");
            } else {
                let _ = write!(text, "--attach {attach}\n{planned}");
            }
        }
        insta::assert_snapshot!(kernel, text);
    }
}

/// The page's table: for each hop, where each mechanism sees it on each kernel.
fn table_of_hops() -> String {
    let mut text = String::new();
    for (attach, title) in [
        (Attach::Trampoline, "By trampolines (fentry, fexit)"),
        (Attach::Kprobe, "By kprobes and kretprobes"),
        (Attach::Tracepoint, "By tracepoints"),
    ] {
        let kernels: Vec<&str> = KERNELS
            .into_iter()
            .filter(|kernel| plan(&fixture(kernel), attach).is_ok())
            .collect();
        let _ = writeln!(text, "### {title}\n\n| hop | {} |", kernels.join(" | "));
        let _ = writeln!(text, "|{}", " --- |".repeat(kernels.len() + 1));
        for hop in Hop::ALL {
            let cells = kernels.iter().map(|kernel| {
                let plan = plan(&fixture(kernel), attach).expect("it was filtered");
                let targets = targets(&plan, hop);
                match targets.is_empty() {
                    true => "–".to_owned(),
                    false => format!("`{}`", targets.join("`, `")),
                }
            });
            let _ = writeln!(
                text,
                "| {hop} | {} |",
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        text.push('\n');
    }
    text
}

/// Set to write the page's table anew instead of comparing it.
const UPDATE: &str = "FDTRACE_UPDATE_DOCS";

#[test]
fn the_page_on_the_path_says_what_the_plans_say() {
    const MARKS: [&str; 2] = [
        "<!-- plans: written by tests/pure/plan -->\n\n",
        "<!-- end of plans -->",
    ];
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/kernel-path.md");
    let page = fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page
        .split_once(MARKS[0])
        .expect("the page has a place for the plans");
    let (plans, after) = rest.split_once(MARKS[1]).expect("the place has an end");
    if std::env::var_os(UPDATE).is_some() {
        let page = format!("{before}{}{}{}{after}", MARKS[0], table_of_hops(), MARKS[1]);
        fs::write(&path, page).expect("the page can be written");
    } else {
        assert_eq!(plans, table_of_hops(), "{UPDATE}=1 writes the page anew");
    }
}

#[test]
fn every_hop_is_in_the_plan_in_the_order_of_the_path_watched_or_with_a_reason() {
    for kernel in KERNELS {
        let plan = auto(&fixture(kernel));
        let hops: Vec<Hop> = plan.hops.iter().map(|planned| planned.hop).collect();
        assert_eq!(hops, Hop::ALL, "{kernel}");
        for planned in &plan.hops {
            assert_eq!(planned.is_watched(), plan.watches(planned.hop));
            let reason = planned.why.as_deref().unwrap_or_default();
            assert!(
                planned.is_watched() || !reason.is_empty(),
                "{kernel}: {} has no reason",
                planned.hop
            );
        }
    }
}

#[test]
fn kernels_before_the_tracepoints_of_queue_and_install_say_which_one_they_lack() {
    for kernel in KERNELS {
        let view = fixture(kernel);
        let plan = tracepoints(&view);
        let lacks = ["5.10", "6.1"].contains(&kernel);
        for (hop, tracepoint) in [
            (Hop::Queue, "sk_data_ready"),
            (Hop::Install, "sock_recv_length"),
        ] {
            assert_eq!(plan.watches(hop), !lacks, "{kernel}: {hop}");
            let reason = format!("kernel {} has no tracepoint {tracepoint}", view.release);
            assert_eq!(
                why(&plan, hop),
                lacks.then_some(reason.as_str()),
                "{kernel}: {hop}"
            );
        }
        // The other two do not depend on the kernel's age.
        assert!(
            plan.watches(Hop::Dequeue) && plan.watches(Hop::End),
            "{kernel}"
        );
    }
}

#[test]
fn functions_show_every_hop_wherever_the_kernel_lets_them() {
    for kernel in KERNELS
        .into_iter()
        .filter(|kernel| *kernel != "6.18-locked")
    {
        let view = fixture(kernel);
        for (attach, mechanism) in [
            (Attach::Trampoline, Mechanism::Trampoline),
            (Attach::Kprobe, Mechanism::Kprobe),
        ] {
            let plan = plan(&view, attach).expect("it has functions");
            for hop in Hop::ALL {
                assert!(plan.watches(hop), "{kernel}: {hop} by {mechanism}");
            }
            assert!(plan.hooks().all(|hook| hook.kind.mechanism() == mechanism));
        }
    }
}

/// The functions that everybody names are not the ones that run.
#[test]
fn the_function_that_installs_is_the_one_that_this_path_calls() {
    // receive_fd exists on 6.1, with other arguments, and on 7.3, with the same: for others.
    for (kernel, function) in [
        ("5.10", "__receive_fd"),
        ("6.1", "__receive_fd"),
        ("6.12", "receive_fd"),
        ("6.18", "receive_fd"),
        ("7.3", "scm_recv_one_fd"),
    ] {
        let plan = auto(&fixture(kernel));
        assert_eq!(targets(&plan, Hop::Receive), [function], "{kernel}");
        assert_eq!(targets(&plan, Hop::Install), [function], "{kernel}");
    }
}

#[test]
fn inlined_functions_are_passed_over_for_those_that_contain_them() {
    for (kernel, function) in [
        ("5.10", "unix_attach_fds"),
        ("6.1", "unix_scm_to_skb"),
        ("7.3", "unix_scm_to_skb"),
    ] {
        let plan = auto(&fixture(kernel));
        assert_eq!(
            targets(&plan, Hop::Attach),
            [function, "scm_fp_dup"],
            "{kernel}"
        );
        assert_eq!(
            targets(&plan, Hop::Copy),
            ["__scm_send", "__sock_cmsg_send"],
            "{kernel}"
        );
    }
    // unix_add_edges came with the garbage collector of 6.1.141 and 6.10.
    assert_eq!(
        targets(&auto(&fixture("5.10")), Hop::Queue),
        ["skb_queue_tail"]
    );
    assert_eq!(
        targets(&auto(&fixture("6.1")), Hop::Queue),
        ["unix_add_edges"]
    );
}

#[test]
fn a_function_of_which_only_a_clone_is_left_is_refused_by_its_name() {
    let view = renamed("6.12", &[("__scm_send", "__scm_send.constprop.0")]);
    let plan = auto(&view);
    assert!(!plan.watches(Hop::Copy));
    let reason = why(&plan, Hop::Copy).expect("it has one");
    assert!(reason.starts_with("only __scm_send.constprop.0 is left of function __scm_send"));
}

#[test]
fn a_kernel_that_hides_addresses_is_watched_as_well_and_is_said_to_name_nothing() {
    for kernel in KERNELS {
        let shown = auto(&fixture(kernel));
        assert_eq!(
            (shown.unnamed.as_deref(), shown.coverage().unnamed),
            (None, false)
        );
        let kallsyms = fs::read_to_string(directory(kernel).join("kallsyms"));
        let hidden: String = kallsyms
            .expect("it is there")
            .lines()
            .map(|line| format!("{:016x}{}\n", 0, &line[16..]))
            .collect();
        let symbols = Symbols::parse(hidden.as_bytes()).expect("it is still kallsyms");
        let view = KernelView {
            naming: Naming::recorded(&symbols),
            symbols,
            ..fixture(kernel)
        };
        let plan = auto(&view);
        assert_eq!(plan.entries(), shown.entries(), "{kernel}");
        let why = plan.unnamed.as_deref().expect("it is said");
        assert!(why.contains("kernel.kptr_restrict"), "{why}");
        assert!(plan.coverage().unnamed);
    }
}

/// The view of `kernel` where symbols go by other names, or are gone.
fn renamed(kernel: &str, names: &[(&str, &str)]) -> KernelView {
    let mut kallsyms = fs::read_to_string(directory(kernel).join("kallsyms")).expect("it is there");
    for (name, other) in names {
        let found = kallsyms.replace(&format!(" {name}\n"), &format!(" {other}\n"));
        assert_ne!(kallsyms, found, "{kernel} has no {name}");
        kallsyms = found;
    }
    KernelView {
        symbols: Symbols::parse(kallsyms.as_bytes()).expect("it is still kallsyms"),
        ..fixture(kernel)
    }
}

/// An skb's destructor changes its name within stable series, and either may be inlined.
#[test]
fn the_destructor_is_whichever_this_stable_release_has() {
    const OTHERS: [&str; 4] = [
        "__scm_destroy",
        "unix_stream_sendmsg",
        "unix_dgram_sendmsg",
        "unix_seqpacket_sendmsg",
    ];
    let with = |destructor: Option<&'static str>| {
        let mut targets = OTHERS.to_vec();
        targets.splice(1..1, destructor);
        targets
    };
    let inlined = ("unix_destruct_scm", "unix_destruct_scm.part.0");
    let wrapped = ("unix_wfree", "unix_wfree.isra.0");
    for (kernel, names, expected) in [
        ("7.3", &[][..], with(Some("unix_destruct_scm"))),
        ("7.3", &[inlined], with(Some("unix_wfree"))),
        ("7.3", &[inlined, wrapped], with(None)),
        // From before there was the other.
        ("6.1", &[inlined], with(None)),
    ] {
        let view = renamed(kernel, names);
        for attach in [Attach::Trampoline, Attach::Kprobe] {
            let plan = plan(&view, attach).expect("the other functions are there");
            assert_eq!(targets(&plan, Hop::End), expected, "{kernel}: {names:?}");
            assert!(plan.sees_every_end() && plan.sees_failed_sends());
        }
    }
}

#[test]
fn a_mechanism_that_the_kernel_refuses_is_an_error_that_says_so() {
    let view = fixture("6.18-locked");
    for (attach, expected, reason) in [
        (
            Attach::Trampoline,
            Mechanism::Trampoline,
            "Operation not permitted",
        ),
        (Attach::Kprobe, Mechanism::Kprobe, "has no kprobes"),
    ] {
        let error = plan(&view, attach).expect_err("nothing can use it");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("--attach {} shows no hop here: ", expected.name())),
            "{text}"
        );
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn auto_never_fails_for_want_of_hooks() {
    let mut view = changed("5.10", |btf| {
        for name in ["kfree_skb", "consume_skb", "skb_copy_datagram_iovec"] {
            // Nobody asks for a type without a name.
            let place = typedef_of(btf, name);
            btf[place..place + 4].fill(0);
        }
    });
    view.no_trampolines = Some("not today".to_owned());
    view.no_kprobes = Some("not today either".to_owned());
    assert_eq!(auto(&view).hooks().count(), 0);
    // The same mechanism asked for by name is an error.
    assert!(matches!(
        plan(&view, Attach::Tracepoint),
        Err(PlanError::NothingToAttach {
            mechanism: Mechanism::Tracepoint,
            ..
        })
    ));
    assert!(plan(&fixture("5.10"), Attach::Tracepoint).is_ok());
}

#[test]
fn the_hook_that_everybody_hits_is_taken_only_at_any_price() {
    let view = fixture("6.18-locked");
    let frugal = tracepoints(&view);
    assert!(!frugal.sees_every_end());
    assert!(why(&frugal, Hop::End).is_some_and(|why| why.contains("kfree, which alone shows")));
    let thorough = plan_at(&view, Attach::Tracepoint, Price::Any).expect("it is planned");
    assert!(thorough.sees_every_end());
    assert!(targets(&thorough, Hop::End).contains(&"kfree"));
    assert_eq!(fact(&frugal, "LIST_END_BY_FREE"), 0);
    assert_eq!(fact(&thorough, "LIST_END_BY_FREE"), 1);
    // It tells a list by having seen it queued, which 5.10 has no tracepoint for.
    let blind = plan_at(&fixture("5.10"), Attach::Tracepoint, Price::Any).expect("it is planned");
    assert!(!targets(&blind, Hop::End).contains(&"kfree"));
    assert_eq!(
        why(&blind, Hop::End),
        Some("kfree tells only of lists that were seen at queue")
    );
    assert_eq!(fact(&blind, "LIST_END_BY_FREE"), 0);
    // Where functions show it, it is not needed.
    let functions = plan_at(&fixture("6.18"), Attach::Auto, Price::Any).expect("it is planned");
    assert!(functions.sees_every_end());
    assert!(!targets(&functions, Hop::End).contains(&"kfree"));
    // Either tells what a failed send returned.
    assert!(frugal.sees_failed_sends() && functions.sees_failed_sends());
}

#[test]
fn programs_have_names_that_the_kernel_can_tell_apart() {
    const NAME_BYTES: usize = 15;
    let mut seen = std::collections::HashSet::new();
    let mut programs: Vec<&str> = Vec::new();
    for kernel in KERNELS {
        let view = fixture(kernel);
        for attach in [Attach::Auto, Attach::Trampoline, Attach::Kprobe] {
            let Ok(plan) = plan(&view, attach) else {
                continue;
            };
            programs.extend(plan.hooks().map(|hook| hook.program));
        }
    }
    programs.sort_unstable();
    programs.dedup();
    for program in &programs {
        let cut = &program[..program.len().min(NAME_BYTES)];
        assert!(seen.insert(cut), "{cut} is there twice");
        let hop = program.split('_').next().unwrap_or_default();
        assert!(
            Hop::ALL.iter().any(|known| known.name() == hop),
            "{program}"
        );
    }
    // Six hops by fentry, fexit, kprobe and kretprobe, two more by tracepoints.
    assert!(seen.len() > 20, "{programs:?}");
}

#[test]
fn two_records_tell_of_a_message_where_the_kernel_allows_it() {
    let least =
        |view: &KernelView, attach| plan_at(view, attach, Price::Least).expect("it is planned");
    for kernel in KERNELS {
        let view = fixture(kernel);
        let by_hop = render(&plan(&view, Attach::Auto));
        let planned = least(&view, Attach::Auto);
        let allows = view.no_trampolines.is_none();
        assert_eq!(planned.by_message, allows, "{kernel}");
        assert_eq!(fact(&planned, "BY_SLOT"), u32::from(allows));
        assert_eq!(planned.spare.is_empty(), !allows);
        if !allows {
            assert_eq!(render(&Ok(planned)), by_hop);
            continue;
        }
        let watched = [Hop::Copy, Hop::Queue, Hop::Detach, Hop::Install, Hop::End];
        assert_eq!(planned.coverage().hops, watched);
        assert!(planned.sees_every_end() && !planned.sees_failed_sends());
        for hook in planned.hooks() {
            // What others go through than those who pass descriptors is not hooked.
            assert!(
                !["unix_stream_sendmsg", "unix_scm_to_skb", "kfree_skb"].contains(&hook.target)
            );
        }
        let mut later = planned.clone();
        assert_eq!(later.take_spare().len(), 2);
        assert!(later.sees_failed_sends() && later.take_spare().is_empty());
        // It takes each of its hooks.
        assert!(!least(&view, Attach::Tracepoint).by_message);
        // 7.3 has another function beside the one that installs.
        let installs = targets(&planned, Hop::Install);
        let others = planned
            .hooks()
            .filter(|hook| !installs.contains(&hook.target));
        for hook in others.filter(|hook| hook.fired.is_some()) {
            let mut view = fixture(kernel);
            view.broken = vec![did_not_fire(hook)];
            assert!(!least(&view, Attach::Auto).by_message, "{}", hook.target);
        }
        let asked = plan_at(&view, Attach::Auto, Price::Low).expect("it is planned");
        assert_eq!(render(&Ok(asked)), by_hop);
    }
}
