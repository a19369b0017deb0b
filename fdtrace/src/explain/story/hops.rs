//! Hops: where each was seen, and what was read there.

use super::{FILES_SHOWN, FileAtHop, Message, Moved, Sighting, StoryHop, Writer};
use crate::{
    judge::ledger,
    model::{Digits, Hop, HopSeen, Transfer},
    plan::{Kind, Plan, PlannedHop},
};

impl Writer<'_> {
    pub(super) fn hop(&mut self, hop: Hop, message: &Message<'_>) -> StoryHop {
        StoryHop {
            hop,
            is_watched: self.explainer.plan.watches(hop),
            watched: self.watched(hop),
            next: (hop == Hop::End && message.at(hop).is_some())
                .then_some("the list's reference goes next"),
            seen: message.at(hop).map(|seen| self.sighting(seen, message)),
        }
    }

    /// Where the plan watches a hop, or why it does not.
    fn watched(&self, hop: Hop) -> String {
        let planned = self.explainer.plan.hops.iter().find(|it| it.hop == hop);
        let Some(planned) = planned else {
            return "not in the plan".to_owned();
        };
        let hook = planned
            .hooks
            .iter()
            .find(|hook| hook.fired.is_some())
            .or(planned.hooks.first());
        match hook {
            Some(hook) => match hook.kind {
                Kind::Fentry | Kind::Kprobe => {
                    format!("as {} began ({})", hook.target, hook.kind.name())
                }
                Kind::Fexit | Kind::Kretprobe => {
                    format!("as {} returned ({})", hook.target, hook.kind.name())
                }
                Kind::BtfTracepoint | Kind::RawTracepoint => {
                    format!("at the tracepoint {}", hook.target)
                }
            },
            None => {
                let common = blind_because(self.explainer.plan).len();
                let reasons: Vec<&str> = reasons(planned).skip(common).collect();
                reasons.join("; ")
            }
        }
    }

    fn sighting(&mut self, seen: &HopSeen, message: &Message<'_>) -> Sighting {
        let known = |address: u64| (address != 0).then_some(address);
        let mut files = Vec::new();
        for transfer in message.transfers.iter().take(FILES_SHOWN) {
            files.extend(self.file_at(seen.hop, transfer));
        }
        let mut sock = |sock| known(sock).map(|sock| self.pointers.show("sock", sock).to_string());
        let (sender_sock, receiver_sock) = (sock(seen.sender_sock), sock(seen.receiver_sock));
        Sighting {
            t_ns: Digits(seen.t_ns),
            after_ns: seen.t_ns.saturating_sub(message.first_seen()),
            cpu: seen.cpu,
            pid: seen.pid,
            tid: seen.tid,
            comm: seen.comm.to_string(),
            list: self.pointers.show("list", seen.list).to_string(),
            skb: known(seen.skb).map(|skb| self.pointers.show("skb", skb).to_string()),
            sender_sock,
            receiver_sock,
            more_files: message.transfers.len().saturating_sub(FILES_SHOWN),
            files,
        }
    }

    fn file_at(&mut self, hop: Hop, transfer: &Transfer) -> Option<FileAtHop> {
        let entries: Vec<_> = ledger::entries(transfer).collect();
        let place = entries.iter().position(|entry| entry.seen.hop == hop)?;
        let entry = &entries[place];
        let refs_before = match place.checked_sub(1) {
            Some(before) => entries[before].seen.refs,
            None => self.refs_before(transfer, entry.seen.t_ns),
        };
        // Where it is not known what should have moved the count, before and after say nothing.
        let refs_before = refs_before.filter(|_| entry.changes.is_some());
        let changes = entry.changes.iter().flatten();
        let changed: i64 = changes.clone().map(|change| change.by).sum();
        let unaccounted = match (refs_before, entry.seen.refs) {
            (Some(before), Some(now)) => now - before - changed,
            _ => 0,
        };
        let sender = transfer.sender.as_ref().and_then(|sender| sender.fd);
        let receiver = transfer.receiver().and_then(|receiver| receiver.fd);
        Some(FileAtHop {
            name: self.names.of(transfer),
            file: self.pointers.file_at(transfer, entry.seen).to_string(),
            fd: match hop {
                Hop::Copy => sender,
                Hop::Queue if place == 0 => sender,
                Hop::Install => receiver,
                _ => None,
            },
            refs_before,
            refs: entry.seen.refs,
            changes: changes
                .map(|change| Moved {
                    by: change.by,
                    whose: change.whose,
                })
                .collect(),
            unaccounted,
        })
    }

    /// The file's count when an actor was last held.
    fn refs_before(&self, transfer: &Transfer, t_ns: u64) -> Option<i64> {
        let checkpoint = self
            .recording
            .checkpoints
            .iter()
            .rev()
            .find(|checkpoint| checkpoint.t_ns < t_ns)?;
        checkpoint
            .processes
            .iter()
            .flat_map(|process| &process.descriptors)
            .find(|row| {
                row.file == transfer.file.ptr && row.ino.is_none_or(|ino| ino == transfer.file.ino)
            })
            .map(|row| row.refs)
    }
}

fn reasons(planned: &PlannedHop) -> impl Iterator<Item = &str> {
    planned.why.iter().flat_map(|why| why.split("; "))
}

/// The reasons that every hop which is not watched has in common: a story gives them once.
pub(super) fn blind_because(plan: &Plan) -> Vec<String> {
    let blind = || plan.hops.iter().filter(|planned| !planned.is_watched());
    let Some(first) = blind().next() else {
        return Vec::new();
    };
    if blind().count() < 2 {
        return Vec::new();
    }
    let shared = |place: usize, reason: &str| {
        blind().all(|planned| reasons(planned).nth(place) == Some(reason))
    };
    reasons(first)
        .enumerate()
        .take_while(|(place, reason)| shared(*place, reason))
        .map(|(_, reason)| reason.to_owned())
        .collect()
}
