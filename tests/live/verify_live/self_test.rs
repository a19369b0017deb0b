//! The self-test at the start: a hook that loads, attaches and is never called on this path is
//! struck out. LSM hooks on 5.10 are such, and `receive_fd` on 6.1 and 7.3.

use fdtrace::{
    kernel::KernelView,
    model::Hop,
    plan::{Attach, Hook, plan},
    tracer::Tracer,
};
use fdtrace_testkit::take_turn;

#[test]
fn a_hook_that_is_never_called_is_struck_out_and_the_plan_says_so() {
    let _turn = take_turn!(tracing);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there is a runtime");
    let _guard = runtime.enter();
    let view = KernelView::live().expect("this kernel can be looked at");
    let mut planned = plan(&view, Attach::Tracepoint).expect("every kernel has some tracepoints");
    let dequeue = planned
        .hops
        .iter_mut()
        .find(|planned| planned.hop == Hop::Dequeue)
        .expect("every hop is in the plan");
    for hook in &mut dequeue.hooks {
        // Every kernel has it, an skb is its first argument too, and none of a Unix socket comes by.
        let mut elsewhere: Hook = (*hook).clone();
        elsewhere.target = "netif_rx";
        *hook = Box::leak(Box::new(elsewhere));
    }
    // The control: it is attached, and the others are as they were.
    assert!(planned.watches(Hop::Dequeue));
    assert!(planned.watches(Hop::End));

    let tracer = Tracer::start(planned, 64 << 10, &view.types).expect("it can be attached");
    let plan = tracer.plan();
    assert!(!plan.watches(Hop::Dequeue));
    let dequeue = plan.hops.iter().find(|planned| planned.hop == Hop::Dequeue);
    let why = dequeue.and_then(|planned| planned.why.as_deref());
    assert_eq!(
        why,
        Some("netif_rx was attached and did not fire in the self-test")
    );
    assert!(plan.watches(Hop::End));
}
