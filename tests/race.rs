//! A receiver that never sleeps, against the sender's hook: tracepoints look at the queue after the
//! fact, so now and then the list is gone. Whatever happens, nothing may be paired wrongly.

mod command;

use std::{
    collections::HashMap,
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use fdtrace::{
    kernel::KernelView,
    passing,
    plan::{Attach, Hop, plan},
    tracer::Tracer,
    tracker::{Chain, Fate, Tracker},
    verdict::{self, Verdict},
};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair},
    stat::fstat,
};

const MESSAGES: usize = 20_000;
const BATCH: usize = 500;

#[test]
fn a_receiver_that_never_sleeps_is_paired_with_the_right_sender() {
    let view = match KernelView::live() {
        Ok(view) => view,
        Err(error) => return command::skip("race", &error.to_string()),
    };
    if let Some(lacking) = view.capabilities.lacking_for_tracing() {
        return command::skip("race", &format!("no {lacking}"));
    }
    let planned = plan(&view, Attach::Tracepoint).expect("every kernel has some tracepoints");
    if !planned.watches(Hop::Queue) {
        return command::skip("race", "queue is not watched by tracepoints here");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there is a runtime");
    let _guard = runtime.enter();
    let mut tracer = Tracer::start(planned, 16 << 20, &view.types).expect("it can be attached");
    let plan = tracer.plan().clone();
    let mut tracker = Tracker::new(Box::new(|_| None));

    // Each file under a number of its own, so that a wrong pairing shows in the inode.
    let files: Vec<_> = (0..8)
        .map(|_| memfd_create("race", MFdFlags::MFD_CLOEXEC).expect("there is memory"))
        .collect();
    let inode_of: HashMap<i32, u64> = files
        .iter()
        .map(|file| (file.as_raw_fd(), fstat(file).expect("it is open").st_ino))
        .collect();
    let (sender, receiver) = socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .expect("there are sockets");
    let done = AtomicBool::new(false);
    let pid = std::process::id();
    let mut transfers = Vec::new();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let mut received = 0;
            while received < MESSAGES && !done.load(Ordering::Relaxed) {
                if let Ok(message) =
                    passing::receive(receiver.as_raw_fd(), 1, MsgFlags::MSG_DONTWAIT)
                {
                    assert_eq!(message.fds.len(), 1);
                    received += 1;
                }
            }
        });
        for number in 0..MESSAGES {
            let fd = files[number % files.len()].as_raw_fd();
            passing::send(sender.as_raw_fd(), b"x", &[&[fd]]).expect("it is connected");
            if number % BATCH == 0 {
                tracer.drain(|event| tracker.apply(event.expect("records are whole")));
                transfers.extend(tracker.take_closed());
            }
        }
        receiving.join().expect("it received them all");
        done.store(true, Ordering::Relaxed);
    });
    tracer.drain(|event| tracker.apply(event.expect("records are whole")));
    tracker.close_open();
    transfers.extend(tracker.take_closed());
    transfers.retain(|transfer| {
        transfer
            .receiver
            .as_ref()
            .is_some_and(|receiver| receiver.pid == pid)
    });

    let losses = tracer.losses().expect("the counters are there");
    let mut verdicts: HashMap<Verdict, usize> = HashMap::new();
    for transfer in &transfers {
        assert_eq!(transfer.fate, Fate::Delivered, "{transfer:?}");
        let verdict = verdict::of_transfer(transfer, &plan, true).expect("something came out");
        *verdicts.entry(verdict).or_default() += 1;
        if verdict != Verdict::Same {
            // The receiver took the message between two looks of the sender's hook.
            assert_eq!(
                transfer.chain,
                Chain::Gap { hop: Hop::Queue },
                "{transfer:?}"
            );
            assert_eq!(verdict, Verdict::Unverified, "{transfer:?}");
        }
        if let Some(fd) = transfer.sender.as_ref().and_then(|sender| sender.fd) {
            assert_eq!(inode_of.get(&fd), Some(&transfer.file.ino), "{transfer:?}");
        }
    }
    assert!(
        losses.events.iter().all(|(_, lost)| *lost == 0),
        "{losses:?}"
    );
    assert_eq!(transfers.len(), MESSAGES);
    let unverified = verdicts.get(&Verdict::Unverified).copied().unwrap_or(0);
    assert!(unverified < MESSAGES / 100, "{verdicts:?}, {losses:?}");
}
