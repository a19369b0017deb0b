//! The self-test at the start: a hook that loads, attaches and is never called on this path is found out,
//! and the plan is made without it. LSM hooks on 5.10 are such, and `receive_fd` on 6.1 and 7.3.

use fdtrace::{
    kernel::{Broken, KernelView},
    model::{Hop, Mechanism},
    plan::{Attach, Hook, Plan, Price},
    tracer::Tracer,
    watch::what_works,
};
use fdtrace_testkit::take_turn;

/// Every kernel has it, an skb is its first argument too, and none of a Unix socket comes by.
const ELSEWHERE: &str = "netif_rx";

/// Attaches what shows `dequeue` elsewhere.
fn mislead(plan: &mut Plan) {
    let mut hops = plan.hops.iter_mut();
    let dequeue = hops.find(|planned| planned.hop == Hop::Dequeue);
    for hook in &mut dequeue.expect("every hop is in the plan").hooks {
        let mut elsewhere: Hook = (*hook).clone();
        elsewhere.target = ELSEWHERE;
        *hook = Box::leak(Box::new(elsewhere));
    }
}

#[test]
fn a_hook_that_is_never_called_is_found_out_and_planned_without() {
    let _turn = take_turn!(tracing);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there is a runtime");
    let _guard = runtime.enter();
    let mut view = KernelView::live().expect("this kernel can be looked at");
    let mut tries = 0;
    let tracer = what_works(
        &mut view,
        Attach::Tracepoint,
        Price::Low,
        |mut plan, types| {
            tries += 1;
            if tries == 1 {
                mislead(&mut plan);
            }
            // The control: it is planned, and the others are as they were.
            assert!(plan.watches(Hop::Dequeue) && plan.watches(Hop::End));
            Tracer::start(plan, 64 << 10, types)
        },
    );
    let tracer = tracer.expect("it can be attached");
    assert_eq!(tries, 2);
    let found = Broken {
        mechanism: Mechanism::Tracepoint,
        target: ELSEWHERE,
        why: "was attached and did not fire in the self-test".to_owned(),
    };
    assert_eq!(view.broken, [found]);
    assert!(tracer.plan().watches(Hop::Dequeue));
}
