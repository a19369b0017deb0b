//! Orders of events that adversaries brought about, in which one message could be taken for
//! another: what cannot be told apart has to stay open.

mod late_looks;
mod neighbours;
mod numbers;
mod senders;

use fdtrace::{
    judge::verdict,
    model::{Doubt, Fate, Hop, Transfer, Verdict},
};
use fdtrace_common::records::FLAG_PEEK;
use fdtrace_testkit::{
    Event, Passing, RECVMSG, files_mut, head_mut, kernels::tracepoint_plan, track,
};

fn only(transfers: Vec<Transfer>) -> Transfer {
    let [transfer] = <[Transfer; 1]>::try_from(transfers).expect("there is one");
    transfer
}

fn verdict(transfer: &Transfer) -> Option<Verdict> {
    let plan = tracepoint_plan();
    verdict::of_transfer(transfer, |hop| plan.watches(hop), true)
}

/// The transfer was delivered, and nobody is named as its sender.
fn assert_without_sender(transfer: &Transfer) {
    assert_eq!(transfer.fate(), Fate::Delivered, "{transfer:?}");
    assert_eq!(transfer.sender, None, "{transfer:?}");
    assert_eq!(verdict(transfer), Some(Verdict::Unverified), "{transfer:?}");
    assert!(transfer.doubt.is_some(), "{transfer:?}");
    assert_no_senders_time(transfer);
}

/// The transfer was delivered and is the same file; of its sender nothing is told but the process, and
/// the number that goes with it.
fn assert_of_process(transfer: &Transfer, fd: Option<i32>) {
    let sender = transfer.sender.as_ref().expect("its process is known");
    assert_eq!((sender.pid, sender.tid), (100, None), "{transfer:?}");
    assert_eq!(sender.fd, fd, "{transfer:?}");
    assert_eq!(transfer.doubt, Some(Doubt::TwoThreadsSend), "{transfer:?}");
    assert_eq!(verdict(transfer), Some(Verdict::Same), "{transfer:?}");
    assert_no_senders_time(transfer);
}

/// The look of a thread that may not have sent it is no hop of its way.
fn assert_no_senders_time(transfer: &Transfer) {
    let hops: Vec<Hop> = transfer.hops.iter().map(|seen| seen.hop).collect();
    assert!(!hops.contains(&Hop::Queue), "{transfer:?}");
    assert_eq!(
        (transfer.queued_ns, transfer.total_ns),
        (None, None),
        "{transfer:?}"
    );
}

/// The same events in another process, which has the files under numbers of its own.
fn by_process(pid: u32, events: Vec<Event>) -> Vec<Event> {
    let mut events = by_thread(pid, events);
    for event in &mut events {
        head_mut(event).pid = pid;
    }
    events
}

/// The same events in another thread of the sender, which has the files under numbers of its own.
fn by_thread(tid: u32, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).tid = tid;
        for file in files_mut(event) {
            file.fd += 10;
        }
    }
    events
}

fn with_refs(refs: i64, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        for file in files_mut(event) {
            file.refs = refs;
        }
    }
    events
}

/// Another list, through the same sockets.
fn another(message: &Passing, number: u64) -> Passing {
    Passing {
        list: message.list + number * 0x1000,
        skb: message.skb + number * 0x100,
        ..message.clone()
    }
}

/// The same message in another thread of the receiver, under other numbers there.
fn to_thread(tid: u32, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        head_mut(event).tid = tid;
    }
    events
}

fn peeked(message: &Passing, t_ns: u64) -> Vec<Event> {
    message.returned_with(t_ns, RECVMSG, FLAG_PEEK, vec![message.gained(0)])
}

/// At the first one's address, on its skb, from its sender's socket.
fn another_after(first: &Passing) -> Passing {
    Passing {
        files: vec![0xffff_8881_2222_0000],
        ..first.clone()
    }
}
