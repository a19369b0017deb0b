//! Release: what is left when a scenario is over. Its processes must be gone, and with them every
//! reference to the files that its messages carried.

use std::{collections::HashMap, io, os::fd::OwnedFd, process, time::Duration};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Finding, REAP_LIMIT, Verifier,
    fact::{Fact, MessageName},
    record::Record,
};
use crate::{
    kernel::sys::{open_process, wait_on},
    model::Fate,
    witness::{Balance, Originals},
};

/// How long the kernel may take to give up what nobody refers to: its garbage collector and its
/// grace periods run in the background.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A descriptor that becomes readable when process `pid` has given up all it had.
///
/// # Errors
/// If it is gone already, or there is no room for another descriptor.
pub(super) fn watch(pid: u32) -> io::Result<OwnedFd> {
    open_process(pid)
}

/// Waits until these processes have given up all they had.
pub(super) async fn all_gone(actors: Vec<OwnedFd>) {
    let deadline = Instant::now() + REAP_LIMIT;
    for actor in actors {
        if let Ok(actor) = wait_on(actor) {
            let _ = timeout_at(deadline, actor.readable()).await;
        }
    }
}

impl Verifier {
    /// Waits until nobody but the verifier refers to the originals it holds, or says who does.
    pub(super) async fn expect_released(
        &mut self,
        originals: &HashMap<MessageName, Originals>,
        record: &mut Record,
    ) {
        let held = originals
            .iter()
            .any(|(_, sent)| sent.all_held().next().is_some());
        if !held {
            return;
        }
        let balance = match Balance::new() {
            Ok(balance) => balance,
            Err(error) => {
                record
                    .trouble
                    .push(format!("cannot count references: {error}"));
                return;
            }
        };
        let deadline = Instant::now() + RELEASE_LIMIT;
        let mut pause = Duration::from_millis(1);
        loop {
            let snapshot = match self.live.tracer_mut().snapshot(&[process::id()]) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    record.note(&error);
                    return;
                }
            };
            let mut leaks = Vec::new();
            for (message, sent) in originals {
                if stays_queued(record, message) {
                    continue;
                }
                match balance.surplus(process::id(), sent, &snapshot) {
                    Some(surplus) => {
                        leaks.extend(surplus.into_iter().map(|left| Finding::Left {
                            message: message.clone(),
                            index: left.index,
                            refs: left.refs,
                        }));
                    }
                    None => leaks.push(Finding::Uncounted {
                        message: message.clone(),
                    }),
                }
            }
            if leaks.is_empty() || Instant::now() >= deadline {
                record.leaks = leaks;
                return;
            }
            nudge_the_collector();
            if let Err(error) = self.drain() {
                record.note(&error);
                return;
            }
            sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }
}

/// Whether the scenario leaves some of the message's files in a queue.
fn stays_queued(record: &Record, name: &MessageName) -> bool {
    record.facts.iter().any(
        |fact| matches!(fact, Fact::Fate { message, fate: Fate::Queued, .. } if message == name),
    )
}

/// The collector of sockets that only refer to each other runs when a Unix socket is closed.
fn nudge_the_collector() {
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    drop(pair);
}
