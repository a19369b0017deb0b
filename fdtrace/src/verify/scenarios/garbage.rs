//! Garbage: sockets whose only references are in each other's queues. Nobody can receive from them
//! any more, and the kernel's collector takes them, with whatever else was in the queues.
//!
//! A socket here is one end of a pair. A message that lies in the queue of `b` and holds `a` is
//! named `a-in-b`. Each also holds a watched pipe, which shows when it is gone: since 6.1.141 and
//! 6.10 the collector is a worker of the kernel's, and nobody waits for it.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Result;
use nix::sys::socket::SockType;

use super::scenarios;
use crate::{
    model::{Cause, Fate},
    verify::runner::{Runner, Watch},
};

scenarios! { Lifetime:
    "gc-self" |runner| collect(runner, &[(0, 0)]),
        "a socket in its own queue is collected";
    "gc-triangle" |runner| collect(runner, &[(0, 1), (1, 2), (2, 0)]),
        "three sockets in a circle are collected";
    "gc-cross-edge" |runner| collect(runner, &[(0, 1), (1, 2), (2, 0), (1, 3), (3, 2)]),
        "two circles that share an arc are collected";
    "gc-backtrack" |runner| collect(runner, &[(0, 1), (0, 4), (1, 2), (2, 3), (3, 1)]),
        "a circle is collected with a socket that is in it and not part of it";
}

/// Queues for each pair `(a, b)` socket `a` at socket `b`, for each type of sockets, lets go of
/// everything, and waits until all of it is gone.
fn collect(runner: &Runner, edges: &[(usize, usize)]) -> Result<()> {
    for (kind_name, kind) in [
        ("stream", SockType::Stream),
        ("dgram", SockType::Datagram),
        ("seqpacket", SockType::SeqPacket),
    ] {
        let mut watches = Vec::new();
        let mut parcels = Vec::new();
        for (held, holder) in edges {
            let (file, watch) = runner.watched()?;
            let name = format!("{kind_name}-{held}-in-{holder}");
            // A socket that is in flight nowhere ends with its last descriptor.
            let (fate, cause) = match edges.iter().any(|(held, _)| held == holder) {
                true => (Fate::Collected, Cause::GarbageCollector),
                false => (Fate::Discarded, Cause::ReceiverClosed),
            };
            runner.fate(&name, 0..2, fate, Some(cause))?;
            parcels.push((name, *held, *holder, file));
            watches.push(watch);
        }
        let count = edges.iter().map(|(a, b)| a.max(b) + 1).max().unwrap_or(0);
        let actor = runner.actor("sender", move || {
            let pairs = (0..count).map(|_| runner.socketpair(kind));
            let (peers, sockets): (Vec<OwnedFd>, Vec<OwnedFd>) =
                pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            for (name, held, holder, file) in &parcels {
                let fds = [sockets[*held].as_raw_fd(), file.as_raw_fd()];
                runner.send(name, &peers[*holder]).unheld().fds(&fds)?;
            }
            drop(parcels);
            // The collector looks when a socket is released. Those in flight are not, so the
            // peers must come last.
            drop(sockets);
            drop(peers);
            Ok(())
        })?;
        actor.done()?;
        watches.iter().try_for_each(Watch::released)?;
    }
    Ok(())
}
