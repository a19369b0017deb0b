//! Hooks that are left out: because a tracepoint passes other things than are read, or because they
//! did not fire.

use fdtrace::model::Hop;
use fdtrace_testkit::kernels::fixture;

use super::{changed, did_not_fire, tracepoints, typedef_of, why};

/// Exchanges the names of two tracepoints, so that each has the other's prototype.
fn exchange(btf: &mut [u8], one: &str, other: &str) {
    let (one, other) = (typedef_of(btf, one), typedef_of(btf, other));
    for byte in 0..4 {
        btf.swap(one + byte, other + byte);
    }
}

#[test]
fn a_hook_whose_arguments_differ_is_refused_with_both_types() {
    let view = changed("6.12", |btf| {
        exchange(btf, "kfree_skb", "sys_enter");
    });
    let plan = tracepoints(&view);
    let refusal =
        "tracepoint kfree_skb passes `struct pt_regs *` where `struct sk_buff *` is expected";
    assert!(why(&plan, Hop::End).is_some_and(|why| why.contains(refusal)));
    // Its other hook goes on, so the hop is still watched, and says what it lacks.
    let targets: Vec<&str> = plan.hooks().map(|hook| hook.target).collect();
    assert!(plan.watches(Hop::End));
    assert!(targets.contains(&"consume_skb") && !targets.contains(&"kfree_skb"));
    // The control: with its own prototype there is nothing to say.
    let control = tracepoints(&fixture("6.12"));
    assert!(why(&control, Hop::End).is_some_and(|why| !why.contains("kfree_skb")));
}

#[test]
fn a_hop_whose_only_hook_is_refused_is_not_watched() {
    let view = changed("7.3", |btf| {
        exchange(btf, "sk_data_ready", "sys_exit");
    });
    let plan = tracepoints(&view);
    assert!(!plan.watches(Hop::Queue));
    assert_eq!(
        why(&plan, Hop::Queue),
        Some(
            "tracepoint sk_data_ready passes `struct pt_regs *` where `struct sock *` is expected"
        )
    );
    // What is wrong with one hop leaves the others as they were.
    assert!(
        [Hop::Dequeue, Hop::Install, Hop::End]
            .iter()
            .all(|hop| plan.watches(*hop))
    );
}

#[test]
fn a_hook_with_too_few_arguments_is_refused() {
    // sk_data_ready passes the socket and nothing more; install reads two numbers after it.
    let view = changed("6.18", |btf| {
        exchange(btf, "sock_recv_length", "sk_data_ready");
    });
    let plan = tracepoints(&view);
    assert!(!plan.watches(Hop::Install));
    assert_eq!(
        why(&plan, Hop::Install),
        Some("tracepoint sock_recv_length passes nothing where `int` is expected")
    );
    // The other way round the kernel passes more than is read, which is fine.
    assert!(plan.watches(Hop::Queue));
}

#[test]
fn a_hook_that_does_not_work_leaves_its_reason_and_its_sibling() {
    let mut view = fixture("7.3");
    let untouched = tracepoints(&view);
    let hook = |target: &str| {
        let mut hooks = untouched.hooks();
        let found = hooks.find(|hook| hook.target == target);
        did_not_fire(found.expect("it is planned"))
    };
    view.broken.push(hook("kfree_skb"));
    let plan = tracepoints(&view);
    assert!(plan.watches(Hop::End));
    assert!(why(&plan, Hop::End).is_some_and(|why| why.contains("kfree_skb did not fire")));

    view.broken
        .extend(["sock_send_length", "consume_skb"].map(hook));
    let plan = tracepoints(&view);
    assert!(!plan.watches(Hop::End));
    assert!(why(&plan, Hop::End).is_some_and(|why| why.contains("consume_skb did not fire")));

    // Nothing else has changed.
    for hop in Hop::ALL.into_iter().filter(|hop| *hop != Hop::End) {
        assert_eq!(plan.watches(hop), untouched.watches(hop), "{hop}");
        assert_eq!(why(&plan, hop), why(&untouched, hop), "{hop}");
    }
}
