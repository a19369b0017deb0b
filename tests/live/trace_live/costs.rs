//! What watching costs, as the kernel counts it.

use fdtrace_testkit::take_turn;

use super::{
    children::ReceivingChild,
    tracing::{Tracing, lines},
};

#[test]
fn what_the_programs_cost_is_told_if_asked() {
    let _turn = take_turn!(tracing);
    for (asked, stats) in [(true, &["--stats"][..]), (false, &[])] {
        let mut receiver = ReceivingChild::start();
        let pid = receiver.child.id().to_string();
        let own = ["trace", "--format", "json", "--pid", &pid];
        let tracing = Tracing::start(&[&own, stats].concat());
        let _ = receiver.send(0);
        let run = tracing.stop();
        receiver.end();
        let lines = lines(&run.stdout);
        let summary = lines.last().unwrap();
        assert_eq!(summary["type"], "summary", "{run:?}");
        let Some(programs) = summary["programs"].as_array() else {
            assert!(!asked, "{run:?}");
            continue;
        };
        assert!(asked, "{run:?}");
        let dequeue = programs
            .iter()
            .find(|it| it["program"].as_str().unwrap().starts_with("dequeue_"))
            .unwrap();
        let figure = |name: &str| dequeue[name].as_u64().unwrap();
        assert!(figure("runs") > 0 && figure("run_ns") > 0, "{run:?}");
        assert_eq!(figure("ns_per_run"), figure("run_ns") / figure("runs"));
    }
}
