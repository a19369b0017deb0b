//! Receivers: who holds the socket that a failed send was to go to, looked up soon afterwards.
//!
//! A socket's address may be another's by then. So a process counts only if the number that it was found with
//! still leads to the inode that the send was to go to, which is nobody else's.

use std::{collections::HashMap, fs, time::Duration};

use tokio::time::Instant;

use crate::{
    model::{HeldBy, Holder, Judged},
    tracer::Tracer,
};

/// All queues and tables are looked through no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who holds which socket, by its inode.
#[derive(Default)]
pub(super) struct Receivers {
    looked: Option<Instant>,
    holders: HashMap<u64, Vec<HeldBy>>,
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
        let is_known = |(_, ino): &(u64, u64)| self.holders.contains_key(ino);
        let is_due = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if is_due {
            self.look(tracer, &wanted);
        } else if !wanted.iter().any(is_known) {
            return;
        }
        for judged in batch {
            if let Some(to) = &mut judged.transfer.failed_send
                && let Some(ino) = to.receiver_ino
                && let Some(holders) = self.holders.get(&ino)
            {
                to.holders.clone_from(holders);
            }
        }
    }

    fn look(&mut self, tracer: &mut Tracer, wanted: &[(u64, u64)]) {
        self.looked = Some(Instant::now());
        self.holders.clear();
        let Ok(pass) = tracer.queued() else {
            return;
        };
        for (sock, ino) in wanted {
            let holders = pass.holders.get(sock).into_iter().flatten();
            let holders = holders.filter(|holder| holds(holder, *ino));
            let holders: Vec<HeldBy> = holders
                .map(|holder| HeldBy {
                    pid: holder.pid,
                    comm: holder.comm.as_str().into(),
                })
                .collect();
            self.holders.insert(*ino, holders);
        }
    }
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
