//! Lost records: they weaken what is said, and nothing else.

use std::{
    collections::BTreeSet,
    fs,
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

use fdtrace::{
    kernel::KernelView,
    plan::{Attach, plan},
    tracer::{Filter, Tracer},
};
use fdtrace_testkit::{
    command::{FDTRACE, run},
    take_turn,
};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde_json::Value;
use tokio::time::timeout;

use super::run::{ALL_HOPS, Lines, identities, set, verify};

#[test]
fn a_ring_buffer_that_fills_up_wakes_its_reader_before_its_time() {
    let _turn = take_turn!(tracing);
    const NEVER: Duration = Duration::from_secs(1 << 20);
    const NOT_YET: Duration = Duration::from_millis(20);
    const GLANCE: Duration = Duration::from_millis(1);
    const BUFFER: u32 = 8 << 20;
    // By every mechanism a pass makes three records at least, of more than 200 bytes each.
    const FULL: usize = BUFFER as usize / 600;
    const STEP: usize = 64;
    block_on(async {
        // Others' records go into it too: it is so large that those do not fill it up meanwhile.
        let mut tracer = start(BUFFER, &Filter::default());
        tracer.gather_for(NEVER);
        while read_all(&mut tracer) > 0 {}
        pass(1);
        // The control: records gather.
        assert!(timeout(NOT_YET, tracer.readable()).await.is_err());
        let mut passes = 0;
        while timeout(GLANCE, tracer.readable()).await.is_err() {
            assert!(passes < FULL, "nobody woke the reader");
            pass(STEP);
            passes += STEP;
        }
    });
}

#[test]
fn a_reader_that_sleeps_is_woken_by_the_first_record() {
    let _turn = take_turn!(tracing);
    const TIMES: usize = 20;
    // It would look by itself after twice that.
    const WELL_BEFORE: Duration = Duration::from_millis(100);
    block_on(async {
        // Nobody else's records: many of those would wake it too.
        let comm = fs::read_to_string("/proc/thread-self/comm").expect("it has a name");
        let itself = Filter {
            comms: vec![comm.trim_end().to_owned()],
            ..Filter::default()
        };
        let mut tracer = start(1 << 20, &itself);
        tracer.gather_for(Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..TIMES {
            while read_all(&mut tracer) > 0 {}
            let begun = Instant::now();
            pass(1);
            tracer.readable().await.expect("it can be waited for");
            waits.push(begun.elapsed());
            assert!(read_all(&mut tracer) > 0, "it was woken for nothing");
        }
        // What was ready before is ready at once, so the fastest say nothing; and a busy machine may
        // keep some waiting.
        waits.sort_unstable();
        assert!(waits[TIMES / 4] < WELL_BEFORE, "nobody woke it: {waits:?}");
    });
}

fn read_all(tracer: &mut Tracer) -> usize {
    let mut events = 0;
    tracer.drain(|_| events += 1);
    events
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there is a runtime")
        .block_on(work);
}

fn start(buffer: u32, filter: &Filter) -> Tracer {
    let view = KernelView::live().expect("this kernel can be looked at");
    let plan = plan(&view, Attach::Auto).expect("it can be traced");
    Tracer::start_filtered(plan, buffer, &view.types, filter).expect("it can be attached")
}

/// Passes a descriptor to itself this often.
fn pass(times: usize) {
    let (sender, receiver) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .expect("there are sockets");
    let passed = [sender.as_raw_fd()];
    for _ in 0..times {
        let rights = [ControlMessage::ScmRights(&passed)];
        let data = [IoSlice::new(b"x")];
        sendmsg::<()>(sender.as_raw_fd(), &data, &rights, MsgFlags::empty(), None)
            .expect("it is sent");
        let mut byte = [0];
        let mut data = [IoSliceMut::new(&mut byte)];
        let mut control = nix::cmsg_space!([i32; 1]);
        let received = recvmsg::<()>(
            receiver.as_raw_fd(),
            &mut data,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .expect("it is received");
        for message in received.cmsgs().expect("there is room") {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // SAFETY: the kernel has just put them there, and nobody else knows them.
                fds.into_iter()
                    .for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
    }
}

#[test]
fn lost_records_are_counted_for_every_hop() {
    let _turn = take_turn!(tracing);
    // How many is not for this test to say: the buffer is the machine's, and others may fill it.
    let summary = identities().summary();
    let lost = summary["lost_events"].as_object().expect("counts");
    assert_eq!(
        set(&Value::from(lost.keys().cloned().collect::<Vec<_>>())),
        BTreeSet::from(ALL_HOPS)
    );
    assert!(lost.values().all(Value::is_u64), "{summary}");
    assert_eq!(summary["window_full"], 0);
}

#[test]
fn lost_records_leave_the_question_open_and_never_make_it_different() {
    let _turn = take_turn!(tracing);
    // One page, for records of 253 files at three hops.
    let run = verify(&["--buffer", "4", "max-fds"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let lines = Lines::of(&run);
    let scenario = lines.scenario("max-fds");
    assert_eq!(scenario["result"], "inconclusive", "{scenario}");
    assert!(scenario["reason"].is_string(), "{scenario}");
    // It was played again, and once more.
    let retried = scenario["retried"].as_array().expect("a list");
    assert_eq!(retried.len(), 2, "{scenario}");
    assert!(retried.iter().all(Value::is_string), "{scenario}");
    assert!(lines.lost() > 0, "{}", lines.summary());
    let verdicts = &lines.summary()["verdicts"];
    assert!(verdicts["lost"].as_u64() > Some(0), "{verdicts}");
    assert_eq!(verdicts.get("different"), None, "{verdicts}");
    assert_eq!(lines.summary()["exit_code"], 3);
    // The witnesses do not depend on the trace, and still say what is true.
    let witnesses = scenario["witnesses"].as_array().expect("a list");
    assert!(!witnesses.is_empty());
    assert!(
        witnesses.iter().all(|witness| witness["verdict"] == "same"),
        "{scenario}"
    );
}

#[test]
fn losses_of_one_scenario_do_not_weaken_the_next() {
    let _turn = take_turn!(tracing);
    // Too little for 253 files, and enough for two however slowly it is emptied.
    let run = verify(&["--buffer", "16", "max-fds", "two-fds"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let lines = Lines::of(&run);
    assert!(lines.lost() > 0, "{}", lines.summary());
    assert_eq!(lines.scenario("max-fds")["result"], "inconclusive");
    assert_eq!(lines.scenario("two-fds")["result"], "pass");
    for transfer in lines.transfers("two-fds") {
        assert_eq!(transfer["verdict"], "same", "{transfer}");
    }
}

#[test]
fn what_needs_more_descriptors_than_the_limit_is_skipped() {
    let _turn = take_turn!(tracing);
    for (limit, jobs) in [(256, "1"), (256, "8")] {
        let limited =
            format!("ulimit -n {limit}; exec \"$0\" verify --format json -j {jobs} identity");
        let run = run(Command::new("sh").args(["-c", &limited, FDTRACE.as_str()]));
        assert_eq!(run.code, Some(0), "{run:?}");
        let lines = Lines::of(&run);
        let most = lines.scenario("max-fds");
        assert_eq!(most["result"], "skip", "{most}");
        let reason = most["reason"].as_str().expect("it says why");
        assert!(reason.contains(&format!("limit of {limit}")), "{reason}");
        // The control: what can be played is.
        assert_eq!(lines.scenario("stream-one-fd")["result"], "pass");
        assert!(lines.summary()["scenarios"]["fail"].is_null());
    }
    // A soft limit alone is no obstacle: the hard one is what counts.
    let soft = "ulimit -S -n 64; exec \"$0\" verify --format json max-fds";
    let run = run(Command::new("sh").args(["-c", soft, FDTRACE.as_str()]));
    assert_eq!(Lines::of(&run).scenario("max-fds")["result"], "pass");
}
