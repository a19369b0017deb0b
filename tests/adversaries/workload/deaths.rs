//! Processes that fork while messages are in flight, and messages that nobody ever gets.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
};

use nix::sys::socket::{MsgFlags, SockType, recv};

use super::actor::{Actor, Came, Named, end, in_child, join_all, pair};
use crate::truth::Fact;

/// Two children are forked while messages are in flight, and receive from the socket that they
/// have in common with each other and with this process, which goes on to send and receives too.
pub(crate) fn forks(transfers: usize) -> Vec<Fact> {
    const BATCH: usize = 15;
    const BATCHES: usize = 4;
    let mut facts = Vec::new();
    for _ in 0..(transfers / BATCH / BATCHES).max(1) {
        let (sender, receiver) = pair(SockType::SeqPacket);
        let mut actor = Actor::default();
        let receive_all = || {
            in_child(|| {
                let mut actor = Actor::default();
                actor.receive_all(&receiver, 1, MsgFlags::empty());
                actor.facts
            })
        };
        send(&mut actor, &sender, BATCH);
        let first = receive_all();
        send(&mut actor, &sender, BATCH);
        let second = receive_all();
        // A third sends on the same socket as this process.
        let third = in_child(|| {
            let mut actor = Actor::default();
            send(&mut actor, &sender, BATCH);
            actor.facts
        });
        send(&mut actor, &sender, BATCH);
        for _ in 0..BATCH {
            if let Came::Message(fds) = actor.receive(&receiver, 1, MsgFlags::MSG_DONTWAIT) {
                drop(fds);
            }
        }
        facts.extend(third.join());
        end(&sender);
        end(&sender);
        facts.extend(first.join());
        facts.extend(second.join());
        facts.append(&mut actor.facts);
    }
    facts
}

fn send(actor: &mut Actor, sender: &OwnedFd, messages: usize) {
    for _ in 0..messages {
        actor.send(sender, &[&Named::new()]);
    }
}

/// Lists end in every way there is, some of which no hook sees, and their addresses come back for
/// the next ones, which other threads send.
pub(crate) fn deaths(transfers: usize) -> Vec<Fact> {
    const THREADS: usize = 3;
    thread::scope(|scope| {
        let threads = (0..THREADS)
            .map(|number| scope.spawn(move || deaths_of_one(number, transfers / THREADS)))
            .collect();
        join_all(threads)
    })
}

fn deaths_of_one(number: usize, transfers: usize) -> Vec<Fact> {
    let mut actor = Actor::default();
    let (mut sender, mut receiver) = pair(SockType::Stream);
    for turn in 0..transfers {
        actor.send(&sender, &[&Named::new()]);
        // Of seven ways, each thread begins with another, and half are deliveries.
        match (turn + number) % 7 {
            0 => read(&receiver),
            1 => splice_away(&receiver),
            2 => drop(actor.receive(&receiver, 0, MsgFlags::empty())),
            3 => (sender, receiver) = pair(SockType::Stream),
            4 => {
                drop(actor.receive(&receiver, 1, MsgFlags::MSG_PEEK));
                drop(actor.receive(&receiver, 1, MsgFlags::empty()));
            }
            _ => drop(actor.receive(&receiver, 1, MsgFlags::empty())),
        }
    }
    actor.facts
}

fn read(receiver: &OwnedFd) {
    recv(receiver.as_raw_fd(), &mut [0; 64], MsgFlags::empty()).expect("something is there");
}

fn splice_away(receiver: &OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    let nowhere = std::ptr::null_mut();
    let (from, to) = (receiver.as_raw_fd(), writer.as_raw_fd());
    // SAFETY: both are open, and null is for offsets that neither has.
    let moved = unsafe { libc::splice(from, nowhere, to, nowhere, 64, 0) };
    assert!(moved > 0, "something is there");
    drop(reader);
}
