//! The trace's verdict for every way in which a transfer can end and be followed.

use fdtrace::{
    judge::verdict,
    model::{
        Cause, CauseMissing, Chain, End, Fate, Hop, HopSeen, Judged, Receiver, Sender, Socket,
        Transfer, Verdict,
    },
    plan::{Attach, Plan},
};
use fdtrace_testkit::{kernels::plan_of as plan_by, outcomes};

const FATES: [Fate; 7] = [
    Fate::Delivered,
    Fate::Peeked,
    Fate::Truncated,
    Fate::Discarded,
    Fate::Collected,
    Fate::Queued,
    Fate::Unknown,
];

/// Every fate with every way to be followed.
fn transfers() -> Vec<Transfer> {
    let mut chains = vec![Chain::Whole, Chain::LossBetween, Chain::SenderUnknown];
    for hop in [Hop::Queue, Hop::Dequeue, Hop::Install] {
        chains.extend([Chain::Differs { hop }, Chain::Gap { hop }]);
    }
    let pairs = FATES
        .into_iter()
        .flat_map(|fate| chains.iter().map(move |chain| (fate, *chain)));
    pairs.map(|(fate, chain)| transfer(fate, chain)).collect()
}

fn transfer(fate: Fate, chain: Chain) -> Transfer {
    Transfer {
        sender: None,
        socket: Socket::default(),
        end: End::of(fate, None, fate.installs().then(receiver)),
        chain,
        queued_ns: None,
        hops: Vec::new(),
        ..outcomes::delivered(1, 0, 1).transfer
    }
}

fn receiver() -> Receiver {
    Receiver {
        pid: 200,
        tid: 200,
        comm: "receiver".into(),
        fd: Some(9),
        cloexec: Some(true),
        fd_inferred: false,
    }
}

/// 5.10 watches neither queue nor install, 7.3 both.
fn plan_of(kernel: &str) -> &'static Plan {
    plan_by(kernel, Attach::Auto)
}

fn of_transfer(transfer: &Transfer, plan: &Plan, lossless: bool) -> Option<Verdict> {
    verdict::of_transfer(transfer, |hop| plan.watches(hop), lossless)
}

#[test]
fn only_a_whole_chain_to_a_descriptor_is_the_same() {
    for plan in [plan_of("5.10"), plan_of("7.3")] {
        for transfer in transfers() {
            for lossless in [true, false] {
                let came_out = matches!(transfer.fate(), Fate::Delivered | Fate::Peeked);
                let verdict = of_transfer(&transfer, plan, lossless);
                assert_eq!(
                    verdict == Some(Verdict::Same),
                    came_out && transfer.chain == Chain::Whole,
                    "{transfer:?}"
                );
            }
        }
    }
}

#[test]
fn a_loss_can_only_weaken_a_verdict() {
    for plan in [plan_of("5.10"), plan_of("7.3")] {
        let (mut kept, mut weakened) = (0, 0);
        for transfer in transfers() {
            let clean = of_transfer(&transfer, plan, true);
            let lossy = of_transfer(&transfer, plan, false);
            assert_ne!(lossy, Some(Verdict::Different), "{transfer:?}");
            if lossy == clean {
                kept += 1;
            } else {
                assert_eq!(lossy, Some(Verdict::Lost), "{transfer:?}");
                weakened += 1;
            }
        }
        assert!(kept > 0 && weakened > 0);
    }
}

#[test]
fn what_is_only_missing_may_have_been_installed_in_records_that_are_lost() {
    let plan = plan_of("7.3");
    for fate in [Fate::Truncated, Fate::Refused, Fate::Discarded] {
        let mut transfer = transfer(fate, Chain::Gap { hop: Hop::Install });
        assert_eq!(of_transfer(&transfer, plan, true), None);
        assert_eq!(of_transfer(&transfer, plan, false), Some(Verdict::Lost));
        // Its end was seen, but where files may not have fitted there was more to see before.
        transfer.hops.push(seen(Hop::End));
        let before = (fate == Fate::Truncated).then_some(Verdict::Lost);
        assert_eq!(of_transfer(&transfer, plan, false), before);
        // That was seen too: nothing can have come of it.
        transfer.hops.push(seen(Hop::Detach));
        assert_eq!(of_transfer(&transfer, plan, false), None);
    }
    // Where it cannot be seen, it is not missing.
    let by_tracepoints = plan_by("7.3", Attach::Tracepoint);
    let mut transfer = transfer(Fate::Truncated, Chain::Gap { hop: Hop::Install });
    transfer.hops.push(seen(Hop::End));
    assert_eq!(of_transfer(&transfer, by_tracepoints, false), None);
}

#[test]
fn of_a_send_that_failed_nothing_can_have_come_out() {
    // The system call says so itself, whatever was lost.
    let failed = transfer(Fate::Failed, Chain::Gap { hop: Hop::Queue });
    for plan in [plan_of("5.10"), plan_of("7.3")] {
        for lossless in [true, false] {
            assert_eq!(of_transfer(&failed, plan, lossless), None);
        }
    }
}

#[test]
fn an_end_without_what_came_before_it_is_open_or_lost() {
    let plan = plan_of("7.3");
    let mut transfer = transfer(Fate::Unknown, Chain::Gap { hop: Hop::Install });
    transfer.hops.extend([Hop::Detach, Hop::End].map(seen));
    assert_eq!(
        of_transfer(&transfer, plan, true),
        Some(Verdict::Unverified)
    );
    assert_eq!(of_transfer(&transfer, plan, false), Some(Verdict::Lost));
}

#[test]
fn a_sender_that_was_not_seen_is_lost_only_where_nothing_else_would_explain_it() {
    let by_functions = plan_of("7.3");
    let by_tracepoints = plan_by("7.3", Attach::Tracepoint);
    for chain in [Chain::SenderUnknown, Chain::Gap { hop: Hop::Queue }] {
        let mut transfer = transfer(Fate::Delivered, chain);
        let verdict = |transfer: &Transfer, plan, lossless| {
            of_transfer(transfer, plan, lossless).expect("it was delivered")
        };
        assert_eq!(verdict(&transfer, by_functions, true), Verdict::Unverified);
        assert_eq!(verdict(&transfer, by_functions, false), Verdict::Lost);
        // It had been sent before anybody looked.
        transfer.found_ns = Some(1);
        assert_eq!(verdict(&transfer, by_functions, false), Verdict::Unverified);
    }
    // Where the sender's number is looked for after the fact, it may be missing without a loss.
    let unknown = transfer(Fate::Delivered, Chain::SenderUnknown);
    assert_eq!(
        of_transfer(&unknown, by_tracepoints, false),
        Some(Verdict::Unverified)
    );
    // What became of it afterwards would have been seen.
    let mut found = transfer(Fate::Delivered, Chain::Gap { hop: Hop::Install });
    found.found_ns = Some(1);
    assert_eq!(
        of_transfer(&found, by_functions, false),
        Some(Verdict::Lost)
    );
}

#[test]
fn with_losses_a_number_is_left_out_where_functions_of_the_receiver_had_another_file() {
    const OTHER: u64 = 0xffff_8881_0427_0a00;
    for (differs, at, is_kept) in [
        (Hop::Queue, Hop::Receive, true),
        (Hop::Detach, Hop::Receive, true),
        (Hop::Receive, Hop::Receive, false),
        (Hop::Install, Hop::Receive, false),
        (Hop::Install, Hop::Detach, false),
        // The number was looked up behind the call that returned it.
        (Hop::Install, Hop::Dequeue, true),
    ] {
        let mut transfer = transfer(Fate::Delivered, Chain::Differs { hop: differs });
        let other = HopSeen {
            file: OTHER,
            ..seen(Hop::Install)
        };
        transfer.hops = vec![seen(at), other];
        for lossless in [true, false] {
            let judged = Judged::of(transfer.clone(), |_| true, lossless);
            let expected = if lossless {
                Verdict::Different
            } else {
                Verdict::Lost
            };
            assert_eq!(judged.verdict, Some(expected), "{differs} after {at}");
            let receiver = judged.transfer.receiver().unwrap();
            let is_whole = lossless || is_kept;
            assert_eq!(receiver.fd, is_whole.then_some(9), "{differs} after {at}");
            assert_eq!(receiver.cloexec, is_whole.then_some(true));
            assert_eq!(judged.transfer.hops.len(), 1 + usize::from(is_whole));
        }
    }
}

fn seen(hop: Hop) -> HopSeen {
    HopSeen {
        hop,
        t_ns: 1,
        cpu: 0,
        pid: 1,
        tid: 1,
        comm: "".into(),
        file: 0xffff_8881_0427_0780,
        skb: 0,
        list: 0,
        sender_sock: 0,
        receiver_sock: 0,
        refs: None,
    }
}

#[test]
fn beside_the_verdict_lost_there_is_nothing_that_may_be_anothers() {
    let lossy = |fate: Fate, has_sender: bool, lossless: bool| {
        let mut transfer = transfer(fate, Chain::LossBetween);
        transfer.end = End::of(fate, Some(Cause::NoControlRoom), Some(receiver()));
        transfer.sender = has_sender.then(|| Sender {
            pid: 100,
            tid: Some(100),
            comm: "sender".into(),
            fd: Some(4),
            socket_fd: Some(3),
            t_ns: 1,
        });
        Judged::of(transfer, |_| true, lossless)
    };
    let judged = lossy(Fate::Delivered, true, false);
    assert_eq!(judged.verdict, Some(Verdict::Lost));
    let receiver = judged.transfer.receiver().unwrap();
    assert_eq!((receiver.fd, receiver.cloexec), (None, None));
    assert_eq!(judged.transfer.sender.as_ref().unwrap().fd, Some(4));
    assert_eq!(judged.transfer.cause_missing(), None);
    // There is no other side that it may not belong to.
    let judged = lossy(Fate::Delivered, false, false);
    assert_eq!(judged.transfer.receiver().unwrap().fd, Some(9));
    let judged = lossy(Fate::Truncated, true, false);
    assert_eq!(judged.verdict, Some(Verdict::Lost));
    assert_eq!(judged.transfer.cause(), None);
    assert_eq!(judged.transfer.cause_missing(), Some(CauseMissing::Lost));
    // The control: nothing was lost.
    let judged = lossy(Fate::Truncated, true, true);
    assert_eq!(judged.verdict, None);
    assert_eq!(judged.transfer.cause(), Some(Cause::NoControlRoom));
    assert_eq!(judged.transfer.cause_missing(), None);
    assert_eq!(judged.transfer.receiver().unwrap().fd, Some(9));
}

#[test]
fn a_list_that_seems_to_be_queued_may_be_one_whose_receive_was_lost() {
    let plan = plan_of("7.3");
    let queued = transfer(Fate::Queued, Chain::Gap { hop: Hop::Dequeue });
    assert_eq!(of_transfer(&queued, plan, false), Some(Verdict::Lost));
    // With every record there, it is just that.
    assert_eq!(of_transfer(&queued, plan, true), None);
}
