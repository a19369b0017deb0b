//! Many at once: senders to one socket, on one socket, with one file; receivers that never sleep;
//! receivers that look at what others take.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockname, socket,
};

use super::actor::{Actor, Came, Child, Named, end, in_child, join_all, pair};
use crate::truth::Fact;

const RECEIVERS: usize = 2;

/// Eight sockets send to one.
pub(crate) fn many_senders(transfers: usize) -> Vec<Fact> {
    const SENDERS: usize = 8;
    let receiver = dgram();
    // The kernel gives it a name that nobody else has.
    let any = UnixAddr::new_unnamed();
    bind(receiver.as_raw_fd(), &any).expect("it gets a name");
    let name: UnixAddr = getsockname(receiver.as_raw_fd()).expect("it has a name");
    let senders: Vec<OwnedFd> = (0..SENDERS).map(|_| dgram()).collect();
    for sender in &senders {
        connect(sender.as_raw_fd(), &name).expect("it is there");
    }
    crowd(
        &senders.iter().collect::<Vec<_>>(),
        &receiver,
        |actor, sender, turn| {
            let files: Vec<Named> = (0..=turn % 2).map(|_| Named::new()).collect();
            actor.send(sender, &files.iter().collect::<Vec<_>>());
            files.len()
        },
        transfers,
    )
}

/// Six threads share one socket to send on, each with files of its own.
pub(crate) fn one_socket_for_all(transfers: usize) -> Vec<Fact> {
    let (sender, receiver) = pair(SockType::Datagram);
    crowd(
        &[&sender; 6],
        &receiver,
        |actor, sender, turn| {
            let files: Vec<Named> = (0..=turn % 3).map(|_| Named::new()).collect();
            actor.send(sender, &files.iter().collect::<Vec<_>>());
            files.len()
        },
        transfers,
    )
}

/// Four threads share one socket and one file, which each of them has under a number of its own.
pub(crate) fn one_file_for_all(transfers: usize) -> Vec<Fact> {
    one_file(SockType::Datagram, RECEIVERS, transfers)
}

/// Likewise through a stream, to a receiver who asks without pause: what is sent is read in that
/// order.
pub(crate) fn one_stream_for_all(transfers: usize) -> Vec<Fact> {
    one_file(SockType::Stream, 1, transfers)
}

fn one_file(kind: SockType, receiving: usize, transfers: usize) -> Vec<Fact> {
    const SENDERS: usize = 4;
    let (sender, receiver) = pair(kind);
    let file = Named::new();
    thread::scope(|scope| {
        let threads = receivers(scope, &receiver, receiving);
        let sending = (0..SENDERS).map(|_| {
            let own = file.again();
            let sender = &sender;
            scope.spawn(move || {
                let mut actor = Actor::default();
                for _ in 0..transfers / SENDERS {
                    actor.send(sender, &[&own]);
                }
                actor.facts
            })
        });
        let mut facts = join_all(sending.collect());
        (0..receiving).for_each(|_| end(&sender));
        facts.extend(join_all(threads));
        facts
    })
}

/// Two processes share one socket and one file, which each of them has under a number of its own.
pub(crate) fn one_file_for_processes(transfers: usize) -> Vec<Fact> {
    const SENDERS: usize = 2;
    let (sender, receiver) = pair(SockType::Stream);
    let file = Named::new();
    let sending: Vec<_> = (0..SENDERS)
        .map(|number| {
            in_child(|| {
                // The second one has its number behind the first one's.
                let own = (0..=number).map(|_| file.again()).collect::<Vec<_>>();
                let mut actor = Actor::default();
                for _ in 0..transfers / SENDERS {
                    actor.send(&sender, &[&own[number]]);
                }
                actor.facts
            })
        })
        .collect();
    thread::scope(|scope| {
        let receiving = receivers(scope, &receiver, 1);
        let sent: Vec<Fact> = sending.into_iter().flat_map(Child::join).collect();
        end(&sender);
        [sent, join_all(receiving)].concat()
    })
}

/// A receiver asks without pause, and takes each message before its sender has returned.
pub(crate) fn busy_poll(transfers: usize) -> Vec<Fact> {
    let kinds = [SockType::Stream, SockType::Datagram, SockType::SeqPacket];
    polled(&kinds, 1, transfers, |actor, socket| {
        actor.send(socket, &[&Named::new()]);
    })
}

/// Two receivers ask without pause for the same file under the same number, again and again: only
/// the time tells one call from another.
pub(crate) fn one_file_again(transfers: usize) -> Vec<Fact> {
    // A stream's reader is seen while what it reads is still in the queue.
    let kinds = [SockType::Datagram, SockType::SeqPacket];
    let file = Named::new();
    polled(&kinds, RECEIVERS, transfers, |actor, socket| {
        actor.send(socket, &[&file]);
    })
}

/// Likewise, by another call at every other turn, of which nothing is known if it is overtaken.
pub(crate) fn one_file_by_turns(transfers: usize) -> Vec<Fact> {
    let kinds = [SockType::Datagram, SockType::SeqPacket];
    let file = Named::new();
    let turn = std::cell::Cell::new(false);
    polled(&kinds, RECEIVERS, transfers, |actor, socket| {
        turn.set(!turn.get());
        if turn.get() {
            actor.send(socket, &[&file]);
        } else {
            actor.send_by_sendmmsg(socket, &[&file]);
        }
    })
}

/// One thread sends on each of these kinds of sockets, to so many receivers that never sleep.
fn polled(
    kinds: &[SockType],
    receivers: usize,
    transfers: usize,
    send: impl Fn(&mut Actor, &OwnedFd),
) -> Vec<Fact> {
    let each = transfers / kinds.len();
    kinds
        .iter()
        .flat_map(|kind| {
            let (sender, receiver) = pair(*kind);
            thread::scope(|scope| {
                let receiving: Vec<_> = (0..receivers)
                    .map(|_| {
                        scope.spawn(|| {
                            let mut actor = Actor::default();
                            actor.receive_all(&receiver, 1, MsgFlags::MSG_DONTWAIT);
                            actor.facts
                        })
                    })
                    .collect();
                let mut actor = Actor::default();
                (0..each).for_each(|_| send(&mut actor, &sender));
                receiving.iter().for_each(|_| end(&sender));
                actor.facts.extend(join_all(receiving));
                actor.facts
            })
        })
        .collect()
}

/// Two threads look at messages with MSG_PEEK, each look giving them duplicates, while a third
/// takes the messages away.
pub(crate) fn peek_race(transfers: usize) -> Vec<Fact> {
    let (sender, receiver) = pair(SockType::SeqPacket);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let peeking: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut actor = Actor::default();
                    while !done.load(Ordering::Relaxed) {
                        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
                        match actor.receive(&receiver, 2, flags) {
                            Came::Message(fds) => drop(fds),
                            // Those who only look would otherwise never let go of the lock.
                            Came::Nothing | Came::End => thread::yield_now(),
                        }
                    }
                    actor.facts
                })
            })
            .collect();
        let receiving = scope.spawn(|| {
            let mut actor = Actor::default();
            actor.receive_all(&receiver, 2, MsgFlags::empty());
            actor.facts
        });
        let mut actor = Actor::default();
        for _ in 0..transfers / 2 {
            actor.send(&sender, &[&Named::new(), &Named::new()]);
        }
        end(&sender);
        actor.facts.extend(receiving.join().expect("it receives"));
        done.store(true, Ordering::Relaxed);
        actor.facts.extend(join_all(peeking));
        actor.facts
    })
}

fn dgram() -> OwnedFd {
    socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("there are sockets")
}

/// A thread for each of `senders`, which sends until about `transfers` have been sent by all.
fn crowd(
    senders: &[&OwnedFd],
    receiver: &OwnedFd,
    send: fn(&mut Actor, &OwnedFd, usize) -> usize,
    transfers: usize,
) -> Vec<Fact> {
    let each = transfers / senders.len();
    thread::scope(|scope| {
        let receiving = receivers(scope, receiver, RECEIVERS);
        let sending: Vec<_> = senders
            .iter()
            .map(|sender| {
                scope.spawn(move || {
                    let mut actor = Actor::default();
                    let (mut sent, mut turn) = (0, 0);
                    while sent < each {
                        sent += send(&mut actor, sender, turn);
                        turn += 1;
                    }
                    actor.facts
                })
            })
            .collect();
        let mut facts = join_all(sending);
        (0..RECEIVERS).for_each(|_| end(senders[0]));
        facts.extend(join_all(receiving));
        facts
    })
}

fn receivers<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    receiver: &'scope OwnedFd,
    count: usize,
) -> Vec<thread::ScopedJoinHandle<'scope, Vec<Fact>>> {
    (0..count)
        .map(|_| {
            scope.spawn(|| {
                let mut actor = Actor::default();
                actor.receive_all(receiver, 3, MsgFlags::empty());
                actor.facts
            })
        })
        .collect()
}
