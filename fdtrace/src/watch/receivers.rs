//! Receivers: who holds the socket that a failed send was to go to, as that send is told of.
//!
//! Looking through all tables is dear, so what one look found serves for a while. It may be of before the
//! send, and a socket's address another's by then. So a process is named only if the number that it was found
//! with leads, now, to the inode that the send was to go to, which is nobody else's.

use std::{collections::HashMap, fs, time::Duration};

use tokio::time::Instant;

use crate::{
    model::{HeldBy, Holder, Judged},
    tracer::Tracer,
};

/// All queues and tables are looked through no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who held which socket when that was last looked at, by its inode.
#[derive(Default)]
pub(super) struct Receivers {
    looked: Option<Instant>,
    found: HashMap<u64, Vec<Holder>>,
}

impl Receivers {
    /// Names them in what has failed. What cannot be looked up is not named.
    pub(super) fn name(&mut self, tracer: &mut Tracer, batch: &mut [Judged]) {
        let mut wanted: Vec<(u64, u64)> = batch
            .iter()
            .filter_map(|judged| {
                let to = judged.transfer.failed_send.as_ref()?;
                Some((to.receiver_sock, to.receiver_ino?)).filter(|(sock, _)| *sock != 0)
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        wanted.sort_unstable();
        wanted.dedup();
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.look(tracer, &wanted);
        }
        let holders: HashMap<u64, Vec<HeldBy>> = wanted
            .iter()
            .filter_map(|(_, ino)| Some((*ino, holders_now(self.found.get(ino)?, *ino))))
            .collect();
        for judged in batch {
            if let Some(to) = &mut judged.transfer.failed_send
                && let Some(ino) = to.receiver_ino
                && let Some(holders) = holders.get(&ino)
            {
                to.holders.clone_from(holders);
            }
        }
    }

    fn look(&mut self, tracer: &mut Tracer, wanted: &[(u64, u64)]) {
        self.looked = Some(Instant::now());
        self.found.clear();
        let Ok(pass) = tracer.queued() else {
            return;
        };
        for (sock, ino) in wanted {
            let found = pass.holders.get(sock).cloned().unwrap_or_default();
            self.found.insert(*ino, found);
        }
    }
}

/// Those who hold the socket with this inode now.
fn holders_now(found: &[Holder], ino: u64) -> Vec<HeldBy> {
    let holders = found.iter().filter(|holder| holds(holder, ino));
    holders
        .map(|holder| HeldBy {
            pid: holder.pid,
            comm: holder.comm.as_str().into(),
        })
        .collect()
}

/// Whether one of its numbers stands for the socket with this inode now.
fn holds(holder: &Holder, ino: u64) -> bool {
    let wanted = format!("socket:[{ino}]");
    let leads_there = |fd: &u32| {
        let link = fs::read_link(format!("/proc/{}/fd/{fd}", holder.pid));
        link.is_ok_and(|link| link.as_os_str() == wanted.as_str())
    };
    holder.fds.iter().any(leads_there)
}
